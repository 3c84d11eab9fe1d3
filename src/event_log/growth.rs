//! Watches the sizes of the tables, and outdates the plans of queries once one has grown.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use super::error::ReadError;
use super::plans::Plans;
use super::primary::Primary;

/// How often the sizes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The size up to which a table may be read whole, in bytes: sixteen pages.
const SMALL: i64 = 16 * 8_192;

/// Plans are outdated when a table is this many times as large as when they were made.
const GROWTH: i64 = 4;

/// Outdates plans when a table has grown, for ever.
pub(super) async fn watch(primary: &Primary, plans: &Plans) -> Infallible {
    let mut planned = HashMap::new();
    loop {
        match sizes(primary).await {
            Ok(sizes) => {
                if note(&mut planned, sizes) {
                    plans.outdate();
                }
            }
            Err(error) => tracing::debug!(%error, "the sizes of the tables could not be looked at"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The sizes of the tables in bytes, by OID.
async fn sizes(primary: &Primary) -> Result<HashMap<u32, i64>, ReadError> {
    // No size: the table was dropped meanwhile.
    let sql = "select c.oid, coalesce(pg_relation_size(c.oid), 0) from pg_class c
               where c.relkind = 'r'
                 and c.relnamespace in (select oid from pg_namespace where nspname in ('log', 'view', 'coarse'))";
    let rows = primary.rows(sql, &[]).await?;
    let sizes = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok(sizes.collect::<Result<_, tokio_postgres::Error>>()?)
}

/// Whether a table has grown since plans were made. Then the sizes are those of the time when plans are made next; otherwise those of
/// tables that have shrunk are, because PostgreSQL may have discarded plans by itself.
fn note(planned: &mut HashMap<u32, i64>, sizes: HashMap<u32, i64>) -> bool {
    let before = |table| planned.get(table).copied().unwrap_or(0);
    let has_grown = sizes.iter().any(|(table, size)| *size > SMALL && *size / GROWTH >= before(table));
    *planned = if has_grown {
        sizes
    } else {
        sizes.iter().map(|(table, size)| (*table, before(table).min(*size))).collect()
    };
    has_grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_outdated_when_a_table_has_grown_fourfold_and_is_not_small() {
        let mut planned = HashMap::new();
        let mut note = |size| note(&mut planned, HashMap::from([(1, size), (2, 8_192)]));
        assert!(!note(SMALL), "it may be read whole");
        assert!(note(SMALL + 8_192), "it is no longer small");
        assert!(!note(SMALL * 4), "as good as planned");
        assert!(note(SMALL * 5), "fourfold");
        assert!(!note(SMALL * 5));
        assert!(!note(8_192), "it was emptied");
        assert!(note(SMALL * 5), "and filled again");
    }
}
