//! Who may look at the past at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::ids::AccountId;

/// How many requests of an engine look at the past at the same time.
const AT_ONCE: usize = 3;

/// The right to look at the past, until it is dropped.
pub(super) type Turn = [OwnedSemaphorePermit; 3];

/// Who looks at the past: few at the same time, of these one of each person and one for each account.
pub(super) struct Turns {
    of_askers: OneEach,
    of_accounts: OneEach,
    all: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(AT_ONCE));
        Self { of_askers: OneEach::default(), of_accounts: OneEach::default(), all }
    }
}

impl Turns {
    /// Waits until neither this person nor anybody else looks at the past of this account, and few others look at theirs.
    pub(super) async fn acquire(&self, account: AccountId, asker: Uuid) -> Result<Turn, AcquireError> {
        let of_asker = self.of_askers.acquire(asker).await?;
        let of_account = self.of_accounts.acquire(account.as_uuid()).await?;
        Ok([of_asker, of_account, self.all.clone().acquire_owned().await?])
    }
}

/// One place for each identifier.
#[derive(Default)]
struct OneEach {
    places: Mutex<BTreeMap<Uuid, Weak<Semaphore>>>,
}

impl OneEach {
    async fn acquire(&self, id: Uuid) -> Result<OwnedSemaphorePermit, AcquireError> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| place.strong_count() > 0);
            let known = places.get(&id).and_then(Weak::upgrade);
            let place = known.unwrap_or_else(|| Arc::new(Semaphore::new(1)));
            places.insert(id, Arc::downgrade(&place));
            place
        };
        place.acquire_owned().await
    }
}
