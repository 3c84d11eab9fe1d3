//! The HTTP error type. Each API family renders it in its own body format.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::aggregates::field::Invalid;
use crate::dispatch::{DispatchError, Failure};
use crate::event_log::limits::MAX_UNIT_EVENTS;
use crate::event_log::{AppendError, Checkpoint, EventLog, PrimaryError, ReadError};
use crate::operations::{LimitReached, Refusal, Resource};
use crate::projections::QueryError;

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// The request, or one of its fields, is malformed.
    Malformed {
        /// The field at fault; none if the request as a whole is malformed.
        field: Option<String>,
        /// What a valid value looks like. Never quotes the input, which may be a secret in the wrong place.
        detail: Cow<'static, str>,
    },
    /// The route does not accept the media type of the body.
    MediaType,
    /// The body is larger than the route allows.
    TooLarge {
        /// How many octets the route reads.
        most: usize,
    },
    /// The body did not arrive in time.
    TooSlow,
    /// No route has this path.
    NoRoute,
    /// The route does not support the method.
    Method,
    /// The route requires a credential, and none was sent.
    NoCredential,
    /// The credential is unknown, expired or revoked.
    BadCredential,
    /// A credential was sent in the wrong place, for example in a URL.
    MisplacedCredential,
    /// The credential does not act in the account that was named, or in any.
    InvalidOrg {
        /// What the request named, if it named one.
        named: Option<String>,
    },
    /// A request with a browser's session that another site may have made it send.
    CrossSite,
    /// The body cannot be read on a route whose clients know the code of one member.
    Unreadable {
        /// That member.
        blamed: &'static str,
        /// What is wrong, in which member.
        detail: String,
    },
    /// A business rule forbids the operation.
    Refused(Refusal),
    /// The same, with a text that names what it is about.
    Told {
        /// The rule.
        refusal: Refusal,
        /// What is wrong.
        text: String,
    },
    /// The idempotency key was used for a request with another body.
    KeyReused,
    /// The request was already carried out, and its response held a secret that is shown once: the record without it.
    GivenOnce(serde_json::Value),
    /// The position or cursor is from before the log was replaced by a restore or a failover.
    LogReplaced,
    /// The past of an account takes more than one request may.
    Past {
        /// The stable code.
        code: &'static str,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// A rate limit or a bound on concurrent work was reached.
    TooMany {
        /// In how many seconds a retry can succeed.
        retry_after: u64,
    },
    /// The database or the event log cannot serve the request at the moment. A retry may succeed.
    Unavailable,
    /// The database lacks events that this node has seen. An operator must intervene.
    EventsLost,
    /// An unexpected failure: a bug, or stored data that the server cannot read.
    Internal,
}

impl ApiError {
    /// A malformed request, without a field at fault.
    pub const fn malformed(detail: &'static str) -> Self {
        Self::Malformed { field: None, detail: Cow::Borrowed(detail) }
    }

    /// A malformed field; `detail` says what a valid value looks like.
    pub fn field(field: &str, detail: &'static str) -> Self {
        Self::Malformed { field: Some(field.to_owned()), detail: Cow::Borrowed(detail) }
    }

    /// The same error, with the field `from` renamed to its name in the API.
    #[must_use]
    pub fn renamed(self, from: &str, to: &'static str) -> Self {
        match self {
            Self::Refused(Refusal::Invalid(invalid)) if invalid.field == from => {
                Self::Refused(Refusal::Invalid(Invalid { field: to, ..invalid }))
            }
            other => other,
        }
    }

    /// The resource does not exist, or the caller may not know that it exists.
    pub const fn not_found(thing: Resource) -> Self {
        Self::Refused(Refusal::NotFound(thing))
    }

    /// The caller does not have permission.
    pub const FORBIDDEN: Self = Self::Refused(Refusal::Forbidden);

    /// The HTTP status of the response.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } | Self::MisplacedCredential | Self::Unreadable { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            // 401 means a missing or bad credential and nothing else: existing clients give up for good on it.
            Self::NoCredential | Self::BadCredential => StatusCode::UNAUTHORIZED,
            Self::InvalidOrg { .. } | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::KeyReused | Self::Past { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::GivenOnce(_) | Self::LogReplaced => StatusCode::CONFLICT,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable | Self::EventsLost => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Refused(refusal) | Self::Told { refusal, .. } => status_of(*refusal),
        }
    }

    /// The stable code, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Unreadable { .. } => "invalid",
            Self::MediaType => "unsupported_media_type",
            Self::TooLarge { .. } => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::NoRoute => "no_such_route",
            Self::Method => "method_not_allowed",
            Self::NoCredential => "credential_missing",
            Self::BadCredential => "credential_bad",
            Self::MisplacedCredential => "credential_misplaced",
            Self::InvalidOrg { .. } => "account.invalid",
            Self::CrossSite => "forbidden",
            Self::KeyReused => "idempotency_key_reused",
            Self::GivenOnce(_) => "secret_given_once",
            Self::LogReplaced => "log_replaced",
            Self::Past { code, .. } => code,
            Self::TooMany { .. } => "too_many_requests",
            Self::Unavailable | Self::EventsLost => "unavailable",
            Self::Internal => "internal",
            Self::Refused(refusal) | Self::Told { refusal, .. } => refusal.code(),
        }
    }

    /// The field at fault, if there is one.
    pub fn blamed(&self) -> Option<&str> {
        match self {
            Self::Malformed { field, .. } => field.as_deref(),
            Self::Unreadable { blamed, .. } => Some(blamed),
            Self::Refused(Refusal::Invalid(invalid)) => Some(invalid.field),
            Self::Refused(Refusal::InvalidUserMode) => Some("mode"),
            _ => None,
        }
    }

    /// What is wrong and what to do, in English.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed { detail, .. } => detail.clone(),
            Self::MediaType => "the request body must be JSON; send Content-Type: application/json".into(),
            Self::TooLarge { most } => {
                format!("the request body is too large: this route reads at most {most} bytes; send a smaller one").into()
            }
            Self::TooSlow => "the request body did not arrive in time; send the request again".into(),
            Self::NoRoute => "no such route; see /docs".into(),
            Self::Method => "method not allowed on this route; see /docs".into(),
            Self::NoCredential => {
                "credentials required; send a bearer token or an API key in the Authorization header, or sign in".into()
            }
            Self::BadCredential => "invalid credential: the API key, token or session is unknown, expired or revoked; get a new one or sign in again".into(),
            Self::MisplacedCredential => {
                "send credentials once, in the Authorization header, never in a URL".into()
            }
            Self::InvalidOrg { named: Some(named) } => {
                format!("this credential cannot act in account {named}; choose an account that you belong to").into()
            }
            Self::InvalidOrg { named: None } => {
                "you belong to no account; open one, or accept an invite".into()
            }
            Self::CrossSite => {
                "with a browser's session, send its token in X-CSRF-Token, from a page of this site only".into()
            }
            Self::Unreadable { detail, .. } | Self::Past { detail, .. } => detail.clone().into(),
            Self::KeyReused => "this idempotency key was used for a request with another body; use a new key".into(),
            Self::GivenOnce(_) => {
                "this request was already carried out; its secret was shown once and is not stored; issue a new one if you lost it".into()
            }
            Self::LogReplaced => {
                "this position or cursor is from before the log was restored or failed over; read again from the start"
                    .into()
            }
            Self::TooMany { .. } => "too many requests; try again later".into(),
            Self::Unavailable => "the service is unavailable; try again later".into(),
            Self::EventsLost => {
                "the database has lost events; an operator must restore them or run `tenure log new-epoch`".into()
            }
            Self::Internal => "internal server error; an operator can find the cause in the server's log".into(),
            Self::Refused(refusal) => refusal.to_string().into(),
            Self::Told { text, .. } => text.clone().into(),
        }
    }

    /// The detail, prefixed with the field at fault if there is one. For formats without a member for the field.
    pub fn sentence(&self) -> String {
        let detail = self.detail();
        if matches!(self, Self::Unreadable { .. }) {
            return detail.into_owned();
        }
        match self.blamed() {
            Some(field) if !detail.starts_with(field) => format!("{field}: {detail}"),
            _ => detail.into_owned(),
        }
    }

    /// The error that a bare status stands for, for responses made by the framework and not by a handler.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::Method,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType,
            StatusCode::REQUEST_TIMEOUT => Self::TooSlow,
            // The framework's own text is dropped: it may quote the input.
            status if status.is_client_error() => Self::malformed("the request is malformed; see /docs"),
            _ => Self::Internal,
        }
    }
}

/// The HTTP status of a refusal.
const fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Invalid(_) | Refusal::InvalidUserMode => StatusCode::BAD_REQUEST,
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::Forbidden | Refusal::LimitReached(_) => StatusCode::FORBIDDEN,
        // The hashing queue is full, so the key was not checked: this must not be a 401.
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
    }
}

/// Puts the error in the response's extensions; the middleware of the route table renders the body.
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
            // Nothing was written: the client can simply retry.
            DispatchError::Contended => Self::Unavailable,
            DispatchError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        if matches!(failure, Failure::Append(AppendError::TooLarge | AppendError::EventTooLarge { .. })) {
            // One command would end more than fits in one unit: the caller has to remove some of it first.
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
        // Clients never see the source, so it is logged here.
        let source = std::error::Error::source(&failure).map(ToString::to_string);
        tracing::error!(error = %failure, source, "command failed");
        match &failure {
            Failure::Read(error) if is_loss(error) => Self::EventsLost,
            _ if unavailable => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        tracing::error!(%error, "query failed");
        match &error {
            QueryError::Unavailable(error) if is_loss(error) => Self::EventsLost,
            _ => Self::Unavailable,
        }
    }
}

/// The result of a query, with an absent row as "not found" for this resource.
///
/// # Errors
/// `NotFound` for the resource; [`ApiError::Unavailable`] or [`ApiError::EventsLost`] if the query failed.
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

/// The position that a position token or a cursor stands for; `field` is the field or header it was sent in.
///
/// # Errors
/// [`ApiError::Malformed`] if it is not a token or lies beyond the end of the log, [`ApiError::LogReplaced`] if it is
/// from an earlier epoch.
pub async fn place(log: &EventLog, text: &str, field: &str) -> Result<Checkpoint, ApiError> {
    let malformed = || {
        ApiError::field(field, "must be a position or cursor from a response, not beyond the end of the log")
    };
    let token = text.parse().map_err(|_| malformed())?;
    match log.place(token).await {
        // No response of this log has given such a position, so it is malformed and not merely early.
        Err(ReadError::BeyondHead { .. }) => Err(malformed()),
        place => Ok(place.map_err(Failure::Read)?),
    }
}

/// An identifier in a path. Text that is not an identifier names no resource: it is not found, and not malformed.
///
/// # Errors
/// `NotFound` for the resource.
pub fn id<T: std::str::FromStr>(text: &str, thing: Resource) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(thing))
}
