//! The examples and the guide, as they stand.

use super::*;

#[path = "../../examples/keep_a_table.rs"]
mod keep_a_table;

#[path = "../../examples/welcome_mails.rs"]
mod welcome_mails;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_a_table_counts_each_event_once() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = keep_a_table::make_table(&database.address).await.unwrap();
    let accounts = make_events(&tenure, "a", 3).await;
    let running = keep_a_table::follow(&tenure).await.unwrap();
    until_current(&client, "billing_seats").await;
    let rows = client.query("select account_id, seats from billing.seats order by 1", &[]).await.unwrap();
    // An owner, and a member who came and went.
    let seats: Vec<(uuid::Uuid, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut expected: Vec<_> = accounts.iter().map(|account| (account.as_uuid(), 1)).collect();
    expected.sort();
    assert_eq!(seats, expected);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_an_outside_effect_sends_each_mail_once() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    let tenure = database.open().await;
    user(&tenure, "earlier").await;
    let provider = welcome_mails::Provider::default();
    let running = welcome_mails::follow(&tenure, &provider).await.unwrap();
    user(&tenure, "ada").await;
    user(&tenure, "bob").await;
    until_current(&client, "welcome_mails").await;
    // Handled again: the provider knows the keys.
    let start = tenure::event_log::PositionToken { epoch: tenure.log().seen().get().epoch, position: 1 };
    Subscriptions::of(tenure.log()).rewind("welcome_mails", start, &by()).await.unwrap();
    until_current(&client, "welcome_mails").await;
    let mut sent = provider.sent().await;
    sent.sort();
    assert_eq!(sent, ["ada@people.example", "bob@people.example", "earlier@people.example"]);
    running.stop().await;
}

#[test]
fn the_code_of_the_guide_is_that_of_the_examples() {
    let guide = include_str!("../../docs/guides/follow-the-log.md");
    let examples =
        [include_str!("../../examples/keep_a_table.rs"), include_str!("../../examples/welcome_mails.rs")];
    let blocks: Vec<&str> =
        guide.split("```rust\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3, "the guide has code");
    for block in blocks {
        assert!(
            examples.iter().any(|example| example.contains(block.trim_end())),
            "not in an example:\n{block}"
        );
    }
}
