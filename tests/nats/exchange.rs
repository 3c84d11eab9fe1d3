//! The exchange, and how users are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::sync::Notify;

use crate::http::answer;
use crate::support::nats::{PATIENCE, Tenancy, connect, is_cut_off};
use crate::support::operator;

/// By when a user is cut off while the committing node lives.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_a_token_are_exchanged_for_credentials_that_work_for_their_account_alone() {
    let tenancy = Tenancy::new().await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let (other, _, other_key) = tenancy.tenant("other").await;
    for (tenant, of) in [(acme, owner), (other, owner)] {
        let by = if tenant == acme { Some(of) } else { None };
        let by = by.or(Some(server.tenure.reader().account(tenant).await.unwrap().owner_user_id));
        server.tenure.create_source(&operator(), tenant, by, "robot", None).await.unwrap();
    }
    node.until_converged(2).await;
    let exchanged = node.exchange(&key, 200).await;
    assert_eq!(exchanged["account_id"], acme.to_string());
    assert_eq!(exchanged["account_name"], "acme");
    assert_eq!(exchanged["jwt"], exchanged["nats_user_jwt"]);
    let client = connect(&exchanged).await.unwrap();
    let jetstream = async_nats::jetstream::new(client.clone());
    let subject = format!("{acme}.robot.inbox");
    let acknowledged = jetstream.publish(subject.clone(), "one".into()).await.unwrap().await.unwrap();
    assert_eq!(acknowledged.sequence, 1);

    // Nothing of the other tenant can be seen: its subject is not allowed, and its streams are in another account.
    let foreign = format!("{other}.robot.inbox");
    assert!(jetstream.publish(foreign, "x".into()).await.unwrap().await.is_err());
    let theirs = async_nats::jetstream::new(node.client(&other_key).await);
    let found = theirs.get_stream(tenure::nats::streams::stream_name(other, "robot", "inbox")).await.unwrap();
    assert_eq!(found.cached_info().state.messages, 0, "whatever the streams' names, which may be the same");

    // A bearer token, for the default account and for a named one.
    let token = server.token(owner).await;
    assert_eq!(node.exchange(&token, 200).await["account_id"], acme.to_string());
    let body = json!({"api_key": token, "account_id": other.to_string()});
    answer(server.post("/api/v1/auth/exchange", body)).await.fails(403, "E_INVALID_ORG");
    let body = json!({"api_key": key, "account_id": other.to_string()});
    answer(server.post("/api/v1/auth/exchange", body)).await.fails(403, "E_INVALID_ORG");
    let body = json!({"api_key": key, "account_id": acme.to_string()});
    answer(server.post("/api/v1/auth/exchange", body)).await.is(200);
    for bad in [json!({"api_key": "ppz_00000000000000000000000000"}), json!({"api_key": ""}), json!({})] {
        answer(server.post("/api/v1/auth/exchange", bad)).await.fails(401, "E_INVALID_API_KEY");
    }
    for bad in [json!({"api_key": 5}), json!([]), json!({"api_key": key, "account_id": 5})] {
        answer(server.post("/api/v1/auth/exchange", bad)).await.fails(400, "E_INVALID_REQUEST");
    }
    for unknown in ["not-an-id", "01a21a51-0000-7000-8000-000000000000"] {
        let body = json!({"api_key": token, "account_id": unknown});
        answer(server.post("/api/v1/auth/exchange", body)).await.fails(403, "E_INVALID_ORG");
    }
    // An operator may look at every account, but what goes through them is the tenants'.
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let body = json!({"api_key": server.token(runs).await, "account_id": acme.to_string()});
    answer(server.post("/api/v1/auth/exchange", body.clone())).await.fails(403, "E_INVALID_ORG");
    server.tenure.add_member(&operator(), acme, runs).await.unwrap();
    answer(server.post("/api/v1/auth/exchange", body)).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_a_credential_or_a_membership_cuts_its_nats_users_off() {
    let tenancy = Tenancy::new().await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let tenure = &server.tenure;
    let member = server.user("member").await;
    tenure.add_member(&operator(), acme, member).await.unwrap();
    let stays = node.exchange(&key, 200).await;
    let stays_client = connect(&stays).await.unwrap();

    // A removed member.
    let exchanged = node.exchange(&server.token(member).await, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.remove_member(&operator(), acme, member).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a removed member");
    // Who comes back gets a new user, and the old one stays out.
    tenure.add_member(&operator(), acme, member).await.unwrap();
    let again = node.exchange(&server.token(member).await, 200).await;
    connect(&again).await.unwrap();
    assert!(connect(&exchanged).await.is_err(), "a new membership brings no old user back");

    // A revoked key.
    let (id, other_key) = server.key(acme, owner).await;
    let exchanged = node.exchange(&other_key, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a revoked key");

    // A key that ends with the membership of who minted it.
    tenure.transfer_ownership(&operator(), acme, member).await.unwrap();
    let (_, minted) = server.key(acme, owner).await;
    let exchanged = node.exchange(&minted, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.remove_member_but_keep_keys(&operator(), acme, owner).await.unwrap();
    connect(&exchanged).await.expect("the keys were kept");
    tenure.add_member(&operator(), acme, owner).await.unwrap();
    tenure.remove_member(&operator(), acme, owner).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a key of a removed member");
    assert!(is_cut_off(&stays_client, &stays, SOON).await, "the same member's other key");

    // A revoked token, and a forgotten person.
    let token = server.token(member).await;
    let exchanged = node.exchange(&token, 200).await;
    let client = connect(&exchanged).await.unwrap();
    let found = tenure.lookup_bearer_token(&token.clone().into()).await.unwrap();
    tenure.revoke_bearer_token(&operator(), found.id).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a revoked token");
    let guest = server.user("guest").await;
    tenure.add_member(&operator(), acme, guest).await.unwrap();
    let exchanged = node.exchange(&server.token(guest).await, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.forget_user(&operator(), guest).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a forgotten person");

    // A closed account: nobody gets in, and nothing of it stays.
    let exchanged = node.exchange(&server.token(member).await, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.close_account(&operator(), acme).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, SOON).await, "a closed account");
    node.until("gone", |status| status.accounts == 0 && status.accounts_unknown == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_exchanges_on_two_nodes_make_one_account_and_all_of_them_work() {
    let tenancy = Tenancy::new().await;
    let second = tenancy.second(|_| {}).await;
    let (acme, _, key) = tenancy.tenant("acme").await;
    let nodes = [&tenancy.node, &second];
    let exchanged = join_all((0..32).map(|number| nodes[number % 2].exchange(&key, 200))).await;
    for exchanged in &exchanged {
        connect(exchanged).await.expect("every one of them works");
    }
    let set = crate::support::history(&tenancy.node.server.tenure).await;
    let set = set.iter().filter(|event| event.event_type == "account.nats_account_set");
    assert_eq!(set.count(), 1, "the account {acme} has one key");
    let issuers: std::collections::BTreeSet<String> =
        exchanged.iter().map(|exchanged| claims(exchanged)["nats"]["issuer_account"].to_string()).collect();
    assert_eq!(issuers.len(), 1);
}

/// The claims of an exchanged token.
fn claims(exchanged: &serde_json::Value) -> serde_json::Value {
    let token = exchanged["nats_user_jwt"].as_str().unwrap();
    let body = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_between_the_row_and_the_check_is_never_missed() {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reaching, going) = (reached.clone(), go_on.clone());
    let tenancy = Tenancy::with(move |settings| {
        settings.pauses.before_check = Some(Arc::new(move || {
            let (reaching, going) = (reaching.clone(), going.clone());
            Box::pin(async move {
                reaching.notify_one();
                going.notified().await;
            })
        }));
    })
    .await;
    let (acme, _, _) = tenancy.tenant("acme").await;
    let server = &tenancy.node.server;
    let member = server.user("member").await;
    server.tenure.add_member(&operator(), acme, member).await.unwrap();
    let token = server.token(member).await;
    let body = json!({"api_key": token, "account_id": acme.to_string()});
    let exchanging = tokio::spawn(answer(server.post("/api/v1/auth/exchange", body)));
    tokio::time::timeout(PATIENCE, reached.notified()).await.expect("the row is stored");
    server.tenure.remove_member(&operator(), acme, member).await.unwrap();
    go_on.notify_one();
    exchanging.await.unwrap().fails(403, "E_INVALID_ORG");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_exchanges_race_removals_on_two_nodes_and_no_connection_outlives_a_removal() {
    let tenancy = Tenancy::new().await;
    let second = tenancy.second(|_| {}).await;
    let nodes = [&tenancy.node, &second];
    let (acme, _, _) = tenancy.tenant("acme").await;
    let all: usize = std::env::var("TENURE_EXCHANGES").map_or(160, |count| count.parse().unwrap());
    let (outlived, refused, cut) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let callers = (all / 20).clamp(8, 64);
    join_all((0..callers).map(|caller| {
        let (outlived, refused, cut) = (&outlived, &refused, &cut);
        async move {
            let server = &nodes[caller % 2].server;
            let person = server.user(&format!("person-{caller}")).await;
            let token = server.token(person).await;
            for round in 0..all / callers {
                server.tenure.add_member(&operator(), acme, person).await.unwrap();
                let here = nodes[(caller + round) % 2];
                let body = json!({"api_key": token, "account_id": acme.to_string()});
                let exchanging = answer(here.server.post("/api/v1/auth/exchange", body));
                let removing = async {
                    // Sometimes before, sometimes in the middle, sometimes after.
                    tokio::time::sleep(Duration::from_millis(((caller + round) % 7) as u64 * 4)).await;
                    server.tenure.remove_member(&operator(), acme, person).await.unwrap();
                    tokio::time::Instant::now()
                };
                let (answer, removed) = tokio::join!(exchanging, removing);
                if answer.status != 200 {
                    answer.fails(403, "E_INVALID_ORG");
                    refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let exchanged = answer.json();
                let client = connect(&exchanged).await;
                tokio::time::sleep_until(removed + SOON).await;
                let lives = client.is_ok_and(|client| {
                    client.connection_state() == async_nats::connection::State::Connected
                });
                outlived.fetch_add(usize::from(lives), Ordering::SeqCst);
                cut.fetch_add(1, Ordering::SeqCst);
                if round % 8 == 0 {
                    outlived.fetch_add(usize::from(connect(&exchanged).await.is_ok()), Ordering::SeqCst);
                }
            }
        }
    }))
    .await;
    println!("{all} exchanges: {refused:?} refused, {cut:?} cut off");
    assert_eq!(outlived.into_inner(), 0, "connections that outlive a removal by a second");
    // Both nodes revoke at the same moment. A deadlock would be resolved only after a second.
    let admin = tenancy.database.connect(None).await;
    let sql = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0, "deadlocks");
}
