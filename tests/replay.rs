//! Projections are a pure function of the log: folding it again gives the tables, claims included.

use std::collections::BTreeSet;

use tenure::Tenure;
use tenure::aggregates::ClaimHasher;
use tenure::clock::Timestamp;
use tenure::context::{Actor, Context};
use tenure::entropy::{Entropy as _, SeededEntropy};
use tenure::event_log::claim::Claims;
use tenure::event_log::rows::{ColumnType, RowChange, Table, Value, coalesce};
use tenure::projections::{self, unique_claims};
use tokio_postgres::{Client, Row};

use crate::support::{TestDatabase, history, operator};

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(octets) => format!("{octets:02x?}"),
        other => format!("{other:?}"),
    }
}

fn value(row: &Row, place: usize, column: ColumnType) -> Value {
    match column {
        ColumnType::Bool => row.get::<_, Option<bool>>(place).into(),
        ColumnType::BigInt | ColumnType::Position => row.get::<_, Option<i64>>(place).into(),
        ColumnType::Text => row.get::<_, Option<String>>(place).into(),
        ColumnType::Uuid => row.get::<_, Option<uuid::Uuid>>(place).into(),
        ColumnType::Timestamptz => row.get::<_, Option<Timestamp>>(place).into(),
        ColumnType::Bytea => row.get::<_, Option<Vec<u8>>>(place).map_or(Value::Null, Value::Bytes),
    }
}

async fn stored(client: &Client, table: &Table, active: &str, now: Timestamp) -> BTreeSet<String> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let rows = client
        .query(&format!("select {} from view.{} {active}", names.join(", "), table.name), &[&now])
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            let values = table
                .columns
                .iter()
                .enumerate()
                .map(|(place, column)| shown(&value(row, place, column.column_type)));
            values.collect::<Vec<_>>().join(" | ")
        })
        .collect()
}

/// Folds the log from position 1 and compares every table with what is stored, once what had ended is cleared away: until
/// then rows hold in clear what the log no longer does.
pub async fn assert_tables_are_a_fold_of_the_log(tenure: &Tenure, client: &Client) {
    tenure.clear_away().await.unwrap();
    let events = history(tenure).await;
    let decoded = tenure.codec().decode(&events, tenure.log().primary()).await.unwrap();
    let hasher: &dyn ClaimHasher = &**tenure.codec().keys();
    let mut claims = Claims::default();
    let mut changes: Vec<(i64, RowChange)> = Vec::new();
    for (event, decoded) in events.iter().zip(&decoded) {
        let stream = event.stream.id.parse().unwrap();
        changes
            .extend(projections::changes(stream, decoded).into_iter().map(|change| (event.position, change)));
        for change in decoded.claims(stream, hasher) {
            claims.apply(event.position, change);
        }
    }
    let settled = coalesce(changes.iter().map(|(position, change)| (*position, change)));
    let now = tenure.clock().now();
    for table in projections::TABLES {
        // A claim that has died by the clock is as good as none.
        let active = if table.name == unique_claims::TABLE.name {
            "where free_after is null or free_after > $1"
        } else {
            "where $1::timestamptz is not null"
        };
        let folded: BTreeSet<String> = if table.name == unique_claims::TABLE.name {
            claims
                .iter()
                .filter(|(claim, _)| claim.free_after.is_none_or(|end| end > now))
                .map(|(claim, position)| {
                    let free_after = claim.free_after.map_or(Value::Null, Value::Time);
                    let key = Value::Bytes(claim.key.key.to_vec());
                    [key, claim.key.kind.into(), claim.holder.as_str().into(), free_after, position.into()]
                        .iter()
                        .map(shown)
                        .collect::<Vec<_>>()
                        .join(" | ")
                })
                .collect()
        } else {
            settled
                .iter()
                .filter(|(of, _, row)| of.name == table.name && row.insert.is_some())
                .map(|(_, _, row)| {
                    row.insert.iter().flatten().map(|value| shown(value)).collect::<Vec<_>>().join(" | ")
                })
                .collect()
        };
        assert_eq!(stored(client, table, active, now).await, folded, "view.{}", table.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_folds_into_the_tables_that_were_kept_on_the_way() {
    for seed in 1..=3 {
        let database = TestDatabase::new().await;
        let (one, two) = tokio::join!(database.open(), database.open());
        let entropy = SeededEntropy::new(seed);
        let pick = |below: usize| {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            u32::from_be_bytes(bytes) as usize % below
        };
        let (mut users, mut accounts) = (Vec::new(), Vec::new());
        for _ in 0..250 {
            let node = if pick(2) == 0 { &one } else { &two };
            let name = format!("n{}", pick(25));
            match pick(10) {
                0 | 1 => {
                    if let Ok(done) = node.insert_user(&operator(), &name, "x@example.org", "internal").await
                    {
                        users.push(done.answer);
                    }
                }
                2 => {
                    let id = 1 + pick(6) as i64;
                    let done = node
                        .sign_in_with_github(&Context::of(Actor::System), id, &name, None, None)
                        .await
                        .unwrap();
                    users.push(done.answer.user);
                    accounts.extend(done.answer.first_account);
                }
                3 | 4 if !users.is_empty() => {
                    let owner = users[pick(users.len())];
                    if let Ok(done) = node.open_account(&operator(), &name, Some(owner)).await {
                        accounts.push(done.answer);
                    }
                }
                choice if !users.is_empty() && !accounts.is_empty() => {
                    let (user, account) = (users[pick(users.len())], accounts[pick(accounts.len())]);
                    // A refusal is as good as an event here: both must leave the tables a fold of the log.
                    let _ = match choice {
                        5 | 6 => node.add_member(&operator(), account, user).await,
                        7 => {
                            node.remove_member(&operator(), account, user).await.map(|done| done.map(|_| ()))
                        }
                        8 => node.transfer_ownership(&operator(), account, user).await,
                        _ if pick(3) == 0 => node.close_account(&operator(), account).await,
                        _ => node.set_operator(&operator(), user, pick(2) == 0).await,
                    };
                }
                _ => {}
            }
        }
        let client = database.connect(None).await;
        // Names of closed accounts are unreadable in a replay; their rows and claims are gone all the same.
        let replayer = database.open().await;
        assert_tables_are_a_fold_of_the_log(&replayer, &client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeded_data_are_what_a_replay_of_them_gives() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let seeded = tenure::seed::generate(&tenure, 3_000, 7, |_| ()).await.unwrap();
    assert!(seeded.events >= 3_000);
    assert_eq!(seeded.position, seeded.events as i64 + 1);
    let client = database.connect(None).await;
    assert_tables_are_a_fold_of_the_log(&tenure, &client).await;
    tenure::seed::generate(&tenure, 500, 7, |_| ()).await.unwrap();
    crate::support::user(&tenure, "after").await;
    assert_tables_are_a_fold_of_the_log(&tenure, &client).await;
}
