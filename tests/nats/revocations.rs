//! Revocations through everything that could lose them.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::support::nats::{Node, Tenancy, connect, is_cut_off};
use crate::support::{open_with, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_use_nats_holds_up_no_revocation() {
    let tenancy = Tenancy::new().await;
    let (acme, owner, key) = tenancy.tenant("acme").await;
    tenancy.node.exchange(&key, 200).await;
    // The other node has a wrong address. It sees every event, and may be the first to revoke.
    let lost = Node::on(tenancy.database.open().await, "nats://127.0.0.1:1", |_| {}).await;
    for round in 0..6 {
        let (id, other) = tenancy.node.server.key(acme, owner).await;
        let exchanged = tenancy.node.exchange(&other, 200).await;
        let client = connect(&exchanged).await.unwrap();
        lost.server.tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
        assert!(is_cut_off(&client, &exchanged, Duration::from_secs(2)).await, "round {round}");
    }
    // Nor does it keep the lease on streams.
    let tenure = &lost.server.tenure;
    tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    tenancy.node.until_converged(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_revokes_everybody_once() {
    let tenancy = Tenancy::new().await;
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let server = &tenancy.node.server;
    let (id, other) = server.key(acme, owner).await;
    let (stays, ends) = (tenancy.node.exchange(&key, 200).await, tenancy.node.exchange(&other, 200).await);
    let client = connect(&stays).await.unwrap();
    server.tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
    // The rows are gone, as in a dump without them; the log has a new epoch, as after a restore.
    let admin = tenancy.database.connect(None).await;
    admin.batch_execute("delete from coarse.nats_user").await.unwrap();
    let settings = tenancy.database.settings();
    tenure::engine::new_epoch(&settings.address, &tenure::entropy::OsEntropy::default()).await.unwrap();
    assert!(is_cut_off(&client, &stays, Duration::from_secs(20)).await, "everybody comes back by exchange");
    assert!(connect(&ends).await.is_err(), "and who was revoked does not");
    tenancy.node.client(&key).await;
    // The same without any row of the account, by a node without memory.
    let again = tenancy.node.exchange(&key, 200).await;
    let client = connect(&again).await.unwrap();
    tenancy.node.nats.close().await;
    admin.batch_execute("delete from coarse.nats_user; delete from coarse.nats_account").await.unwrap();
    let node = Node::on(open_with(settings).await, tenancy.private.url(), |_| {}).await;
    node.exchange(&key, 200).await;
    assert!(is_cut_off(&client, &again, Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_seed_that_is_issued_again_ends_what_the_former_one_signed() {
    let tenancy = Tenancy::new().await;
    let (acme, _, key) = tenancy.tenant("acme").await;
    let exchanged = tenancy.node.exchange(&key, 200).await;
    let client = connect(&exchanged).await.unwrap();
    let tenure = &tenancy.node.server.tenure;
    let public = tenure.reader().account(acme).await.unwrap().nats_account_pub.unwrap();
    let seed = nkeys::KeyPair::new_account().seed().unwrap();
    tenure.set_nats_account(&operator(), acme, &public, &seed.clone().into()).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, Duration::from_secs(5)).await, "the former seed signs nobody in");
    tenancy.node.client(&key).await;
    let keys = tenure.ensure_nats_account(&operator(), acme, &public, &seed.clone().into()).await.unwrap();
    assert_eq!(keys.signing_seed.unwrap().expose_secret(), seed);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_revocations_than_a_token_names_cut_everybody_off_once() {
    let tenancy = Tenancy::new().await;
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let server = &tenancy.node.server;
    let (id, other) = server.key(acme, owner).await;
    let (stays, ends) = (tenancy.node.exchange(&key, 200).await, tenancy.node.exchange(&other, 200).await);
    let client = connect(&stays).await.unwrap();
    // As many as exchanges of the last minutes would leave.
    let admin = tenancy.database.connect(None).await;
    let many = "insert into coarse.nats_user (public_key, account_id, user_id, api_key_id, position, issued, expires, revoked)
                select 'U' || g, account_id, user_id, api_key_id, position, issued, expires, true
                from coarse.nats_user, generate_series(1, 2001) g where api_key_id = $1";
    admin.execute(many, &[&id]).await.unwrap();
    server.tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
    assert!(is_cut_off(&client, &stays, Duration::from_secs(5)).await, "everybody");
    assert!(connect(&ends).await.is_err());
    let again = tenancy.node.exchange(&key, 200).await;
    connect(&again).await.expect("back by exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_and_added_again_at_once_has_no_connection_left() {
    let tenancy = Tenancy::new().await;
    let (acme, _, _) = tenancy.tenant("acme").await;
    let server = &tenancy.node.server;
    let member = server.user("member").await;
    server.tenure.add_member(&operator(), acme, member).await.unwrap();
    let exchanged = tenancy.node.exchange(&server.token(member).await, 200).await;
    let client = connect(&exchanged).await.unwrap();
    server.tenure.remove_member(&operator(), acme, member).await.unwrap();
    server.tenure.add_member(&operator(), acme, member).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, Duration::from_secs(2)).await);
    tenancy.node.client(&server.token(member).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_that_a_server_brings_back_is_removed_again() {
    let tenancy = Tenancy::new().await;
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let node = &tenancy.node;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let exchanged = node.exchange(&key, 200).await;
    let token = account_token(&tenancy);
    node.server.tenure.close_account(&operator(), acme).await.unwrap();
    node.until("gone", |status| status.accounts == 0 && status.accounts_unknown == 0).await;
    assert!(connect(&exchanged).await.is_err());
    // As a server that was away does: it has the token on its disk, and tells the others.
    let system = system_client(&tenancy).await;
    let taken = system.request("$SYS.REQ.CLAIMS.UPDATE", token.into()).await.unwrap();
    assert!(String::from_utf8_lossy(&taken.payload).contains("jwt updated"));
    let out = async { while connect(&exchanged).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), out).await.expect("out again");
    node.until("gone again", |status| status.accounts == 0 && status.accounts_unknown == 0).await;
}

/// The token of the only account that the server has.
fn account_token(tenancy: &Tenancy) -> String {
    let accounts = tenancy.dir().join("nats/accounts");
    let tokens = std::fs::read_dir(accounts).unwrap().flatten();
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let ours = tokens.map(|entry| text(entry.path())).find(|token| {
        let body = token.split('.').nth(1).unwrap_or_default();
        let body = data_encoding::BASE64URL_NOPAD.decode(body.as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&body).contains("tenure:")
    });
    ours.expect("a token of an account")
}

/// A connection to the system account, as another node has it.
async fn system_client(tenancy: &Tenancy) -> async_nats::Client {
    tenure::nats::system_client(&tenancy.node.server.tenure, tenancy.private.url())
        .await
        .expect("a connection")
}
