//! The device flow of RFC 8628: a device gets a code, a user approves or denies it, and the device consumes it once.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::bearer_tokens::{GeneratedToken, checked_ttl};
use super::refusal::{Refusal, Resource};
use super::{Outcome, authority, invalid, or_not_found, users};
use crate::Tenure;
use crate::aggregates::device_code::{
    ClientName, DeviceCode, DeviceCodeCommand, DeviceCodeDetails, Status, UserCode, user_code_claim,
};
use crate::aggregates::secret::SecretDigest;
use crate::context::Context;
use crate::credentials::token;
use crate::dispatch::{DecideError, DispatchError, Failure, Operation, UnitOfWork};
use crate::event_log::ReadError;
use crate::ids::{BearerTokenId, DeviceCodeId, UserId};

/// The longest lifetime of a device code: 24 hours.
pub const MAX_DEVICE_CODE_TTL: Duration = Duration::from_hours(24);

/// How many candidate user codes are generated for one device code, in case some are taken.
const USER_CODES: usize = 8;

/// A device code and its user code.
#[derive(Debug)]
pub struct NewDeviceCode {
    /// The identifier of the device code.
    pub id: DeviceCodeId,
    /// The secret that the device polls with, shown only once.
    pub device_code: SecretString,
    /// The code that the user types, as `XXXX-XXXX`.
    pub user_code: String,
}

pub(super) struct CreateDeviceCode {
    pub(super) id: DeviceCodeId,
    device_code: SecretString,
    user_codes: Vec<UserCode>,
    client_name: ClientName,
    pub(super) ttl: Duration,
}

impl Operation for CreateDeviceCode {
    /// The identifier, and the index of the user code that was free.
    type Answer = (DeviceCodeId, usize);
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_device_code"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, DecideError<Refusal>> {
        // The next candidate on each attempt: a retry mostly means that the user code was taken.
        let place = usize::try_from(work.attempt()).unwrap_or(0) % self.user_codes.len().max(1);
        let Some(user_code) = self.user_codes.get(place) else {
            return Err(DecideError::Refused(Refusal::IdentifierInUse));
        };
        let at = work.at();
        let command = DeviceCodeCommand::Create(DeviceCodeDetails {
            digest: SecretDigest::of(self.device_code.expose_secret()),
            user_code: user_code.clone(),
            client_name: self.client_name.clone(),
            at,
            expires_at: at.after(self.ttl),
        });
        work.create::<DeviceCode, _>(self.id.as_uuid(), command)?;
        Ok((self.id, place))
    }
}

/// The device code behind a user code, for the user who typed it.
async fn typed_code(
    work: &mut UnitOfWork<'_>,
    user: UserId,
    user_code: &UserCode,
) -> Result<DeviceCodeId, DecideError<Refusal>> {
    users::must_sign_in(work, user).await?;
    authority::require_self(work, user).await?;
    let holder = work.holder(&user_code_claim(user_code, work.hasher())).await?;
    let id = holder.and_then(|holder| holder.parse().ok());
    id.ok_or(DecideError::Refused(Refusal::NotFound(Resource::DeviceCode)))
}

struct ApproveDeviceCode {
    user_code: UserCode,
    user: UserId,
}

impl Operation for ApproveDeviceCode {
    type Answer = DeviceCodeId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "approve_device_code"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<DeviceCodeId, DecideError<Refusal>> {
        let id = typed_code(work, self.user, &self.user_code).await?;
        let command = DeviceCodeCommand::Approve { user: self.user, at: work.at() };
        work.execute::<DeviceCode, Refusal>(id.as_uuid(), command).await?;
        Ok(id)
    }
}

struct DenyDeviceCode {
    user_code: UserCode,
    user: UserId,
}

impl Operation for DenyDeviceCode {
    type Answer = DeviceCodeId;
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "deny_device_code"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<DeviceCodeId, DecideError<Refusal>> {
        let id = typed_code(work, self.user, &self.user_code).await?;
        let command = DeviceCodeCommand::Deny { user: self.user, at: work.at() };
        work.execute::<DeviceCode, Refusal>(id.as_uuid(), command).await?;
        Ok(id)
    }
}

/// Parses a typed user code. A malformed one is `NotFound`, because no device code has it.
fn parse_user_code(typed: &str) -> Result<UserCode, DispatchError<Refusal>> {
    UserCode::parse(typed).map_err(|_| DispatchError::Refused(Refusal::NotFound(Resource::DeviceCode)))
}

/// Consumes an approved device code and issues a token with it, if one is given.
struct ConsumeDeviceCode {
    device_code: SecretString,
    token: Option<GeneratedToken>,
}

impl Operation for ConsumeDeviceCode {
    type Answer = (UserId, DeviceCodeId);
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "consume_device_code"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, DecideError<Refusal>> {
        let not_found = DecideError::Refused(Refusal::NotFound(Resource::DeviceCode));
        let known = work.reader().device_code(self.device_code.expose_secret()).await;
        let id = or_not_found(known, Resource::DeviceCode)?.id;
        // The projection finds the code; its own state decides, so that a code consumed meanwhile is a conflict.
        let code = work.load::<DeviceCode>(id.as_uuid()).await?;
        // Read before the command: a consumed code does not say who approved it.
        let approved = match &*code {
            DeviceCode::Created { status: Status::Approved(user), .. } => Some(*user),
            _ => None,
        };
        work.execute::<DeviceCode, Refusal>(id.as_uuid(), DeviceCodeCommand::Consume { at: work.at() })
            .await?;
        let Some(user) = approved else { return Err(not_found) };
        let issued = match &self.token {
            Some(token) => token.issue(work, user).await,
            None => users::must_sign_in(work, user).await,
        };
        match issued {
            // The user who approved the code has been forgotten.
            Err(DecideError::Refused(Refusal::NotFound(_) | Refusal::Forbidden)) => Err(not_found),
            other => other.map(|()| (user, id)),
        }
    }
}

impl Tenure {
    /// Creates a device code and a user code for a device of this name. Not limited: see
    /// [`Tenure::request_device_code`].
    ///
    /// # Errors
    /// `Invalid`: a lifetime of zero or above [`MAX_DEVICE_CODE_TTL`], or a malformed name.
    pub async fn create_device_code(
        &self,
        context: &Context,
        ttl: Duration,
        client_name: &str,
    ) -> Outcome<NewDeviceCode> {
        let operation = self.new_device_code(ttl, client_name)?;
        self.dispatch_creation(context, operation).await
    }

    pub(super) fn new_device_code(
        &self,
        ttl: Duration,
        client_name: &str,
    ) -> Result<CreateDeviceCode, DispatchError<Refusal>> {
        let entropy = self.entropy();
        let user_codes = std::iter::repeat_with(|| {
            let mut octets = [0; 32];
            entropy.fill(&mut octets);
            UserCode::from_random(&octets)
        });
        Ok(CreateDeviceCode {
            id: self.new_id(DeviceCodeId::new),
            device_code: token::device_code(&*entropy),
            user_codes: user_codes.flatten().take(USER_CODES).collect(),
            client_name: ClientName::parse(client_name).map_err(invalid)?,
            ttl: checked_ttl(ttl, MAX_DEVICE_CODE_TTL, "more than 0 and at most 24 hours")?,
        })
    }

    pub(super) async fn dispatch_creation(
        &self,
        context: &Context,
        operation: CreateDeviceCode,
    ) -> Outcome<NewDeviceCode> {
        // Codes are secrets, so their response must not be stored: the idempotency key is ignored.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        let user_code =
            |place: usize| operation.user_codes.get(place).map(UserCode::shown).unwrap_or_default();
        let device_code = operation.device_code.clone();
        Ok(done.map(|(id, place)| NewDeviceCode { id, device_code, user_code: user_code(place) }))
    }

    /// Approves the device with this user code, so that it can act for the user. No event if the user already did.
    ///
    /// # Errors
    /// `NotFound`: unknown, expired, denied, consumed, or approved by another user. `Forbidden`: another user acts, or one
    /// who is not signed in.
    pub async fn approve_device_code(
        &self,
        context: &Context,
        typed: &str,
        user: UserId,
    ) -> Outcome<DeviceCodeId> {
        let user_code = parse_user_code(typed)?;
        self.dispatcher().dispatch(context, &ApproveDeviceCode { user_code, user }).await
    }

    /// Denies the device with this user code, also after the same user approved it and before it is consumed.
    ///
    /// # Errors
    /// As [`Tenure::approve_device_code`].
    pub async fn deny_device_code(
        &self,
        context: &Context,
        typed: &str,
        user: UserId,
    ) -> Outcome<DeviceCodeId> {
        let user_code = parse_user_code(typed)?;
        let done = self.dispatcher().dispatch(context, &DenyDeviceCode { user_code, user }).await?;
        self.free_device_code(done.answer).await;
        Ok(done)
    }

    /// Frees the place of a denied or consumed code in the limits per address and in all. If that fails, the place
    /// becomes free when the code expires.
    async fn free_device_code(&self, device_code: DeviceCodeId) {
        if let Err(error) = self.coarse().remove(&[device_code.as_uuid()]).await {
            tracing::warn!(%device_code, %error, "could not free the place of a device code before it expires");
        }
    }

    /// Consumes an approved device code and returns the user who approved it. Exactly one of concurrent callers
    /// succeeds.
    ///
    /// # Errors
    /// In this order: `NotFound` (unknown or consumed), `Expired`, `Denied`, `Pending`.
    pub async fn consume_device_code(
        &self,
        context: &Context,
        device_code: &SecretString,
    ) -> Outcome<UserId> {
        let operation = ConsumeDeviceCode { device_code: device_code.clone(), token: None };
        let done = self.dispatcher().dispatch(context, &operation).await?;
        self.free_device_code(done.answer.1).await;
        Ok(done.map(|(user, _)| user))
    }

    /// Consumes an approved device code and issues a bearer token of its user to the device, atomically.
    ///
    /// # Errors
    /// As [`Tenure::consume_device_code`], `Invalid` for the token's lifetime, and `LimitReached` if the user has too
    /// many tokens; the code then stays approved.
    pub async fn consume_device_code_for_token(
        &self,
        context: &Context,
        device_code: &SecretString,
        ttl: Duration,
    ) -> Outcome<(UserId, BearerTokenId, SecretString)> {
        let fresh = GeneratedToken::new(self, ttl)?;
        let (id, secret) = (fresh.id, fresh.secret.clone());
        let operation = ConsumeDeviceCode { device_code: device_code.clone(), token: Some(fresh) };
        // A token is a secret, so its response must not be stored: the idempotency key is ignored.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        self.free_device_code(done.answer.1).await;
        Ok(done.map(|(user, _)| (user, id, secret)))
    }

    /// Whether this poll of a device comes at least `interval` after its last accepted poll, less one second for
    /// network delay. The first poll is in time; a poll that comes too soon does not restart the interval.
    ///
    /// # Errors
    /// The database cannot be written to.
    pub async fn poll_in_time(
        &self,
        device_code: DeviceCodeId,
        interval: Duration,
    ) -> Result<bool, DispatchError<Refusal>> {
        self.coarse().poll_in_time(device_code, self.clock().now(), interval).await.map_err(unwritable)
    }
}

pub(super) fn unwritable(error: ReadError) -> DispatchError<Refusal> {
    DispatchError::Failed(Failure::Read(error))
}
