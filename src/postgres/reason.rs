//! Formats database errors for messages that users read.

/// Describes why a statement failed, without parameter values.
///
/// For data errors (SQLSTATE classes 22 and 23) only the code is given, because PostgreSQL's message may quote a value.
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

/// What PostgreSQL said, if this error is its answer to a statement or to a connection. None if there was no answer: the causes
/// of the error say why.
#[must_use]
pub fn answer_in(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<tokio_postgres::Error>()?;
    error.as_db_error().map(|_| statement_reason(error))
}
