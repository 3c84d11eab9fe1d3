//! What is stored of NATS: the operator's keys, and the state of accounts and streams there.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::claims::{ALL_USERS, Revocations};
use super::error::NatsError;
use super::keys::OperatorKeys;
use crate::Tenure;
use crate::credentials::key_ring::NATS_KEYS;
use crate::event_log::ReadError;
use crate::ids::AccountId;

/// How long a node may change an account at NATS before another one may.
pub(super) const LEASE_SECONDS: f64 = 5.0;

/// The most users that a token revokes by name. With more, all users of the account are revoked, and come back by exchange.
pub(super) const MOST_REVOCATIONS: usize = 2_000;

/// What the token of an account has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountState {
    pub(super) public_key: String,
    pub(super) epoch: i64,
    pub(super) revision: i64,
    pub(super) pushed: i64,
    pub(super) revoked_before: i64,
    /// The public key that signs its users.
    pub(super) signing_key: String,
    /// Whether it was removed from the servers.
    pub(super) is_retired: bool,
}

impl AccountState {
    /// The text by which a token is told to be this state's.
    pub(super) fn tag(&self) -> String {
        format!("tenure:{}-{}", self.epoch, self.revision)
    }
}

/// What of an account a node changes at NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Its token. Streams that take long must not delay a revocation.
    Token,
    /// Its streams.
    Streams,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Streams => "streams",
        }
    }
}

/// For how many seconds after its end a user stays revoked by name: servers count the last second whole, and clocks differ.
pub(super) const REVOKED_AFTER_SECONDS: i64 = 60;

/// How far the clock of a node may be ahead of another one's, and a second: when all users are revoked, so are those whose tokens
/// seem to be issued later.
const AHEAD_SECONDS: i64 = 11;

/// The columns of an [`AccountState`].
const STATE: &str =
    "public_key, epoch, revision, pushed, revoked_before, signing_key, retired_at is not null as is_retired";

/// Reads and writes what is stored of NATS.
#[derive(Clone)]
pub(super) struct Store {
    tenure: Tenure,
}

impl Store {
    pub(super) const fn new(tenure: Tenure) -> Self {
        Self { tenure }
    }

    pub(super) fn primary(&self) -> &crate::event_log::Primary {
        self.tenure.log().primary()
    }

    /// The operator's keys; `None` before they are made.
    pub(super) async fn keys(&self) -> Result<Option<OperatorKeys>, NatsError> {
        self.wrapped_keys().await?.map(|wrapped| self.unwrap(&wrapped)).transpose()
    }

    /// The operator's keys as they are stored, and the id of the master key that they are wrapped with.
    async fn wrapped_keys(&self) -> Result<Option<(String, Vec<u8>)>, ReadError> {
        let sql =
            "select key_id, nats_keys from log.key_ring where nats_keys is not null order by state limit 1";
        let row = self.primary().row(sql, &[]).await?;
        Ok(row.map(|row| Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?)
    }

    fn unwrap(&self, (key_id, wrapped): &(String, Vec<u8>)) -> Result<OperatorKeys, NatsError> {
        let keys = self.tenure.codec().keys().unwrap_secret(key_id, NATS_KEYS, wrapped);
        serde_json::from_slice(&keys.map_err(|_| NatsError::DamagedKeys)?).map_err(|_| NatsError::DamagedKeys)
    }

    /// Stores the operator's keys in the place of these; `None` for none. False, and nothing is stored, if others are there.
    pub(super) async fn replace_keys(
        &self,
        former: Option<&OperatorKeys>,
        keys: &OperatorKeys,
    ) -> Result<bool, NatsError> {
        let there = self.wrapped_keys().await?;
        let known = there.as_ref().map(|wrapped| self.unwrap(wrapped)).transpose()?;
        let of = |keys: Option<&OperatorKeys>| {
            let operator =
                keys.and_then(|keys| keys.operators.first()).map(|operator| operator.public_key.clone());
            let platform =
                keys.and_then(|keys| keys.platform.as_ref()).map(|platform| platform.public_key.clone());
            (operator, platform)
        };
        if of(known.as_ref()) != of(former) {
            return Ok(false);
        }
        let text = Zeroizing::new(serde_json::to_vec(keys).map_err(|_| NatsError::DamagedKeys)?);
        let entropy = self.tenure.entropy();
        let ring = self.tenure.codec().keys();
        let (key_id, there) = there.map_or_else(|| (ring.key_id(), None), |(id, there)| (id, Some(there)));
        let wrapped = ring.wrap_secret(&key_id, NATS_KEYS, &text, &*entropy);
        let wrapped = wrapped.map_err(|_| NatsError::DamagedKeys)?;
        let sql = "update log.key_ring set nats_keys = $1
                   where key_id = $3 and nats_keys is not distinct from $2 and state in ('current', 'former')
                     and not exists (select from log.key_ring o where o.key_id <> $3 and o.nats_keys is not null)";
        Ok(self.primary().execute(sql, &[&wrapped, &there, &key_id]).await? == 1)
    }

    /// The state of an account at NATS, stored if it is new. A new key to sign users, or a new epoch of the log, needs a new
    /// token. In a new epoch, and if nothing was stored of an account that had its keys before, that token revokes all users once:
    /// revocations may have been lost. `now` is none if the keys are new.
    pub(super) async fn account(
        &self,
        account: AccountId,
        public_key: &str,
        signing_key: &str,
        now: Option<i64>,
    ) -> Result<AccountState, ReadError> {
        let with = format!(
            "stored as (
                 insert into coarse.nats_account as a (account_id, public_key, signing_key, epoch, revoked_before)
                 select $1, $2, $3, h.epoch, $4 from log.head h
                 on conflict (account_id) do update
                 set public_key = excluded.public_key, signing_key = excluded.signing_key, epoch = excluded.epoch,
                     revision = a.revision + 1, pushed = 0, retired_at = null, changed_at = clock_timestamp(),
                     revoked_before = case when a.epoch = excluded.epoch then a.revoked_before
                                           else greatest(a.revoked_before + 1, excluded.revoked_before - $5) end
                 where (a.public_key, a.signing_key, a.epoch, a.retired_at is null)
                       is distinct from (excluded.public_key, excluded.signing_key, excluded.epoch, true)
                 returning {STATE})"
        );
        let select = format!(
            "select * from stored
             union all
             select {STATE} from coarse.nats_account where account_id = $1 and not exists (select from stored)"
        );
        // Beyond what a change of the epoch a moment ago would have set.
        let revoked_before = now.map_or(0, |now| now + 3 * AHEAD_SECONDS);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&account, &public_key, &signing_key, &revoked_before, &AHEAD_SECONDS];
        for _ in 0..2 {
            let answer = self.primary().ask(&with, &select, &parameters).await?;
            if let Some(row) = answer.rows.first() {
                return Ok(account_state(row)?);
            }
            // Another node stored it while this statement looked: the next one sees it.
        }
        Err(ReadError::Unavailable("the state of a NATS account cannot be stored".into()))
    }

    /// Whether the servers were seen to have the newest token of an account.
    pub(super) async fn is_pushed(&self, account: AccountId) -> Result<bool, ReadError> {
        let sql = "select pushed >= revision from coarse.nats_account where account_id = $1";
        let row = self.primary().row(sql, &[&account]).await?;
        Ok(row.map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// The state of the account with this public key; `None` if it is not ours.
    pub(super) async fn account_by_key(
        &self,
        public_key: &str,
    ) -> Result<Option<(AccountId, AccountState)>, ReadError> {
        let sql = format!("select {STATE}, account_id from coarse.nats_account where public_key = $1");
        let row = self.primary().row(&sql, &[&public_key]).await?;
        row.map(|row| Ok((row.try_get(7)?, account_state(&row)?))).transpose()
    }

    /// The users that an account's token has to revoke, with its state. More than [`MOST_REVOCATIONS`] become one entry for
    /// all users.
    pub(super) async fn claims(
        &self,
        account: AccountId,
        now: i64,
    ) -> Result<Option<(AccountState, Revocations)>, ReadError> {
        let sql = "select a.public_key, a.epoch, a.revision, a.pushed, a.revoked_before, a.signing_key,
                          a.retired_at is not null, r.public_key, r.issued
                   from coarse.nats_account a
                   left join lateral (select n.public_key, n.issued from coarse.nats_user n
                                      where n.account_id = a.account_id and n.revoked and n.expires > $2
                                        and n.issued > a.revoked_before
                                      limit $3) r on true
                   where a.account_id = $1";
        let limit = i64::try_from(MOST_REVOCATIONS + 1).unwrap_or(i64::MAX);
        let since = now - REVOKED_AFTER_SECONDS;
        for _ in 0..2 {
            let rows = self.primary().rows(sql, &[&account, &since, &limit]).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let state = account_state(first)?;
            let mut revoked = Revocations::new();
            for row in &rows {
                if let Some(key) = row.try_get::<_, Option<String>>(7)? {
                    revoked.insert(key, row.try_get(8)?);
                }
            }
            if revoked.len() <= MOST_REVOCATIONS {
                if state.revoked_before > 0 {
                    revoked.insert(ALL_USERS.to_owned(), state.revoked_before);
                }
                return Ok(Some((state, revoked)));
            }
            // Up to the latest one, which the clock of another node may have issued in the future.
            let raise = "update coarse.nats_account a
                         set revoked_before = greatest(a.revoked_before, $2, l.issued), revision = a.revision + 1,
                             changed_at = clock_timestamp()
                         from (select coalesce(max(issued), 0) as issued from coarse.nats_user
                               where account_id = $1 and revoked) l
                         where a.account_id = $1";
            self.primary().execute(raise, &[&account, &now]).await?;
        }
        Err(ReadError::Unavailable("users of a NATS account are revoked faster than they can be read".into()))
    }

    /// Takes or renews the right to change a part of an account at NATS. False while another node has it.
    pub(super) async fn hold(&self, account: AccountId, part: Part, node: Uuid) -> Result<bool, ReadError> {
        let sql = "insert into coarse.nats_lease as l (account_id, part, holder, until)
                   values ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
                   on conflict (account_id, part) do update set holder = excluded.holder, until = excluded.until
                   where l.holder = excluded.holder or l.until < clock_timestamp()";
        let part = part.as_str();
        Ok(self.primary().execute(sql, &[&account, &part, &node, &LEASE_SECONDS]).await? == 1)
    }

    /// Gives that right back.
    pub(super) async fn release(&self, account: AccountId, part: Part, node: Uuid) -> Result<(), ReadError> {
        let sql = "delete from coarse.nats_lease where account_id = $1 and part = $2 and holder = $3";
        self.primary().execute(sql, &[&account, &part.as_str(), &node]).await?;
        Ok(())
    }

    /// Gives all rights of a node back.
    pub(super) async fn release_all(&self, node: Uuid) -> Result<(), ReadError> {
        self.primary().execute("delete from coarse.nats_lease where holder = $1", &[&node]).await?;
        self.release_relay(node).await?;
        self.stop_reconciling(node).await
    }

    /// Notes that the servers have a token of an account. Returns whether it is the newest one.
    pub(super) async fn note_pushed(
        &self,
        account: AccountId,
        state: &AccountState,
    ) -> Result<bool, ReadError> {
        let with = "noted as (update coarse.nats_account set pushed = greatest(pushed, $2), failure = null
                              where account_id = $1 and signing_key = $3 and epoch = $4 returning revision)";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&account, &state.revision, &state.signing_key, &state.epoch];
        let answer = self.primary().ask(with, "select revision from noted", &parameters).await?;
        let newest: Option<i64> = answer.rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok(newest == Some(state.revision))
    }

    /// Accounts that could not be changed at NATS, and why; at most so many.
    pub(super) async fn failures(&self, limit: usize) -> Result<Vec<(AccountId, String)>, ReadError> {
        let sql = "select account_id, failure from coarse.nats_account
                   where failure is not null and retired_at is null order by changed_at limit $1";
        let rows = self.primary().rows(sql, &[&i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Why an account could not be changed at NATS; none if it could.
    pub(super) async fn failure(&self, account: AccountId) -> Result<Option<String>, ReadError> {
        let sql = "select failure from coarse.nats_account where account_id = $1";
        let row = self.primary().row(sql, &[&account]).await?;
        Ok(row.map_or(Ok(None), |row| row.try_get(0))?)
    }

    /// Notes why an account could not be changed at NATS.
    pub(super) async fn note_failure(&self, account: AccountId, reason: &str) -> Result<(), ReadError> {
        let sql = "update coarse.nats_account set failure = $2, changed_at = clock_timestamp() where account_id = $1";
        self.primary().execute(sql, &[&account, &reason]).await?;
        Ok(())
    }

    /// Accounts whose token the servers may not have yet.
    pub(super) async fn unpushed(&self, limit: i64) -> Result<Vec<AccountId>, ReadError> {
        let sql = "select account_id from coarse.nats_account where pushed < revision and retired_at is null
                   order by account_id limit $1";
        ids(&self.primary().rows(sql, &[&limit]).await?)
    }

    /// Open accounts after this one that have no account at NATS yet.
    pub(super) async fn unprovisioned(
        &self,
        after: AccountId,
        limit: i64,
    ) -> Result<Vec<AccountId>, ReadError> {
        let sql = "select a.id from view.accounts a
                   where a.id > $1 and not exists (select from coarse.nats_account n where n.account_id = a.id)
                   order by a.id limit $2";
        ids(&self.primary().rows(sql, &[&after, &limit]).await?)
    }

    /// Accounts at NATS that are closed here.
    pub(super) async fn closed(&self, limit: i64) -> Result<Vec<(AccountId, String)>, ReadError> {
        let sql = "select n.account_id, n.public_key from coarse.nats_account n
                   where n.retired_at is null and not exists (select from view.accounts a where a.id = n.account_id)
                   order by n.account_id limit $1";
        let rows = self.primary().rows(sql, &[&limit]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The public key of an account at NATS that is closed here; `None` if it is open, or was never there.
    pub(super) async fn closed_account(&self, account: AccountId) -> Result<Option<String>, ReadError> {
        let sql = "select n.public_key from coarse.nats_account n
                   where n.account_id = $1 and n.retired_at is null
                     and not exists (select from view.accounts a where a.id = n.account_id)";
        let row = self.primary().row(sql, &[&account]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Accounts whose tokens changed within so many seconds.
    pub(super) async fn changed_within(&self, seconds: f64) -> Result<Vec<AccountId>, ReadError> {
        let sql = "select account_id from coarse.nats_account
                   where changed_at > now() - make_interval(secs => $1) and retired_at is null
                   order by changed_at desc limit 10000";
        ids(&self.primary().rows(sql, &[&seconds]).await?)
    }

    /// The accounts at NATS after this one, with their public keys.
    pub(super) async fn accounts_after(
        &self,
        after: AccountId,
        limit: i64,
    ) -> Result<Vec<(AccountId, AccountState)>, ReadError> {
        let sql = format!(
            "select {STATE}, account_id from coarse.nats_account
             where account_id > $1 and retired_at is null order by account_id limit $2"
        );
        let rows = self.primary().rows(&sql, &[&after, &limit]).await?;
        rows.iter().map(|row| Ok((row.try_get(7)?, account_state(row)?))).collect()
    }

    /// Notes that an account is gone from NATS.
    pub(super) async fn note_retired(&self, account: AccountId) -> Result<(), ReadError> {
        for sql in [
            "delete from coarse.nats_user where account_id = $1",
            "delete from coarse.nats_stream where account_id = $1",
            "update coarse.nats_account set retired_at = clock_timestamp(), failure = null where account_id = $1",
        ] {
            self.primary().execute(sql, &[&account]).await?;
        }
        Ok(())
    }

    /// Those of these accounts that were removed from the servers.
    pub(super) async fn retired(&self, public_keys: &[&str]) -> Result<Vec<(AccountId, String)>, ReadError> {
        let sql = "select account_id, public_key from coarse.nats_account
                   where public_key = any ($1) and retired_at is not null";
        let rows = self.primary().rows(sql, &[&public_keys]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Makes the private NATS of a data directory this database's, or says so again. If it is another one's, returns the URL.
    pub(super) async fn claim_private(
        &self,
        directory: Uuid,
        url: &str,
    ) -> Result<Option<String>, ReadError> {
        let with = "claimed as (
            insert into coarse.nats_private as p (directory, url, seen_at) values ($1, $2, clock_timestamp())
            on conflict (only_row) do update
            set directory = excluded.directory, url = excluded.url, seen_at = excluded.seen_at
            where p.directory = excluded.directory or p.seen_at < clock_timestamp() - interval '1 minute'
            returning url)";
        let select = "select p.url from coarse.nats_private p where not exists (select from claimed)";
        let answer = self.primary().ask(with, select, &[&directory, &url]).await?;
        Ok(answer.rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Notes which streams of an account failed, and why, in the place of what was noted before.
    pub(super) async fn note_streams(
        &self,
        account: AccountId,
        failed: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), ReadError> {
        let (names, reasons): (Vec<&str>, Vec<&str>) =
            failed.iter().map(|(name, reason)| (name.as_str(), reason.as_str())).unzip();
        let sql = "delete from coarse.nats_stream where account_id = $1 and name <> all ($2)";
        self.primary().execute(sql, &[&account, &names]).await?;
        let sql = "insert into coarse.nats_stream as s (account_id, name, reason)
                   select $1, f.name, f.reason from unnest($2::text[], $3::text[]) f (name, reason)
                   on conflict (account_id, name) do update set reason = excluded.reason, failed_at = clock_timestamp()";
        if !names.is_empty() {
            self.primary().execute(sql, &[&account, &names, &reasons]).await?;
        }
        Ok(())
    }

    /// The streams of an account that failed, and why.
    pub(super) async fn failed_streams(
        &self,
        account: AccountId,
    ) -> Result<Vec<(String, String)>, ReadError> {
        let sql = "select name, reason from coarse.nats_stream where account_id = $1 order by name";
        let rows = self.primary().rows(sql, &[&account]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Accounts with streams that failed at least so many seconds ago.
    pub(super) async fn with_failed_streams(&self, seconds: f64) -> Result<Vec<AccountId>, ReadError> {
        let sql = "select account_id from coarse.nats_stream
                   where failed_at < now() - make_interval(secs => $1)
                   order by failed_at limit 500";
        ids(&self.primary().rows(sql, &[&seconds]).await?)
    }

    /// Accounts that could not be changed, and were last changed at least so many seconds ago.
    pub(super) async fn with_failures(&self, seconds: f64) -> Result<Vec<AccountId>, ReadError> {
        let sql = "select account_id from coarse.nats_account
                   where failure is not null and retired_at is null
                     and changed_at < now() - make_interval(secs => $1)
                   order by changed_at limit 500";
        ids(&self.primary().rows(sql, &[&seconds]).await?)
    }

    /// Takes or renews the lease to keep NATS in step with the log. `None` while another node has it; else whether this node
    /// had it already.
    pub(super) async fn reconciles(&self, node: Uuid) -> Result<Option<bool>, ReadError> {
        // By the database's clock, so that nodes need not agree on the time.
        let with = "former as (select node from coarse.nats_reconciler),
            taken as (
                insert into coarse.nats_reconciler as r (node, until)
                values ($1, clock_timestamp() + make_interval(secs => $2))
                on conflict (only_row) do update set node = excluded.node, until = excluded.until
                where r.node = excluded.node or r.until < clock_timestamp()
                returning node)";
        let select = "select coalesce((select node from former) = node, false) from taken";
        let answer = self.primary().ask(with, select, &[&node, &LEASE_SECONDS]).await?;
        Ok(answer.rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Gives the lease to keep NATS in step back.
    pub(super) async fn stop_reconciling(&self, node: Uuid) -> Result<(), ReadError> {
        self.primary().execute("delete from coarse.nats_reconciler where node = $1", &[&node]).await?;
        Ok(())
    }
}

fn account_state(row: &tokio_postgres::Row) -> Result<AccountState, tokio_postgres::Error> {
    Ok(AccountState {
        public_key: row.try_get(0)?,
        epoch: row.try_get(1)?,
        revision: row.try_get(2)?,
        pushed: row.try_get(3)?,
        revoked_before: row.try_get(4)?,
        signing_key: row.try_get(5)?,
        is_retired: row.try_get(6)?,
    })
}

pub(super) fn ids(rows: &[tokio_postgres::Row]) -> Result<Vec<AccountId>, ReadError> {
    rows.iter().map(|row| row.try_get(0).map_err(ReadError::from)).collect()
}
