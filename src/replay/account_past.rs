//! The rows of one account as they were, for a request: in temporary tables of a connection that ends with it, read by the queries
//! that read the live tables.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::error::ReplayError;
use super::fold::rows_of_part;
use super::fresh;
use super::moment::{Moment, MomentError, Resolved};
use super::part::{Part, read_part};
use super::parts::Replay;
use super::progress::Progress;
use super::spill::{SLICES, Spill};
use super::turns::Turn;
use crate::event_log::{Checkpoint, PrimaryError, ReadError, row_sql};
use crate::ids::AccountId;
use crate::postgres::STATEMENT_TIMEOUT;
use crate::projections::{self, Reader};

/// How many events one request may read.
pub const MOST_EVENTS: u64 = 100_000;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(9);

/// How often an answer is made before the request is refused: one in which somebody was forgotten meanwhile is thrown away.
const TRIES: u32 = 3;

/// How long a database may take to show that it still answers.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits for others.
const WAIT: Duration = Duration::from_secs(3);

/// Settings of the connection. What is in its temporary tables is gone when it ends.
const SETTINGS: &str = "
    set statement_timeout = '15s'; set lock_timeout = '3s'; set idle_in_transaction_session_timeout = '15s';
    set temp_buffers = '32MB'; set client_min_messages = warning;";

/// Tables outside the log that queries join; nothing of them is known of the past.
const COARSE: &[&str] = &["last_used", "last_broadcast"];

/// The rows of an account as they were.
pub struct AccountPast {
    /// Reads them.
    pub reader: Reader,
    /// The moment that they show.
    pub moment: Resolved,
    _turn: Turn,
}

/// Why the rows of an account as they were could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountPastError {
    /// The moment cannot be looked at.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The account has too many events by then.
    #[error(
        "the account has more than {MOST_EVENTS} events by then; an operator can make the tables: `tenure audit as-of T --schema NAME \
         --account {0}`"
    )]
    TooMany(AccountId),
    /// It takes too long.
    #[error(
        "this takes longer than a request may; an operator can make the tables: `tenure audit as-of T --schema NAME --account {0}`"
    )]
    TooSlow(AccountId),
    /// Another request does the same for this account, or some do for others.
    #[error(
        "another request looks at the past; wait for its answer, or have an operator make the tables: `tenure audit \
         as-of T --schema NAME --account {0}`"
    )]
    Busy(AccountId),
    /// The serving role may not make temporary tables.
    #[error(
        "the serving role may not make temporary tables; run: grant temporary on database … to tenure_app"
    )]
    MayNotMakeTables,
}

impl From<tokio_postgres::Error> for AccountPastError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Replay(error.into())
    }
}

impl Replay {
    /// The rows of an account, and of the people in it, as they were. Does not check who may see them; `asker` is who asks.
    ///
    /// # Errors
    /// [`AccountPastError`]
    pub async fn account_past(
        &self,
        account: AccountId,
        asker: Uuid,
        moment: Moment,
    ) -> Result<AccountPast, AccountPastError> {
        let Ok(Ok(turn)) = timeout(WAIT, self.turns.acquire(account, asker)).await else {
            return Err(AccountPastError::Busy(account));
        };
        let making = async {
            let mut tries = 0;
            loop {
                let before = self.log.newest().await.map_err(ReplayError::from)?;
                let (reader, resolved, people) = self.make_account_past(account, moment).await?;
                // What was forgotten while this was made is in it, if it was read before.
                if !self.was_forgotten_since(before, account, &people).await? {
                    return Ok((reader, resolved));
                }
                tries += 1;
                if tries == TRIES {
                    return Err(AccountPastError::Busy(account));
                }
            }
        };
        if let Ok(made) = timeout(TIMEOUT, Box::pin(making)).await {
            return made.map(|(reader, moment)| AccountPast { reader, moment, _turn: turn });
        }
        // A database that does not answer is no question of size.
        let pinged = timeout(PING_TIMEOUT, self.log.primary().rows("select", &[])).await;
        pinged
            .unwrap_or_else(|_| Err(PrimaryError::TimedOut(PING_TIMEOUT).into()))
            .map_err(ReplayError::from)?;
        Err(AccountPastError::TooSlow(account))
    }

    /// Whether one of these people was forgotten after a position, or the account closed.
    async fn was_forgotten_since(
        &self,
        position: i64,
        account: AccountId,
        people: &[Uuid],
    ) -> Result<bool, AccountPastError> {
        let sql = "select exists (select from log.event where position > $1
                       and (stream_type = 'user' and event_type = 'user.forgotten' and stream_id = any ($2)
                            or stream_type = 'account' and event_type = 'account.closed' and stream_id = $3))";
        // As text: the streams of foreign aggregates have other identifiers.
        let people: Vec<String> = people.iter().map(Uuid::to_string).collect();
        let id = account.to_string();
        let row = self.log.primary().row(sql, &[&position, &people, &id]).await.map_err(ReplayError::from)?;
        Ok(row.map_or(Ok(false), |row| row.try_get(0))?)
    }

    async fn make_account_past(
        &self,
        account: AccountId,
        moment: Moment,
    ) -> Result<(Reader, Resolved, Vec<Uuid>), AccountPastError> {
        let moment = self.resolve(moment).await?;
        let database = self.log.database();
        let mut connection = database.connect("tenure as-of", SETTINGS).await.map_err(ReplayError::from)?;
        let checked = timeout(STATEMENT_TIMEOUT, self.log.seen().check(&mut connection.client)).await;
        let head =
            checked.unwrap_or(Err(PrimaryError::TimedOut(STATEMENT_TIMEOUT))).map_err(ReplayError::from)?;
        if head.epoch != moment.epoch {
            // A server that lost events has taken the place of the one that was asked for the moment.
            let from =
                Checkpoint { position: moment.position, epoch: moment.epoch, ..self.log.seen().checkpoint() };
            return Err(MomentError::Read(ReadError::LogReplaced { from, epoch: head.epoch }).into());
        }
        let client = &connection.client;
        client.batch_execute("begin").await?;
        // Until the connection ends; that of the request before may be about to.
        let sql = "select pg_advisory_xact_lock(hashtextextended('tenure as-of ' || $1::text, 0))";
        match client.execute(sql, &[&account.to_string()]).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                return Err(AccountPastError::Busy(account));
            }
            Err(error) => return Err(error.into()),
        }
        let sql = "select has_database_privilege(current_user, current_database(), 'temporary')";
        let row = client.query_one(sql, &[]).await?;
        if !row.try_get(0)? {
            return Err(AccountPastError::MayNotMakeTables);
        }
        let folder = self.folder_of_past(true);
        let mut spill = Spill::new(&*self.entropy);
        let of: (Uuid, i64) = (account.as_uuid(), moment.position);
        let part = read_part(&folder, &connection, of, MOST_EVENTS, &mut spill, &Progress::none()).await?;
        let Some(Part { people, .. }) = part else { return Err(AccountPastError::TooMany(account)) };
        let tables =
            projections::TABLES.iter().map(|table| row_sql::create_table_without_key(table, "pg_temp"));
        let coarse = COARSE.iter().map(|name| format!("create table pg_temp.{name} (like coarse.{name});\n"));
        client.batch_execute(&tables.chain(coarse).collect::<String>()).await?;
        for slice in 0..SLICES {
            let slice = spill.take(slice).read()?;
            let rows = rows_of_part(&slice, moment.position)?;
            fresh::load(client, "pg_temp", fresh::loads(projections::TABLES, &rows)).await?;
        }
        let keys = self.codec.keys().clone();
        let reader = Reader::of_past(self.log.primary().clone(), keys, Arc::new(connection), moment.position);
        Ok((reader, moment, people))
    }
}
