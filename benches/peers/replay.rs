//! What rebuilding, comparing and seeding take, against the limits of the same rows: reading the log by binary COPY, loading
//! rows by binary COPY, and building their indexes. And against the replay of stock cqrs-es with postgres-es into one view.

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, TryStreamExt as _};
use serde::Serialize;
use tenure::clock::Stopwatch;
use tenure::replay::{Progress, RebuildOptions, Verification};
use tenure::{Tenure, seed};
use tokio_postgres::{Client, NoTls};

use crate::cqrs_es_peer;
use crate::server::Server;

/// One line of the result: how long it took, and the limit or the peer that it is compared with.
#[derive(Serialize)]
pub struct Compared {
    pub measure: &'static str,
    pub events: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub peer: &'static str,
    pub peer_seconds: f64,
    /// Peer ÷ ours: how much faster ours is.
    pub ratio: f64,
}

fn compared(
    measure: &'static str,
    events: u64,
    seconds: f64,
    peer: &'static str,
    peer_seconds: f64,
) -> Compared {
    #[allow(clippy::cast_precision_loss)]
    let events_per_second = (events as f64 / seconds).round();
    let rounded = |figure: f64| (figure * 1_000.0).round() / 1_000.0;
    Compared {
        measure,
        events,
        seconds: rounded(seconds),
        events_per_second,
        peer,
        peer_seconds: rounded(peer_seconds),
        ratio: rounded(peer_seconds / seconds),
    }
}

/// The tables that a bulk append fills.
const LOG_TABLES: [&str; 2] = ["log.event", "log.data_key"];

/// The rows of a table as a binary COPY has them.
struct Rows {
    table: String,
    columns: String,
    chunks: Vec<Bytes>,
}

/// Everything, on a server of its own.
pub async fn measure(
    server: &Server,
    events: u64,
    stock_events: u64,
    progress: impl Fn(&str),
) -> anyhow::Result<Vec<Compared>> {
    let mut all = Vec::new();
    progress("seeding an empty log");
    let tenure = server.tenure("replay").await?;
    server.settle().await?;
    let watch = Stopwatch::start();
    let seeded = seed::generate(&tenure, events, 1, |_| {}).await?.events;
    let empty = watch.elapsed().as_secs_f64();
    server.settle().await?;
    progress("seeding a log in use");
    let watch = Stopwatch::start();
    let more = seed::generate(&tenure, events / 4, 2, |_| {}).await?.events;
    let in_use = watch.elapsed().as_secs_f64();

    let (client, connection) = server.address("replay").config.connect(NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("set maintenance_work_mem = '128MB'; set max_parallel_workers_per_gather = 0")
        .await?;
    let views = views(&client).await?;
    progress("reading by COPY");
    let (log, read) = read(&client, &LOG_TABLES.map(str::to_owned)).await?;
    let log_read = read[0];
    let (rows, _) = self::read(&client, &views).await?;
    server.settle().await?;
    progress("loading by COPY, indexes afterwards");
    let (load_log, index_log) = load(&client, &log).await?;
    let (load_rows, index_rows) = load(&client, &rows).await?;
    server.settle().await?;
    // The limits were measured on all rows, and the two seeds made a part of them each.
    #[allow(clippy::cast_precision_loss)]
    let share = seeded as f64 / (seeded + more) as f64;
    let afterwards = load_log + load_rows + index_log + index_rows;
    all.push(compared("seed_empty", seeded, empty, "copy, then indexes", afterwards * share));
    progress("loading by COPY into tables in use");
    let all_rows: Vec<Rows> = log.into_iter().chain(rows).collect();
    let kept = load_into_use(server, &client, &all_rows, share).await?;
    all.push(compared("seed_in_use", more, in_use, "copy, indexes kept", kept));
    server.settle().await?;

    let limit = log_read + load_rows + index_rows;
    for (measure, verification) in
        [("rebuild", Verification::Strict), ("rebuild_unverified", Verification::Skip)]
    {
        progress("rebuilding");
        let watch = Stopwatch::start();
        let options = RebuildOptions { verification, ..RebuildOptions::default() };
        let rebuilt = tenure.replay().rebuild(&options, &Progress::none()).await?;
        all.push(compared(
            measure,
            rebuilt.events,
            watch.elapsed().as_secs_f64(),
            "copy out, copy in, indexes",
            limit,
        ));
        server.settle().await?;
    }
    progress("comparing");
    all.push(diff(&tenure, log_read).await?);
    tenure.close().await;

    progress("stock replay");
    let address = server.create("stock_replay").await?;
    let stock = cqrs_es_peer::replay(address, stock_events).await?;
    let rebuild = all.iter().find(|one| one.measure == "rebuild").context("a rebuild")?;
    #[allow(clippy::cast_precision_loss)]
    let for_as_many = stock * rebuild.events as f64 / stock_events as f64;
    let (events, seconds) = (rebuild.events, rebuild.seconds);
    all.push(compared("rebuild", events, seconds, "cqrs-es+postgres-es, one view", for_as_many));
    Ok(all)
}

async fn diff(tenure: &Tenure, log_read: f64) -> anyhow::Result<Compared> {
    let watch = Stopwatch::start();
    let diff = tenure.replay().diff(None, &Progress::none()).await?;
    anyhow::ensure!(diff.differences.count == 0, "the tables differ");
    Ok(compared("diff", diff.events, watch.elapsed().as_secs_f64(), "copy out of the log", log_read))
}

async fn views(client: &Client) -> anyhow::Result<Vec<String>> {
    let sql = "select c.oid::regclass::text from pg_class c
               where c.relnamespace = 'view'::regnamespace and c.relkind = 'r' and c.relname <> 'view_build' order by 1";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Reads tables by binary COPY, and how long each took.
async fn read(client: &Client, tables: &[String]) -> anyhow::Result<(Vec<Rows>, Vec<f64>)> {
    let (mut all, mut seconds) = (Vec::new(), Vec::new());
    for table in tables {
        let sql = "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                   where attrelid = $1::text::regclass and attnum > 0 and not attisdropped";
        let columns: String = client.query_one(sql, &[table]).await?.get(0);
        let watch = Stopwatch::start();
        let copy = format!("copy {table} ({columns}) to stdout (format binary)");
        let chunks: Vec<Bytes> = client.copy_out(&copy).await?.try_collect().await?;
        seconds.push(watch.elapsed().as_secs_f64());
        all.push(Rows { table: table.clone(), columns, chunks });
    }
    Ok((all, seconds))
}

/// The statements that build the indexes of a table on the one like it in schema `bare`.
async fn indexes(client: &Client, table: &str, name: &str) -> anyhow::Result<String> {
    let sql =
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = $1::text::regclass order by 1";
    let from = format!(" ON {table} ");
    let rows = client.query(sql, &[&table]).await?;
    let built = rows.iter().map(|row| row.get::<_, String>(0).replace(&from, &format!(" ON bare.{name} ")));
    Ok(built.collect::<Vec<_>>().join(";"))
}

/// Creates a table like this one in schema `bare`. Returns its name.
async fn like<'t>(client: &Client, table: &'t str) -> anyhow::Result<&'t str> {
    let name = table.split('.').nth(1).context("a schema and a table")?;
    client.batch_execute(&format!("create table bare.{name} (like {table} including storage)")).await?;
    Ok(name)
}

/// Copies chunks into a table of schema `bare`. Returns the seconds.
async fn copy(client: &Client, name: &str, columns: &str, chunks: &[&[u8]]) -> anyhow::Result<f64> {
    let watch = Stopwatch::start();
    let sink = client.copy_in(&format!("copy bare.{name} ({columns}) from stdin (format binary)")).await?;
    let mut sink = std::pin::pin!(sink);
    // As large as a well-made client sends them.
    let mut batch = BytesMut::new();
    for chunk in chunks {
        batch.extend_from_slice(chunk);
        if batch.len() >= 128 * 1024 {
            sink.send(batch.split().freeze()).await?;
        }
    }
    sink.send(batch.freeze()).await?;
    sink.finish().await?;
    Ok(watch.elapsed().as_secs_f64())
}

/// Loads rows into empty tables over one connection, then builds their indexes. Returns the seconds of both.
async fn load(client: &Client, rows: &[Rows]) -> anyhow::Result<(f64, f64)> {
    client.batch_execute("create schema bare").await?;
    let (mut loading, mut building) = (0.0, 0.0);
    for Rows { table, columns, chunks } in rows {
        let name = like(client, table).await?;
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &**chunk).collect();
        loading += copy(client, name, columns, &chunks).await?;
        let watch = Stopwatch::start();
        client.batch_execute(&indexes(client, table, name).await?).await?;
        building += watch.elapsed().as_secs_f64();
    }
    client.batch_execute("drop schema bare cascade").await?;
    Ok((loading, building))
}

/// Loads a share of the rows into tables with indexes, then the rest. Returns the seconds of the rest.
async fn load_into_use(server: &Server, client: &Client, rows: &[Rows], share: f64) -> anyhow::Result<f64> {
    client.batch_execute("create schema bare").await?;
    let mut rest = Vec::new();
    for Rows { table, columns, chunks } in rows {
        let name = like(client, table).await?;
        client.batch_execute(&indexes(client, table, name).await?).await?;
        if chunks.len() < 3 {
            // An empty table.
            continue;
        }
        // A chunk is a row; the first has the header before it, and the last is the trailer.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let first = ((chunks.len() as f64 * share) as usize).max(1).min(chunks.len() - 1);
        let part: Vec<&[u8]> = chunks[..first].iter().map(|chunk| &**chunk).chain([TRAILER]).collect();
        copy(client, name, columns, &part).await?;
        rest.push((name, columns, [HEADER].into_iter().chain(chunks[first..].iter().map(|chunk| &**chunk))));
    }
    server.settle().await?;
    let mut seconds = 0.0;
    for (name, columns, chunks) in rest {
        seconds += copy(client, name, columns, &chunks.collect::<Vec<_>>()).await?;
    }
    client.batch_execute("drop schema bare cascade").await?;
    Ok(seconds)
}

/// What a binary COPY begins and ends with.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];
