//! Shows how far a rebuild or a comparison has come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Stopwatch;
use crate::replay::{Phase, Progress, Step};

/// How often the log names the transactions that a rebuild is waiting for, if there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A progress bar on standard error, if that is a terminal; otherwise log lines.
pub(super) struct Shown {
    bar: ProgressBar,
    is_swapping: Arc<AtomicBool>,
}

impl Shown {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, is_swapping: Arc::default() }
    }

    /// Whether the swap has begun, which may be done when its answer is not there yet.
    pub(super) fn is_swapping(&self) -> bool {
        self.is_swapping.load(Ordering::SeqCst)
    }

    /// Passes what a replay reports on to the bar.
    pub(super) fn progress(&self) -> Progress {
        let (bar, is_swapping) = (self.bar.clone(), self.is_swapping.clone());
        let said: Mutex<Option<Stopwatch>> = Mutex::default();
        Progress::new(move |step| match step {
            Step::Begun(phase, total) => {
                is_swapping.store(phase == Phase::Swapping, Ordering::SeqCst);
                if bar.is_hidden() {
                    tracing::info!("{}", phase.as_str());
                }
                begin(&bar, phase, total);
            }
            Step::Advanced(by) => bar.inc(by),
            Step::WaitingFor(holders) => {
                bar.set_message(format!("waiting for {}", holders.join(", ")));
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if bar.is_hidden() && said.as_ref().is_none_or(|since| since.elapsed() >= SAY_EVERY) {
                    tracing::warn!(?holders, "waiting for other transactions");
                    *said = Some(Stopwatch::start());
                }
            }
        })
    }

    /// Shows what is being done, where nothing is counted.
    pub(super) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Removes the bar, before anything else is printed.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn begin(bar: &ProgressBar, phase: Phase, total: u64) {
    let unit = match phase {
        Phase::ReadingTables => "rows",
        Phase::ReadingLog => "events",
        _ => "steps",
    };
    let template = if total == 0 {
        format!("{{spinner}} {{msg}} {{human_pos}} {unit}  {{elapsed}}")
    } else {
        format!("{{msg}} {{bar:30}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}} left")
    };
    let template = if matches!(phase, Phase::CatchingUp | Phase::Waiting | Phase::Draining | Phase::Swapping)
    {
        "{spinner} {msg}  {elapsed}".to_owned()
    } else {
        template
    };
    // The templates above are valid; the default style would do too.
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.reset();
    bar.set_length(total);
    bar.set_message(phase.as_str());
}

/// The number of events per second, rounded.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn rate(events: u64, seconds: f64) -> u64 {
    (events as f64 / seconds.max(0.001)).round() as u64
}

/// The most memory that this process has used so far, in bytes; null where the system does not say.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
