//! What our own HTTP clients share.

/// Lets TLS clients use the cryptography that the database connections use too.
pub fn install_crypto_provider() {
    // Whoever was first has chosen the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
