//! Very many events, written past the engine: as if an account had lived for long.

use tenure::event_log::StreamId;
use tenure::ids::{AccountId, SourceId};
use tokio_postgres::Client;

/// Appends this event of a stream so many times; each `%s` in it is another identifier.
async fn append(
    client: &Client,
    account: AccountId,
    stream: &StreamId,
    (event_type, payload): (&str, &str),
    count: u32,
) {
    let sql = format!(
        "insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version, account_id,
                                recorded_at, payload, metadata)
         select e.position + n, gen_random_uuid(), s.stream_type, s.stream_id, s.version + n, '{event_type}', '1', '{account}',
                e.recorded_at, convert_to(format('{payload}', gen_random_uuid()), 'UTF8'), convert_to('{{}}', 'UTF8')
         from (select position, recorded_at from log.event order by position desc limit 1) e,
              (select stream_type, stream_id, max(version) as version from log.event
               where stream_type = '{}' and stream_id = '{}' group by 1, 2) s,
              generate_series(1, {count}) n;
         analyze log.event;",
        stream.stream_type, stream.id
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Adds so many members to an account.
pub async fn add_members(client: &Client, account: AccountId, count: u32) {
    let payload = r#"{"member_added":{"user":"%s","at":"2026-01-31T12:00:00.000001Z"}}"#;
    let stream = StreamId::new("account", account.as_uuid());
    append(client, account, &stream, ("account.member_added", payload), count).await;
}

/// Changes so many pipes of a source.
pub async fn change_retentions(client: &Client, account: AccountId, source: SourceId, count: u32) {
    let payload = format!(
        r#"{{"pipe_retention_changed":{{"account":"{account}","pipe":"%s","retention":{{"ttl_seconds":null,"max_msgs":null,"max_bytes":null}},"at":"2026-01-31T12:00:00.000001Z"}}}}"#
    );
    let stream = StreamId::new("source", source.as_uuid());
    append(client, account, &stream, ("pipe.retention_changed", &payload), count).await;
}
