//! Hashes and verifies secrets with argon2id: a fixed number of threads, a bounded queue, one hash at a time per key
//! prefix, and a cache of secrets that were verified.

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

/// The default limit on hashes that are queued or running.
pub const MAX_QUEUED: usize = 256;

/// How many verifications can hold or wait for the lock of one prefix, so that a client that knows a prefix cannot fill
/// the whole queue.
const MAX_WAITING_PER_PREFIX: usize = 64;

/// How many verified secrets are remembered.
const MAX_VERIFIED: usize = 100_000;

/// The queue is full; nothing was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many secrets are being hashed; try again later")]
pub struct Busy;

/// One lock per prefix in use.
type PrefixLocks = Mutex<HashMap<KeyPrefix, Arc<tokio::sync::Mutex<()>>>>;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads that hash. Memory is used only while hashing: at most 64 MiB per thread. Stored hashes that need
/// more run one at a time.
pub struct Argon2Pool {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    prefixes: Arc<PrefixLocks>,
    large: Arc<Mutex<()>>,
    /// For each verified secret, its HMAC under a key of this process, and a digest of the stored string that it
    /// matches. A match never becomes untrue; whether the key is still valid is read from the table on every request.
    verified: Cache<[u8; 32], [u8; 32]>,
    process_key: [u8; 64],
}

impl Argon2Pool {
    /// Starts one thread per processor; `queue` limits the hashes that are queued or running.
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
            // The caller has stopped waiting, so its hash is not needed.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        self.jobs.send(job).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    /// Hashes a new secret and returns its PHC string.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full.
    pub async fn hash(&self, plaintext: SecretString, salt: [u8; 16]) -> Result<String, Busy> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| Busy)?;
        // The job owns the permit: a caller who stops waiting must not make room for another hash while this one runs.
        let job = move || {
            let _permit = permit;
            api_key::hash(&plaintext, salt)
        };
        self.run(job).await?.ok_or(Busy)
    }

    /// Whether a secret with this prefix matches a stored PHC string. `false` if the string is malformed.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full, or too many verifications wait for this prefix.
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
        // Checked again: while this call waited, another one may have verified the same secret.
        if self.verified.get(&known.0) == Some(known.1) {
            return Ok(true);
        }
        let matches = self.compare(plaintext, stored, place).await;
        if matches == Ok(true) {
            self.verified.insert(known.0, known.1);
        }
        matches
    }

    /// Whether this secret has been verified by this process, against any stored string.
    #[must_use]
    pub fn remembers(&self, plaintext: &SecretString) -> bool {
        self.verified.get(&self.mac(plaintext)).is_some()
    }

    /// Runs one comparison on the pool. The job owns the prefix lock and the permit, so that a caller that stops
    /// waiting does not release them while the hash is still running.
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
                // Released before the answer, so that a caller can start its next hash at once.
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

    /// The lock of a prefix; `None` if too many verifications hold or wait for it.
    fn lock_prefix(&self, prefix: &KeyPrefix) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        let lock_prefix = prefixes.entry(prefix.clone()).or_default();
        // The map holds one reference itself, so `<=` admits exactly the limit.
        (Arc::strong_count(lock_prefix) <= MAX_WAITING_PER_PREFIX).then(|| lock_prefix.clone())
    }
}

/// The held lock of a prefix. Dropping the last one removes the lock from the map.
struct QueueSlot {
    lock_prefix: Option<tokio::sync::OwnedMutexGuard<()>>,
    prefix: KeyPrefix,
    prefix_locks: Arc<PrefixLocks>,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        // The guard holds a reference: it must go first, or the count below is never 1.
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
    async fn a_caller_who_stops_waiting_makes_no_room_until_the_job_ends() {
        let pool = Arc::new(pool(1));
        // Keeps every thread of the pool busy until the gate opens.
        let (opened, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let busy: Vec<_> = (0..thread::available_parallelism().unwrap().get())
            .map(|_| {
                let (pool, gate) = (pool.clone(), gate.clone());
                tokio::spawn(async move { pool.run(move || gate.lock().unwrap().recv().is_ok()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let mut hash = Box::pin(pool.hash(secret("ppz_x"), [1; 16]));
        assert!(futures::poll!(&mut hash).is_pending());
        drop(hash);
        assert_eq!(pool.hash(secret("ppz_x"), [1; 16]).await, Err(Busy), "its job is still in the queue");
        drop(opened);
        for job in busy {
            job.await.unwrap().unwrap();
        }
        pool.run(|| ()).await.unwrap();
        assert!(pool.hash(secret("ppz_x"), [1; 16]).await.is_ok());
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
