//! Changes the master key of a log while its nodes serve.
//!
//! ```text
//! announced ── every node has it ──► current ── every node uses it ──► the former key retired ── nothing left under it ──► gone
//! ```
//!
//! Data keys stay the same; each is wrapped with the new master key. Every step is stored before the next one begins, so a rotation that
//! was killed goes on where it was.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::Tenure;
use crate::clock::Stopwatch;
use crate::credentials::key_ring::{KeyLoadError, MasterKeyState, NATS_KEYS, STORED, StoredMasterKey};
use crate::credentials::master_key::{MasterKey, MasterKeyError};
use crate::event_log::ReadError;
use crate::postgres::migrate::lock_holder;
use crate::postgres::statement_reason;
use crate::replay::{ReplayError, connect_as_owner, while_server_answers};
use crate::sealing::SealError;

/// The advisory lock that a rotation holds; "tenurekr" in ASCII.
const ROTATION_LOCK: i64 = 0x74_65_6e_75_72_65_6b_72;

/// How many data keys are wrapped in one statement.
const BATCH: i64 = 1_000;

/// How long units that were made before a node used the new key may still be on their way.
const ON_THE_WAY: Duration = Duration::from_secs(15);

/// For how long a node that has stopped renewing its row may only be slow: it is waited for.
const MAY_BE_SLOW: &str = "10 s";

/// How often the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a rotation is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotationStep {
    /// So many nodes do not have the new key yet.
    WaitingForKey(i64),
    /// So many nodes do not use it yet.
    WaitingForUse(i64),
    /// So many data keys of about so many are wrapped with it.
    Wrapping(u64, u64),
    /// What nodes had on its way is waited for.
    Settling,
}

/// A rotation that has ended well.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Rotated {
    /// The id of the former master key, which nothing needs any more but older backups; `None` if an earlier call had changed it.
    pub from: Option<String>,
    /// The id of the new one.
    pub to: String,
    /// How many data keys this call has wrapped.
    pub data_keys: u64,
    /// Whether the files of the keys have changed places; otherwise the operator has to see to it.
    pub files_changed: bool,
}

/// Why the master key was not changed, or not completely. What was done stays, and the next call goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The new key is the present one.
    #[error(
        "the new master key is the present one, {0}; make another one, or let `tenure keys rotate` make it"
    )]
    SameKey(String),
    /// A change to another key is under way.
    #[error(
        "a change to master key {under_way} is under way; finish it with that key, then change to {given}"
    )]
    OtherUnderWay {
        /// The key of that change.
        under_way: String,
        /// The key that was given.
        given: String,
    },
    /// This machine does not have the key of the change that is under way.
    #[error(
        "a change to master key {key} is under way, and this machine does not have that key: put it at {file}, or run the rotation where \
         it is; if it is lost, `tenure keys rotate --abandon` takes the change back"
    )]
    WithoutAnnounced {
        /// The id of the key.
        key: String,
        /// Where it was looked for.
        file: String,
    },
    /// Nodes do not have the new key.
    #[error(
        "{left} nodes do not have master key {key}, or run a release that cannot change it; give it to them (here it is in {file}; nodes \
         read it beside their key, with .next added to the name, or from TENURE_NEXT_MASTER_KEY_FILE) and call this again"
    )]
    NodesWithout {
        /// How many nodes.
        left: i64,
        /// The id of the key.
        key: String,
        /// The file that has it here.
        file: String,
    },
    /// Another rotation is running.
    #[error("another rotation is running ({0}); wait until it ends")]
    Running(String),
    /// The key comes from the environment, where no new one can be put.
    #[error(
        "the master key comes from TENURE_MASTER_KEY: name the file of the new one with --new-key-file, or set TENURE_NEXT_MASTER_KEY"
    )]
    NoFile,
    /// A key file cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A stored key does not open.
    #[error(
        "a key in the log does not open with the log's master key: {subject}; restore it from a backup, and call this again"
    )]
    Damaged {
        /// Whose key it is.
        subject: String,
    },
    /// No rotation can be taken back.
    #[error("no change of the master key was announced, or it has gone too far to be taken back; finish it")]
    NothingToAbandon,
    /// The database could not be used.
    #[error("{}; what was done so far stays done, and the next rotation goes on from there", database_failed(.0))]
    Database(#[from] ReplayError),
}

fn database_failed(error: &ReplayError) -> String {
    match error {
        ReplayError::Statement(error) => format!("the database failed: {}", statement_reason(error)),
        other => other.to_string(),
    }
}

impl RotateError {
    /// Whether another session has held a lock for too long, or waited for one of this session.
    fn is_conflict(&self) -> bool {
        let Self::Database(ReplayError::Statement(error)) = self else { return false };
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED]
            .iter()
            .any(|code| error.code() == Some(code))
    }

    /// Why the key of a subject could not be wrapped again.
    fn of_key(error: KeyLoadError, subject: &str) -> Self {
        match error {
            KeyLoadError::Damaged(_) => Self::Damaged { subject: subject.to_owned() },
            other => Self::Database(other.into()),
        }
    }
}

impl From<SealError> for RotateError {
    fn from(_: SealError) -> Self {
        Self::Damaged { subject: "the key ring".to_owned() }
    }
}

impl From<tokio_postgres::Error> for RotateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<ReadError> for RotateError {
    fn from(error: ReadError) -> Self {
        Self::Database(error.into())
    }
}

impl Tenure {
    /// Changes the master key to the next one of this node's key source, which is made if there is none. Nodes go on serving.
    ///
    /// # Errors
    /// [`RotateError`]
    pub async fn rotate_master_key(
        &self,
        wait: Duration,
        tell: &(dyn Fn(RotationStep) + Sync),
    ) -> Result<Rotated, RotateError> {
        while_server_answers(self.log(), Box::pin(self.rotate_while(wait, tell))).await
    }

    async fn rotate_while(
        &self,
        wait: Duration,
        tell: &(dyn Fn(RotationStep) + Sync),
    ) -> Result<Rotated, RotateError> {
        let connection = connect_as_owner(self.log(), "tenure keys rotate").await?;
        let client = &connection.client;
        let row = client.query_one("select pg_try_advisory_lock($1)", &[&ROTATION_LOCK]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Err(RotateError::Running(lock_holder(client, ROTATION_LOCK).await?));
        }
        let rotation = Rotation { tenure: self, client, wait, tell };
        let rotated = rotation.run().await;
        let _ = client.query_one("select pg_advisory_unlock($1)", &[&ROTATION_LOCK]).await;
        rotated
    }

    /// Takes the announcement of a new master key back, as long as no node uses it.
    ///
    /// # Errors
    /// [`RotateError::NothingToAbandon`]
    pub async fn abandon_rotation(&self) -> Result<(), RotateError> {
        while_server_answers(self.log(), Box::pin(self.abandon_while())).await
    }

    async fn abandon_while(&self) -> Result<(), RotateError> {
        let connection = connect_as_owner(self.log(), "tenure keys rotate").await?;
        let client = &connection.client;
        let row = client.query_one("select pg_try_advisory_lock($1)", &[&ROTATION_LOCK]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Err(RotateError::Running(lock_holder(client, ROTATION_LOCK).await?));
        }
        let gone = client.execute("delete from log.key_ring where state = 'announced'", &[]).await?;
        if gone == 0 { Err(RotateError::NothingToAbandon) } else { Ok(()) }
    }

    /// Takes over what the log says of its master keys, and tells it what this node has and uses. Returns the id of a key that this
    /// node lacks.
    pub(crate) async fn follow_key_ring(&self) -> Result<Option<Lacking>, ReadError> {
        let rows = self.log().primary().rows(STORED, &[]).await?;
        let stored: Vec<StoredMasterKey> =
            rows.iter().map(StoredMasterKey::from_row).collect::<Result<_, _>>()?;
        let ring = self.codec().keys().clone();
        let newest = stored
            .iter()
            .find(|key| key.state == MasterKeyState::Announced)
            .or_else(|| stored.iter().find(|key| key.state == MasterKeyState::Current))
            .map(|key| key.id.clone());
        let adopting = stored.clone();
        // Reads files.
        let adopted = tokio::task::spawn_blocking({
            let ring = ring.clone();
            move || ring.adopt(&adopting)
        });
        let lacking = |error: Option<MasterKeyError>| {
            let key = newest.clone()?;
            let is_current =
                stored.iter().any(|stored| stored.id == key && stored.state == MasterKeyState::Current);
            Some(Lacking { key, is_current, reason: error.map(|error| error.to_string()) })
        };
        let lacks = match adopted.await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) | Err(_) => lacking(None),
            Ok(Err(error)) => lacking(Some(error)),
        };
        let (knows, wraps) = (newest.filter(|_| lacks.is_none()), ring.key_id());
        let sql = "update log.node set knows_key = $2, wraps_with = $3
                   where id = $1 and (knows_key, wraps_with) is distinct from ($2, $3)";
        self.log().primary().execute(sql, &[&self.node(), &knows, &wraps]).await?;
        Ok(lacks)
    }
}

/// A master key of the log that a node does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lacking {
    pub(crate) key: String,
    /// Whether new data keys are wrapped with it already.
    pub(crate) is_current: bool,
    /// Why, if there is a key that cannot be used.
    pub(crate) reason: Option<String>,
}

struct Rotation<'a> {
    tenure: &'a Tenure,
    client: &'a Client,
    wait: Duration,
    tell: &'a (dyn Fn(RotationStep) + Sync),
}

impl Rotation<'_> {
    async fn run(&self) -> Result<Rotated, RotateError> {
        let ring = self.tenure.codec().keys().clone();
        let source = ring.source().clone();
        let stored = self.stored().await?;
        let Some(current) = stored.iter().find(|key| key.state == MasterKeyState::Current) else {
            return Err(RotateError::Database(ReplayError::Malformed));
        };
        let other = stored.iter().find(|key| key.id != current.id);
        let (from, to) = match other {
            Some(former) if former.state != MasterKeyState::Announced => {
                (former.id.clone(), current.id.clone())
            }
            other => {
                if source.present_file().is_none()
                    && source.next_file.is_none()
                    && source.next_value.is_none()
                {
                    return Err(RotateError::NoFile);
                }
                let entropy = self.tenure.entropy();
                let next = match other {
                    // Made by an earlier run, perhaps on another machine; none is made now.
                    Some(announced) => self.announced(&announced.id)?,
                    None => ring.next_master(&*entropy)?,
                };
                if next.id() == current.id {
                    let is_present = source
                        .load()
                        .is_ok_and(|present| present.is_some_and(|present| present.id() == current.id));
                    if is_present {
                        return Err(RotateError::SameKey(current.id.clone()));
                    }
                    // Killed after the log had changed its key, and before the files had changed places.
                    let files_changed = self.change_files(&current.id).await;
                    return Ok(Rotated { from: None, to: current.id.clone(), data_keys: 0, files_changed });
                }
                if other.is_none() {
                    // A release before this one cannot have two keys.
                    self.until_nodes("wraps_with", &current.id, RotationStep::WaitingForUse).await?;
                    let (check, lookup) = ring.stored_values(&next, &*entropy)?;
                    let sql = "insert into log.key_ring (key_id, check_value, lookup_key, state)
                               values ($1, $2, $3, 'announced')";
                    let announce =
                        async || Ok(self.client.execute(sql, &[&next.id(), &check, &lookup]).await?);
                    self.patiently(announce).await?;
                }
                let (from, to) = (current.id.clone(), next.id().to_owned());
                self.until_nodes("knows_key", &to, RotationStep::WaitingForKey).await?;
                self.patiently(async || self.switch(&from, &to).await).await?;
                (from, to)
            }
        };
        self.until_nodes("wraps_with", &to, RotationStep::WaitingForUse).await?;
        let used = Stopwatch::start();
        let mut data_keys = self.wrap_all(&from, &to).await?;
        while used.elapsed() < ON_THE_WAY {
            (self.tell)(RotationStep::Settling);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.patiently(async || self.retire(&from).await).await?;
        // From now on none can be added.
        loop {
            data_keys += self.wrap_all(&from, &to).await?;
            let left = "select exists (select from log.data_key where key_id = $1)";
            if !self.client.query_one(left, &[&from]).await?.try_get::<_, bool>(0)? {
                break;
            }
        }
        let gone = "delete from log.key_ring where key_id = $1 and nats_keys is null";
        while self.patiently(async || Ok(self.client.execute(gone, &[&from]).await?)).await? == 0 {
            self.move_operator_keys(&from, &to).await?;
        }
        self.tenure.follow_key_ring().await?;
        let files_changed = self.change_files(&to).await;
        Ok(Rotated { from: Some(from), to, data_keys, files_changed })
    }

    /// The key that was announced, wherever this node has it.
    fn announced(&self, id: &str) -> Result<MasterKey, RotateError> {
        let source = self.tenure.codec().keys().source();
        if let Some(key) = source.find(id)? {
            return Ok(key);
        }
        Err(match source.load_next()? {
            Some(given) => {
                RotateError::OtherUnderWay { under_way: id.to_owned(), given: given.id().to_owned() }
            }
            None => RotateError::WithoutAnnounced {
                key: id.to_owned(),
                file: source.file_of_next().display().to_string(),
            },
        })
    }

    /// Repeats work while others hold locks that it needs.
    async fn patiently<T>(&self, work: impl AsyncFn() -> Result<T, RotateError>) -> Result<T, RotateError> {
        let since = Stopwatch::start();
        loop {
            match work().await {
                Err(error) if error.is_conflict() && since.elapsed() < self.wait => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                done => return done,
            }
        }
    }

    async fn stored(&self) -> Result<Vec<StoredMasterKey>, RotateError> {
        let rows = self.client.query(STORED, &[]).await?;
        Ok(rows.iter().map(StoredMasterKey::from_row).collect::<Result<_, _>>()?)
    }

    /// Waits until every node that lives says this of the key.
    async fn until_nodes(
        &self,
        column: &'static str,
        key: &str,
        step: fn(i64) -> RotationStep,
    ) -> Result<(), RotateError> {
        let since = Stopwatch::start();
        let sql = format!(
            "select count(*) from log.node
             where expires_at > clock_timestamp() - interval '{MAY_BE_SLOW}' and {column} is distinct from $1"
        );
        loop {
            // This process is a node, too.
            self.tenure.follow_key_ring().await?;
            let left: i64 = self.client.query_one(&sql, &[&key]).await?.try_get(0)?;
            if left == 0 {
                return Ok(());
            }
            (self.tell)(step(left));
            if since.elapsed() > self.wait {
                let file = self.tenure.codec().keys().source().file_of_next().display().to_string();
                return Err(RotateError::NodesWithout { left, key: key.to_owned(), file });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes the new key the one that wraps. What the former one wraps can still be read by every node, and the other way round.
    async fn switch(&self, from: &str, to: &str) -> Result<(), RotateError> {
        self.client.batch_execute("begin").await?;
        let switching = async {
            self.move_operator_keys(from, to).await?;
            // In this order: there is only one current key at any time.
            let sql = "update log.key_ring set state = $2 where key_id = $1";
            self.client.execute(sql, &[&from, &"former"]).await?;
            self.client.execute(sql, &[&to, &"current"]).await?;
            Ok::<_, RotateError>(self.client.batch_execute("commit").await?)
        };
        let switched = switching.await;
        if switched.is_err() {
            let _ = self.client.batch_execute("rollback").await;
        }
        switched
    }

    /// Wraps the operator's keys of NATS, which are wrapped with the master key itself, with the new one.
    async fn move_operator_keys(&self, from: &str, to: &str) -> Result<(), RotateError> {
        loop {
            let sql = "select nats_keys from log.key_ring where key_id = $1";
            let row = self.client.query_opt(sql, &[&from]).await?;
            let wrapped: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?.flatten();
            let Some(wrapped) = wrapped else { return Ok(()) };
            let (ring, entropy) = (self.tenure.codec().keys(), self.tenure.entropy());
            let moved = ring.rewrap((from, to), NATS_KEYS.as_bytes(), &wrapped, &*entropy);
            let moved = moved.map_err(|error| RotateError::of_key(error, NATS_KEYS))?;
            // Both at once, and only if nobody has changed them meanwhile.
            let sql = "with taken as (update log.key_ring set nats_keys = null where key_id = $1 and nats_keys = $3 returning 1)
                       update log.key_ring set nats_keys = coalesce(nats_keys, $4) where key_id = $2 and exists (select from taken)";
            if self.client.execute(sql, &[&from, &to, &wrapped, &moved]).await? == 1 {
                return Ok(());
            }
        }
    }

    /// Wraps every data key that the former key wraps with the new one. Returns how many there were.
    async fn wrap_all(&self, from: &str, to: &str) -> Result<u64, RotateError> {
        let about =
            "select greatest(reltuples, 0)::bigint from pg_class where oid = 'log.data_key'::regclass";
        let about: i64 = self.client.query_one(about, &[]).await?.try_get(0)?;
        let (ring, entropy) = (self.tenure.codec().keys(), self.tenure.entropy());
        let (mut after, mut done) = (String::new(), 0);
        loop {
            let sql = "select subject, wrapped from log.data_key where subject > $1 and key_id = $2
                       order by subject limit $3";
            let rows = self.client.query(sql, &[&after, &from, &BATCH]).await?;
            let (mut subjects, mut before, mut now) = (Vec::new(), Vec::new(), Vec::new());
            for row in &rows {
                let (subject, wrapped): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
                let rewrapped = ring.rewrap((from, to), subject.as_bytes(), &wrapped, &*entropy);
                now.push(rewrapped.map_err(|error| RotateError::of_key(error, &subject))?);
                before.push(wrapped);
                subjects.push(subject);
            }
            let Some(last) = subjects.last() else { return Ok(done) };
            after.clone_from(last);
            // A key that was destroyed meanwhile stays so.
            let sql = "update log.data_key d set key_id = $4, wrapped = t.now
                       from unnest($1::text[], $2::bytea[], $3::bytea[]) t (subject, before, now)
                       where d.subject = t.subject and d.wrapped = t.before";
            done += self
                .patiently(async || Ok(self.client.execute(sql, &[&subjects, &before, &now, &to]).await?))
                .await?;
            (self.tell)(RotationStep::Wrapping(done, u64::try_from(about).unwrap_or_default().max(done)));
        }
    }

    /// From now on, nothing can be wrapped with the former key.
    async fn retire(&self, from: &str) -> Result<(), RotateError> {
        self.client.batch_execute("begin").await?;
        let retiring = async {
            // Appends hold this lock: one that has stored a data key under the former key is seen afterwards.
            self.client.batch_execute("select from log.head for update").await?;
            let sql = "update log.key_ring set state = 'retired' where key_id = $1";
            self.client.execute(sql, &[&from]).await?;
            self.client.batch_execute("commit").await
        };
        let retired = retiring.await;
        if retired.is_err() {
            let _ = self.client.batch_execute("rollback").await;
        }
        Ok(retired?)
    }

    /// Puts the file of the new key in the place of the former one, if both are where this node expects them.
    async fn change_files(&self, to: &str) -> bool {
        let (source, to) = (self.tenure.codec().keys().source().clone(), to.to_owned());
        match tokio::task::spawn_blocking(move || source.promote_next(&to)).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the log has changed its master key, but the files could not change places");
                false
            }
            Err(_) => false,
        }
    }
}
