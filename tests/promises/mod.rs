//! The promises of the domain, operation by operation, against a real database.

mod api_keys;
mod device_codes;
mod forgetting;
mod idempotency;
mod invites;
mod sources;
mod table;

use tenure::Tenure;
use tenure::ids::{AccountId, UserId};

use crate::support::{account, user};

/// An owner with an account, a member of it, and a stranger.
struct Acme {
    owner: UserId,
    member: UserId,
    stranger: UserId,
    account: AccountId,
}

async fn acme(tenure: &Tenure) -> Acme {
    let (owner, member, stranger) =
        (user(tenure, "owner").await, user(tenure, "member").await, user(tenure, "stranger").await);
    let account = account(tenure, "acme", owner).await;
    tenure.add_member(&crate::support::as_user(owner), account, member).await.unwrap();
    Acme { owner, member, stranger, account }
}

fn nothing() -> uuid::Uuid {
    uuid::Uuid::from_u128(77)
}
