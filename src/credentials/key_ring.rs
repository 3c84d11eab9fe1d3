//! The key ring: data keys of subjects, wrapped by the master key, and the key of guessable claims.

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

/// How many data keys are kept in memory.
const CACHED_KEYS: usize = 200_000;

/// The keys of one log, as far as this node may know them.
pub struct KeyRing {
    master: MasterKey,
    lookup: DataKey,
    /// Each with the epoch in which it was read.
    cache: Cache<String, (i64, DataKey)>,
    /// The epoch whose keys may be in memory.
    epoch: AtomicI64,
    /// How many keys this node knows to have been destroyed: what was read before the last one is not kept.
    destroyed: AtomicU64,
}

/// Why the key ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// There is no usable master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database cannot be read or written.
    #[error("the key ring cannot be read")]
    Database(#[from] tokio_postgres::Error),
    /// What the log holds does not open with its own key.
    #[error("the key ring in the log is damaged")]
    Damaged(#[from] SealError),
}

impl KeyRing {
    /// Opens the key ring of a log, under the migration lock: a log without one gets one, and a master key if none
    /// was given.
    ///
    /// # Errors
    /// The master key is missing, damaged or another log's.
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

    /// The public name of the master key in use.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.master.id()
    }

    /// A key for a subject that begins, and the row that stores it with the subject's first event.
    ///
    /// # Errors
    /// The cipher refuses.
    pub fn new_data_key(
        &self,
        subject: Subject,
        entropy: &dyn Entropy,
    ) -> Result<(DataKey, NewDataKey), SealError> {
        let key = DataKey::new(entropy);
        let subject = subject.to_string();
        let wrapped = Bytes::from(self.master.key().encrypt(key.as_bytes(), subject.as_bytes(), entropy)?);
        Ok((key, NewDataKey { subject, key_id: self.master.id().to_owned(), wrapped }))
    }

    /// Remembers the key of a subject once its first event is stored. Only of those whose own stream says when it is
    /// destroyed, so that this node notices; what others' streams destroy is read each time.
    pub fn remember(&self, epoch: i64, subject: &str, key: DataKey) {
        if subject.starts_with("name:") || subject.starts_with("invite:") {
            return;
        }
        self.cache.insert(subject.to_owned(), (epoch, key));
    }

    /// Forgets all keys: of another epoch than this one, some may have been destroyed.
    pub fn begin_epoch(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.cache.clear();
    }

    /// Forgets the key of a subject, once it has been destroyed. Whoever has read it before and not kept it yet will not.
    pub fn forget(&self, subject: &str) {
        self.destroyed.fetch_add(1, Ordering::SeqCst);
        self.cache.remove(subject);
    }

    /// The key of a subject, if it is in memory.
    #[must_use]
    pub fn cached(&self, subject: &str) -> Option<DataKey> {
        // One that was read before and put here after the epoch changed is not of this epoch.
        self.cache
            .get(subject)
            .filter(|(epoch, _)| *epoch == self.epoch.load(Ordering::SeqCst))
            .map(|(_, key)| key)
    }

    /// The keys of these subjects, in one round trip for those not in memory; destroyed ones are absent.
    ///
    /// # Errors
    /// The database cannot be read, or a stored key does not open.
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
        let destroyed = self.destroyed.load(Ordering::SeqCst);
        let (epoch, read) = self.read(&missing, primary).await?;
        for (subject, key) in read {
            self.remember(epoch, &subject, key.clone());
            // Checked after it is in memory: a key that is destroyed from here on is taken out again.
            if self.destroyed.load(Ordering::SeqCst) != destroyed {
                self.cache.remove(&subject);
            }
            found.insert(subject, key);
        }
        Ok(found)
    }

    /// The keys of these subjects as they are in the log, whatever is in memory: one that was destroyed before the call
    /// began is absent, on whichever node that was.
    ///
    /// # Errors
    /// As [`KeyRing::load`].
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
        // RFC 2104: a key shorter than the block is padded with zeros.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(self.lookup.as_bytes());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(kind.as_bytes());
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
