//! Reads the log forward once for all subscribers of a process, which ask for the same events at about the same time.
//!
//! Positions are contiguous, so a page that was read answers every reader whose place is within it. One page is read at a time;
//! those who wait for it get their answer from the same page.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::checkpoint::Checkpoint;
use super::error::ReadError;
use super::event::{FromLog as _, RecordedEvent};
use super::page::{PAGE, contiguous};
use super::primary::Primary;
use crate::ids::{EventId, LogId};

/// The most events that are kept for others, and the most bytes of their contents.
const MAX_EVENTS: usize = 8_192;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Consecutive events, shared between the readers of a process.
#[derive(Clone, Default)]
pub struct Events {
    page: Arc<Vec<Arc<RecordedEvent>>>,
    from: usize,
}

impl Events {
    /// The events, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Arc<RecordedEvent>] {
        self.page.get(self.from..).unwrap_or_default()
    }

    /// Those of them after a position, if the next one is among them.
    #[must_use]
    pub fn after(&self, position: i64) -> Option<Self> {
        let first = self.page.first()?.position;
        let from = usize::try_from(position + 1 - first).ok().filter(|from| *from < self.page.len())?;
        Some(Self { page: self.page.clone(), from })
    }

    /// Whether they end with a full page, so that there are probably more.
    #[must_use]
    pub fn is_full_page(&self) -> bool {
        i64::try_from(self.page.len()).is_ok_and(|length| length >= PAGE)
    }
}

/// The pages that were read last.
#[derive(Default)]
struct Pages {
    epoch: i64,
    /// By the position of the first event.
    by_first: BTreeMap<i64, Arc<Vec<Arc<RecordedEvent>>>>,
    /// The same, oldest first.
    order: VecDeque<i64>,
    events: usize,
    bytes: usize,
}

/// Reads the log for the subscribers of a process.
pub struct SharedReader {
    primary: Primary,
    log_id: LogId,
    pages: Mutex<Pages>,
    /// Counts the questions, to know which of them a page was read after.
    asked: AtomicU64,
    /// Held while a page is read.
    reading: tokio::sync::Mutex<Newest>,
}

/// The newest position, as the last read that came to the end of the log found it.
#[derive(Default)]
struct Newest {
    position: i64,
    /// The number of the last question that was asked before that read began.
    asked: u64,
}

impl SharedReader {
    pub(super) fn new(primary: Primary, log_id: LogId) -> Self {
        Self {
            primary,
            log_id,
            pages: Mutex::default(),
            asked: AtomicU64::new(0),
            reading: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events after a position of this epoch, as far as they are on one page; none if there are none yet.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`], [`ReadError::LogReplaced`] or [`ReadError::Gap`].
    pub async fn after(&self, epoch: i64, position: i64) -> Result<Events, ReadError> {
        if let Some(known) = self.known(epoch, position) {
            return Ok(known);
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut newest = self.reading.lock().await;
        if let Some(known) = self.known(epoch, position) {
            return Ok(known);
        }
        // A read that began after this question found nothing there.
        if newest.asked >= number && newest.position == position {
            return Ok(Events::default());
        }
        let asked = self.asked.load(Ordering::SeqCst);
        let read = self.read(epoch, position).await?;
        if !read.is_full_page() {
            let position = read.as_slice().last().map_or(position, |event| event.position);
            *newest = Newest { position, asked };
        }
        Ok(read)
    }

    /// The events after a position, if they are on a page that was read before.
    fn known(&self, epoch: i64, position: i64) -> Option<Events> {
        let pages = self.lock();
        let found = pages.by_first.range(..=position + 1).next_back().filter(|_| pages.epoch == epoch);
        Events { page: found?.1.clone(), from: 0 }.after(position)
    }

    async fn read(&self, epoch: i64, position: i64) -> Result<Events, ReadError> {
        let sql = format!(
            "select {} from log.event where position > $1 order by position limit $2",
            RecordedEvent::COLUMNS
        );
        let answer = self.primary.query(&sql, &[&position, &PAGE]).await?;
        if answer.epoch != epoch {
            let from = Checkpoint { log_id: self.log_id, epoch, position, event_id: EventId::NIL };
            return Err(ReadError::LogReplaced { from, epoch: answer.epoch });
        }
        let events: Vec<_> =
            answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, tokio_postgres::Error>>()?;
        contiguous(position, &events)?;
        let page = Arc::new(events.into_iter().map(Arc::new).collect::<Vec<_>>());
        if !page.is_empty() {
            self.lock().keep(epoch, position + 1, page.clone());
        }
        Ok(Events { page, from: 0 })
    }
}

fn bytes(page: &[Arc<RecordedEvent>]) -> usize {
    let sealed = |event: &RecordedEvent| event.sealed.as_ref().map_or(0, bytes::Bytes::len);
    page.iter().map(|event| event.payload.len() + event.metadata.len() + sealed(event)).sum()
}

impl Pages {
    fn keep(&mut self, epoch: i64, first: i64, page: Arc<Vec<Arc<RecordedEvent>>>) {
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self.events += page.len();
        self.bytes += bytes(&page);
        if let Some(former) = self.by_first.insert(first, page) {
            self.events -= former.len();
            self.bytes -= bytes(&former);
        } else {
            self.order.push_back(first);
        }
        // The newest page stays, however large it is.
        while (self.events > MAX_EVENTS || self.bytes > MAX_BYTES) && self.order.len() > 1 {
            let Some(page) = self.order.pop_front().and_then(|first| self.by_first.remove(&first)) else {
                break;
            };
            self.events -= page.len();
            self.bytes -= bytes(&page);
        }
    }
}
