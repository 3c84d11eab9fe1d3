//! Why a statement failed, for people.

/// Why a statement failed, without its parameters: PostgreSQL's message of a data error may quote a value.
#[must_use]
pub fn statement_reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refused) if matches!(refused.code().code().get(..2), Some("22" | "23")) => {
            format!("SQLSTATE {}", refused.code().code())
        }
        Some(refused) => format!("{} (SQLSTATE {})", refused.message(), refused.code().code()),
        None => error.to_string(),
    }
}
