//! Which events belong to the story of a thing.

use uuid::Uuid;

use super::story::{ExplainError, Thing, Viewer};
use crate::Tenure;
use crate::event_log::read::Filter;
use crate::event_log::{FromLog as _, ReadError, RecordedEvent};
use crate::ids::UserId;
use crate::projections::QueryError;

/// How many streams a story follows at most; the newest, if there are more.
const MOST_STREAMS: i64 = 2_000;

/// The events of a story.
pub(super) struct Related {
    pub(super) events: Vec<RecordedEvent>,
    pub(super) epoch: i64,
    pub(super) is_partial: bool,
}

/// Events of a stream that belong to the story of a thing.
struct Strand {
    stream_type: &'static str,
    stream_id: Uuid,
    /// Only events of these types, separated by commas.
    types: Option<&'static str>,
    /// Only events whose payload has this identifier.
    mentions: Option<Uuid>,
}

impl Strand {
    const fn whole(stream_type: &'static str, stream_id: Uuid) -> Self {
        Self { stream_type, stream_id, types: None, mentions: None }
    }
}

/// The first events of the story of a thing after a position, at most so many.
pub(super) async fn related_events(
    tenure: &Tenure,
    thing: Thing,
    viewer: Viewer,
    after: i64,
    limit: usize,
) -> Result<Related, ExplainError> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    if let Thing::Account(account) = thing {
        let filter = Filter { account: Some(account.as_uuid()), ..Filter::default() };
        let page = tenure.log().read_page(after, &filter, most).await?;
        return Ok(Related { events: page.events, epoch: page.epoch, is_partial: false });
    }
    let mut strands = strands(tenure, thing, viewer).await?;
    // The thing's own stream is one of them.
    let followed = usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX) + 1;
    let is_partial = strands.len() > followed;
    strands.truncate(followed);
    let (mut types, mut ids, mut of_types, mut mentions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for strand in strands {
        types.push(strand.stream_type);
        ids.push(strand.stream_id.to_string());
        of_types.push(strand.types);
        mentions.push(strand.mentions.map(|id| id.to_string()));
    }
    let columns: Vec<String> =
        RecordedEvent::COLUMNS.split(',').map(|column| format!("e.{}", column.trim())).collect();
    let sql = format!(
        "select distinct on (e.position) {}
         from unnest($1::text[], $2::text[], $3::text[], $4::text[]) s (wanted_type, wanted_id, types, mentioned)
         join log.event e on e.stream_id = s.wanted_id and e.stream_type = s.wanted_type
         where e.position > $5
           and (s.types is null or e.event_type = any (string_to_array(s.types, ',')))
           and (s.mentioned is null or position(convert_to(s.mentioned, 'UTF8') in e.payload) > 0)
         order by e.position limit $6",
        columns.join(", ")
    );
    let answer =
        tenure.log().primary().query(&sql, &[&types, &ids, &of_types, &mentions, &after, &most]).await?;
    let events = answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>();
    Ok(Related { events: events.map_err(ReadError::from)?, epoch: answer.epoch, is_partial })
}

/// What belongs to the story of a thing other than an account.
async fn strands(tenure: &Tenure, thing: Thing, viewer: Viewer) -> Result<Vec<Strand>, ExplainError> {
    let reader = tenure.reader();
    let closing =
        |account: Uuid| Strand { types: Some("account.closed"), ..Strand::whole("account", account) };
    Ok(match thing {
        Thing::Account(account) => vec![Strand::whole("account", account.as_uuid())],
        Thing::User(user) => of_user(tenure, user, viewer == Viewer::Operator).await?,
        Thing::Key(key) => {
            let mut strands = vec![Strand::whole("api_key", key.as_uuid())];
            // A key ends with its minter's membership, with its minter, and with its account.
            if let Some(key) = found(reader.api_key(key).await)? {
                let (account, minter) = (key.account_id.as_uuid(), key.created_by_user_id.as_uuid());
                let types = Some("account.member_removed");
                strands.push(Strand { types, mentions: Some(minter), ..Strand::whole("account", account) });
                strands.push(closing(account));
                strands.push(Strand { types: Some("user.forgotten"), ..Strand::whole("user", minter) });
            }
            strands
        }
        Thing::Invite(invite) => {
            let mut strands = vec![Strand::whole("invite", invite.as_uuid())];
            if let Some(invite) = found(reader.invite(invite).await)? {
                let account = invite.account_id.as_uuid();
                strands.push(closing(account));
                if let Some(invitee) = invite.invitee_user_id {
                    let types = Some("account.member_added,account.member_removed");
                    let mentions = Some(invitee.as_uuid());
                    strands.push(Strand { types, mentions, ..Strand::whole("account", account) });
                }
            }
            strands
        }
        Thing::Source(source) => {
            let mut strands = vec![Strand::whole("source", source.as_uuid())];
            if let Some(source) = found(reader.source(source).await)? {
                strands.push(closing(source.account_id.as_uuid()));
            }
            strands
        }
    })
}

/// A user's own events, those of their credentials and invites, and those of accounts that mention them: of the accounts that they
/// belong to, and of those that they were invited to if former ones are wanted.
async fn of_user(tenure: &Tenure, user: UserId, with_former: bool) -> Result<Vec<Strand>, ExplainError> {
    let id = user.as_uuid();
    let mut strands = vec![Strand::whole("user", id)];
    // One more than are followed, to know whether there are more.
    for (kind, stream) in tenure.reader().streams_of_user(user, with_former, MOST_STREAMS + 1).await? {
        strands.push(match kind {
            "account" => Strand { mentions: Some(id), ..Strand::whole(kind, stream) },
            kind => Strand::whole(kind, stream),
        });
    }
    Ok(strands)
}

fn found<T>(answer: Result<T, QueryError>) -> Result<Option<T>, ExplainError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(QueryError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
