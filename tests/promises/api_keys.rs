//! API keys: minted once, verified, rotated, revoked.

use futures::TryStreamExt as _;
use std::time::Duration;

use futures::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use tenure::Tenure;
use tenure::aggregates::source::Retention;
use tenure::clock::Clock as _;
use tenure::context::{Actor, Context};
use tenure::credentials::api_key;
use tenure::ids::{AccountId, ApiKeyId, UserId};
use tenure::operations::{MAX_GRACE, Refusal, Resource};

use super::{acme, nothing};
use crate::refused;
use crate::support::{TestDatabase, as_user, history, operator, user};

async fn mint(tenure: &Tenure, account: AccountId, owner: UserId) -> (ApiKeyId, SecretString) {
    let minted = tenure.mint_api_key(&as_user(owner), account, "ci", None, None).await.unwrap().answer;
    (minted.id, minted.plaintext.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_key_is_found_by_its_plaintext_alone() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let (id, plaintext) = mint(&tenure, acme.account, acme.owner).await;
    let text = plaintext.expose_secret();
    assert!(text.len() == 30 && text.starts_with("ppz_"), "another form");
    let key = tenure.lookup_api_key(&plaintext).await.unwrap();
    assert_eq!((key.id, key.account_id, key.created_by_user_id), (id, acme.account, acme.owner));
    assert_eq!((key.label.as_str(), key.key_prefix.as_str()), ("ci", &text[4..12]));
    assert_eq!(key.last_used_at, None);
    assert_eq!(tenure.reader().api_key(id).await.unwrap().last_used_at, Some(clock.now()));
    let stored: String = database
        .connect(None)
        .await
        .query_one("select key_hash from view.api_keys", &[])
        .await
        .unwrap()
        .get(0);
    assert!(api_key::verify(&plaintext, &stored) && stored.starts_with("$argon2id$v=19$m=65536,t=1,p=4$"));
    let same_prefix = format!("{}{}", &text[..12], "0".repeat(18));
    for wrong in [same_prefix.as_str(), "ppz_", "", "ppz", "nonsense", &text[..29], &text[1..]] {
        refused!(tenure.lookup_api_key(&wrong.to_owned().into()).await, Refusal::NotFound(Resource::ApiKey));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_mints_and_the_minter_belongs_to_the_account() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let (before, mint) = (history(&tenure).await.len(), |context: Context, account, by| {
        let tenure = &tenure;
        async move { tenure.mint_api_key(&context, account, "l", None, by).await }
    });
    refused!(mint(as_user(acme.member), acme.account, None).await, Refusal::Forbidden);
    refused!(mint(as_user(acme.stranger), acme.account, None).await, Refusal::NotFound(Resource::Account));
    refused!(
        mint(as_user(acme.owner), AccountId::from_uuid(nothing()), None).await,
        Refusal::NotFound(Resource::Account)
    );
    refused!(mint(as_user(acme.owner), acme.account, Some(acme.member)).await, Refusal::Forbidden);
    refused!(mint(operator(), acme.account, Some(acme.stranger)).await, Refusal::NotFound(Resource::Member));
    refused!(mint(operator(), acme.account, None).await, Refusal::Invalid(_));
    let label = "x".repeat(201);
    refused!(
        tenure.mint_api_key(&as_user(acme.owner), acme.account, &label, None, None).await,
        Refusal::Invalid(_)
    );
    let past = Some(tenure.clock().now());
    refused!(
        tenure.mint_api_key(&as_user(acme.owner), acme.account, "l", past, None).await,
        Refusal::Invalid(_)
    );
    assert_eq!(history(&tenure).await.len(), before, "a refusal wrote an event");
    mint(operator(), acme.account, Some(acme.member)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_on_every_node_and_keeps_the_first_time() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let other = database.open().await;
    let acme = acme(&tenure).await;
    let elsewhere = crate::support::account(&tenure, "elsewhere", acme.stranger).await;
    let (id, plaintext) = mint(&tenure, acme.account, acme.owner).await;
    other.lookup_api_key(&plaintext).await.unwrap();
    let revoke = |context: Context, account, key| {
        let tenure = &tenure;
        async move { tenure.revoke_api_key(&context, account, key).await }
    };
    refused!(revoke(as_user(acme.member), None, id).await, Refusal::Forbidden);
    refused!(revoke(as_user(acme.stranger), Some(elsewhere), id).await, Refusal::NotFound(Resource::ApiKey));
    refused!(
        revoke(as_user(acme.owner), None, ApiKeyId::from_uuid(nothing())).await,
        Refusal::NotFound(Resource::ApiKey)
    );
    let at = clock.now();
    assert_eq!(revoke(as_user(acme.owner), Some(acme.account), id).await.unwrap().events.len(), 1);
    refused!(other.lookup_api_key(&plaintext).await, Refusal::NotFound(Resource::ApiKey));
    clock.advance(Duration::from_secs(5));
    assert_eq!(revoke(as_user(acme.owner), None, id).await.unwrap().events.len(), 0);
    assert_eq!(tenure.reader().api_key(id).await.unwrap().revoked_at, Some(at));
}

#[tokio::test(flavor = "multi_thread")]
async fn good_keys_are_listed_before_the_others() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let mut ids = Vec::new();
    for minutes in [None, Some(1), None, None] {
        let end = minutes.map(|minutes| clock.now().after(Duration::from_mins(minutes)));
        let minted = tenure.mint_api_key(&as_user(acme.owner), acme.account, "l", end, None).await.unwrap();
        ids.push(minted.answer.id);
        clock.advance(Duration::from_secs(1));
    }
    tenure.revoke_api_key(&as_user(acme.owner), None, ids[0]).await.unwrap();
    clock.advance(Duration::from_mins(2));
    let listed = tenure
        .reader()
        .api_keys_for_account(acme.account, clock.now())
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    let listed: Vec<_> = listed.iter().map(|key| key.id).collect();
    assert_eq!(listed, [ids[2], ids[3], ids[0], ids[1]]);
    assert!(
        tenure
            .reader()
            .api_keys_for_account(AccountId::from_uuid(nothing()), clock.now())
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_not_found() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let end = Some(clock.now().after(Duration::from_mins(1)));
    let minted =
        tenure.mint_api_key(&as_user(acme.owner), acme.account, "l", end, None).await.unwrap().answer;
    let plaintext = minted.plaintext.unwrap();
    tenure.lookup_api_key(&plaintext).await.unwrap();
    clock.advance(Duration::from_mins(1));
    refused!(tenure.lookup_api_key(&plaintext).await, Refusal::NotFound(Resource::ApiKey));
    refused!(
        tenure.rotate_api_key(&as_user(acme.owner), None, minted.id, MAX_GRACE).await,
        Refusal::NotFound(Resource::ApiKey)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_good_for_its_grace_and_a_revocation_kills_both() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let (id, first) = mint(&tenure, acme.account, acme.owner).await;
    let owner = as_user(acme.owner);
    let day = Duration::from_hours(24);
    let rotated = tenure.rotate_api_key(&owner, Some(acme.account), id, day).await.unwrap().answer;
    let second = rotated.plaintext.unwrap();
    assert_eq!(rotated.id, id);
    for secret in [&first, &second] {
        assert_eq!(tenure.lookup_api_key(secret).await.unwrap().id, id);
    }
    clock.advance(day);
    refused!(tenure.lookup_api_key(&first).await, Refusal::NotFound(_));
    let third =
        tenure.rotate_api_key(&owner, None, id, Duration::ZERO).await.unwrap().answer.plaintext.unwrap();
    refused!(tenure.lookup_api_key(&second).await, Refusal::NotFound(_));
    let fourth = tenure.rotate_api_key(&owner, None, id, day).await.unwrap().answer.plaintext.unwrap();
    tenure.revoke_api_key(&owner, None, id).await.unwrap();
    for secret in [&third, &fourth] {
        refused!(tenure.lookup_api_key(secret).await, Refusal::NotFound(_));
    }
    refused!(tenure.rotate_api_key(&owner, None, id, MAX_GRACE + day).await, Refusal::Invalid(_));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_member_revokes_the_keys_that_they_minted_and_names_them() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let minted =
        tenure.mint_api_key(&operator(), acme.account, "l", None, Some(acme.member)).await.unwrap().answer;
    let (others, plaintext) = mint(&tenure, acme.account, acme.owner).await;
    let removed = tenure.remove_member(&as_user(acme.owner), acme.account, acme.member).await.unwrap();
    assert_eq!((removed.answer.count, removed.answer.first, removed.events.len()), (1, vec![minted.id], 1));
    refused!(tenure.lookup_api_key(&minted.plaintext.unwrap()).await, Refusal::NotFound(_));
    assert_eq!(tenure.lookup_api_key(&plaintext).await.unwrap().id, others);
    tenure.add_member(&as_user(acme.owner), acme.account, acme.member).await.unwrap();
    let kept =
        tenure.mint_api_key(&operator(), acme.account, "l", None, Some(acme.member)).await.unwrap().answer;
    let done =
        tenure.remove_member_but_keep_keys(&as_user(acme.owner), acme.account, acme.member).await.unwrap();
    assert_eq!(done.answer.count, 0);
    tenure.lookup_api_key(&kept.plaintext.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_an_account_ends_its_keys_invites_and_sources_in_one_step() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    let (_, plaintext) = mint(&tenure, acme.account, acme.owner).await;
    let (revoked, _) = mint(&tenure, acme.account, acme.owner).await;
    tenure.revoke_api_key(&owner, None, revoked).await.unwrap();
    let invite = tenure.create_invite(&owner, acme.account, "stranger", None).await.unwrap().answer;
    tenure.create_source(&owner, acme.account, None, "robot", None).await.unwrap();
    tenure.create_pipe(&owner, acme.account, None, "robot", "events", Retention::default()).await.unwrap();
    let done = tenure.close_account(&owner, acme.account).await.unwrap();
    let kinds: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind()).collect();
    assert_eq!(kinds, [("account.closed", "2")]);
    refused!(tenure.lookup_api_key(&plaintext).await, Refusal::NotFound(_));
    refused!(
        tenure.accept_invite(&as_user(acme.stranger), invite, acme.stranger).await,
        Refusal::InviteNotPending
    );
    let client = database.connect(None).await;
    assert_eq!(tenure.clear_away().await.unwrap(), 1);
    let fresh = database.open().await;
    for table in
        ["view.api_keys", "view.sources", "view.pipes", "view.members", "view.invites", "view.endings"]
    {
        assert!(crate::support::rows(&client, table).await.is_empty(), "{table}");
    }
    crate::replay::assert_tables_are_a_fold_of_the_log(&fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_acts_for_its_own_account_and_for_no_owner() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let other = crate::support::account(&tenure, "other", acme.stranger).await;
    let (id, _) = mint(&tenure, acme.account, acme.owner).await;
    let key = Context { on_behalf_of: Some(acme.owner), ..Context::of(Actor::ApiKey(id)) };
    tenure.create_source(&key, acme.account, None, "robot", None).await.unwrap();
    let source = tenure.reader().source_by_handle(acme.account, "robot").await.unwrap();
    assert_eq!(source.created_by_user_id, acme.owner, "the minter is written down");
    refused!(tenure.create_source(&key, other, None, "robot", None).await, Refusal::Forbidden);
    refused!(tenure.mint_api_key(&key, acme.account, "l", None, None).await, Refusal::Forbidden);
    refused!(tenure.close_account(&key, acme.account).await, Refusal::Forbidden);
    tenure.revoke_api_key(&as_user(acme.owner), None, id).await.unwrap();
    refused!(tenure.delete_source(&key, acme.account, "robot").await, Refusal::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_checks_at_once_take_the_memory_of_a_few() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let mut secrets = Vec::new();
    for _ in 0..4 {
        secrets.push(mint(&tenure, acme.account, acme.owner).await.1);
    }
    let before = resident_mebibytes();
    let mut checks =
        std::pin::pin!(join_all((0..500).map(|check| tenure.lookup_api_key(&secrets[check % 4]))));
    let mut peak = 0;
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut checks => break outcomes,
            () = tokio::task::yield_now() => peak = peak.max(resident_mebibytes()),
        }
    };
    let (mut good, mut busy) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Ok(_) => good += 1,
            Err(tenure::dispatch::DispatchError::Refused(Refusal::Busy)) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(good + busy, 500);
    assert!(good >= 256, "{good}");
    // Other tests hash in the same process, as many at a time as there are threads, each with a pool of its own.
    let threads = std::thread::available_parallelism().unwrap().get();
    let most = (threads + 1) * threads * 64 + 256;
    let taken = peak.saturating_sub(before);
    assert!((32..=most).contains(&taken), "{taken} MiB at the peak, at most {most}");
}

fn resident_mebibytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() / 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_at_nats_is_set_once_sealed_and_its_seed_issued_again() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let acme = acme(&tenure).await;
    let key = |letter: &str| format!("A{}", letter.repeat(55));
    let seed = |letter: &str| SecretString::from(format!("SA{}", letter.repeat(56)));
    let set = |account, public: String, seed: SecretString| {
        let tenure = &tenure;
        async move { tenure.set_nats_account(&operator(), account, &public, &seed).await }
    };
    assert_eq!(set(acme.account, key("B"), seed("C")).await.unwrap().events.len(), 1);
    assert_eq!(set(acme.account, key("B"), seed("C")).await.unwrap().events.len(), 0);
    refused!(set(acme.account, key("D"), seed("C")).await, Refusal::NatsAccountMismatch);
    let reissued = set(acme.account, key("B"), seed("D")).await.unwrap();
    assert_eq!(reissued.events[0].2.kind().0, "account.nats_signing_seed_reissued");
    refused!(
        set(AccountId::from_uuid(nothing()), key("B"), seed("C")).await,
        Refusal::NotFound(Resource::Account)
    );
    refused!(set(acme.account, "nonsense".to_owned(), seed("C")).await, Refusal::Invalid(_));
    refused!(
        tenure.set_nats_account(&as_user(acme.owner), acme.account, &key("B"), &seed("C")).await,
        Refusal::Forbidden
    );
    assert_eq!(tenure.reader().account(acme.account).await.unwrap().nats_account_pub, Some(key("B")));
    let everything = crate::sealing::dump(&database, &[]);
    for letter in ["C", "D"] {
        assert!(!everything.contains(&letter.repeat(40)), "a seed is in the database in clear");
    }
    let _ = user(&tenure, "later").await;
}
