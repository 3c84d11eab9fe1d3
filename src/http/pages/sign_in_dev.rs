//! `POST /sign-in/dev`: signs in as any user without a credential, if development sign-in is enabled.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use super::return_to::local_path;
use super::signed_in;
use crate::context::Actor;
use crate::dispatch::DispatchError;
use crate::http::csrf::check_form_token;
use crate::http::error::ApiError;
use crate::http::oauth::parameters::Parameters;
use crate::http::pages::end_replaced_session;
use crate::http::request_id::RequestTrace;
use crate::http::state::SharedState;
use crate::ids::UserId;
use crate::operations::Refusal;
use crate::projections::QueryError;

/// Signs in as the user with this name. An unknown user is registered first, with an account of the same name.
pub async fn sign_in_dev(
    State(state): State<SharedState>,
    trace: RequestTrace,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    if !state.settings.dev_sign_in {
        // As if the route did not exist.
        return Err(ApiError::NoRoute);
    }
    check_form_token(&state, &headers, parameters.get("csrf_token")?)?;
    let username = parameters.required("username")?;
    let tenure = &state.tenure;
    let user: UserId = match tenure.reader().user_by_username(username).await {
        Ok(user) => user.id,
        Err(QueryError::NotFound) => {
            let operator = trace.context(Actor::Operator);
            let email = format!("{username}@dev.local");
            let user = tenure.insert_user(&operator, username, &email, "internal").await?.answer;
            match tenure.open_account(&operator, username, Some(user)).await {
                // The account is a convenience: without it the user can still sign in.
                Ok(_) | Err(DispatchError::Refused(Refusal::AccountNameTaken | Refusal::Invalid(_))) => user,
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let context = trace.context(Actor::User(user));
    let (_, secret) = tenure.start_session(&context, user, state.settings.session_ttl).await?.answer;
    end_replaced_session(&state, &headers, trace).await;
    let secret = secret.unwrap_or_else(|| SecretString::from(String::new()));
    Ok(signed_in(&state, secret.expose_secret(), local_path(parameters.get("next")?)))
}
