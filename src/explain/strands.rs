//! The strands of a story: the parts of streams that belong to it, read a bounded number of events at a time.

use uuid::Uuid;

use super::story::ExplainError;
use crate::Tenure;
use crate::event_log::{FromLog as _, ReadError, RecordedEvent};

/// In how many events of other streams the strands of a story are looked for at a time.
const LOOKED_AT: i64 = 50_000;

/// Events of a stream that belong to the story of a thing.
#[derive(Clone)]
pub(super) struct Strand {
    pub(super) stream_type: &'static str,
    pub(super) stream_id: Uuid,
    /// Which of them; `None` for all.
    pub(super) only: Option<Only>,
}

/// The few events of a stream that concern a thing.
#[derive(Clone, Copy)]
pub(super) struct Only {
    /// Of these types, or of these types and versions (`account.member_removed/2`); all if there is none.
    pub(super) types: &'static [&'static str],
    /// With this identifier in the payload; the end of an account concerns everybody in it.
    pub(super) mentions: Option<Uuid>,
    /// After this position and up to that one.
    pub(super) within: (i64, i64),
}

impl Strand {
    pub(super) const fn whole(stream_type: &'static str, stream_id: Uuid) -> Self {
        Self { stream_type, stream_id, only: None }
    }

    const fn within(&self) -> (i64, i64) {
        match self.only {
            Some(only) => only.within,
            None => (0, i64::MAX),
        }
    }
}

/// The first events of some strands after a position.
pub(super) struct Read {
    pub(super) events: Vec<RecordedEvent>,
    /// The position up to which there is no other event, if there may be some after it.
    pub(super) horizon: Option<i64>,
    pub(super) epoch: i64,
}

/// The versions of each strand's stream after which and up to which it is read.
struct Windows {
    since: Vec<i64>,
    until: Vec<i64>,
    horizon: Option<i64>,
    /// The newest position when the versions were looked up; what is stored later belongs to the next part of the story.
    newest: i64,
}

/// Reads the first events of these strands after a position, at most so many.
pub(super) async fn read(
    tenure: &Tenure,
    strands: &[Strand],
    after: i64,
    most: i64,
) -> Result<Read, ExplainError> {
    let Windows { since, until, horizon, newest } = windows(tenure, strands, after).await?;
    let types: Vec<&str> = strands.iter().map(|strand| strand.stream_type).collect();
    let ids: Vec<String> = strands.iter().map(|strand| strand.stream_id.to_string()).collect();
    let only = |strand: &Strand| strand.only.filter(|only| !only.types.is_empty());
    let wanted: Vec<Option<String>> =
        strands.iter().map(|strand| only(strand).map(|only| only.types.join(","))).collect();
    let mentions: Vec<Option<String>> = strands
        .iter()
        .map(|strand| strand.only.and_then(|only| only.mentions).map(|id| id.to_string()))
        .collect();
    let up_to = horizon.unwrap_or(newest).min(newest);
    let columns = RecordedEvent::COLUMNS;
    // Each strand in the order of the index of its stream, whatever the planner thinks of the log.
    let sql = format!(
        "select distinct on (e.position) e.*
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                  s (wanted_type, wanted_id, types, mentioned, since, until)
         cross join lateral (
             select {columns} from log.event
             where stream_id = s.wanted_id and stream_type = s.wanted_type and version > s.since and version <= s.until
               and position > $7 and position <= $8
               and (s.types is null or event_type = any (string_to_array(s.types, ','))
                    or event_type || '/' || event_version = any (string_to_array(s.types, ',')))
               and (s.mentioned is null or event_type = 'account.closed'
                    or position(convert_to(s.mentioned, 'UTF8') in payload) > 0)
             order by stream_id, stream_type, version limit $9) e
         order by e.position limit $9"
    );
    let answer = tenure
        .log()
        .primary()
        .query(&sql, &[&types, &ids, &wanted, &mentions, &since, &until, &after, &up_to, &most])
        .await?;
    let events = answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>();
    Ok(Read { events: events.map_err(ReadError::from)?, horizon, epoch: answer.epoch })
}

/// All events of these strands, which must be few, however far apart they are.
pub(super) async fn read_all(
    tenure: &Tenure,
    strands: &[Strand],
) -> Result<Vec<RecordedEvent>, ExplainError> {
    let most = 1_000;
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let Read { events, horizon, .. } = read(tenure, strands, after, most).await?;
        let is_full = i64::try_from(events.len()).is_ok_and(|count| count == most);
        let last = events.last().map(|event| event.position);
        all.extend(events);
        match (if is_full { last } else { None }).or(horizon) {
            Some(position) => after = position,
            None => return Ok(all),
        }
    }
}

/// Finds out between which versions each strand is read, so that this takes a bounded time, however many events its stream has.
async fn windows(tenure: &Tenure, strands: &[Strand], after: i64) -> Result<Windows, ExplainError> {
    let mut windows = Windows {
        since: vec![0; strands.len()],
        until: vec![i64::MAX; strands.len()],
        horizon: None,
        newest: i64::MAX,
    };
    // The first strand is the thing's own stream, which can be long. The other whole ones, such as those of tokens, are short.
    let measured: Vec<usize> =
        (0..strands.len()).filter(|number| *number == 0 || strands[*number].only.is_some()).collect();
    let types: Vec<&str> = measured.iter().map(|number| strands[*number].stream_type).collect();
    let ids: Vec<String> = measured.iter().map(|number| strands[*number].stream_id.to_string()).collect();
    let begins: Vec<i64> = measured.iter().map(|number| strands[*number].within().0.max(after)).collect();
    let ends: Vec<i64> = measured.iter().map(|number| strands[*number].within().1).collect();
    // `offset 0`: each version is looked up once.
    let sql = "select w.since, w.last
               from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                        with ordinality s (type, id, begins, ends, number),
                    lateral (select log.version_at(s.type, s.id, s.begins) as since,
                                    log.version_at(s.type, s.id, s.ends) as last offset 0) w
               order by s.number";
    let answer = tenure.log().primary().query(sql, &[&types, &ids, &begins, &ends]).await?;
    windows.newest = answer.position;
    let mut picked = Vec::new();
    for (number, row) in measured.iter().zip(&answer.rows) {
        let read = || Ok((row.try_get(0)?, row.try_get(1)?));
        let (since, last): (i64, i64) =
            read().map_err(|error: tokio_postgres::Error| ReadError::from(error))?;
        (windows.since[*number], windows.until[*number]) = (since, last);
        if strands[*number].only.is_some() {
            // Nothing is left of a strand that ended before this part of the story.
            picked.push(((last - since).max(0), *number));
        }
    }
    // What short strands do not need is left for the long ones.
    picked.sort_unstable();
    let (mut left, mut cut) = (LOOKED_AT, (Vec::new(), Vec::new(), Vec::new()));
    for (place, (needed, number)) in picked.iter().enumerate() {
        let share = (left / i64::try_from(picked.len() - place).unwrap_or(i64::MAX)).max(1);
        left -= share.min(*needed);
        if *needed > share {
            windows.until[*number] = windows.since[*number] + share;
            cut.0.push(strands[*number].stream_type);
            cut.1.push(strands[*number].stream_id.to_string());
            cut.2.push(windows.until[*number]);
        }
    }
    if let (false, Some(own)) = (cut.0.is_empty(), strands.first()) {
        let sql = "select c.position, log.version_at($4, $5, c.position)
                   from (select min(e.position) as position
                         from unnest($1::text[], $2::text[], $3::bigint[]) s (type, id, version)
                         join log.event e on e.stream_id = s.id and e.stream_type = s.type and e.version = s.version) c";
        let own_id = own.stream_id.to_string();
        let row =
            tenure.log().primary().row(sql, &[&cut.0, &cut.1, &cut.2, &own.stream_type, &own_id]).await?;
        if let Some(row) = row {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?));
            let (horizon, version): (Option<i64>, i64) =
                read().map_err(|error: tokio_postgres::Error| ReadError::from(error))?;
            windows.horizon = horizon;
            windows.until[0] = windows.until[0].min(version);
        }
    }
    Ok(windows)
}
