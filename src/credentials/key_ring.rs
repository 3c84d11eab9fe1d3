//! The key ring: the subjects' data keys, wrapped by the master key, and the lookup key that hashes claims.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio_postgres::Client;

use super::master_key::{MasterKey, MasterKeyError, MasterKeySource};
use crate::aggregates::ClaimHasher;
use crate::entropy::Entropy;
use crate::event_log::claim::ClaimKey;
use crate::event_log::unit::NewDataKey;
use crate::event_log::{Primary, ReadError};
use crate::sealing::{DataKey, SealError, Subject};

const CHECK_TEXT: &[u8] = b"tenure key ring check";
const LOOKUP_NAME: &[u8] = b"tenure lookup key";

/// What the operator's keys of NATS are wrapped as, in `log.key_ring.nats_keys`.
pub const NATS_KEYS: &str = "tenure nats keys";

/// How many data keys are cached in memory.
const CACHED_KEYS: usize = 200_000;

/// The keys of one log: the master keys, the lookup key, and a cache of data keys.
pub struct KeyRing {
    masters: RwLock<Masters>,
    source: MasterKeySource,
    lookup: DataKey,
    /// Data keys by subject, each with the epoch in which it was read.
    cache: Cache<String, (i64, DataKey)>,
    /// The current epoch; keys of other epochs in the cache are ignored.
    epoch: AtomicI64,
    /// Counts keys that this node knows to be destroyed. Keys read before the latest destruction are not cached.
    destroyed: AtomicU64,
}

/// The master keys that this node has. There are two while one replaces the other.
struct Masters {
    /// The one that wraps new data keys.
    current: MasterKey,
    /// The one that is announced, or the former one.
    other: Option<MasterKey>,
}

/// What a master key of the log is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MasterKeyState {
    /// Known to nodes, and not used yet.
    Announced,
    /// Wraps new data keys.
    Current,
    /// Still used by nodes that have not seen the current one.
    Former,
    /// Nothing may be wrapped with it any more.
    Retired,
}

impl MasterKeyState {
    fn parse(text: &str) -> Self {
        match text {
            "announced" => Self::Announced,
            "former" => Self::Former,
            "retired" => Self::Retired,
            _ => Self::Current,
        }
    }
}

/// A master key of the log, as the log knows it.
#[derive(Clone, Debug)]
pub struct StoredMasterKey {
    /// Its public id.
    pub id: String,
    /// What it is for.
    pub state: MasterKeyState,
    check_value: Vec<u8>,
    lookup_key: Vec<u8>,
}

impl StoredMasterKey {
    /// Reads the columns `key_id, state, check_value, lookup_key`.
    pub(crate) fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        let state: &str = row.try_get(1)?;
        let state = MasterKeyState::parse(state);
        Ok(Self { id: row.try_get(0)?, state, check_value: row.try_get(2)?, lookup_key: row.try_get(3)? })
    }

    /// Whether this is the key. The id is only a 64-bit hash of it; decrypting the check value proves that it is the right one.
    fn is(&self, master: &MasterKey) -> bool {
        master.id() == self.id
            && master.key().decrypt(&self.check_value, self.id.as_bytes()).as_deref() == Ok(CHECK_TEXT)
    }
}

/// The columns of `log.key_ring` that [`StoredMasterKey::from_row`] reads.
pub(crate) const STORED: &str = "select key_id, state, check_value, lookup_key from log.key_ring";

/// Why the key ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The master key is missing, damaged or another log's.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database cannot be read or written.
    #[error("the key ring cannot be read")]
    Database(#[from] tokio_postgres::Error),
    /// The log has master keys, and none of them is the current one.
    #[error("the key ring in the log has no current master key; restore log.key_ring from a backup")]
    NoCurrent,
    /// A key stored in the log does not open with the log's master key.
    #[error("the key ring in the log is damaged")]
    Damaged(#[from] SealError),
}

impl KeyRing {
    /// Opens the key ring of a log. A log without one gets a new one, and a new master key if none is given. Call it
    /// under the migration lock, so that two nodes do not both create one.
    ///
    /// # Errors
    /// [`KeyRingError::MasterKey`] if the master key is missing, damaged or another log's; [`KeyRingError::Database`];
    /// [`KeyRingError::Damaged`].
    pub async fn open(
        client: &Client,
        source: &MasterKeySource,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyRingError> {
        let rows = client.query(STORED, &[]).await?;
        let stored: Vec<StoredMasterKey> =
            rows.iter().map(StoredMasterKey::from_row).collect::<Result<_, _>>()?;
        let Some(current) = stored.iter().find(|key| key.state == MasterKeyState::Current) else {
            if !stored.is_empty() {
                return Err(KeyRingError::NoCurrent);
            }
            let master = match source.load()? {
                Some(master) => master,
                None => source.create(entropy)?,
            };
            return Self::begin(client, master, source, entropy).await;
        };
        let master = find(source, current)?;
        let mut other = None;
        for key in stored.iter().filter(|key| key.id != current.id) {
            other = match find(source, key) {
                // Nothing uses it yet.
                Err(error) if key.state == MasterKeyState::Announced => {
                    tracing::warn!(%error, "the log is about to change its master key");
                    None
                }
                found => Some(found?),
            };
        }
        let lookup = unwrap(&master, &current.lookup_key, LOOKUP_NAME)?;
        // A ring that was restored with triggers off has not reached the head row.
        let differs = "select accepted_keys <> array(select key_id from log.key_ring where state <> 'retired' order by key_id)
                       from log.head";
        if client.query_one(differs, &[]).await?.try_get(0)? {
            client.execute("update log.key_ring set state = state where false", &[]).await?;
        }
        Ok(Self::new(Masters { current: master, other }, lookup, source))
    }

    async fn begin(
        client: &Client,
        master: MasterKey,
        source: &MasterKeySource,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyRingError> {
        let lookup = DataKey::new(entropy);
        let (check, wrapped) = stored_values(&master, &lookup, entropy)?;
        client
            .execute(
                "insert into log.key_ring (key_id, check_value, lookup_key) values ($1, $2, $3)",
                &[&master.id(), &check, &wrapped],
            )
            .await?;
        Ok(Self::new(Masters { current: master, other: None }, lookup, source))
    }

    fn new(masters: Masters, lookup: DataKey, source: &MasterKeySource) -> Self {
        Self {
            masters: RwLock::new(masters),
            source: source.clone(),
            lookup,
            cache: Cache::new(CACHED_KEYS),
            epoch: AtomicI64::new(0),
            destroyed: AtomicU64::new(0),
        }
    }

    fn masters(&self) -> std::sync::RwLockReadGuard<'_, Masters> {
        self.masters.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The master key with this id, if this node has it.
    fn master(&self, id: &str) -> Option<MasterKey> {
        let masters = self.masters();
        [Some(&masters.current), masters.other.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id() == id)
            .cloned()
    }

    /// Takes over what the log says of its master keys. Returns whether this node has the newest one; if not, it goes on with those
    /// that it has. Reads files.
    ///
    /// # Errors
    /// [`MasterKeyError`] if the newest key is there, but not usable.
    pub fn adopt(&self, stored: &[StoredMasterKey]) -> Result<bool, MasterKeyError> {
        let Some(current) = stored.iter().find(|key| key.state == MasterKeyState::Current) else {
            return Ok(true);
        };
        let known = |key: &StoredMasterKey| match self.master(&key.id) {
            Some(master) => Ok(Some(master)),
            None => self.source.find(&key.id).map(|found| found.filter(|found| key.is(found))),
        };
        let Some(master) = known(current)? else { return Ok(false) };
        // Without the other one this node still goes over to the current one.
        let other = match stored.iter().find(|key| key.id != current.id) {
            Some(key) => known(key).map(|found| (found, true)),
            None => Ok((None, false)),
        };
        let (other, is_wanted) = match other {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "a master key of the log cannot be used");
                (None, true)
            }
        };
        let has_all = other.is_some() || !is_wanted;
        let mut masters = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        *masters = Masters { current: master, other };
        Ok(has_all)
    }

    /// Finds the key that is to replace the present one, or makes it.
    ///
    /// # Errors
    /// [`MasterKeyError`]
    pub(crate) fn next_master(&self, entropy: &dyn Entropy) -> Result<MasterKey, MasterKeyError> {
        match self.source.load_next()? {
            Some(next) => Ok(next),
            // A file that was named is expected to be there.
            None if self.source.next_file.is_some() => {
                let (path, source) = (self.source.file_of_next(), std::io::ErrorKind::NotFound.into());
                Err(MasterKeyError::File { path, source })
            }
            None => self.source.create_next(entropy),
        }
    }

    /// Where this node's master keys come from.
    #[must_use]
    pub const fn source(&self) -> &MasterKeySource {
        &self.source
    }

    /// What is stored of a master key: the check value and the lookup key that it wraps.
    ///
    /// # Errors
    /// [`SealError::Cipher`]
    pub(crate) fn stored_values(
        &self,
        master: &MasterKey,
        entropy: &dyn Entropy,
    ) -> Result<(Vec<u8>, Vec<u8>), SealError> {
        stored_values(master, &self.lookup, entropy)
    }

    /// Wraps a data key with another master key.
    ///
    /// # Errors
    /// [`KeyLoadError::Damaged`] if it does not open with the master key with this id; [`KeyLoadError::UnknownMaster`] if this node
    /// does not have one of the two.
    pub(crate) fn rewrap(
        &self,
        (from, to): (&str, &str),
        name: &[u8],
        wrapped: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyLoadError> {
        let master = |id: &str| self.master(id).ok_or_else(|| KeyLoadError::UnknownMaster(id.to_owned()));
        let (from, to) = (master(from)?, master(to)?);
        let key = zeroize::Zeroizing::new(from.key().decrypt(wrapped, name)?);
        Ok(to.key().encrypt(&key, name, entropy)?)
    }

    /// The public id of the master key that wraps new data keys.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.masters().current.id().to_owned()
    }

    /// Creates a data key for a new subject, and the row that stores it with the subject's first event.
    ///
    /// # Errors
    /// [`SealError::Cipher`] if the key cannot be wrapped.
    pub fn new_data_key(
        &self,
        subject: Subject,
        entropy: &dyn Entropy,
    ) -> Result<(DataKey, NewDataKey), SealError> {
        let key = DataKey::new(entropy);
        let subject = subject.to_string();
        // The subject is bound in, so that a wrapped key cannot be moved to another subject.
        let masters = self.masters();
        let master = &masters.current;
        let wrapped = Bytes::from(master.key().encrypt(key.as_bytes(), subject.as_bytes(), entropy)?);
        Ok((key, NewDataKey { subject, key_id: master.id().to_owned(), wrapped }))
    }

    /// Wraps a secret that is no data key with the master key with this id; `name` says what it is, and is needed to unwrap it.
    ///
    /// # Errors
    /// [`SealError::Cipher`]; [`SealError::Damaged`] if this node does not have the key.
    pub fn wrap_secret(
        &self,
        key_id: &str,
        name: &'static str,
        secret: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let master = self.master(key_id).ok_or(SealError::Damaged)?;
        master.key().encrypt(secret, name.as_bytes(), entropy)
    }

    /// Unwraps a secret that [`KeyRing::wrap_secret`] wrapped with the same key and under the same name.
    ///
    /// # Errors
    /// [`SealError`] if it was changed, or wrapped with another master key or under another name.
    pub fn unwrap_secret(
        &self,
        key_id: &str,
        name: &'static str,
        wrapped: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, SealError> {
        let master = self.master(key_id).ok_or(SealError::Damaged)?;
        Ok(zeroize::Zeroizing::new(master.key().decrypt(wrapped, name.as_bytes())?))
    }

    /// Caches a subject's key. Call it only once the key is in the log.
    pub fn remember(&self, epoch: i64, subject: &str, key: DataKey) {
        // Keys of names and invites are destroyed by events of other streams, which this node does not notice: they are
        // read from the log each time.
        if subject.starts_with("name:") || subject.starts_with("invite:") {
            return;
        }
        self.cache.insert(subject.to_owned(), (epoch, key));
    }

    /// Clears the cache: in a new epoch, some of its keys may have been destroyed.
    pub fn begin_epoch(&self, epoch: i64) {
        // Epoch first: a key that is cached between the two steps carries the old epoch and is ignored.
        self.epoch.store(epoch, Ordering::SeqCst);
        self.cache.clear();
    }

    /// Drops a subject's destroyed key from the cache. A concurrent [`KeyRing::load`] that has read the key does not
    /// keep it.
    pub fn forget(&self, subject: &str) {
        // Counted first: a load that caches the key after the removal sees the count and removes it again.
        self.destroyed.fetch_add(1, Ordering::SeqCst);
        self.cache.remove(subject);
    }

    /// The cached key of a subject; `None` if it is not cached in the current epoch.
    #[must_use]
    pub fn cached(&self, subject: &str) -> Option<DataKey> {
        // A key read before the epoch changed may have been cached after that.
        self.cache
            .get(subject)
            .filter(|(epoch, _)| *epoch == self.epoch.load(Ordering::SeqCst))
            .map(|(_, key)| key)
    }

    /// The keys of these subjects; those not cached are read in one query. Destroyed keys are absent.
    ///
    /// # Errors
    /// [`KeyLoadError::Read`] if the database cannot be read; [`KeyLoadError::Damaged`] if a stored key does not open.
    pub async fn load(
        &self,
        subjects: Vec<String>,
        primary: &Primary,
    ) -> Result<HashMap<String, DataKey>, KeyLoadError> {
        let mut found = HashMap::with_capacity(subjects.len());
        let mut missing = Vec::new();
        for subject in subjects {
            match self.cached(&subject) {
                Some(key) => drop(found.insert(subject, key)),
                None => missing.push(subject),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        // Noted before the query, to notice keys that are destroyed while it runs.
        let destroyed = self.destroyed.load(Ordering::SeqCst);
        let (epoch, read) = self.read(&missing, primary).await?;
        for (subject, key) in read {
            self.remember(epoch, &subject, key.clone());
            // Checked only after the key is cached: if it is destroyed after this check, `forget` removes it from the
            // cache.
            if self.destroyed.load(Ordering::SeqCst) != destroyed {
                self.cache.remove(&subject);
            }
            found.insert(subject, key);
        }
        Ok(found)
    }

    /// The keys of these subjects as stored in the log, bypassing the cache. A key that any node destroyed before this
    /// call is absent.
    ///
    /// # Errors
    /// The same as [`KeyRing::load`].
    pub async fn load_afresh(
        &self,
        subjects: &[String],
        primary: &Primary,
    ) -> Result<HashMap<String, DataKey>, KeyLoadError> {
        if subjects.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(self.read(subjects, primary).await?.1.into_iter().collect())
    }

    async fn read(
        &self,
        subjects: &[String],
        primary: &Primary,
    ) -> Result<(i64, Vec<(String, DataKey)>), KeyLoadError> {
        let sql = "select subject, wrapped, key_id from log.data_key where subject = any ($1)";
        let answer = primary.query(sql, &[&subjects]).await?;
        let is_unknown = |row: &tokio_postgres::Row| {
            row.try_get::<_, &str>(2).is_ok_and(|key_id| self.master(key_id).is_none())
        };
        if answer.rows.iter().any(is_unknown) {
            // The master key was changed while this node did not look.
            let rows = primary.rows(STORED, &[]).await?;
            let stored: Result<Vec<_>, _> = rows.iter().map(StoredMasterKey::from_row).collect();
            if let Err(error) = self.adopt(&stored.map_err(ReadError::from)?) {
                tracing::warn!(%error, "the master key of the log cannot be used");
            }
        }
        let mut keys = Vec::with_capacity(answer.rows.len());
        for row in answer.rows {
            let subject: String = row.try_get(0).map_err(ReadError::from)?;
            let key_id: &str = row.try_get(2).map_err(ReadError::from)?;
            let master = self.master(key_id).ok_or_else(|| KeyLoadError::UnknownMaster(key_id.to_owned()))?;
            let key = unwrap(&master, row.try_get(1).map_err(ReadError::from)?, subject.as_bytes())?;
            keys.push((subject, key));
        }
        Ok((answer.epoch, keys))
    }
}

/// Why data keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyLoadError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A stored key does not open with the master key.
    #[error("a data key in the log does not open with the master key")]
    Damaged(#[from] SealError),
    /// A stored key is wrapped with a master key that this node does not have.
    #[error(
        "a data key in the log is wrapped with master key {0}, which this node does not have: give it that key"
    )]
    UnknownMaster(String),
}

impl ClaimHasher for KeyRing {
    fn claim(&self, kind: &'static str, name: &[u8]) -> ClaimKey {
        // RFC 2104 pads a key shorter than the block with zeros.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(self.lookup.as_bytes());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(kind.as_bytes());
        // A separator, so that no two pairs of kind and name hash the same text.
        mac.update(&[0]);
        mac.update(name);
        ClaimKey { kind, key: mac.finalize().into_bytes().into() }
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({})", self.key_id())
    }
}

/// The key of the log with this id, from where this node's keys come from.
fn find(source: &MasterKeySource, stored: &StoredMasterKey) -> Result<MasterKey, MasterKeyError> {
    let log = stored.id.clone();
    match source.find(&log)? {
        Some(master) if stored.is(&master) => Ok(master),
        Some(master) => Err(MasterKeyError::Mismatch { log, given: master.id().to_owned() }),
        // The log was restored to a moment at which it had two.
        None if stored.state != MasterKeyState::Current => {
            Err(MasterKeyError::MissingNext { log, next_file: source.file_of_next() })
        }
        None => match source.load()? {
            Some(given) => Err(MasterKeyError::Mismatch { log, given: given.id().to_owned() }),
            None => Err(MasterKeyError::Missing { log, default_file: source.default_file.clone() }),
        },
    }
}

/// The check value, and the wrapped lookup key.
fn stored_values(
    master: &MasterKey,
    lookup: &DataKey,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, Vec<u8>), SealError> {
    let check = master.key().encrypt(CHECK_TEXT, master.id().as_bytes(), entropy)?;
    Ok((check, master.key().encrypt(lookup.as_bytes(), LOOKUP_NAME, entropy)?))
}

fn unwrap(master: &MasterKey, wrapped: &[u8], name: &[u8]) -> Result<DataKey, SealError> {
    let key = zeroize::Zeroizing::new(master.key().decrypt(wrapped, name)?);
    let key: [u8; 32] = key.as_slice().try_into().map_err(|_| SealError::Damaged)?;
    Ok(DataKey::from_bytes(key))
}
