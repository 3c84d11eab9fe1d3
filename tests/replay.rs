//! Projections are a pure function of the log: replaying it gives the live tables, claims included.

use tenure::Tenure;
use tenure::context::{Actor, Context};
use tenure::entropy::{Entropy as _, SeededEntropy};
use tenure::replay::{Progress, RebuildOptions};

use crate::support::{TestDatabase, operator};

/// Compares every table with a replay of the log, rebuilds them all, and compares again.
pub async fn assert_tables_are_a_fold_of_the_log(tenure: &Tenure) {
    let diff = tenure.replay().diff(None, &Progress::none()).await.unwrap();
    assert_eq!(diff.differences.count, 0, "{:#?}", diff.differences.first);
    let rebuilt = tenure.replay().rebuild(&RebuildOptions::default(), &Progress::none()).await.unwrap();
    assert_eq!(rebuilt.differences.count, 0);
    let diff = tenure.replay().diff(None, &Progress::none()).await.unwrap();
    assert_eq!(diff.differences.count, 0, "{:#?}", diff.differences.first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_is_rebuilt_into_the_tables_that_were_kept_on_the_way() {
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
        // Names of closed accounts are unreadable in a replay; their rows and claims are gone all the same.
        let replayer = database.open().await;
        assert_tables_are_a_fold_of_the_log(&replayer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeded_data_are_what_a_replay_of_them_gives() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let seeded = tenure::seed::generate(&tenure, 3_000, 7, |_| ()).await.unwrap();
    assert!(seeded.events >= 3_000);
    assert_eq!(seeded.position, seeded.events as i64 + 1);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    tenure::seed::generate(&tenure, 500, 7, |_| ()).await.unwrap();
    crate::support::user(&tenure, "after").await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}
