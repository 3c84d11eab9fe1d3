//! What Tenure can do: one operation a type, over one or several aggregates, callable on [`crate::Tenure`].

mod accounts;
mod authority;
mod refusal;
mod sign_in;
mod users;

pub use refusal::{Refusal, Thing};
pub use sign_in::SignedIn;

use crate::dispatch::{DispatchError, Dispatched};
use crate::ids::UserId;

/// What an operation gives: its answer with the events and the position token, or why it was not carried out.
pub type Outcome<T> = Result<Dispatched<T>, DispatchError<Refusal>>;

/// The guard of the set of accounts that a user owns or is a member of.
pub(crate) fn accounts_of(user: UserId) -> String {
    format!("accounts_of:{user}")
}
