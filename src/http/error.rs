//! Why a request is not answered as wished: one type for all doors, which the door's shape turns into a body.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::aggregates::field::Invalid;
use crate::dispatch::{DispatchError, Failure};
use crate::event_log::limits::MAX_UNIT_EVENTS;
use crate::event_log::{AppendError, Checkpoint, EventLog, PrimaryError, ReadError};
use crate::operations::{LimitReached, Refusal, Resource};
use crate::projections::QueryError;

/// Why a request is not answered as wished.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// The request has the wrong form.
    Malformed {
        /// The field, if one is to blame.
        field: Option<String>,
        /// What would be right. Never quotes the input.
        detail: Cow<'static, str>,
    },
    /// The body is not of a kind that this route reads.
    MediaType,
    /// The body is too large.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// There is no such route.
    NoRoute,
    /// The route does not do this.
    Method,
    /// A credential is needed.
    NoCredential,
    /// The credential is known to be bad.
    BadCredential,
    /// A credential came where it does not belong, in a URL for example.
    MisplacedCredential,
    /// The account that was asked for is not one that this credential acts in.
    InvalidOrg,
    /// A rule forbids it.
    Refused(Refusal),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The request was carried out before, and its answer held a secret that is given once: the record without it.
    GivenOnce(serde_json::Value),
    /// A position or a cursor from before the log was replaced, by a restore or a failover.
    LogReplaced,
    /// Too often.
    TooMany {
        /// After how many seconds it makes sense to come again.
        retry_after: u64,
    },
    /// Something that is needed cannot be reached.
    Unavailable,
    /// The database lacks events that this node has seen: a person has to decide.
    EventsLost,
    /// Something is wrong with the server.
    Internal,
}

impl ApiError {
    /// A request whose form is wrong, without a field to blame.
    pub const fn malformed(detail: &'static str) -> Self {
        Self::Malformed { field: None, detail: Cow::Borrowed(detail) }
    }

    /// A field whose form is wrong.
    pub fn field(field: &str, detail: &'static str) -> Self {
        Self::Malformed { field: Some(field.to_owned()), detail: Cow::Borrowed(detail) }
    }

    /// The same, with a field by the name that it has on the wire.
    #[must_use]
    pub fn renamed(self, from: &str, to: &'static str) -> Self {
        match self {
            Self::Refused(Refusal::Invalid(invalid)) if invalid.field == from => {
                Self::Refused(Refusal::Invalid(Invalid { field: to, ..invalid }))
            }
            other => other,
        }
    }

    /// There is no such thing, or the caller may not know of it.
    pub const fn not_found(thing: Resource) -> Self {
        Self::Refused(Refusal::NotFound(thing))
    }

    /// The caller may not do this.
    pub const FORBIDDEN: Self = Self::Refused(Refusal::Forbidden);

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } | Self::MisplacedCredential => StatusCode::BAD_REQUEST,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoCredential | Self::BadCredential => StatusCode::UNAUTHORIZED,
            Self::InvalidOrg => StatusCode::FORBIDDEN,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::GivenOnce(_) | Self::LogReplaced => StatusCode::CONFLICT,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable | Self::EventsLost => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Refused(refusal) => match refusal {
                Refusal::Invalid(_) | Refusal::InvalidUserMode => StatusCode::BAD_REQUEST,
                Refusal::NotFound(_) => StatusCode::NOT_FOUND,
                Refusal::Forbidden | Refusal::LimitReached(_) => StatusCode::FORBIDDEN,
                Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::UsernameTaken
                | Refusal::AccountNameTaken
                | Refusal::CannotRemoveOwner
                | Refusal::OwnsAccounts
                | Refusal::AlreadyMember
                | Refusal::DuplicatePendingInvite
                | Refusal::InviteNotPending
                | Refusal::HandleTaken
                | Refusal::PipeNameTaken
                | Refusal::Pending
                | Refusal::Expired
                | Refusal::Denied
                | Refusal::NatsAccountMismatch
                | Refusal::NotAGithubUser
                | Refusal::NotAnInternalUser
                | Refusal::IdentifierInUse => StatusCode::CONFLICT,
            },
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "invalid",
            Self::MediaType => "unsupported_media_type",
            Self::TooLarge => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::NoRoute => "no_such_route",
            Self::Method => "method_not_allowed",
            Self::NoCredential => "credential_missing",
            Self::BadCredential => "credential_bad",
            Self::MisplacedCredential => "credential_misplaced",
            Self::InvalidOrg => "account.invalid",
            Self::KeyReused => "idempotency_key_reused",
            Self::GivenOnce(_) => "secret_given_once",
            Self::LogReplaced => "log_replaced",
            Self::TooMany { .. } => "too_many_requests",
            Self::Unavailable | Self::EventsLost => "unavailable",
            Self::Internal => "internal",
            Self::Refused(refusal) => refusal.code(),
        }
    }

    /// The field to blame.
    pub fn blamed(&self) -> Option<&str> {
        match self {
            Self::Malformed { field, .. } => field.as_deref(),
            Self::Refused(Refusal::Invalid(invalid)) => Some(invalid.field),
            Self::Refused(Refusal::InvalidUserMode) => Some("mode"),
            _ => None,
        }
    }

    /// What was wrong and what would be right, for people.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed { detail, .. } => detail.clone(),
            Self::MediaType => "the body must be JSON, with Content-Type: application/json".into(),
            Self::TooLarge => "the body is larger than this route reads".into(),
            Self::TooSlow => "the body did not come in time".into(),
            Self::NoRoute => "there is no such route; see /docs".into(),
            Self::Method => "this route does not do that; see /docs".into(),
            Self::NoCredential => {
                "a credential is needed: Authorization: Bearer, or a browser's session".into()
            }
            Self::BadCredential => "the credential is unknown, expired or revoked".into(),
            Self::MisplacedCredential => {
                "credentials belong into the Authorization header, once; never into a URL".into()
            }
            Self::InvalidOrg => "this credential does not act in that account".into(),
            Self::KeyReused => "this idempotency key was used for a request with another body".into(),
            Self::GivenOnce(_) => {
                "this request was carried out before; its secret was given then, and is not kept".into()
            }
            Self::LogReplaced => {
                "this position is from before the log was restored or failed over; read again from the start"
                    .into()
            }
            Self::TooMany { .. } => "too often; come again later".into(),
            Self::Unavailable => "something that is needed cannot be reached; come again later".into(),
            Self::EventsLost => {
                "the database has lost events; who runs this instance restores them, or runs `tenure log new-epoch`".into()
            }
            Self::Internal => "something is wrong with the server; its log says what".into(),
            Self::Refused(refusal) => refusal.to_string().into(),
        }
    }

    /// The same, with the field in front if one is to blame.
    pub fn sentence(&self) -> String {
        let detail = self.detail();
        match self.blamed() {
            Some(field) if !detail.starts_with(field) => format!("{field}: {detail}"),
            _ => detail.into_owned(),
        }
    }

    /// What a status says by itself, for answers that no code of ours has made.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::Method,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Self::TooSlow,
            status if status.is_client_error() => Self::malformed("the request cannot be read"),
            _ => Self::Internal,
        }
    }
}

/// Carries the error to the shape of its door, which makes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DispatchError<Refusal>> for ApiError {
    fn from(error: DispatchError<Refusal>) -> Self {
        match error {
            DispatchError::Refused(refusal) => Self::Refused(refusal),
            DispatchError::KeyReused => Self::KeyReused,
            DispatchError::Contended => Self::Unavailable,
            DispatchError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        if matches!(failure, Failure::Append(AppendError::TooLarge | AppendError::EventTooLarge { .. })) {
            // What is to end is more than one step holds: some of it has to end before.
            let most = u32::try_from(MAX_UNIT_EVENTS).unwrap_or(u32::MAX);
            return Self::Refused(Refusal::LimitReached(LimitReached { what: "changes in one step", most }));
        }
        if matches!(failure, Failure::Read(ReadError::LogReplaced { .. })) {
            return Self::LogReplaced;
        }
        let unavailable = matches!(
            failure,
            Failure::Read(_)
                | Failure::Codec(crate::codec::CodecError::Keys(_))
                | Failure::Append(
                    AppendError::Busy
                        | AppendError::Unavailable(_)
                        | AppendError::OutcomeUnknown
                        | AppendError::Superseded(_)
                        | AppendError::EpochChanged
                        | AppendError::ClockAhead(_)
                        | AppendError::ClockBehind(_)
                        | AppendError::Closed
                )
        );
        let source = std::error::Error::source(&failure).map(ToString::to_string);
        tracing::error!(error = %failure, source, "a command could not be carried out");
        match &failure {
            Failure::Read(error) if is_loss(error) => Self::EventsLost,
            _ if unavailable => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        tracing::error!(%error, "a question could not be answered");
        match &error {
            QueryError::Unavailable(error) if is_loss(error) => Self::EventsLost,
            _ => Self::Unavailable,
        }
    }
}

/// A question's answer, where what is absent is this thing.
pub fn or_not_found<T>(answer: Result<T, QueryError>, thing: Resource) -> Result<T, ApiError> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(QueryError::NotFound) => Err(ApiError::not_found(thing)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the database lacks events that this node has seen.
fn is_loss(error: &ReadError) -> bool {
    let ReadError::Unavailable(source) = error else { return false };
    matches!(source.downcast_ref(), Some(PrimaryError::LostEvents { .. }))
}

/// The place that a position token or a cursor names, in a field or header of this name.
pub async fn place(log: &EventLog, text: &str, field: &str) -> Result<Checkpoint, ApiError> {
    let malformed =
        || ApiError::field(field, "a position or cursor that an answer has given, and not beyond the newest");
    let token = text.parse().map_err(|_| malformed())?;
    match log.place(token).await {
        Err(ReadError::BeyondHead { .. }) => Err(malformed()),
        place => Ok(place.map_err(Failure::Read)?),
    }
}

/// An identifier in a path: what is none belongs to nothing.
pub fn id<T: std::str::FromStr>(text: &str, thing: Resource) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(thing))
}
