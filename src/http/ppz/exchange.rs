//! `POST /api/v1/auth/exchange`: exchanges a credential for one of NATS.

use crate::http::error::ApiError;

/// Says that there is no NATS to exchange a credential for. Never 401: clients give up for good on that, and ask again
/// after any other status.
pub async fn exchange() -> ApiError {
    ApiError::Unavailable
}
