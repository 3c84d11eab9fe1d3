//! The NATS users that were issued: stored, checked and revoked.

use uuid::Uuid;

use super::store::{REVOKED_AFTER_SECONDS, Store, ids};
use crate::event_log::ReadError;
use crate::ids::{AccountId, ApiKeyId, BearerTokenId, UserId};
use crate::projections::api_keys;

/// The credential that a NATS user was issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedFor {
    /// An API key of the account, minted by this user.
    ApiKey(ApiKeyId, UserId),
    /// A bearer token of this user.
    BearerToken(BearerTokenId, UserId),
}

impl IssuedFor {
    /// The user: whose token it is, or who minted the key.
    #[must_use]
    pub const fn user(self) -> UserId {
        match self {
            Self::ApiKey(_, user) | Self::BearerToken(_, user) => user,
        }
    }
}

/// Which issued users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    /// All of them.
    All,
    /// Those of an account.
    Account(Uuid),
    /// Those that were issued for a person.
    User(Uuid),
    /// Those that were issued for a bearer token.
    BearerToken(Uuid),
    /// Those that were issued for an API key.
    ApiKey(Uuid),
}

/// Whether the credential of an issued user `n` is good and its person belongs to the account.
fn is_entitled() -> String {
    format!(
        "case when n.api_key_id is not null then
             exists (select {} where k.id = n.api_key_id and k.account_id = n.account_id and e.ended_at is null)
         else
             exists (select from view.bearer_tokens t
                     join view.users o on o.id = t.user_id
                     join view.accounts a on a.id = n.account_id
                     where t.id = n.bearer_token_id and t.user_id = n.user_id
                       and t.revoked_at is null and o.forgotten_at is null
                       and (a.owner_user_id = n.user_id
                            or exists (select from view.members m
                                       where m.user_id = n.user_id and m.account_id = n.account_id
                                         and (m.position <= n.position or m.position = a.owner_position))))
         end",
        api_keys::FROM
    )
}

impl Store {
    /// Stores a NATS user that is about to be issued.
    ///
    /// Only after that, [`Store::check_user`] checks its credential: whoever ends the credential before the check makes it fail,
    /// and whoever ends it later finds this row and revokes the user.
    pub(super) async fn store_user(
        &self,
        account: AccountId,
        public_key: &str,
        issued_for: IssuedFor,
        (now, expires): (i64, i64),
    ) -> Result<(), ReadError> {
        let (key, token, user) = match issued_for {
            IssuedFor::ApiKey(key, user) => (Some(key), None, user),
            IssuedFor::BearerToken(token, user) => (None, Some(token), user),
        };
        // After the second at which all users were revoked: that revocation is not about this one.
        let sql = "insert into coarse.nats_user
                       (public_key, account_id, user_id, api_key_id, bearer_token_id, position, issued, expires)
                   select $2, a.account_id, $3, $4, $5,
                          coalesce((select position from log.event order by position desc limit 1), 0),
                          greatest($6, a.revoked_before + 1), $7
                   from coarse.nats_account a where a.account_id = $1";
        self.primary().execute(sql, &[&account, &public_key, &user, &key, &token, &now, &expires]).await?;
        Ok(())
    }

    /// Checks, in a statement of its own, that the credential of a stored user is good. Returns the second at which the user
    /// counts as issued; `None` if the credential is not good.
    pub(super) async fn check_user(&self, public_key: &str) -> Result<Option<i64>, ReadError> {
        let sql = format!(
            "select n.issued from coarse.nats_user n join coarse.nats_account c on c.account_id = n.account_id
             where n.public_key = $1 and not n.revoked and n.issued > c.revoked_before and {}",
            is_entitled()
        );
        let row = self.primary().row(&sql, &[&public_key]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Revokes those of these users whose credentials are no longer good. Returns the accounts that need a new token.
    pub(super) async fn revoke_ended(&self, which: &Which, now: i64) -> Result<Vec<AccountId>, ReadError> {
        let filter = match which {
            Which::All => "$2::text is null",
            Which::Account(_) => "n.account_id = $2::uuid",
            Which::User(_) => "n.user_id = $2::uuid",
            Which::BearerToken(_) => "n.bearer_token_id = $2::uuid",
            Which::ApiKey(_) => "n.api_key_id = $2::uuid",
        };
        let since = now - REVOKED_AFTER_SECONDS;
        // Nodes revoke the same users at the same moment: in one order, or they would wait for each other for a second.
        let with = format!(
            "locked as (select n.public_key from coarse.nats_user n
                        where n.expires > $1 and not n.revoked and {filter} and not ({})
                        order by n.public_key for update of n),
             ended as (update coarse.nats_user u set revoked = true
                       where u.public_key in (select public_key from locked)
                       returning u.account_id),
             accounts as (select c.account_id from coarse.nats_account c
                          where c.account_id in (select account_id from ended)
                          order by c.account_id for update of c),
             touched as (update coarse.nats_account a set revision = a.revision + 1, changed_at = clock_timestamp()
                         where a.account_id in (select account_id from accounts)
                         returning a.account_id)",
            is_entitled()
        );
        let select = "select account_id from touched";
        let answer = match which {
            Which::All => self.primary().ask(&with, select, &[&since, &None::<&str>]).await?,
            Which::Account(id) | Which::User(id) | Which::BearerToken(id) | Which::ApiKey(id) => {
                self.primary().ask(&with, select, &[&since, id]).await?
            }
        };
        ids(&answer.rows)
    }

    /// Removes the users that have expired.
    pub(super) async fn forget_expired(&self, before: i64) -> Result<u64, ReadError> {
        let sql = "delete from coarse.nats_user where public_key in (
                       select public_key from coarse.nats_user where expires < $1 limit 10000)";
        self.primary().execute(sql, &[&before]).await
    }
}
