//! Tests of parsing: every form of a connection string that libpq accepts.

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

#[test]
fn every_sslmode_of_libpq_is_understood() {
    for (text, mode) in [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ] {
        let url = parse(&format!("postgres://u:p@h:5/d?sslmode={text}&application_name=x")).unwrap();
        assert_eq!(url.ssl_mode, mode);
        assert_eq!(url.config.get_application_name(), Some("x"));
        assert_eq!(parse(&format!("host=h dbname=d sslmode={text}")).unwrap().ssl_mode, mode);
    }
    assert_eq!(parse("postgres://h/d?sslmode=maybe").unwrap_err(), AddressError::SslMode);
    assert!(parse("host=h sslmode=''").is_err());
}

#[test]
fn variables_of_libpq_that_make_a_connection_safer_apply_to_what_the_string_leaves_out() {
    let with = |text: &str, variables: &[(&str, &str)]| {
        Address::parse(text, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    let mode = |text: &str, variables: &[(&str, &str)]| with(text, variables).unwrap().ssl_mode;
    assert_eq!(mode("host=h", &[("PGSSLMODE", "verify-full")]), SslMode::VerifyFull);
    assert_eq!(mode("postgres://h/d?sslmode=disable", &[("PGSSLMODE", "verify-full")]), SslMode::Disable);
    assert_eq!(mode("host=h", &[("PGREQUIRESSL", "1")]), SslMode::Require);
    assert_eq!(mode("host=h", &[("PGREQUIRESSL", "1"), ("PGSSLMODE", "verify-ca")]), SslMode::VerifyCa);
    assert_eq!(mode("host=h", &[("PGREQUIRESSL", "0"), ("PGSSLMODE", "verify-ca")]), SslMode::VerifyCa);
    assert_eq!(mode("host=h sslmode=prefer", &[("PGREQUIRESSL", "1")]), SslMode::Prefer);
    assert_eq!(mode("host=h", &[("PGSSLMODE", "")]), SslMode::Prefer);
    assert_eq!(mode("host=h", &[("PGSSLMODE", "disable")]), SslMode::Prefer, "weaker than without it");
    let address =
        with("host=h", &[("PGSSLROOTCERT", "/ca.pem"), ("PGSSLMINPROTOCOLVERSION", "TLSv1.3")]).unwrap();
    assert_eq!(address.root_certs, RootCerts::File("/ca.pem".into()));
    assert_eq!(address.oldest_tls, TlsVersion::Tls13);
    // Nothing else is read.
    let address = with("host=h", &[("PGHOST", "other"), ("PGUSER", "u"), ("PGPORT", "1")]).unwrap();
    assert_eq!((address.config.get_user(), address.config.get_ports()), (None, &[][..]));
    assert!(with("host=h", &[("PGSSLCERTMODE", "allow"), ("PGSERVICE", "")]).is_ok());
    for (name, value, said) in [
        ("PGSSLMODE", "verify-all", "the environment variable PGSSLMODE: unknown `sslmode`"),
        (
            "PGREQUIREAUTH",
            "scram-sha-256",
            "the environment variable PGREQUIREAUTH: the connection parameter `require_auth` is not supported",
        ),
        ("PGSSLROOTCERT", "system", ""),
        (
            "PGSERVICE",
            "prod",
            "the environment variable PGSERVICE: the connection parameter `service` is not supported",
        ),
        ("PGSSLCERTMODE", "require", "the environment variable PGSSLCERTMODE: "),
    ] {
        let parsed = with("host=h", &[(name, value)]);
        assert!(parsed.map_or_else(|error| error.to_string(), |_| String::new()).starts_with(said), "{name}");
    }
}

#[test]
fn no_way_of_writing_it_loses_an_sslmode() {
    for text in [
        "postgres://u:a?b@h/d?sslmode=require",
        "postgres://u:a?sslmode=disable@h/d?sslmode=require",
        "postgres://u:p@h/d?%73slmode=require",
        "postgres://u:p@h/d?sslmode=%72equire",
        "postgres://u:p@h?sslmode=require",
        "postgresql://u:p@h/?sslmode=require",
        "postgres://h/d?ssl=true",
        "postgres://h/d?sslmode=disable&sslmode=require",
        "host=h sslmode = require",
        "host=h sslmode= 'require'",
        "host=h\tsslmode\t=\trequire",
        "host=h password='sslmode=disable  x' sslmode=require",
        "host=h requiressl=1",
        "host=h requiressl=10",
        "host=h sslmode=require sslcert='' dbname=''",
        "postgres://h/d?sslmode=require&",
    ] {
        let address = parse(text).unwrap();
        assert_eq!(address.ssl_mode, SslMode::Require, "{text}");
        assert_eq!(address.config.get_ssl_mode(), tokio_postgres::config::SslMode::Require, "{text}");
    }
    let quoted = parse("host=h password='two  blanks' sslmode=require").unwrap();
    assert_eq!(quoted.config.get_password(), Some(b"two  blanks".as_slice()));
}

#[test]
fn parameters_that_cannot_be_carried_out_are_refused_by_name() {
    for (parameter, name) in [
        ("pgbouncer=true", "pgbouncer"),
        ("sslcert=a.pem", "sslcert"),
        ("gssencmode=require", "gssencmode"),
        ("schema=public", "schema"),
        ("connection_limit=5", "connection_limit"),
        ("sslcrl=x", "sslcrl"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("requirepeer=postgres", "requirepeer"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("channel_binding=maybe", "channel_binding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
        ("port=http", "port"),
        ("hostaddr=example.org", "hostaddr"),
        ("client_encoding=LATIN1", "client_encoding"),
    ] {
        for text in [
            format!("postgres://u:hunter2@h/d?{parameter}"),
            format!("host=h password=hunter2x user=u {parameter}"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}

#[test]
fn parameters_that_ask_for_what_is_so_anyway_are_taken() {
    let text = "host=h gssencmode=prefer sslcompression=0 sslsni=1 client_encoding=UTF8 keepalives=1 \
                keepalives_idle=10 tcp_user_timeout=5000 connect_timeout=3 fallback_application_name=x \
                target_session_attrs=primary load_balance_hosts=random ssl_min_protocol_version=TLSv1.1";
    let address = parse(text).unwrap();
    assert_eq!(address.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(address.config.get_application_name(), Some("x"));
    assert_eq!(address.oldest_tls, TlsVersion::Tls12);
}

#[test]
fn the_root_certificate_is_decoded_and_the_systems_asks_for_verification() {
    let url = parse("postgres://h/d?sslrootcert=/a%20b/ca.pem&sslmode=verify-full").unwrap();
    assert_eq!(url.root_certs, RootCerts::File(PathBuf::from("/a b/ca.pem")));
    assert_eq!(parse("host=h sslrootcert=system").unwrap().ssl_mode, SslMode::VerifyFull);
    assert!(parse("host=h sslrootcert=system sslmode=require").is_err());
}

#[test]
fn tls_is_not_asked_of_a_socket() {
    let address = parse("host=/run/pg,h port=1,2 sslmode=verify-full user=u").unwrap();
    let configs = address.configs();
    assert_eq!(configs[0].get_ssl_mode(), tokio_postgres::config::SslMode::Disable);
    assert_eq!(configs[1].get_ssl_mode(), tokio_postgres::config::SslMode::Require);
    assert_eq!((configs[0].get_ports(), configs[1].get_ports()), (&[1][..], &[2][..]));
    assert_eq!(configs[1].get_user(), Some("u"));
    assert!(!parse("host=/run/pg sslmode=verify-full").unwrap().has_tcp_host());
    // `hostaddr` means TCP, even if `host` looks like a socket directory.
    let address = parse("host=/run/pg hostaddr=127.0.0.1 sslmode=require").unwrap();
    assert!(address.has_tcp_host());
    assert_eq!(address.configs()[0].get_ssl_mode(), tokio_postgres::config::SslMode::Require);
    assert!(matches!(address.configs()[0].get_hosts(), [Host::Tcp(_)]));
}

#[test]
fn channel_binding_that_is_required_is_required_of_a_socket() {
    let address = parse("host=/run/postgresql,db channel_binding=require").unwrap();
    for config in address.configs() {
        assert_eq!(config.get_channel_binding(), tokio_postgres::config::ChannelBinding::Require);
    }
}

#[test]
fn a_password_is_never_shown() {
    let url = parse("postgres://user:hunter2@host:5433/db").unwrap();
    assert_eq!(format!("{url:?}"), "host port 5433 database db");
    for text in [
        "postgres://user:hunter2@host:port/db",
        "host=h sslmode= password=hunter2",
        "host=h user= password=hunter2",
        "postgres://u:p@hunter2@h/d",
        "postgres://u:/hunter2@h/d",
        "postgres://u:123/hunter2@h/d",
        "postgres://u:a@b/x?sslmode=hunter2@h/d",
        "password='it'hunter2=5",
        "host=h sslmode=hunter2",
    ] {
        let wrong = parse(text).unwrap_err();
        assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{text}: {wrong}");
    }
}
