//! Which errors are an outage of the database.

use super::connect_error::ConnectError;
use crate::event_log::PrimaryError;

/// Whether another session has held a lock for too long (SQLSTATE 55P03).
#[must_use]
pub fn is_lock_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            return error.code().is_some_and(|code| code.code() == "55P03");
        }
        cause = error.source();
    }
    false
}

/// Whether an error or one of its sources is a database outage: the server is unreachable, busy, or denies the
/// statement.
#[must_use]
pub fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            // An error without an SQLSTATE comes from the connection, not from the server.
            return error.code().is_none_or(|code| {
                let code = code.code();
                matches!(code, "42501" | "55P03" | "57014" | "25006" | "40001" | "40P01")
                    || matches!(code.get(..2), Some("08" | "53" | "57"))
            });
        }
        // A missing log is not an outage: waiting does not help.
        if let Some(error) = error.downcast_ref::<PrimaryError>() {
            return !matches!(error, PrimaryError::NoLog);
        }
        cause = error.source();
    }
    false
}
