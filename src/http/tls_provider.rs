//! The TLS implementation that our HTTP clients share.

/// Makes ring, which the database connections use too, the default cryptography of TLS clients.
pub fn install_crypto_provider() {
    // An error means that a default is already installed, and every caller in this process installs ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
