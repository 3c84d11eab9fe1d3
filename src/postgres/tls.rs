//! Implements libpq's `sslmode` with rustls: which certificates to trust and what to verify.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nix::unistd::{User, geteuid};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::config::{ChannelBinding, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5912::ID_CE_SUBJECT_ALT_NAME;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::address::{Address, RootCerts, SslMode, TlsVersion};
use super::connect_error::ConnectError;

/// The TLS configuration for an address. As in libpq, a connection trusts what the file of root certificates holds at that time.
pub(super) struct Tls {
    address: Address,
    built: Mutex<(Files, MakeRustlsConnect)>,
}

impl Tls {
    pub(super) fn new(address: &Address) -> Result<Self, ConnectError> {
        let files = Files::of(address);
        let built = (files, MakeRustlsConnect::new(client_config(address)?));
        Ok(Self { address: address.clone(), built: Mutex::new(built) })
    }

    /// The configuration for a new connection.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, ConnectError> {
        // Before they are read: what changes meanwhile is noticed by the next connection.
        let files = Files::of(&self.address);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.0 != files {
            *built = (files, MakeRustlsConnect::new(client_config(&self.address)?));
        }
        Ok(built.1.clone())
    }
}

/// What tells one version of the files that the configuration is made from from another.
#[derive(PartialEq, Eq)]
struct Files {
    roots: Option<(SystemTime, u64, u64)>,
    has_revocations: bool,
}

impl Files {
    fn of(address: &Address) -> Self {
        let file = match &address.root_certs {
            RootCerts::File(file) => Some(file.clone()),
            RootCerts::Default => default_file("root.crt"),
            RootCerts::System => None,
        };
        let version = |file: PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.ino(), found.len()))
        };
        Self { roots: file.and_then(version), has_revocations: default_file("root.crl").is_some() }
    }
}

fn client_config(address: &Address) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let all: [(TlsVersion, &'static rustls::SupportedProtocolVersion); 2] =
        [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
    let wanted = address.oldest_tls..=address.newest_tls;
    let versions: Vec<_> =
        all.into_iter().filter(|(version, _)| wanted.contains(version)).map(|(_, version)| version).collect();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| ConnectError::Tls(error.to_string()))?;
    // TLS does not apply to Unix sockets, so a missing root certificate file does not matter there.
    let roots = if address.has_tcp_host() { roots(address)? } else { None };
    // As in libpq, a root certificate makes `require` verify like `verify-ca`; `prefer` with a named file does too.
    let mode = match (address.ssl_mode, &roots) {
        (SslMode::Prefer | SslMode::Require, Some(_)) => SslMode::VerifyCa,
        (mode, _) => mode,
    };
    let trust = match (mode, roots) {
        (SslMode::Disable | SslMode::Prefer | SslMode::Require, _) | (_, None) => None,
        (_, Some(roots)) => {
            refuse_revocation_list()?;
            Some(Trust::new(roots, mode == SslMode::VerifyFull, provider.clone())?)
        }
    };
    let is_bound = address.config.get_channel_binding() == ChannelBinding::Require;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LibpqVerifier { provider, trust, is_bound }))
        .with_no_client_auth();
    config.enable_sni = address.sni;
    if address.config.get_ssl_negotiation() == SslNegotiation::Direct {
        // PostgreSQL rejects direct TLS without this ALPN protocol.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// The root certificates to trust; none if nothing is verified.
fn roots(address: &Address) -> Result<Option<Vec<CertificateDer<'static>>>, ConnectError> {
    let is_named = matches!(address.root_certs, RootCerts::File(_));
    if address.ssl_mode == SslMode::Disable || (address.ssl_mode == SslMode::Prefer && !is_named) {
        return Ok(None);
    }
    match (&address.root_certs, default_file("root.crt")) {
        (RootCerts::File(file), _) => read_roots(file).map(Some),
        (RootCerts::Default, Some(file)) => read_roots(&file).map(Some),
        (RootCerts::System, _) => system_roots().map(Some),
        (RootCerts::Default, None) => match address.ssl_mode {
            SslMode::VerifyFull => system_roots().map(Some),
            // verify-ca does not compare names, and any attacker can get a public certificate for some name.
            SslMode::VerifyCa => Err(ConnectError::Tls(
                "sslmode=verify-ca needs a root certificate: set sslrootcert to the authority's PEM file, or use \
                 verify-full"
                    .to_owned(),
            )),
            SslMode::Disable | SslMode::Prefer | SslMode::Require => Ok(None),
        },
    }
}

/// A file in libpq's directory of settings; none if it does not exist.
fn default_file(name: &str) -> Option<PathBuf> {
    // As in libpq: services often have no `HOME`.
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let of_user = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
    let file = home.or_else(of_user)?.join(".postgresql").join(name);
    file.is_file().then_some(file)
}

/// Refuses to verify without the revocation list that libpq would read.
fn refuse_revocation_list() -> Result<(), ConnectError> {
    let Some(file) = default_file("root.crl") else { return Ok(()) };
    Err(ConnectError::Tls(format!(
        "{} would be ignored: Tenure does not read revocation lists; move it away, or check revocation in a local proxy",
        file.display()
    )))
}

fn read_roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let unreadable = |reason: String| ConnectError::Tls(format!("sslrootcert {}: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| unreadable(error.to_string()))?;
    if all.is_empty() {
        return Err(unreadable("the file contains no certificate in PEM format".to_owned()));
    }
    Ok(all)
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let all = rustls_native_certs::load_native_certs().certs;
    if all.is_empty() {
        return Err(ConnectError::Tls(
            "this system has no trusted root certificates: set sslrootcert to the authority's PEM file"
                .to_owned(),
        ));
    }
    Ok(all)
}

/// The root certificates to trust, and whether the certificate must name the host.
#[derive(Debug)]
struct Trust {
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    checks_name: bool,
}

impl Trust {
    fn new(
        roots: Vec<CertificateDer<'static>>,
        checks_name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ConnectError> {
        let mut store = RootCertStore::empty();
        // Skips certificates that webpki cannot parse: one old entry in a bundle must not make the rest useless.
        store.add_parsable_certificates(roots.iter().cloned());
        if store.is_empty() {
            return Err(ConnectError::Tls(
                "no root certificate can be parsed: set sslrootcert to the authority's PEM file".to_owned(),
            ));
        }
        Ok(Self { roots, provider, checks_name })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        // PostgreSQL's manual has the server use a self-signed certificate. OpenSSL accepts it if it is itself a
        // trusted root; webpki refuses a CA certificate as a server certificate, so it is checked here.
        if is_self_signed(end_entity) && self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            check_dates(end_entity, now)?;
            return if self.checks_name { check_name(end_entity, server_name) } else { Ok(()) };
        }
        let chain = self.chain(now)?;
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(_) => Ok(()),
            // webpki checks the name after the chain, so the chain is valid.
            Err(error) if is_wrong_name(&error) => {
                if self.checks_name { check_common_name(end_entity, server_name, error) } else { Ok(()) }
            }
            Err(Error::InvalidCertificate(CertificateError::BadEncoding | CertificateError::Other(_)))
                if is_version_1(end_entity) =>
            {
                Err(Error::General(
                    "the server's certificate is X.509 version 1, which cannot be verified: issue it again with the \
                     extensions basicConstraints and subjectAltName, for example with `openssl x509 -req -extfile …`"
                        .to_owned(),
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies chains up to the roots that may sign certificates now. Like OpenSSL, and unlike webpki, which takes every root for an
    /// authority for ever.
    fn chain(&self, now: UnixTime) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let may_sign = |root: &&CertificateDer<'_>| check_dates(root, now).is_ok() && is_authority(root);
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.roots.iter().filter(may_sign).cloned());
        if store.is_empty() {
            return Err(Error::General(
                "no root certificate is valid now and may sign others: set sslrootcert to the authority's own certificate, and \
                 check its dates and this machine's clock"
                    .to_owned(),
            ));
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))
    }
}

/// Whether a certificate may sign others. One of version 1 cannot say so, and is trusted as it is.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok(Certificate { tbs_certificate: parsed, .. }) = parse(certificate) else { return false };
    if parsed.version == x509_cert::Version::V1 {
        return true;
    }
    let (constraints, usage) = (parsed.get::<BasicConstraints>(), parsed.get::<KeyUsage>());
    // An extension that cannot be parsed may forbid it.
    let (Ok(constraints), Ok(usage)) = (constraints, usage) else { return false };
    match (constraints, usage) {
        (Some((_, constraints)), usage) => {
            constraints.ca && usage.is_none_or(|(_, usage)| usage.key_cert_sign())
        }
        (None, usage) => usage.is_some_and(|(_, usage)| usage.key_cert_sign()),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<Certificate, Error> {
    let certificate: &'a [u8] = certificate.as_ref();
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.tbs_certificate.issuer == parsed.tbs_certificate.subject)
}

fn is_version_1(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.tbs_certificate.version == x509_cert::Version::V1)
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

const fn is_wrong_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
        Ok(()) => Ok(()),
        Err(error) if is_wrong_name(&error) => check_common_name(certificate, name, error),
        Err(error) => Err(error),
    }
}

/// As in libpq: the common name counts only if the certificate has no alternative name of the same kind as the host (IP
/// address or DNS name).
fn check_common_name(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    error: Error,
) -> Result<(), Error> {
    let subject = parse(certificate)?.tbs_certificate;
    let mut extensions = subject.extensions.iter().flatten();
    let alternatives = extensions.find(|extension| extension.extn_id == ID_CE_SUBJECT_ALT_NAME);
    if let Some(extension) = alternatives {
        let names = SubjectAltName::from_der(extension.extn_value.as_bytes());
        let is_of_its_kind = |alternative: &GeneralName| match name {
            ServerName::IpAddress(_) => matches!(alternative, GeneralName::IpAddress(_)),
            _ => matches!(alternative, GeneralName::DnsName(_)),
        };
        // An extension that cannot be parsed may name a host, so the common name does not count.
        if names.map_or(true, |names| names.0.iter().any(is_of_its_kind)) {
            return Err(error);
        }
    }
    let mut attributes = subject.subject.0.iter().flat_map(|names| names.0.iter());
    let Some(common_name) = attributes.find(|attribute| attribute.oid == COMMON_NAME) else {
        return Err(error);
    };
    let common_name = std::str::from_utf8(common_name.value.value()).unwrap_or_default();
    if matches(common_name, &name.to_str()) { Ok(()) } else { Err(error) }
}

/// Whether a common name matches a host. A `*` matches the first label only, never a whole name or an IP address.
fn matches(common_name: &str, host: &str) -> bool {
    if common_name.eq_ignore_ascii_case(host) {
        return !common_name.is_empty();
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (common_name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => {
            !is_address && !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

/// Verifies as much of the server's certificate as the `sslmode` asks for; without trust, nothing.
#[derive(Debug)]
struct LibpqVerifier {
    provider: Arc<CryptoProvider>,
    trust: Option<Trust>,
    /// Whether the password is bound to the certificate, so that the server must have its key.
    is_bound: bool,
}

impl LibpqVerifier {
    /// Without trust the key is unverified, so its signature proves nothing, unless the password vouches for the certificate; and webpki
    /// cannot parse every certificate that OpenSSL issues.
    const fn needs_signature(&self) -> bool {
        self.trust.is_some() || self.is_bound
    }
}

impl ServerCertVerifier for LibpqVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trust) = &self.trust {
            trust.verify(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.needs_signature() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.needs_signature() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_common_name_names_hosts_as_in_libpq() {
        for (common_name, host, expected) in [
            ("db.example.org", "DB.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("", "", false),
        ] {
            assert_eq!(matches(common_name, host), expected, "{common_name} {host}");
        }
    }
}
