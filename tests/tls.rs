//! Every `sslmode` against a real server with a certificate of its own.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tenure::postgres::private::{Options, PrivatePostgres};
use tenure::postgres::{Address, Database};

use crate::sealing::program;

/// A server on a loopback port with a certificate for `localhost`, ended when dropped.
struct TlsServer {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGINT,
        );
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a self-signed authority and a certificate of it for localhost.
fn certificates(directory: &Path) {
    let at = |name: &str| directory.join(name).display().to_string();
    run(Command::new("openssl").args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        &at("ca.key"),
        "-out",
        &at("ca.pem"),
    ]));
    run(Command::new("openssl").args([
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        &at("server.key"),
        "-out",
        &at("server.csr"),
    ]));
    std::fs::write(directory.join("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    run(Command::new("openssl").args([
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &at("server.csr"),
        "-CA",
        &at("ca.pem"),
        "-CAkey",
        &at("ca.key"),
        "-CAcreateserial",
        "-extfile",
        &at("extensions"),
        "-out",
        &at("server.pem"),
    ]));
}

/// A certificate that signs itself, as PostgreSQL's manual makes it (19.9.5): an authority by OpenSSL's defaults, with a
/// common name and no alternative ones.
fn self_signed(directory: &Path) {
    let at = |name: &str| directory.join(name).display().to_string();
    run(Command::new("openssl").args(["req", "-new", "-x509", "-days", "365", "-nodes", "-text"]).args([
        "-out",
        &at("server.pem"),
        "-keyout",
        &at("server.key"),
        "-subj",
        "/CN=localhost",
    ]));
}

/// The manual's certificate that an authority has signed: without extensions, and so of version 1 with older releases of it.
fn version_1(directory: &Path) {
    let at = |name: &str| directory.join(name).display().to_string();
    certificates(directory);
    run(Command::new("openssl")
        .args(["x509", "-req", "-days", "2", "-in", &at("server.csr"), "-CA", &at("ca.pem")])
        .args(["-CAkey", &at("ca.key"), "-CAcreateserial", "-out", &at("server.pem")]));
}

async fn server(certificates: fn(&Path)) -> TlsServer {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options { data_dir: directory.path().join("data"), bin_dir: None };
    PrivatePostgres::start(options).await.unwrap().stop().await.unwrap();
    let data = directory.path().join("data/postgres");
    let owner = std::fs::metadata(&data).unwrap();
    certificates(directory.path());
    for name in ["server.key", "server.pem"] {
        let target = data.join(name);
        std::fs::copy(directory.path().join(name), &target).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&target, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let mut hba =
        std::fs::OpenOptions::new().write(true).truncate(true).open(data.join("pg_hba.conf")).unwrap();
    hba.write_all(b"local all all trust\nhostssl all all 127.0.0.1/32 trust\n").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", owner.uid())).arg(format!("--regid={}", owner.gid()));
        command.args(["--clear-groups", "--pdeathsig", "INT"]).arg(program("postgres"));
        command
    } else {
        Command::new(program("postgres"))
    };
    let child = command
        .arg("-D")
        .arg(&data)
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            &format!("port={port}"),
            "-c",
            "unix_socket_directories=",
        ])
        .args(["-c", "ssl=on", "-c", "ssl_key_file=server.key", "-c", "ssl_cert_file=server.pem"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = TlsServer { child, port, directory };
    let ready = async {
        while server.encrypted("localhost", "require", None).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("the server starts");
    server
}

impl TlsServer {
    /// Connects in this mode and tells whether the connection is encrypted.
    async fn encrypted(&self, host: &str, mode: &str, root: Option<&Path>) -> Result<bool, String> {
        let root = root.map_or_else(String::new, |root| format!("&sslrootcert={}", root.display()));
        let url = format!("postgres://tenure@{host}:{}/tenure?sslmode={mode}{root}", self.port);
        let address: Address = url.parse().unwrap();
        let database = Database::new(&address, None).map_err(|error| error.to_string())?;
        let connection = database.connect("tls test", "").await.map_err(|error| error.to_string())?;
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        Ok(connection.client.query_one(sql, &[]).await.unwrap().get(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_asks_for_as_much_as_libpqs() {
    let server = server(certificates).await;
    let authority = server.directory.path().join("ca.pem");
    let stranger = server.directory.path().join("server.pem");
    for mode in ["prefer", "require"] {
        assert_eq!(server.encrypted("localhost", mode, None).await, Ok(true), "{mode}");
        assert_eq!(server.encrypted("127.0.0.1", mode, None).await, Ok(true), "{mode}");
    }
    // This server takes encrypted connections alone.
    assert!(server.encrypted("localhost", "disable", None).await.is_err());
    assert_eq!(server.encrypted("localhost", "verify-full", Some(&authority)).await, Ok(true));
    assert!(server.encrypted("127.0.0.1", "verify-full", Some(&authority)).await.is_err(), "another name");
    assert_eq!(server.encrypted("127.0.0.1", "verify-ca", Some(&authority)).await, Ok(true));
    for mode in ["require", "verify-ca", "verify-full"] {
        assert!(
            server.encrypted("localhost", mode, Some(&stranger)).await.is_err(),
            "{mode}: another authority"
        );
    }
    let missing = server.directory.path().join("missing.pem");
    let error = server.encrypted("localhost", "verify-full", Some(&missing)).await.unwrap_err();
    assert!(error.contains("missing.pem"), "{error}");
}

/// As in libpq, which reads the file for each connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_replaced_is_trusted_from_the_next_connection_on() {
    let server = server(certificates).await;
    let (right, wrong) = (server.directory.path().join("ca.pem"), server.directory.path().join("server.pem"));
    let named = server.directory.path().join("trusted.pem");
    std::fs::copy(&wrong, &named).unwrap();
    let url = format!(
        "postgres://tenure@localhost:{}/tenure?sslmode=verify-full&sslrootcert={}",
        server.port,
        named.display()
    );
    let database = Database::new(&url.parse().unwrap(), None).unwrap();
    let connect =
        async || database.connect("tls test", "").await.map(drop).map_err(|error| error.to_string());
    for (authority, is_trusted) in [(&wrong, false), (&right, true), (&wrong, false), (&right, true)] {
        std::fs::copy(authority, &named).unwrap();
        assert_eq!(connect().await.is_ok(), is_trusted, "{}", authority.display());
    }
    std::fs::remove_file(&named).unwrap();
    let error = connect().await.unwrap_err();
    assert!(error.contains("trusted.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manuals_self_signed_certificate_is_its_own_authority() {
    let server = server(self_signed).await;
    let own = server.directory.path().join("server.pem");
    for (host, mode) in [
        ("localhost", "require"),
        ("127.0.0.1", "verify-ca"),
        ("localhost", "verify-ca"),
        ("localhost", "verify-full"),
    ] {
        assert_eq!(server.encrypted(host, mode, Some(&own)).await, Ok(true), "{mode} {host}");
    }
    assert!(server.encrypted("127.0.0.1", "verify-full", Some(&own)).await.is_err(), "another name");
    let other = tempfile::tempdir().unwrap();
    self_signed(other.path());
    for mode in ["require", "verify-ca", "verify-full"] {
        let stranger = other.path().join("server.pem");
        assert!(
            server.encrypted("localhost", mode, Some(&stranger)).await.is_err(),
            "{mode}: another certificate"
        );
    }
}

/// A machine in the middle can show the certificate of the server, which is public, but has no key for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_required_channel_binding_asks_for_the_key_of_the_certificate() {
    let (real, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    self_signed(real.path());
    self_signed(own.path());
    for (binding, is_accepted) in [("disable", true), ("require", false)] {
        let (port, handshake) = impostor(&real.path().join("server.pem"), &own.path().join("server.key"));
        let url = format!(
            "postgres://tenure:secret@127.0.0.1:{port}/tenure?sslmode=require&channel_binding={binding}"
        );
        let database = Database::new(&url.parse().unwrap(), None).unwrap();
        let error = database.connect("tls test", "").await.err().unwrap().to_string();
        assert_eq!(handshake.join().unwrap(), is_accepted, "{binding}: {error}");
    }
}

/// A server that shows a certificate whose key it does not have, and takes one connection. Tells whether the client accepted it.
fn impostor(certificate: &Path, key: &Path) -> (u16, std::thread::JoinHandle<bool>) {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"S").unwrap();
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        while session.is_handshaking() {
            if session.complete_io(&mut stream).is_err() {
                return false;
            }
        }
        true
    });
    (port, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_verified_still_encrypts_where_nothing_is_verified() {
    let server = server(version_1).await;
    assert_eq!(server.encrypted("localhost", "require", None).await, Ok(true));
    let authority = server.directory.path().join("ca.pem");
    // Newer ones make version 3 of it, with a common name alone.
    match server.encrypted("localhost", "verify-full", Some(&authority)).await {
        Ok(encrypted) => assert!(encrypted),
        Err(error) => {
            assert!(error.contains("X.509 version 1") && error.contains("subjectAltName"), "{error}");
        }
    }
}

/// An authority whose certificate has these dates and this extension, and signs the server's.
fn another_authority(directory: &Path, name: &str, validity: [&str; 2], extension: &str) -> PathBuf {
    let at = |name: &str| directory.join(name).display().to_string();
    let own = at(&format!("{name}.pem"));
    run(Command::new("openssl")
        .args(["req", "-new", "-key", &at("ca.key"), "-subj", "/CN=test authority"])
        .args(["-out", &at("ca.csr")]));
    std::fs::write(directory.join("ca.ext"), extension).unwrap();
    std::fs::write(directory.join("index"), "").unwrap();
    std::fs::write(
        directory.join("ca.cnf"),
        format!(
            "[ca]\ndefault_ca=it\n[it]\ndatabase={}\nnew_certs_dir={}\ndefault_md=sha256\npolicy=any\nrand_serial=yes\n\
             [any]\ncommonName=supplied\n",
            at("index"),
            directory.display(),
        ),
    )
    .unwrap();
    let [from, until] = validity;
    run(Command::new("openssl")
        .args(["ca", "-batch", "-notext", "-selfsign", "-config", &at("ca.cnf"), "-keyfile", &at("ca.key")])
        .args(["-in", &at("ca.csr"), "-out", &own, "-startdate", from, "-enddate", until])
        .args(["-extfile", &at("ca.ext")]));
    directory.join(format!("{name}.pem"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_may_not_sign_now_is_not_trusted() {
    let server = server(certificates).await;
    // The same key and name: by the signature alone, each is the authority of the server's certificate.
    let root =
        |name, validity, extension| another_authority(server.directory.path(), name, validity, extension);
    let now = ["20200101000000Z", "20490101000000Z"];
    let authority = "basicConstraints=critical,CA:TRUE\n";
    let good = root("good", now, authority);
    let signs = root("signs", now, "basicConstraints=CA:TRUE\nkeyUsage=keyCertSign\n");
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(server.encrypted("localhost", mode, Some(&good)).await, Ok(true), "{mode}");
        assert_eq!(server.encrypted("localhost", mode, Some(&signs)).await, Ok(true), "{mode}");
    }
    for (name, validity, extension) in [
        ("expired", ["20200101000000Z", "20210101000000Z"], authority),
        ("later", ["20480101000000Z", "20490101000000Z"], authority),
        ("no authority", now, "basicConstraints=CA:FALSE\n"),
        ("other use", now, "basicConstraints=CA:TRUE\nkeyUsage=digitalSignature\n"),
        ("unsaid", now, "subjectKeyIdentifier=hash\n"),
    ] {
        let root = root(name, validity, extension);
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = server.encrypted("localhost", mode, Some(&root)).await.unwrap_err();
            assert!(error.contains("no root certificate is valid now"), "{name}, {mode}: {error}");
        }
    }
}

#[test]
fn a_revocation_list_that_libpq_would_read_is_not_ignored() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let address = format!(
        "host=127.0.0.1 port=1 dbname=none sslmode=verify-full sslrootcert={}",
        directory.path().join("ca.pem").display()
    );
    let said = || {
        let mut command = crate::support::process::tenure();
        command.args(["user", "show", "ada", "--database-url", &address]).env("HOME", directory.path());
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(!said().contains("root.crl"), "{}", said());
    std::fs::create_dir(directory.path().join(".postgresql")).unwrap();
    std::fs::write(directory.path().join(".postgresql/root.crl"), "").unwrap();
    assert!(said().contains("root.crl would be ignored"), "{}", said());
}
