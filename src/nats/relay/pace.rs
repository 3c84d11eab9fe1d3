//! Gives way to writers: while events are written and the machine has no idle processor, the relay takes little of it, and catches
//! up afterwards.

use std::time::Duration;

use tokio::time::Instant;

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// From how many events a second on writers count as busy.
const BUSY_WRITES: f64 = 2_000.0;

/// Below which share of idle processor time the machine counts as full. Writers that wait for the disk leave a good part idle.
const LEAST_IDLE: f64 = 0.4;

/// The least rate that is kept, and the one from which on nothing is held back, in events a second.
const FLOOR: f64 = 2_000.0;
const CEILING: f64 = 200_000.0;

/// The most events that are let through at once.
const BURST: f64 = 64.0;

/// How fast events may be published.
pub(super) struct Pace {
    /// Events a second; from [`CEILING`] on without limit.
    rate: f64,
    /// How many may be published now.
    allowed: f64,
    refilled: Instant,
    looked: Instant,
    newest: i64,
    processor: Option<Processor>,
    read: fn() -> Option<Processor>,
}

/// What the processors of the machine have done since it started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Processor {
    idle: u64,
    all: u64,
}

impl Processor {
    /// Reads `/proc/stat`; `None` where there is none.
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal: what comes after is counted in the first ones.
        Some(Self { idle: *ticks.get(3)?, all: ticks.iter().take(8).sum() })
    }

    /// The share of idle time since an earlier reading; `None` if no time has passed.
    fn idle_since(self, earlier: Self) -> Option<f64> {
        let share = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(share(self.idle.saturating_sub(earlier.idle)) / share(all))
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        Self::reading(Processor::read)
    }

    fn reading(read: fn() -> Option<Processor>) -> Self {
        let now = Instant::now();
        Self { rate: CEILING, allowed: BURST, refilled: now, looked: now, newest: 0, processor: read(), read }
    }

    /// Whether an event may be published now. `newest` is the newest position of the log.
    pub(super) fn allows(&mut self, newest: i64) -> bool {
        let now = Instant::now();
        if now.duration_since(self.looked) >= LOOK_EVERY {
            self.look(now, newest);
        }
        if self.rate >= CEILING {
            return true;
        }
        let gained = now.duration_since(self.refilled).as_secs_f64() * self.rate;
        (self.allowed, self.refilled) = ((self.allowed + gained).min(BURST), now);
        if self.allowed < 1.0 {
            return false;
        }
        self.allowed -= 1.0;
        true
    }

    /// When another event may be published, if none may be now.
    pub(super) fn next(&self) -> Instant {
        self.refilled + Duration::from_secs_f64((BURST / 2.0 - self.allowed).max(1.0) / self.rate)
    }

    fn look(&mut self, now: Instant, newest: i64) {
        let seconds = now.duration_since(self.looked).as_secs_f64();
        let written = u32::try_from((newest - self.newest).max(0)).unwrap_or(u32::MAX);
        let writes = if self.newest == 0 { 0.0 } else { f64::from(written) / seconds };
        let processor = (self.read)();
        let idle = processor.zip(self.processor).and_then(|(now, before)| now.idle_since(before));
        (self.looked, self.newest, self.processor) = (now, newest, processor);
        let is_full = idle.is_some_and(|idle| idle < LEAST_IDLE);
        self.rate = if writes > BUSY_WRITES && is_full {
            // Half each time, so that writers have the machine to themselves within half a second.
            (self.rate.min(writes) / 2.0).max(FLOOR)
        } else {
            (self.rate * 1.5).min(CEILING)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_idle_time_is_read() {
        let text = |idle: u64| format!("cpu  100 0 50 {idle} 10 0 0 0 7 7\ncpu0 1 2 3 4\n");
        let (before, after) =
            (Processor::parse(&text(1_000)).unwrap(), Processor::parse(&text(1_300)).unwrap());
        assert_eq!(after.idle_since(before), Some(1.0));
        assert_eq!(before.idle_since(before), None);
        assert_eq!(Processor::parse("intr 1 2"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_way_to_writers_on_a_full_machine_and_comes_back() {
        let always = || Some(Processor { idle: 5, all: 0 });
        let mut pace = Pace::reading(always);
        // A machine without idle time: every reading has more time in all, and none of it idle.
        pace.read = || {
            use std::sync::atomic::{AtomicU64, Ordering};
            static ALL: AtomicU64 = AtomicU64::new(100);
            Some(Processor { idle: 5, all: ALL.fetch_add(100, Ordering::SeqCst) })
        };
        let mut newest = 1;
        let mut published = 0;
        for _ in 0..200 {
            tokio::time::advance(Duration::from_millis(10)).await;
            // 20,000 events a second.
            newest += 200;
            while published < newest && pace.allows(newest) {
                published += 1;
            }
        }
        let held = newest - published;
        assert!(held > newest / 2, "{published} of {newest} published while writers were busy");
        // They stop.
        for _ in 0..200 {
            tokio::time::advance(Duration::from_millis(10)).await;
            while published < newest && pace.allows(newest) {
                published += 1;
            }
        }
        assert_eq!(published, newest, "it catches up");
    }
}
