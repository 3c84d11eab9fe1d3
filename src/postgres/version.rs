//! The PostgreSQL versions that Tenure supports.

/// The oldest supported server, as `server_version_num`.
pub const OLDEST: i32 = 150_000;

/// The server is older than [`OLDEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is PostgreSQL {}; Tenure needs {} or newer: upgrade the server", found / 10_000, OLDEST / 10_000)]
pub struct TooOld {
    /// The server's `server_version_num`.
    pub found: i32,
}

/// Checks a server's `server_version_num`.
///
/// # Errors
/// [`TooOld`] if the server is older than PostgreSQL 15.
pub const fn supported(server_version_num: i32) -> Result<(), TooOld> {
    if server_version_num < OLDEST { Err(TooOld { found: server_version_num }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_older_than_15_is_refused_by_name() {
        assert_eq!(supported(150_000), Ok(()));
        assert_eq!(supported(180_001), Ok(()));
        let refusal = supported(140_019).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "this is PostgreSQL 14; Tenure needs 15 or newer: upgrade the server"
        );
    }
}
