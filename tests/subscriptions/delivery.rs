//! What a handler gets: every selected event, once, in order.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_kept_exactly_once_by_several_slices_in_several_processes() {
    let database = TestDatabase::new().await;
    let client = make_table(&database).await;
    let nodes = [database.open().await, database.open().await];
    let owner = user(&nodes[0], "owner").await;
    let ledger = Subscription::new("ledger", 1).unwrap().slices(4);
    let mut running = Vec::new();
    for node in &nodes {
        running.push(ledger.start_transactional(node, Table).await.unwrap());
    }
    for number in 0..50 {
        account(&nodes[number % 2], &format!("a{number}"), owner).await;
    }
    let newest = nodes[0].log().newest().await.unwrap();
    until_at(&client, "ledger", newest).await;
    assert_all_seen(&client, &nodes[0], |_| true).await;
    for running in running {
        running.stop().await;
    }
    let held = "select count(*) from log.subscription_slice where holder is not null";
    assert_eq!(client.query_one(held, &[]).await.unwrap().get::<_, i64>(0), 0, "a stop gives the slices back");
}
