//! Which events belong to the story of a thing.

use uuid::Uuid;

use super::story::{ExplainError, Thing, Viewer};
use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::aggregates::api_key::ApiKeyEvent;
use crate::aggregates::invite::InviteEvent;
use crate::codec::CodecError;
use crate::event_log::read::Filter;
use crate::event_log::{FromLog as _, ReadError, RecordedEvent};
use crate::ids::UserId;

/// How many streams a story follows at most; the newest, if there are more.
const MOST_STREAMS: i64 = 2_000;

/// How many events of accounts one part of a story is looked for in.
const LOOKED_AT: usize = 50_000;

/// A part of the events of a story.
pub(super) struct Related {
    pub(super) events: Vec<RecordedEvent>,
    /// The position after which the story goes on, even if this part has no event; `None` at its end.
    pub(super) next: Option<i64>,
    pub(super) epoch: i64,
    pub(super) is_partial: bool,
}

/// Events of a stream that belong to the story of a thing.
struct Strand {
    stream_type: &'static str,
    stream_id: Uuid,
    /// Which of them.
    only: Option<Only>,
}

/// The few events of a stream that concern a thing.
#[derive(Clone, Copy)]
struct Only {
    /// Of these types, separated by commas; `None` for any.
    types: Option<&'static str>,
    /// With this identifier in the payload; the end of an account concerns everybody in it.
    mentions: Option<Uuid>,
    /// After this position and up to that one.
    within: (i64, i64),
}

impl Strand {
    const fn whole(stream_type: &'static str, stream_id: Uuid) -> Self {
        Self { stream_type, stream_id, only: None }
    }
}

/// The strands of a story as the columns of a table, to join the log with.
#[derive(Default)]
struct Columns {
    types: Vec<&'static str>,
    ids: Vec<String>,
    of_types: Vec<Option<&'static str>>,
    mentions: Vec<Option<String>>,
    /// The versions after which and up to which events are looked at.
    since: Vec<i64>,
    until: Vec<i64>,
    /// The last position up to which every strand is looked at.
    horizon: Option<i64>,
}

impl Columns {
    /// Finds out between which versions each strand is looked at, so that a part of a story takes a bounded time, however many events
    /// an account has had.
    async fn of(tenure: &Tenure, strands: &[Strand], after: i64) -> Result<Self, ExplainError> {
        let mut columns = Self::default();
        let picked: Vec<(&Strand, Only)> =
            strands.iter().filter_map(|strand| Some((strand, strand.only?))).collect();
        let each = i64::try_from(LOOKED_AT / picked.len().max(1)).unwrap_or(i64::MAX);
        let types: Vec<&str> = picked.iter().map(|(strand, _)| strand.stream_type).collect();
        let ids: Vec<String> = picked.iter().map(|(strand, _)| strand.stream_id.to_string()).collect();
        let begins: Vec<i64> = picked.iter().map(|(_, only)| only.within.0.max(after)).collect();
        let ends: Vec<i64> = picked.iter().map(|(_, only)| only.within.1).collect();
        let sql = "select w.since, least(w.last, w.since + $5),
                          case when w.last > w.since + $5
                               then (select e.position from log.event e where e.stream_id = s.id and e.stream_type = s.type
                                                                          and e.version = w.since + $5) end
                   from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                            with ordinality s (type, id, begins, ends, number),
                        lateral (select log.version_at(s.type, s.id, s.begins) as since,
                                        log.version_at(s.type, s.id, s.ends) as last) w
                   order by s.number";
        let rows = if picked.is_empty() {
            Vec::new()
        } else {
            tenure.log().primary().rows(sql, &[&types, &ids, &begins, &ends, &each]).await?
        };
        let mut windows = rows.iter();
        for strand in strands {
            columns.types.push(strand.stream_type);
            columns.ids.push(strand.stream_id.to_string());
            columns.of_types.push(strand.only.and_then(|only| only.types));
            columns.mentions.push(strand.only.and_then(|only| only.mentions).map(|id| id.to_string()));
            let window = strand.only.and_then(|_| windows.next());
            let (since, until, cut): (i64, i64, Option<i64>) = match window {
                Some(row) => {
                    let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
                    read().map_err(|error: tokio_postgres::Error| ReadError::from(error))?
                }
                None => (0, i64::MAX, None),
            };
            columns.since.push(since);
            columns.until.push(until);
            columns.horizon = columns.horizon.into_iter().chain(cut).min();
        }
        Ok(columns)
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
    // One more than asked for, to know whether there is more.
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    if let Thing::Account(account) = thing {
        let filter = Filter { account: Some(account.as_uuid()), ..Filter::default() };
        let page = tenure.log().read_page(after, &filter, most).await?;
        return Ok(part(page.events, limit, None, page.epoch, false));
    }
    let mut strands = strands(tenure, thing, viewer).await?;
    // The thing's own stream is one of them.
    let followed = usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX) + 1;
    let is_partial = strands.len() > followed;
    strands.truncate(followed);
    let Read { events, horizon, epoch } = read(tenure, &strands, after, most).await?;
    Ok(part(events, limit, horizon, epoch, is_partial))
}

struct Read {
    events: Vec<RecordedEvent>,
    /// The position up to which there is no other one, if that is not the end.
    horizon: Option<i64>,
    epoch: i64,
}

/// The first events of these strands after a position.
async fn read(tenure: &Tenure, strands: &[Strand], after: i64, most: i64) -> Result<Read, ExplainError> {
    let Columns { types, ids, of_types, mentions, since, until, horizon } =
        Columns::of(tenure, strands, after).await?;
    let columns = RecordedEvent::COLUMNS;
    // Each strand in the order of the index of its stream, whatever the planner thinks of the log.
    let sql = format!(
        "select distinct on (e.position) e.*
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                  s (wanted_type, wanted_id, types, mentioned, since, until)
         cross join lateral (
             select {columns} from log.event
             where stream_id = s.wanted_id and stream_type = s.wanted_type and version > s.since and version <= s.until
               and position > $7 and ($8::bigint is null or position <= $8)
               and (s.types is null or event_type = any (string_to_array(s.types, ',')))
               and (s.mentioned is null or event_type = 'account.closed'
                    or position(convert_to(s.mentioned, 'UTF8') in payload) > 0)
             order by stream_id, stream_type, version limit $9) e
         order by e.position limit $9"
    );
    let answer = tenure
        .log()
        .primary()
        .query(&sql, &[&types, &ids, &of_types, &mentions, &since, &until, &after, &horizon, &most])
        .await?;
    let events = answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>();
    Ok(Read { events: events.map_err(ReadError::from)?, horizon, epoch: answer.epoch })
}

fn part(
    mut events: Vec<RecordedEvent>,
    limit: usize,
    horizon: Option<i64>,
    epoch: i64,
    is_partial: bool,
) -> Related {
    let is_more = events.len() > limit;
    events.truncate(limit);
    let next = if is_more { events.last().map(|event| event.position) } else { horizon };
    Related { events, next, epoch, is_partial }
}

/// What belongs to the story of a thing other than an account. Whom else it concerns is read in its own events: the tables forget
/// it when its account is closed.
async fn strands(tenure: &Tenure, thing: Thing, viewer: Viewer) -> Result<Vec<Strand>, ExplainError> {
    let kind = match thing {
        Thing::Account(account) => return Ok(vec![Strand::whole("account", account.as_uuid())]),
        Thing::User(user) => return of_user(tenure, user, viewer == Viewer::Operator).await,
        Thing::Key(_) => "api_key",
        Thing::Invite(_) => "invite",
        Thing::Source(_) => "source",
    };
    let mut strands = vec![Strand::whole(kind, thing.id())];
    let Some(span) = span(tenure, kind, thing.id()).await? else { return Ok(strands) };
    let of_account = |types, mentions, within| {
        let only = Some(Only { types: Some(types), mentions, within });
        Strand { stream_type: "account", stream_id: span.account, only }
    };
    match (thing, span.concerns) {
        (Thing::Key(key), Some(minter)) => {
            // A key ends with its minter's membership, with its minter, and with its account.
            let ends = |within| {
                let types = "account.member_removed,account.closed";
                let only = Some(Only { types: Some("user.forgotten"), mentions: None, within });
                let of_minter = Strand { stream_type: "user", stream_id: minter, only };
                [of_account(types, Some(minter), within), of_minter]
            };
            match tenure.reader().end_of_api_key(key).await? {
                // It has not ended, or with its own last event.
                Some(None) => {}
                Some(Some(position)) => strands.extend(ends((position - 1, position))),
                // Its account was closed; it may have ended before.
                None => {
                    let first = read(tenure, &ends(span.within), 0, 1).await?.events.into_iter().next();
                    let end = first.map_or(span.within.1, |event| event.position);
                    strands.extend(ends((span.within.0, end)));
                }
            }
        }
        (_, Some(invitee)) => {
            let types = "account.member_added,account.member_removed,account.closed";
            strands.push(of_account(types, Some(invitee), span.within));
        }
        (_, None) => strands.push(of_account("account.closed", None, span.within)),
    }
    Ok(strands)
}

/// Between which events a thing lived, in which account, and whom it concerns: the minter of a key, the invitee of an invite.
struct Span {
    account: Uuid,
    concerns: Option<Uuid>,
    /// The positions of its first event, and of the one that ended it.
    within: (i64, i64),
}

/// The events after which nothing more happens to a key or a source. An invite that was accepted has a sequel.
const ENDS: [&str; 2] = ["api_key.revoked", "source.deleted"];

async fn span(tenure: &Tenure, kind: &str, id: Uuid) -> Result<Option<Span>, ExplainError> {
    // The first events say whom it concerns, and the last one whether it has ended.
    let columns = RecordedEvent::COLUMNS;
    let sql = format!(
        "(select {columns} from log.event where stream_type = $1 and stream_id = $2
          order by stream_id, stream_type, version limit 3)
         union all
         (select {columns} from log.event where stream_type = $1 and stream_id = $2
          order by stream_id desc, stream_type desc, version desc limit 1)"
    );
    let answer = tenure.log().primary().query(&sql, &[&kind, &id.to_string()]).await?;
    let events: Vec<RecordedEvent> =
        answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>().map_err(ReadError::from)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    let Some(account) = first.account_id else { return Ok(None) };
    let end = if ENDS.contains(&&*last.event_type) { last.position } else { i64::MAX };
    let mut concerns = None;
    let decoded =
        tenure.codec().decode_each(&events, tenure.log().primary()).await.map_err(CodecError::from)?;
    for decoded in decoded {
        concerns = concerns.or(match decoded {
            Ok(AnyEvent::ApiKey(ApiKeyEvent::Minted { minter, .. })) => Some(minter.as_uuid()),
            Ok(AnyEvent::Invite(InviteEvent::Created { bound, .. })) => bound.map(UserId::as_uuid),
            Ok(AnyEvent::Invite(InviteEvent::Bound { user, .. })) => Some(user.as_uuid()),
            Ok(AnyEvent::Invite(InviteEvent::Accepted(end) | InviteEvent::Declined(end))) => {
                end.user.map(UserId::as_uuid)
            }
            _ => None,
        });
    }
    Ok(Some(Span { account, concerns, within: (first.position, end) }))
}

/// A user's own events, those of their credentials and invites, and those of accounts that mention them: of the accounts that they
/// belong to, and of those that they were invited to if former ones are wanted.
async fn of_user(tenure: &Tenure, user: UserId, with_former: bool) -> Result<Vec<Strand>, ExplainError> {
    let id = user.as_uuid();
    let mut strands = vec![Strand::whole("user", id)];
    let sql = "select position from log.event where stream_type = 'user' and stream_id = $1 and version = 1";
    let row = tenure.log().primary().row(sql, &[&id.to_string()]).await?;
    let registered: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(ReadError::from)?;
    // One more than are followed, to know whether there are more.
    for (kind, stream) in tenure.reader().streams_of_user(user, with_former, MOST_STREAMS + 1).await? {
        let only = Only { types: None, mentions: Some(id), within: (registered - 1, i64::MAX) };
        let is_own = kind != "account";
        strands.push(Strand { stream_type: kind, stream_id: stream, only: (!is_own).then_some(only) });
    }
    Ok(strands)
}
