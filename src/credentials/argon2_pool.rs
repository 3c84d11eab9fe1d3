//! Where secrets are hashed: a fixed number of threads, a bounded queue, one hash at a time for each prefix, and no hash
//! twice for a secret that was right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};

use super::api_key::{self, StoredHash};
use crate::aggregates::api_key::KeyPrefix;
use crate::entropy::Entropy;

/// How many hashes may wait or be made at once, unless set otherwise.
pub const MAX_QUEUED: usize = 256;

/// How many may wait for their turn with one prefix: whoever knows a prefix cannot take the whole queue with it.
const MAX_WAITING_PER_PREFIX: usize = 64;

/// How many secrets that were right are remembered.
const MAX_VERIFIED: usize = 100_000;

/// More hashes are asked for than may wait; nothing was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many secrets are being hashed; try again later")]
pub struct Busy;

/// Whose turn it is with each prefix.
type PrefixLocks = Mutex<HashMap<KeyPrefix, Arc<tokio::sync::Mutex<()>>>>;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that hash. Memory is taken while a hash is made: never more than a thread's 64 MiB each, and for a stored
/// hash that asks for more, one at a time.
pub struct Argon2Pool {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    prefixes: Arc<PrefixLocks>,
    large: Arc<Mutex<()>>,
    /// Of a secret that was right, an HMAC under a key of this process, and a digest of the stored string that it is behind:
    /// a fact that nothing makes untrue. Whether the key is still good is asked of the table each time.
    verified: Cache<[u8; 32], [u8; 32]>,
    process_key: [u8; 64],
}

impl Argon2Pool {
    /// A thread for each processor, and a queue of this length.
    #[must_use]
    pub fn new(queue: usize, entropy: &dyn Entropy) -> Self {
        let mut process_key = [0; 64];
        entropy.fill(&mut process_key);
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..threads {
            let waiting = waiting.clone();
            thread::spawn(move || {
                loop {
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job(),
                        Err(_) => return,
                    }
                }
            });
        }
        Self {
            jobs,
            permits: Arc::new(Semaphore::new(queue)),
            prefixes: Arc::default(),
            large: Arc::default(),
            verified: Cache::new(MAX_VERIFIED),
            process_key,
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever has stopped waiting needs no hash.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        self.jobs.send(job).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    /// The PHC string of a new secret.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn hash(&self, plaintext: SecretString, salt: [u8; 16]) -> Result<String, Busy> {
        let _permit = self.permits.try_acquire().map_err(|_| Busy)?;
        self.run(move || api_key::hash(&plaintext, salt)).await?.ok_or(Busy)
    }

    /// Whether a secret that begins like this is behind a stored PHC string.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn verify(
        &self,
        prefix: &KeyPrefix,
        plaintext: SecretString,
        stored: &str,
    ) -> Result<bool, Busy> {
        let known = (self.mac(&plaintext), Sha256::digest(stored).into());
        if self.verified.get(&known.0) == Some(known.1) {
            return Ok(true);
        }
        let Some(stored) = StoredHash::parse(stored) else {
            return Ok(false);
        };
        let place = QueueSlot {
            lock_prefix: Some(self.lock_prefix(prefix).ok_or(Busy)?.lock_owned().await),
            prefix: prefix.clone(),
            prefix_locks: self.prefixes.clone(),
        };
        if self.verified.get(&known.0) == Some(known.1) {
            return Ok(true);
        }
        let matches = self.compare(plaintext, stored, place).await;
        if matches == Ok(true) {
            self.verified.insert(known.0, known.1);
        }
        matches
    }

    /// Whether a secret has been right before, for some stored string.
    #[must_use]
    pub fn remembers(&self, plaintext: &SecretString) -> bool {
        self.verified.get(&self.mac(plaintext)).is_some()
    }

    /// The turn and the permit go with the hash, so that whoever does not wait for it frees neither before its end.
    async fn compare(
        &self,
        plaintext: SecretString,
        stored: StoredHash,
        place: QueueSlot,
    ) -> Result<bool, Busy> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Busy)?;
        let large = self.large.clone();
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            if !answer.is_closed() {
                let alone = stored.is_large().then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
                let matches = stored.matches(&plaintext);
                drop(alone);
                drop((place, permit));
                let _ = answer.send(matches);
            }
        });
        self.jobs.send(job).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    fn mac(&self, plaintext: &SecretString) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(&self.process_key.into());
        mac.update(plaintext.expose_secret().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A place in the line for a prefix; none if it is too long.
    fn lock_prefix(&self, prefix: &KeyPrefix) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let lock_prefix = prefixes.entry(prefix.clone()).or_default();
        (Arc::strong_count(lock_prefix) <= MAX_WAITING_PER_PREFIX).then(|| lock_prefix.clone())
    }
}

/// A place at the head of the line for a prefix; the line is forgotten with the last one.
struct QueueSlot {
    lock_prefix: Option<tokio::sync::OwnedMutexGuard<()>>,
    prefix: KeyPrefix,
    prefix_locks: Arc<PrefixLocks>,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        drop(self.lock_prefix.take());
        let mut prefix_locks = self.prefix_locks.lock().unwrap_or_else(PoisonError::into_inner);
        if prefix_locks.get(&self.prefix).is_some_and(|lock_prefix| Arc::strong_count(lock_prefix) == 1) {
            prefix_locks.remove(&self.prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn pool(queue: usize) -> Argon2Pool {
        Argon2Pool::new(queue, &crate::entropy::SeededEntropy::new(1))
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_an_empty_one_hashes() {
        assert_eq!(pool(0).hash(secret("ppz_x"), [1; 16]).await, Err(Busy));
        let pool = pool(1);
        let stored = pool.hash(secret("ppz_x"), [1; 16]).await.unwrap();
        let (one, other) = (KeyPrefix::of("x"), KeyPrefix::of("y"));
        let wrong = || secret("ppz_wrong");
        let asked = tokio::join!(pool.verify(&one, wrong(), &stored), pool.verify(&other, wrong(), &stored));
        assert_eq!(asked, (Ok(false), Err(Busy)));
        assert_eq!(pool.verify(&one, secret("ppz_x"), "nonsense").await, Ok(false));
        assert!(pool.prefixes.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_secret_that_was_right_is_not_hashed_again_and_only_for_what_it_was_right_for() {
        let pool = pool(1);
        let stored = pool.hash(secret("ppz_x"), [1; 16]).await.unwrap();
        let other = pool.hash(secret("ppz_y"), [2; 16]).await.unwrap();
        let prefix = KeyPrefix::of("x");
        assert!(!pool.remembers(&secret("ppz_x")));
        assert_eq!(pool.verify(&prefix, secret("ppz_x"), &stored).await, Ok(true));
        assert!(pool.remembers(&secret("ppz_x")));
        let _all = pool.permits.try_acquire().unwrap();
        assert_eq!(pool.verify(&prefix, secret("ppz_x"), &stored).await, Ok(true), "without a hash");
        assert_eq!(pool.verify(&prefix, secret("ppz_x"), &other).await, Err(Busy));
        assert_eq!(pool.verify(&prefix, secret("ppz_z"), &stored).await, Err(Busy));
    }

    #[tokio::test]
    async fn one_prefix_cannot_take_the_whole_queue() {
        let pool = pool(MAX_QUEUED);
        let stored = pool.hash(secret("ppz_x"), [1; 16]).await.unwrap();
        let prefix = KeyPrefix::of("x");
        let many = (0..100).map(|number| pool.verify(&prefix, secret(&format!("ppz_{number}")), &stored));
        let answers = futures::future::join_all(many).await;
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(false)).count(), MAX_WAITING_PER_PREFIX);
        assert_eq!(
            answers.iter().filter(|answer| **answer == Err(Busy)).count(),
            100 - MAX_WAITING_PER_PREFIX
        );
    }
}
