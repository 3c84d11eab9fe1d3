//! How far a replay has come.

/// What a replay is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Reading the live tables, to compare them; counted in rows.
    ReadingTables,
    /// Reading the log; counted in events.
    ReadingLog,
    /// Comparing and loading; counted in slices.
    Loading,
    /// Building indexes; counted in tables.
    Indexing,
    /// Applying the events since the rebuild began.
    CatchingUp,
    /// Waiting for transactions that hold locks on `view`.
    Waiting,
    /// Waiting for nodes of another release to stop writing.
    Draining,
    /// Replacing the live tables.
    Swapping,
}

impl Phase {
    /// What is being done, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadingTables => "reading the live tables",
            Self::ReadingLog => "reading the log",
            Self::Loading => "comparing and loading",
            Self::Indexing => "building indexes",
            Self::CatchingUp => "catching up",
            Self::Waiting => "waiting for other transactions",
            Self::Draining => "waiting for nodes of the release before",
            Self::Swapping => "swapping",
        }
    }
}

/// What a replay reports while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A phase begins; the total is 0 if it is not known.
    Begun(Phase, u64),
    /// So much more of the phase is done.
    Advanced(u64),
    /// The transactions that are waited for.
    WaitingFor(&'a [String]),
}

/// Receives the progress of a replay.
pub struct Progress(Box<dyn Fn(Step<'_>) + Send + Sync>);

impl Progress {
    /// Calls this with every step.
    pub fn new(tell: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// Tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(super) fn begin(&self, phase: Phase, total: u64) {
        self.0(Step::Begun(phase, total));
    }

    pub(super) fn advance(&self, by: u64) {
        self.0(Step::Advanced(by));
    }

    pub(super) fn say(&self, holders: &[String]) {
        if !holders.is_empty() {
            self.0(Step::WaitingFor(holders));
        }
    }
}
