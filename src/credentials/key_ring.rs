//! The key ring: the subjects' data keys, wrapped by the master key, and the lookup key that hashes claims.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

/// How many data keys are cached in memory.
const CACHED_KEYS: usize = 200_000;

/// The keys of one log: the master key, the lookup key, and a cache of data keys.
pub struct KeyRing {
    master: MasterKey,
    lookup: DataKey,
    /// Data keys by subject, each with the epoch in which it was read.
    cache: Cache<String, (i64, DataKey)>,
    /// The current epoch; keys of other epochs in the cache are ignored.
    epoch: AtomicI64,
    /// Counts keys that this node knows to be destroyed. Keys read before the latest destruction are not cached.
    destroyed: AtomicU64,
}

/// Why the key ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The master key is missing, damaged or another log's.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database cannot be read or written.
    #[error("the key ring cannot be read")]
    Database(#[from] tokio_postgres::Error),
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
        let stored =
            client.query_opt("select key_id, check_value, lookup_key from log.key_ring", &[]).await?;
        let Some(row) = stored else {
            let master = match source.load()? {
                Some(master) => master,
                None => source.create(entropy)?,
            };
            return Self::begin(client, master, entropy).await;
        };
        let log: String = row.try_get(0)?;
        let master = source.load()?.ok_or_else(|| MasterKeyError::Missing {
            log: log.clone(),
            default_file: source.default_file.clone(),
        })?;
        // The id is only a 64-bit hash of the key; decrypting the check value proves that it is the right one.
        if master.id() != log
            || master.key().decrypt(row.try_get(1)?, log.as_bytes()).as_deref() != Ok(CHECK_TEXT)
        {
            return Err(MasterKeyError::Mismatch { log, given: master.id().to_owned() }.into());
        }
        let lookup = unwrap(&master, row.try_get(2)?, LOOKUP_NAME)?;
        Ok(Self::new(master, lookup))
    }

    async fn begin(client: &Client, master: MasterKey, entropy: &dyn Entropy) -> Result<Self, KeyRingError> {
        let check = master.key().encrypt(CHECK_TEXT, master.id().as_bytes(), entropy)?;
        let lookup = DataKey::new(entropy);
        let wrapped = master.key().encrypt(lookup.as_bytes(), LOOKUP_NAME, entropy)?;
        client
            .execute(
                "insert into log.key_ring (key_id, check_value, lookup_key) values ($1, $2, $3)",
                &[&master.id(), &check, &wrapped],
            )
            .await?;
        Ok(Self::new(master, lookup))
    }

    fn new(master: MasterKey, lookup: DataKey) -> Self {
        Self {
            master,
            lookup,
            cache: Cache::new(CACHED_KEYS),
            epoch: AtomicI64::new(0),
            destroyed: AtomicU64::new(0),
        }
    }

    /// The public id of the master key in use.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.master.id()
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
        let wrapped = Bytes::from(self.master.key().encrypt(key.as_bytes(), subject.as_bytes(), entropy)?);
        Ok((key, NewDataKey { subject, key_id: self.master.id().to_owned(), wrapped }))
    }

    /// Wraps a secret that is no data key under the master key; `name` says what it is, and is needed to unwrap it.
    ///
    /// # Errors
    /// [`SealError::Cipher`]
    pub fn wrap_secret(
        &self,
        name: &'static str,
        secret: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        self.master.key().encrypt(secret, name.as_bytes(), entropy)
    }

    /// Unwraps a secret that [`KeyRing::wrap_secret`] wrapped under the same name.
    ///
    /// # Errors
    /// [`SealError`] if it was changed, or wrapped by another master key or under another name.
    pub fn unwrap_secret(
        &self,
        name: &'static str,
        wrapped: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, SealError> {
        Ok(zeroize::Zeroizing::new(self.master.key().decrypt(wrapped, name.as_bytes())?))
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
        let sql = "select subject, wrapped from log.data_key where subject = any ($1)";
        let answer = primary.query(sql, &[&subjects]).await?;
        let mut keys = Vec::with_capacity(answer.rows.len());
        for row in answer.rows {
            let subject: String = row.try_get(0).map_err(ReadError::from)?;
            let key = unwrap(&self.master, row.try_get(1).map_err(ReadError::from)?, subject.as_bytes())?;
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

fn unwrap(master: &MasterKey, wrapped: &[u8], name: &[u8]) -> Result<DataKey, SealError> {
    let key = zeroize::Zeroizing::new(master.key().decrypt(wrapped, name)?);
    let key: [u8; 32] = key.as_slice().try_into().map_err(|_| SealError::Damaged)?;
    Ok(DataKey::from_bytes(key))
}
