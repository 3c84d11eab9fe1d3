//! Tells the story of a thing.

use uuid::Uuid;

use super::names::Names;
use super::related::related_events;
use super::story::{Entry, ExplainError, Story, Thing, Viewer};
use crate::Tenure;
use crate::aggregates::STREAM_TYPES;
use crate::event_log::{ReadError, RecordedEvent};
use crate::ids::AccountId;
use crate::projections::QueryError;

impl Tenure {
    /// The story of a thing after a position, at most so many events, as this viewer may see it. Does not check whether the viewer may
    /// see the thing.
    ///
    /// # Errors
    /// [`ExplainError`]
    pub async fn explain(
        &self,
        thing: Thing,
        viewer: Viewer,
        after: i64,
        limit: usize,
    ) -> Result<Story, ExplainError> {
        if let Thing::User(id) = thing {
            match self.reader().user(id).await {
                Ok(user) => {
                    if let Some(at) = user.forgotten_at {
                        return Err(ExplainError::Forgotten { user: id, at });
                    }
                }
                Err(QueryError::NotFound) => return Err(self.not_found(thing).await?),
                Err(error) => return Err(error.into()),
            }
        }
        let mut related = related_events(self, thing, viewer, after, limit).await?;
        if related.events.is_empty() && related.next.is_none() && after == 0 {
            return Err(self.not_found(thing).await?);
        }
        if let Viewer::Account(account) = viewer {
            // What happened elsewhere, to a minter for example, is not the account's to see.
            related.events.retain(|event| event.account_id == Some(account.as_uuid()));
        }
        let entries = self.tell(&related.events, viewer).await?;
        Ok(Story { entries, next: related.next, epoch: related.epoch, is_partial: related.is_partial })
    }

    /// Why there is no story: nothing has this identifier, or something else has.
    async fn not_found(&self, thing: Thing) -> Result<ExplainError, ExplainError> {
        let sql = "select stream_type from log.event where stream_id = $1 and stream_type <> 'ending' order by stream_id, stream_type, version limit 1";
        let row = self.log().primary().row(sql, &[&thing.id().to_string()]).await?;
        let found: Option<String> = row.map(|row| row.try_get(0)).transpose().map_err(ReadError::from)?;
        let (id, asked) = (thing.id(), thing.resource());
        Ok(match found {
            Some(found) if STREAM_TYPES.contains(&&*found) && found != asked.as_str() => {
                ExplainError::OtherKind { id, asked, found: found.replace('_', " ") }
            }
            _ => ExplainError::NotFound(asked),
        })
    }

    /// The account that a stream belongs to, whether it has ended or not; `None` if there is no such stream, or it belongs to none.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn account_of_stream(
        &self,
        stream_type: &str,
        id: Uuid,
    ) -> Result<Option<AccountId>, ReadError> {
        let sql =
            "select account_id from log.event where stream_type = $1 and stream_id = $2 and version = 1";
        let row = self.log().primary().row(sql, &[&stream_type, &id.to_string()]).await?;
        let account: Option<Uuid> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        Ok(account.map(AccountId::from_uuid))
    }

    /// Events as the entries of a story.
    pub(super) async fn tell(
        &self,
        events: &[RecordedEvent],
        viewer: Viewer,
    ) -> Result<Vec<Entry>, ExplainError> {
        let records = self.describe(events).await?;
        let names = Names::load(self, &records, viewer).await?;
        Ok(records.into_iter().map(|record| names.entry(record)).collect())
    }
}
