//! RFC 8628: codes for devices, approved by people, used up once.

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

/// The longest life of a device code.
pub const MAX_DEVICE_CODE_TTL: Duration = Duration::from_hours(24);

/// How many user codes are made for one device code, should some be another's.
const USER_CODES: usize = 8;

/// A pair of codes.
#[derive(Debug)]
pub struct NewDeviceCode {
    /// The identifier.
    pub id: DeviceCodeId,
    /// What the device polls with, given once.
    pub device_code: SecretString,
    /// What a person types, as `XXXX-XXXX`.
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
    /// The identifier, and which of the user codes was free.
    type Answer = (DeviceCodeId, usize);
    type Refusal = Refusal;

    fn name(&self) -> &'static str {
        "create_device_code"
    }

    async fn decide(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Answer, DecideError<Refusal>> {
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

fn parse_user_code(typed: &str) -> Result<UserCode, DispatchError<Refusal>> {
    UserCode::parse(typed).map_err(|_| DispatchError::Refused(Refusal::NotFound(Resource::DeviceCode)))
}

/// A device takes what was approved, and a token with it where one is wanted.
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
        let code = work.load::<DeviceCode>(id.as_uuid()).await?;
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
            // Whoever approved it has been forgotten.
            Err(DecideError::Refused(Refusal::NotFound(_) | Refusal::Forbidden)) => Err(not_found),
            other => other.map(|()| (user, id)),
        }
    }
}

impl Tenure {
    /// Hands out a pair of codes to a device that calls itself so.
    ///
    /// # Errors
    /// `Invalid`: a life of zero or above [`MAX_DEVICE_CODE_TTL`], a malformed name.
    pub async fn create_device_code(
        &self,
        context: &Context,
        ttl: Duration,
        client_name: &str,
    ) -> Outcome<NewDeviceCode> {
        let operation = self.new_device_code(ttl, client_name)?;
        self.hand_out(context, operation).await
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

    pub(super) async fn hand_out(
        &self,
        context: &Context,
        operation: CreateDeviceCode,
    ) -> Outcome<NewDeviceCode> {
        // Codes are secrets: a request for some is never answered from memory.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        let user_code =
            |place: usize| operation.user_codes.get(place).map(UserCode::shown).unwrap_or_default();
        let device_code = operation.device_code.clone();
        Ok(done.map(|(id, place)| NewDeviceCode { id, device_code, user_code: user_code(place) }))
    }

    /// A person lets the device with this user code act for them; no event if they have done so already.
    ///
    /// # Errors
    /// `NotFound`: unknown, expired, denied, used up, or approved by somebody else.
    pub async fn approve_device_code(
        &self,
        context: &Context,
        typed: &str,
        user: UserId,
    ) -> Outcome<DeviceCodeId> {
        let user_code = parse_user_code(typed)?;
        self.dispatcher().dispatch(context, &ApproveDeviceCode { user_code, user }).await
    }

    /// Denies the device with this user code.
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

    /// Frees the room of a code that is denied or used up; one whose row stays frees it when its time is over.
    async fn free_device_code(&self, device_code: DeviceCodeId) {
        if let Err(error) = self.coarse().remove(&[device_code.as_uuid()]).await {
            tracing::warn!(%device_code, %error, "the room of a device code could not be freed");
        }
    }

    /// A device takes what was approved: exactly one caller gets the person, however many race.
    ///
    /// # Errors
    /// In this order: `NotFound` (unknown, or used up), `Expired`, `Denied`, `Pending`.
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

    /// The same, and issues an access token to the device in one step.
    ///
    /// # Errors
    /// As [`Tenure::consume_device_code`], `Invalid` for the token's life, and `LimitReached` if the person has as many
    /// tokens as there may be: the code stays approved.
    pub async fn consume_device_code_for_token(
        &self,
        context: &Context,
        device_code: &SecretString,
        ttl: Duration,
    ) -> Outcome<(UserId, BearerTokenId, SecretString)> {
        let fresh = GeneratedToken::new(self, ttl)?;
        let (id, secret) = (fresh.id, fresh.secret.clone());
        let operation = ConsumeDeviceCode { device_code: device_code.clone(), token: Some(fresh) };
        // A token is a secret: a request for one is never answered from memory.
        let context = Context { idempotency: None, ..*context };
        let done = self.dispatcher().dispatch(&context, &operation).await?;
        self.free_device_code(done.answer.1).await;
        Ok(done.map(|(user, _)| (user, id, secret)))
    }

    /// Whether a device polls no sooner than it may; a poll that comes too soon moves nothing, and the first is in time.
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
