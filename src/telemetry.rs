//! Logs on standard error and metrics for Prometheus.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Histogram buckets for latencies, in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Histogram buckets for the number of units in a batch.
const UNITS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How many lines can be queued for standard error. Further lines are dropped and counted.
const MAX_LINES: usize = 8_192;

/// How long [`Log::flush`] waits for queued lines.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// A message to the thread that writes the log.
enum Message {
    Line(Vec<u8>),
    /// Answered once all earlier messages have been written.
    Flush(std::sync::mpsc::Sender<()>),
}

/// The log of this process, on standard error.
///
/// A separate thread writes the lines: a closed reader, a full disk or a full pipe loses lines, but never blocks or
/// ends the process.
pub struct Log {
    messages: Option<SyncSender<Message>>,
}

impl Log {
    /// Queues a line without formatting, after the lines logged earlier. Dropped if the queue is full.
    pub fn say(&self, line: &str) {
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(Message::Line(format!("{line}\n").into_bytes()));
        }
    }

    /// Waits for the queued lines to be written, for at most 500 ms.
    pub fn flush(&self) {
        let (written, wait) = channel();
        if let Some(messages) = &self.messages
            && messages.try_send(Message::Flush(written)).is_ok()
        {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Creates one [`Line`] for each log record.
#[derive(Clone)]
struct Lines {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// One line. Sent to the writing thread when dropped, because only then is it complete.
struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if let Err(TrySendError::Full(_)) = self.lines.messages.try_send(Message::Line(text)) {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(messages: &Receiver<Message>, dropped: &AtomicU64, mut out: impl Write) {
    while let Ok(message) = messages.recv() {
        match message {
            // A write error has nowhere to be reported, and the next line may succeed.
            Message::Line(text) => drop(out.write_all(&text)),
            Message::Flush(written) => drop(written.send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines were dropped: standard error is not read fast enough");
        }
    }
}

/// The levels of a log filter, most important first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Parses the value of `TENURE_LOG`: levels, and levels of targets, separated by commas.
///
/// # Errors
/// Which item is wrong, by its number: the text itself may be anything that was pasted there by mistake.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |text: &str| LEVELS.contains(&text.trim().to_ascii_lowercase().as_str());
    for (number, item) in text.split(',').enumerate() {
        // Alone, a word that is no level would be a target of which everything is logged, and nothing else.
        if !is_level(item.rsplit('=').next().unwrap_or_default()) {
            return Err(format!(
                "item {} is neither a level ({}) nor a target with a level, as in tenure=debug",
                number + 1,
                LEVELS.join(", ")
            ));
        }
    }
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    EnvFilter::try_new(items.join(","))
        .map_err(|_| "it is not a list of targets with levels, as in warn,tenure=debug".to_owned())
}

/// Whether a log line of this target and level shows nothing that must not be logged. Libraries write what passes through them at the
/// lower levels, such as the parameters of queries.
fn shows_no_secrets(target: &str, level: Level) -> bool {
    let is_ours = target == "tenure" || target.starts_with("tenure::");
    is_ours || level <= Level::INFO
}

/// Starts logging to standard error from this level up. The environment variable `TENURE_LOG` overrides the level.
#[must_use]
pub fn log(level: &str) -> Log {
    let given = std::env::var_os("TENURE_LOG").filter(|text| !text.is_empty());
    let given = given.map(|text| filter(text.to_str().unwrap_or("=")));
    let (filter, mistake) = match given {
        None => (EnvFilter::new(level), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(mistake)) => (EnvFilter::new(level), Some(mistake)),
    };
    let (messages, received) = sync_channel(MAX_LINES);
    let lines = Lines { messages: messages.clone(), dropped: Arc::default() };
    let dropped = lines.dropped.clone();
    let thread = std::thread::Builder::new().name("log".to_owned());
    let started = thread.spawn(move || write_lines(&received, &dropped, io::stderr()));
    let has_colors =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let format = tracing_subscriber::fmt::layer()
        .with_writer(lines)
        .with_ansi(has_colors)
        // Internal errors would be written to standard error directly, which can block.
        .log_internal_errors(false);
    // Fails if the process already has a subscriber, as in tests; the first one then stays.
    let _ = tracing_subscriber::registry()
        .with(filter_fn(|line| shows_no_secrets(line.target(), *line.level())))
        .with(filter)
        .with(format)
        .try_init();
    // The default hook writes to standard error directly and would block on a full pipe.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let log = Log { messages: started.is_ok().then_some(messages) };
    if let Some(mistake) = mistake {
        log.say(&format!("tenure: TENURE_LOG is ignored: {mistake}; logging from level {level} up"));
    }
    log
}

/// Starts collecting metrics; the returned handle renders them for Prometheus.
///
/// # Errors
/// [`BuildError`] if metrics are already being collected.
pub fn collect_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("tenure_append_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("tenure_batch_units".to_owned()), UNITS)?
        .install_recorder()?;
    metrics::describe_counter!("tenure_commits_total", "Transactions of the committer");
    metrics::describe_counter!(
        "tenure_overtaken_batches_total",
        "Batches that were sent again because another process had appended"
    );
    metrics::describe_counter!("tenure_events_total", "Events stored by this node");
    metrics::describe_counter!(
        "tenure_epoch_changes_total",
        "New epochs of positions since this node started"
    );
    metrics::describe_histogram!("tenure_batch_units", "Units of work per transaction");
    metrics::describe_gauge!("tenure_append_queue", "Units of work waiting for the committer");
    metrics::describe_histogram!("tenure_append_seconds", "Seconds from queueing a unit to its answer");
    metrics::describe_gauge!(
        "tenure_follower_lag_events",
        "Events committed but not yet read by this node's follower"
    );
    metrics::describe_gauge!(
        "tenure_subscription_lag_events",
        "Events that the slice furthest behind of a subscription has not looked at yet"
    );
    metrics::describe_gauge!(
        "tenure_subscription_lag_seconds",
        "Age of the oldest event that a subscription has not handled, parked ones left out"
    );
    metrics::describe_gauge!(
        "tenure_subscription_parked_streams",
        "Streams of a subscription that wait for an operator"
    );
    metrics::describe_counter!(
        "tenure_subscription_handled_events_total",
        "Events of a subscription that this process has handled"
    );
    metrics::describe_counter!(
        "tenure_subscription_failures_total",
        "Deliveries of a subscription in this process that failed"
    );
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A writer that blocks while its first mutex is locked.
    struct Stuck(Arc<Mutex<()>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _turn = self.0.lock().unwrap();
            self.1.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_filter_is_levels_and_targets_with_levels() {
        for good in
            ["warn", "INFO", "off", "warn,tenure=debug", "tenure::http=trace, hyper=off", "tenure[span]=info"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (bad, item) in [("loud", 1), ("warn,tenure", 2), ("tenure=loud", 1), ("warn,,info", 2), ("=", 1)]
        {
            let mistake = filter(bad).unwrap_err();
            assert!(mistake.starts_with(&format!("item {item} ")), "{bad}: {mistake}");
        }
    }

    #[test]
    fn an_unread_log_drops_lines_and_blocks_no_writer() {
        let (messages, received) = sync_channel(4);
        let lines = Lines { messages, dropped: Arc::default() };
        let (turn, written) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(Vec::new())));
        let held = turn.lock().unwrap();
        let (out, dropped) = (Stuck(turn.clone(), written.clone()), lines.dropped.clone());
        let writer = std::thread::spawn(move || write_lines(&received, &dropped, out));
        for number in 0..100 {
            writeln!(lines.make_writer(), "line {number}").unwrap();
        }
        drop(held);
        drop(lines);
        writer.join().unwrap();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n") && text.contains("log lines were dropped"), "{text}");
    }

    #[test]
    fn a_failing_log_ends_no_task() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (messages, received) = sync_channel(4);
        let writer = std::thread::spawn(move || write_lines(&received, &AtomicU64::new(0), Broken));
        let log = Log { messages: Some(messages.clone()) };
        messages.send(Message::Line(b"x\n".to_vec())).unwrap();
        log.flush();
        drop((log, messages));
        writer.join().unwrap();
    }
}
