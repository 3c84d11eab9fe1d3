//! A machine whose clock is off: nothing is stored with its time, whichever way it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tenure::clock::{Clock, MAX_CLOCK_OFFSET, SystemClock, Timestamp};
use tenure::dispatch::{DispatchError, Failure};
use tenure::engine::OpenError;
use tenure::entropy::OsEntropy;
use tenure::event_log::AppendError;
use tenure::event_log::BulkError;
use tenure::seed::SeedError;
use tenure::{Settings, Tenure};

use crate::support::server::Server;
use crate::support::switch::Switch;
use crate::support::{TestDatabase, history, operator, user};

/// The system's clock, set wrong.
struct Wrong(AtomicI64);

impl Wrong {
    fn by(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() + 1_000_000 * self.0.load(Ordering::SeqCst))
    }

    fn max_offset(&self) -> Option<Duration> {
        SystemClock.max_offset()
    }
}

async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Tenure, OpenError> {
    Tenure::open(settings, clock, Arc::new(OsEntropy::default())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_refused_at_the_start_and_at_every_write() {
    assert_eq!(MAX_CLOCK_OFFSET, Duration::from_secs(5));
    let database = TestDatabase::new().await;
    for seconds in [7, 86_400] {
        let ahead = open(database.settings(), Wrong::by(seconds)).await.err().unwrap();
        assert!(matches!(ahead, OpenError::Clock(AppendError::ClockAhead(_))), "{ahead}");
        let behind = open(database.settings(), Wrong::by(-seconds)).await.err().unwrap();
        assert!(matches!(behind, OpenError::Clock(AppendError::ClockBehind(_))), "{behind}");
        assert!(behind.to_string().contains("set both by NTP"), "{behind}");
    }
    let clock = Wrong::by(-3);
    let tenure = open(database.settings(), clock.clone()).await.unwrap();
    user(&tenure, "ada").await;
    let before = history(&tenure).await.len();
    for (seconds, is_ahead) in [(8, true), (-8, false), (90_000, true)] {
        clock.set(seconds);
        let refused = tenure.insert_user(&operator(), "bob", "b@example.org", "internal").await.unwrap_err();
        let DispatchError::Failed(Failure::Append(refused)) = refused else { panic!("{refused}") };
        let bulk = tenure::seed::generate(&tenure, 10, 1, |_| {}).await.unwrap_err();
        let SeedError::Bulk(BulkError::Append(bulk)) = bulk else { panic!("{bulk}") };
        for error in [refused, bulk] {
            let expected = if is_ahead {
                matches!(error, AppendError::ClockAhead(_))
            } else {
                matches!(error, AppendError::ClockBehind(_))
            };
            assert!(expected, "{seconds}: {error}");
        }
        // A node that refuses every write is not ready.
        let not_ready = tenure.ready().await.unwrap_err();
        assert_eq!(not_ready.code(), "clock", "{not_ready}");
    }
    clock.set(0);
    tenure.ready().await.unwrap();
    assert_eq!(history(&tenure).await.len(), before, "nothing was stored");
    user(&tenure, "bob").await;
    let last = history(&tenure).await.pop().unwrap().recorded_at;
    assert!(last < SystemClock.now().after(Duration::from_secs(1)), "no stored time is ahead: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_batch_that_was_held_up_on_its_way_is_no_clock_that_is_off() {
    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let key = tenure::credentials::master_key::MasterKeySource {
        default_file: keys.path().join("master.key"),
        ..Default::default()
    };
    let settings = Settings::new(switch.url("sslmode=disable").parse().unwrap(), key);
    let tenure = Arc::new(open(settings, Arc::new(SystemClock)).await.unwrap());
    user(&tenure, "ada").await;
    switch.silence(true);
    let held = tokio::spawn({
        let tenure = tenure.clone();
        async move { tenure.insert_user(&operator(), "bob", "b@example.org", "internal").await }
    });
    // Longer than clocks may differ, and shorter than a batch may take.
    tokio::time::sleep(MAX_CLOCK_OFFSET + Duration::from_secs(1)).await;
    switch.silence(false);
    held.await.unwrap().expect("it is stored with the time at which it was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_moved_by_hand_has_no_bound() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    clock.advance(Duration::from_secs(86_400 * 365));
    user(&tenure, "ada").await;
}
