//! Where secrets are hashed: a fixed number of threads, a bounded queue, one hash at a time for each prefix.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use secrecy::SecretString;
use tokio::sync::{Semaphore, oneshot};

use super::api_key::{self, StoredHash};
use crate::aggregates::api_key::KeyPrefix;

/// How many hashes may wait or be made at once, unless set otherwise.
pub const QUEUE: usize = 256;

/// More hashes are asked for than may wait; nothing was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many secrets are being hashed; try again later")]
pub struct Busy;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that hash. Memory is taken while a hash is made: never more than a thread's 64 MiB each, and for a stored
/// hash that asks for more, one at a time.
pub struct Argon2Pool {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    prefixes: Mutex<HashMap<KeyPrefix, Arc<tokio::sync::Mutex<()>>>>,
    large: Arc<Mutex<()>>,
}

impl Argon2Pool {
    /// A thread for each processor, and a queue of this length.
    #[must_use]
    pub fn new(queue: usize) -> Self {
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
            prefixes: Mutex::default(),
            large: Arc::default(),
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
        let Some(stored) = StoredHash::parse(stored) else {
            return Ok(false);
        };
        let _permit = self.permits.try_acquire().map_err(|_| Busy)?;
        let turn = self.turn(prefix);
        let matches = {
            let _mine = turn.lock().await;
            let large = self.large.clone();
            self.run(move || {
                let _alone = stored.is_large().then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
                stored.matches(&plaintext)
            })
            .await
        };
        drop(turn);
        self.forget_idle(prefix);
        matches
    }

    fn turn(&self, prefix: &KeyPrefix) -> Arc<tokio::sync::Mutex<()>> {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        prefixes.entry(prefix.clone()).or_default().clone()
    }

    fn forget_idle(&self, prefix: &KeyPrefix) {
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        if prefixes.get(prefix).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            prefixes.remove(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_busy_and_an_empty_one_hashes() {
        let secret = || SecretString::from("ppz_x".to_owned());
        assert_eq!(Argon2Pool::new(0).hash(secret(), [1; 16]).await, Err(Busy));
        let pool = Argon2Pool::new(1);
        let stored = pool.hash(secret(), [1; 16]).await.unwrap();
        let prefix = KeyPrefix::of("x");
        let (one, two) =
            tokio::join!(pool.verify(&prefix, secret(), &stored), pool.verify(&prefix, secret(), &stored));
        assert_eq!((one, two), (Ok(true), Err(Busy)));
        assert_eq!(pool.verify(&prefix, secret(), "nonsense").await, Ok(false));
        assert!(pool.prefixes.lock().unwrap().is_empty());
    }
}
