//! `POST /sign-in/dev`: anybody signs in as anybody, where that is switched on.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use secrecy::{ExposeSecret as _, SecretString};

use super::next::path_of_this_site;
use super::signed_in;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::http::door::Shared;
use crate::http::error::DoorError;
use crate::http::oauth::parameters::Parameters;
use crate::ids::UserId;
use crate::operations::Refusal;
use crate::projections::QueryError;

/// Signs in as the person with this name, who is registered with an account of the name if need be.
pub async fn sign_in_dev(
    State(door): State<Shared>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, DoorError> {
    if !door.settings.dev_sign_in {
        return Err(DoorError::NoRoute);
    }
    door.check_form(&headers, parameters.get("csrf_token")?)?;
    let username = parameters.required("username")?;
    let tenure = &door.tenure;
    let user: UserId = match tenure.reader().user_by_username(username).await {
        Ok(user) => user.id,
        Err(QueryError::NotFound) => {
            let operator = Context::of(Actor::Operator);
            let email = format!("{username}@dev.local");
            let user = tenure.insert_user(&operator, username, &email, "internal").await?.answer;
            match tenure.open_account(&operator, username, Some(user)).await {
                Ok(_) | Err(DispatchError::Refused(Refusal::AccountNameTaken | Refusal::Invalid(_))) => user,
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let context = Context::of(Actor::User(user));
    let (_, secret) = tenure.start_session(&context, user, door.settings.session_life).await?.answer;
    door.end_replaced_session(&headers).await;
    let secret = secret.unwrap_or_else(|| SecretString::from(String::new()));
    Ok(signed_in(&door, secret.expose_secret(), path_of_this_site(parameters.get("next")?)))
}
