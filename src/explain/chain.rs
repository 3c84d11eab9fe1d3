//! What caused an event, and what it caused.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::story::{Entry, ExplainError, Viewer};
use crate::Tenure;
use crate::clock::Timestamp;
use crate::event_log::{FromLog as _, ReadError, RecordedEvent};
use crate::ids::EventId;

/// How many causes of causes are followed.
const DEEPEST: usize = 100;

/// How many events after an event are searched for its effects.
pub const SEARCHED: i64 = 10_000;

/// How many effects are told.
const MOST_EFFECTS: i64 = 100;

/// How far around the time in its identifier an event is looked for, one after the other, in seconds before and after. The two
/// differ when the clocks of nodes do.
const AROUND: [(u64, u64); 3] = [(0, 1), (1, 10), (60, 600)];

/// How many events are looked at for one.
const MOST_SEARCHED: i64 = 200_000;

/// What caused an event, and what it caused.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    /// The causes, the first one first.
    pub causes: Vec<Entry>,
    /// The event.
    pub event: Entry,
    /// What it caused among the 10,000 events after it; at most 100.
    pub effects: Vec<Entry>,
    /// The epoch of the positions.
    pub epoch: i64,
}

impl Tenure {
    /// What caused the event at a position, and what it caused, as this viewer may see it: for members of an account, the events of the
    /// account.
    ///
    /// # Errors
    /// [`ExplainError`]
    pub async fn explain_event(&self, position: i64, viewer: Viewer) -> Result<Chain, ExplainError> {
        let is_seen = |event: &RecordedEvent| match viewer {
            Viewer::Operator => true,
            Viewer::Account(account) => event.account_id == Some(account.as_uuid()),
            Viewer::User(_) => false,
        };
        let found = self.event_at(position).await?.filter(is_seen);
        let event = found.ok_or_else(|| ExplainError::NoEvent(position.to_string()))?;
        let (mut causes, mut seen) = (Vec::new(), HashSet::from([event.id]));
        let mut next = cause_of(&event);
        while let Some(cause) = next.filter(|cause| causes.len() < DEEPEST && seen.insert(*cause)) {
            let Some(found) = self.find_event(cause).await? else { break };
            next = cause_of(&found);
            causes.push(found);
        }
        causes.reverse();
        let columns = RecordedEvent::COLUMNS;
        let sql = format!(
            "select {columns} from log.event
             where position > $1 and position <= $1 + $2::bigint and position(convert_to($3, 'UTF8') in metadata) > 0
               and ($5::uuid is null or account_id = $5)
             order by position limit $4"
        );
        let account = match viewer {
            Viewer::Account(account) => Some(account.as_uuid()),
            Viewer::Operator | Viewer::User(_) => None,
        };
        let cause = format!("\"causation\":\"{}\"", event.id);
        let answer = self
            .log()
            .primary()
            .query(&sql, &[&event.position, &SEARCHED, &cause, &MOST_EFFECTS, &account])
            .await?;
        let effects: Vec<RecordedEvent> = answer
            .rows
            .iter()
            .map(RecordedEvent::from_row)
            .collect::<Result<_, _>>()
            .map_err(ReadError::from)?;
        let seen = |events: Vec<RecordedEvent>| events.into_iter().filter(is_seen).collect::<Vec<_>>();
        let causes = self.tell(&seen(causes), viewer).await?;
        let effects = self.tell(&seen(effects), viewer).await?;
        let event = self.tell(&[event], viewer).await?.into_iter().next();
        let event = event.ok_or_else(|| ExplainError::NoEvent(position.to_string()))?;
        Ok(Chain { causes, event, effects, epoch: answer.epoch })
    }

    async fn event_at(&self, position: i64) -> Result<Option<RecordedEvent>, ExplainError> {
        let sql = format!("select {} from log.event where position = $1", RecordedEvent::COLUMNS);
        let row = self.log().primary().row(&sql, &[&position]).await?;
        Ok(row.as_ref().map(RecordedEvent::from_row).transpose().map_err(ReadError::from)?)
    }

    /// The event with this identifier; `None` if there is none near the time in it. There is no index of identifiers: it would cost
    /// every append.
    ///
    /// # Errors
    /// [`ExplainError::Read`]
    pub async fn find_event(&self, id: EventId) -> Result<Option<RecordedEvent>, ExplainError> {
        // UUIDv7 (RFC 9562): 48 bits of milliseconds since the Unix epoch.
        let micros = i64::try_from(id.as_uuid().as_u128() >> 80).unwrap_or_default() * 1_000;
        let sql = format!(
            "select {} from log.event
             where position >= log.position_at($1)
               and position < least(log.position_at($2), log.position_at($1) + {MOST_SEARCHED}) and event_id = $3 limit 1",
            RecordedEvent::COLUMNS
        );
        for (before, after) in AROUND {
            let seconds = |seconds: u64| i64::try_from(seconds * 1_000_000).unwrap_or(i64::MAX);
            let from = Timestamp::from_micros(micros - seconds(before));
            let to = Timestamp::from_micros(micros).after(Duration::from_secs(after));
            if let Some(row) = self.log().primary().row(&sql, &[&from, &to, &id]).await? {
                return Ok(Some(RecordedEvent::from_row(&row).map_err(ReadError::from)?));
            }
        }
        Ok(None)
    }
}

/// The event that caused another.
fn cause_of(event: &RecordedEvent) -> Option<EventId> {
    let metadata: serde_json::Value = serde_json::from_slice(&event.metadata).ok()?;
    metadata.get("causation")?.as_str()?.parse().ok()
}
