//! Which events belong to the story of a thing.

use uuid::Uuid;

use super::story::{ExplainError, Thing, Viewer};
use super::strands::{Only, Read, Strand, read, read_all};
use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::aggregates::api_key::ApiKeyEvent;
use crate::aggregates::invite::InviteEvent;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::event_log::read::Filter;
use crate::event_log::{FromLog as _, ReadError, RecordedEvent};
use crate::ids::UserId;

/// How many streams a story follows at most; the newest, if there are more.
const MOST_STREAMS: i64 = 2_000;

/// How many events of a thing's own are read to find out whom it concerns.
const MOST_OWN: i64 = 20;

/// A part of the events of a story.
pub(super) struct Related {
    pub(super) events: Vec<RecordedEvent>,
    /// The position after which the story goes on, even if this part has no event; `None` at its end.
    pub(super) next: Option<i64>,
    pub(super) epoch: i64,
    pub(super) is_partial: bool,
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
        let read = Read { events: page.events, horizon: None, epoch: page.epoch };
        return Ok(part(read, limit, false));
    }
    let mut strands = strands(tenure, thing, viewer).await?;
    // The thing's own stream is one of them.
    let followed = usize::try_from(MOST_STREAMS).unwrap_or(usize::MAX) + 1;
    let is_partial = strands.len() > followed;
    strands.truncate(followed);
    Ok(part(read(tenure, &strands, after, most).await?, limit, is_partial))
}

fn part(Read { mut events, horizon, epoch }: Read, limit: usize, is_partial: bool) -> Related {
    let is_more = events.len() > limit;
    events.truncate(limit);
    let next = if is_more { events.last().map(|event| event.position) } else { horizon };
    Related { events, next, epoch, is_partial }
}

/// What belongs to the story of a thing other than an account; its own stream is the first. Whom else it concerns is read in its
/// own events: the tables forget it when its account is closed.
async fn strands(tenure: &Tenure, thing: Thing, viewer: Viewer) -> Result<Vec<Strand>, ExplainError> {
    let kind = match thing {
        Thing::Account(account) => return Ok(vec![Strand::whole("account", account.as_uuid())]),
        Thing::User(user) => return of_user(tenure, user, viewer == Viewer::Operator).await,
        Thing::Key(_) => "api_key",
        Thing::Invite(_) => "invite",
        Thing::Source(_) => "source",
    };
    let mut strands = vec![Strand::whole(kind, thing.id())];
    let Some(life) = life(tenure, kind, thing.id()).await? else { return Ok(strands) };
    match thing {
        Thing::Key(key) => {
            let end = match tenure.reader().end_of_api_key(key).await? {
                Some(end) => end,
                // Its account was closed.
                None => end_of_key(tenure, &life).await?,
            };
            if let Some(end) = end {
                strands.extend(life.ends_of_key((end - 1, end)));
                strands.extend(told_to_members(tenure, &life, viewer, end).await?);
            }
        }
        Thing::Invite(_) => strands.extend(sequel_of_invite(tenure, &life).await?),
        _ if life.last_type != "source.deleted" => {
            strands.extend(end_of_account(tenure, &life, i64::MAX).await?);
        }
        _ => {}
    }
    Ok(strands)
}

/// What a thing's own events say of its life.
struct Life {
    account: Uuid,
    /// Whom it concerns: the minter of a key, the invitee of an invite.
    concerns: Option<Uuid>,
    /// The position of its first event.
    first: i64,
    last_type: String,
    /// Where an invite was accepted, and when it expires.
    accepted: Option<i64>,
    is_decided: bool,
    expires_at: Option<Timestamp>,
}

impl Life {
    fn of_account(
        &self,
        types: &'static [&'static str],
        mentions: Option<Uuid>,
        within: (i64, i64),
    ) -> Strand {
        let only = Some(Only { types, mentions, within });
        Strand { stream_type: "account", stream_id: self.account, only }
    }

    /// What ends a key: the removal of its minter, if it was to end their keys, the forgetting of the minter, and the end of its
    /// account.
    fn ends_of_key(&self, within: (i64, i64)) -> Vec<Strand> {
        let types = &["account.member_removed/2", "account.closed"];
        let mut ends = vec![self.of_account(types, self.concerns, within)];
        if let Some(stream_id) = self.concerns {
            let only = Some(Only { types: &["user.forgotten"], mentions: None, within });
            ends.push(Strand { stream_type: "user", stream_id, only });
        }
        ends
    }
}

async fn life(tenure: &Tenure, kind: &str, id: Uuid) -> Result<Option<Life>, ExplainError> {
    let columns = RecordedEvent::COLUMNS;
    let sql = format!(
        "(select {columns} from log.event where stream_type = $1 and stream_id = $2
          order by stream_id, stream_type, version limit $3)
         union all
         (select {columns} from log.event where stream_type = $1 and stream_id = $2
          order by stream_id desc, stream_type desc, version desc limit 1)"
    );
    let answer = tenure.log().primary().query(&sql, &[&kind, &id.to_string(), &MOST_OWN]).await?;
    let events: Vec<RecordedEvent> =
        answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>().map_err(ReadError::from)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    let Some(account) = first.account_id else { return Ok(None) };
    let (mut concerns, mut expires_at, mut accepted, mut is_decided) = (None, None, None, false);
    let decoded =
        tenure.codec().decode_each(&events, tenure.log().primary()).await.map_err(CodecError::from)?;
    for (event, decoded) in events.iter().zip(decoded) {
        let whom = match decoded {
            Ok(AnyEvent::ApiKey(ApiKeyEvent::Minted { minter, .. })) => Some(minter),
            Ok(AnyEvent::Invite(InviteEvent::Created { bound, expires_at: at, .. })) => {
                expires_at = Some(at);
                bound
            }
            Ok(AnyEvent::Invite(InviteEvent::Bound { user, .. })) => Some(user),
            Ok(AnyEvent::Invite(InviteEvent::Accepted(end))) => {
                accepted = Some(event.position);
                end.user
            }
            Ok(AnyEvent::Invite(InviteEvent::Declined(_) | InviteEvent::Revoked(_))) => {
                is_decided = true;
                None
            }
            _ => None,
        };
        concerns = concerns.or(whom.map(UserId::as_uuid));
    }
    let (first, last_type) = (first.position, last.event_type.clone());
    Ok(Some(Life { account, concerns, first, last_type, accepted, is_decided, expires_at }))
}

/// The position of the event that ended a key, if it was not its own last one. Only for accounts that were closed: the tables know
/// the others.
async fn end_of_key(tenure: &Tenure, life: &Life) -> Result<Option<i64>, ExplainError> {
    if life.last_type == "api_key.revoked" {
        return Ok(None);
    }
    let mut strands = life.ends_of_key((life.first, i64::MAX));
    let memberships = &["account.member_added", "account.member_removed", "account.closed"];
    strands[0] = life.of_account(memberships, life.concerns, (life.first, i64::MAX));
    // The minter of a key belongs to its account. Keys that are kept when they leave do not end with them.
    let mut belongs = true;
    for event in read_all(tenure, &strands).await? {
        let ends = match &*event.event_type {
            "account.closed" => true,
            "account.member_removed" if event.event_version != "1" => true,
            "user.forgotten" => belongs,
            kind => {
                belongs = kind == "account.member_added";
                false
            }
        };
        if ends {
            return Ok(Some(event.position));
        }
    }
    Ok(None)
}

/// Members see that a membership has ended, but not that the person was forgotten.
async fn told_to_members(
    tenure: &Tenure,
    life: &Life,
    viewer: Viewer,
    end: i64,
) -> Result<Option<Strand>, ExplainError> {
    let is_member = matches!(viewer, Viewer::Account(_));
    let strand = |within| life.of_account(&["account.member_removed"], life.concerns, within);
    if !is_member || life.concerns.is_none() {
        return Ok(None);
    }
    let ending = read(tenure, &life.ends_of_key((end - 1, end)), 0, 1).await?.events;
    if ending.iter().all(|event| event.event_type != "user.forgotten") {
        return Ok(None);
    }
    let removal = read_all(tenure, &[strand((end, i64::MAX))]).await?.into_iter().next();
    Ok(removal.map(|event| strand((event.position - 1, event.position))))
}

/// What came of an invite: the membership, up to its end; or the end of the account before the invite was decided or expired.
async fn sequel_of_invite(tenure: &Tenure, life: &Life) -> Result<Option<Strand>, ExplainError> {
    if let (Some(accepted), Some(_)) = (life.accepted, life.concerns) {
        let of_invitee = |types, within| life.of_account(types, life.concerns, within);
        let ends = of_invitee(&["account.member_removed", "account.closed"], (accepted, i64::MAX));
        let end = read_all(tenure, &[ends]).await?.first().map_or(i64::MAX, |event| event.position);
        let types = &["account.member_added", "account.member_removed", "account.closed"];
        return Ok(Some(of_invitee(types, (accepted, end))));
    }
    if life.is_decided || life.accepted.is_some() {
        return Ok(None);
    }
    let Some(expires_at) = life.expires_at else { return Ok(None) };
    let row = tenure.log().primary().row("select log.position_at($1)", &[&expires_at]).await?;
    let expired: i64 = row.map_or(Ok(i64::MAX), |row| row.try_get(0)).map_err(ReadError::from)?;
    end_of_account(tenure, life, expired).await
}

/// The end of the account of a thing, if it was before a position: the last event of its stream.
async fn end_of_account(tenure: &Tenure, life: &Life, before: i64) -> Result<Option<Strand>, ExplainError> {
    let sql = "select position, event_type from log.event where stream_type = 'account' and stream_id = $1
               order by stream_id desc, stream_type desc, version desc limit 1";
    let Some(row) = tenure.log().primary().row(sql, &[&life.account.to_string()]).await? else {
        return Ok(None);
    };
    let read = || Ok((row.try_get(0)?, row.try_get(1)?));
    let (last, kind): (i64, String) =
        read().map_err(|error: tokio_postgres::Error| ReadError::from(error))?;
    let is_end = kind == "account.closed" && last < before;
    Ok(is_end.then(|| life.of_account(&["account.closed"], None, (last - 1, last))))
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
        let only = Only { types: &[], mentions: Some(id), within: (registered - 1, i64::MAX) };
        let is_own = kind != "account";
        strands.push(Strand { stream_type: kind, stream_id: stream, only: (!is_own).then_some(only) });
    }
    Ok(strands)
}
