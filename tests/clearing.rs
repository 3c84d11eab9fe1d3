//! Endings: of the same size whatever has been made, in effect at once on every node, and cleared away afterwards.

use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::join_all;
use secrecy::SecretString;
use tenure::aggregates::account::{Account, AccountEvent};
use tenure::aggregates::api_key::{ApiKey, ApiKeyEvent, KeyHash, KeyPrefix, Label};
use tenure::aggregates::source::{PipeName, Retention, Source, SourceEvent};
use tenure::aggregates::user::{User, UserEvent, UserMode, Username};
use tenure::aggregates::{AnyEvent, EventSourced as _};
use tenure::clock::{Clock as _, Stopwatch};
use tenure::codec::Decided;
use tenure::context::{Actor, Context};
use tenure::event_log::BulkBatch;
use tenure::event_log::limits::MAX_EVENT_BYTES;
use tenure::event_log::unit::Unit;
use tenure::event_log::{AppendError, NewEvent, Premises, StreamId};
use tenure::ids::{AccountId, ApiKeyId, EventId, InviteId, PipeId, SourceId, UserId};
use tenure::operations::{NAMED_KEYS, Refusal, Resource};
use tenure::projections::QueryError;
use tenure::{Settings, Tenure};

use crate::refused;
use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, account, as_user, history, open_with, operator, rows, user};

const LIFE: Duration = Duration::from_hours(1);

/// A hash that no secret fits, as one that was made elsewhere: cheap to make many of.
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

async fn open(database: &TestDatabase) -> Tenure {
    let mut settings = database.settings();
    let limits = &mut settings.rules.limits;
    (limits.keys_per_account, limits.pending_invites_per_account) = (1_000_000, 1_000_000);
    open_with(settings).await
}

async fn keys(tenure: &Tenure, account: AccountId, by: UserId, count: usize) -> Vec<ApiKeyId> {
    let (context, mut made) = (operator(), Vec::new());
    for number in 0..count {
        let prefix = KeyPrefix::of(&format!("{number:08}"));
        made.push(tenure.import_api_key(&context, account, prefix, HASH, "k", by));
    }
    join_all(made).await.into_iter().map(|done| done.unwrap().answer).collect()
}

async fn key(tenure: &Tenure, account: AccountId, by: UserId) -> (ApiKeyId, SecretString) {
    let minted = tenure.mint_api_key(&operator(), account, "k", None, Some(by)).await.unwrap().answer;
    (minted.id, minted.plaintext.unwrap())
}

/// The event at the end of the log, and how many bytes it takes.
async fn last(tenure: &Tenure) -> (String, usize) {
    let event = history(tenure).await.pop().unwrap();
    let size = event.payload.len() + event.sealed.map_or(0, |block| block.len());
    (format!("{} {}", event.event_type, event.event_version), size)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_closes_in_one_event_of_one_size_and_is_gone_on_every_node_at_once() {
    let database = TestDatabase::new().await;
    let (one, other) = (open(&database).await, open(&database).await);
    let owner = user(&one, "owner").await;
    let (small, large) = (account(&one, "small", owner).await, account(&one, "large", owner).await);
    let (_, plaintext) = key(&one, large, owner).await;
    keys(&one, large, owner, 1_300).await;
    let members = join_all((0..30).map(|number| {
        let one = &one;
        async move { user(one, &format!("member-{number}")).await }
    }))
    .await;
    for member in &members {
        one.add_member(&operator(), large, *member).await.unwrap();
    }
    let context = as_user(owner);
    let invite = one.create_invite(&context, large, "nobody-yet", None).await.unwrap().answer;
    one.create_invite(&context, large, "member-29~", None).await.unwrap_err();
    one.create_source(&context, large, None, "robot", None).await.unwrap();
    for number in 0..20 {
        let pipe = format!("p{number}");
        one.create_pipe(&context, large, None, "robot", &pipe, Retention::default()).await.unwrap();
    }
    let at = one.clock().now();
    one.update_last_broadcast(&context, large, "robot", at, "an announcement in clear").await.unwrap();
    let found = other.lookup_api_key(&plaintext).await.unwrap();
    assert_eq!(found.account_id, large);

    one.close_account(&context, small).await.unwrap();
    let (kind, of_small) = last(&one).await;
    let done = one.close_account(&context, large).await.unwrap();
    assert_eq!(done.events.len(), 1);
    assert_eq!(last(&one).await, (kind.clone(), of_small), "one size");
    assert_eq!(kind, "account.closed 2");

    for node in [&other, &one] {
        let reader = node.reader();
        refused!(node.lookup_api_key(&plaintext).await, Refusal::NotFound(Resource::ApiKey));
        assert!(matches!(reader.api_key(found.id).await, Err(QueryError::NotFound)));
        assert!(matches!(reader.invite(invite).await, Err(QueryError::NotFound)));
        assert!(matches!(reader.source_by_handle(large, "robot").await, Err(QueryError::NotFound)));
        assert!(!reader.is_member_or_owner(large, members[0]).await);
        assert!(!reader.is_member_or_owner(large, owner).await);
        assert!(reader.members(large).try_collect::<Vec<_>>().await.unwrap().is_empty());
        assert!(reader.accounts_for_user(members[0]).try_collect::<Vec<_>>().await.unwrap().is_empty());
        assert!(reader.api_keys_for_account(large, at).try_collect::<Vec<_>>().await.unwrap().is_empty());
        assert!(reader.invites_for_account(large).try_collect::<Vec<_>>().await.unwrap().is_empty());
        assert!(reader.sources_for_account(large).try_collect::<Vec<_>>().await.unwrap().is_empty());
        assert!(
            reader
                .pending_invites_for_username("nobody-yet", at)
                .try_collect::<Vec<_>>()
                .await
                .unwrap()
                .is_empty()
        );
        refused!(
            node.revoke_api_key(&operator(), None, found.id).await,
            Refusal::NotFound(Resource::Account)
        );
        refused!(
            node.create_source(&operator(), large, Some(owner), "x", None).await,
            Refusal::NotFound(Resource::Account)
        );
    }
    // The next user who signs up under the invited name gets no part of it.
    let system = Context::of(Actor::System);
    let nobody = other.sign_in_with_github(&system, 1, "nobody-yet", None, None).await.unwrap().answer.user;
    refused!(other.accept_invite(&as_user(nobody), invite, nobody).await, Refusal::InviteNotPending);
    assert!(
        other
            .reader()
            .accounts_for_user(nobody)
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .iter()
            .all(|own| own.id != large)
    );

    // Stopped in the middle, and gone on with by the other node.
    {
        let clearing = one.clear_away();
        tokio::pin!(clearing);
        let before = history(&other).await.len();
        loop {
            let step = tokio::time::timeout(Duration::from_millis(1), &mut clearing).await;
            if step.is_ok() || history(&other).await.len() > before + 1 {
                break;
            }
        }
    }
    let (first, second) = tokio::join!(one.clear_away(), other.clear_away());
    assert!(first.is_ok() && second.is_ok());
    let client = database.connect(None).await;
    for table in [
        "view.api_keys",
        "view.members",
        "view.invites",
        "view.sources",
        "view.pipes",
        "view.endings",
        "coarse.last_used",
        "coarse.last_broadcast",
    ] {
        assert!(rows(&client, table).await.is_empty(), "{table}");
    }
    let claims = "select count(*) from view.unique_claims where kind = 'source_handle'";
    assert_eq!(client.query_one(claims, &[]).await.unwrap().get::<_, i64>(0), 0);
    for event in history(&one).await.iter().filter(|event| &*event.stream.stream_type == "ending") {
        assert!(event.payload.len() < 64 * 1024, "{}", event.payload.len());
    }
    assert!(!crate::sealing::dump(&database, &[]).contains("announcement"));
    assert_tables_are_a_fold_of_the_log(&one).await;
    // A secret in use when its account closed leaves no trace behind.
    other.lookup_api_key(&plaintext).await.unwrap_err();
    assert!(rows(&client, "coarse.last_used").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_in_one_event_whatever_one_owner_has_sent_them() {
    const INVITES: usize = 10_500;
    const ACCOUNTS: usize = 25;
    let database = TestDatabase::new().await;
    let (one, other) = (open(&database).await, open(&database).await);
    let (owner, calm) = (user(&one, "owner").await, user(&one, "calm-person").await);
    let acme = account(&one, "acme", owner).await;
    let victim = user(&one, "zebedee-of-the-roundabout").await;
    let name = "zebedee-of-the-roundabout";
    let (one_, owner_) = (&one, as_user(owner));
    // One living invite at a time to one account, so each is taken back before the next.
    join_all((0..ACCOUNTS).map(|number| async move {
        let from = if number == 0 { acme } else { account(one_, &format!("acme-{number}"), owner).await };
        for _ in 0..INVITES / ACCOUNTS {
            let invite = one_.create_invite(&owner_, from, name, None).await.unwrap().answer;
            one_.revoke_invite(&owner_, Some(from), invite).await.unwrap();
        }
    }))
    .await;
    let pending = one.create_invite(&as_user(owner), acme, name, None).await.unwrap().answer;
    one.forget_user(&operator(), calm).await.unwrap();
    let (kind, of_calm) = last(&one).await;
    let watch = Stopwatch::start();
    let done = one.forget_user(&as_user(victim), victim).await.unwrap();
    let forgotten = watch.elapsed();
    assert!(forgotten < Duration::from_secs(2), "{forgotten:?}");
    assert_eq!(done.events.len(), 1);
    let (same, of_victim) = last(&one).await;
    assert_eq!(same, kind);
    assert!(of_victim.abs_diff(of_calm) < 64, "{of_victim} and {of_calm} bytes: the name's length apart");

    // At once, on every node: no byte of the name, and what stood for them stands no more.
    for node in [&other, &one] {
        let invites: Vec<_> = node.reader().invites_for_account(acme).try_collect().await.unwrap();
        assert_eq!(invites.len(), INVITES / ACCOUNTS + 1);
        assert!(!format!("{invites:?}").contains("zebedee"));
        assert_eq!(node.reader().invite(pending).await.unwrap().status.as_str(), "revoked");
        assert_eq!(node.reader().count_of_pending_invites(acme, node.clock().now()).await.unwrap(), 0);
        let events = node.describe(&history(node).await).await.unwrap();
        assert!(!format!("{events:?}").contains("zebedee"));
        refused!(node.revoke_invite(&as_user(owner), None, pending).await, Refusal::InviteNotPending);
    }
    let watch = Stopwatch::start();
    other.clear_away().await.unwrap();
    let cleared = watch.elapsed();
    assert!(cleared < Duration::from_secs(60), "{cleared:?}");
    println!("{INVITES} invites: forgotten in {forgotten:?}, cleared away in {cleared:?}");
    assert!(!crate::sealing::dump(&database, &[]).contains("zebedee"));
    assert_tables_are_a_fold_of_the_log(&one).await;
    // The name is free, and a new invite to it is nobody's yet.
    let again = one.create_invite(&as_user(owner), acme, name, None).await.unwrap().answer;
    assert_eq!(one.reader().invite(again).await.unwrap().invitee_username, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_a_name_before_its_person_came_goes_with_the_person() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (owner, stranger) = (user(&tenure, "owner").await, user(&tenure, "stranger").await);
    let (acme, beta) = (account(&tenure, "acme", owner).await, account(&tenure, "beta", stranger).await);
    let invite = async |of: UserId, account: AccountId| -> InviteId {
        tenure.create_invite(&as_user(of), account, "Yolanda-Q", None).await.unwrap().answer
    };
    // Taken back, dead by the clock, and for another way of signing in: none of them is ever bound.
    let taken_back = invite(owner, acme).await;
    tenure.revoke_invite(&as_user(owner), None, taken_back).await.unwrap();
    let dead = invite(stranger, beta).await;
    clock.advance(Duration::from_hours(24 * 15));
    let for_github = invite(owner, acme).await;
    let yolanda = user(&tenure, "yolanda-q").await;
    let pending = tenure
        .reader()
        .pending_invites_for_username("yolanda-q", clock.now())
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert!(pending.is_empty(), "she signs in by links, and those were for GitHub");
    tenure.forget_user(&operator(), yolanda).await.unwrap();
    for id in [taken_back, dead, for_github] {
        let shown = tenure.reader().invite(id).await.unwrap();
        assert!(shown.invitee_username.is_empty(), "{shown:?}");
    }
    let events = tenure.describe(&history(&tenure).await).await.unwrap();
    assert!(!format!("{events:?}").to_lowercase().contains("yolanda"));
    // The next person of that name has nothing to do with it, nor they with her.
    let next = tenure.sign_in_with_github(&Context::of(Actor::System), 9, "yolanda-q", None, None).await;
    let next = next.unwrap().answer.user;
    assert!(
        tenure
            .reader()
            .pending_invites_for_username("yolanda-q", clock.now())
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .is_empty()
    );
    refused!(tenure.accept_invite(&as_user(next), for_github, next).await, Refusal::Forbidden);
    let theirs = invite(stranger, beta).await;
    tenure.clear_away().await.unwrap();
    assert_eq!(tenure.reader().invite(theirs).await.unwrap().invitee_username, "Yolanda-Q");
    tenure.accept_invite(&as_user(next), theirs, next).await.unwrap();
    let client = database.connect(None).await;
    let left = "select count(*) from view.invites where invitee_username is not null";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 1);
    let names = "select count(*) from log.data_key where subject like 'name:%'";
    assert_eq!(client.query_one(names, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_with_the_membership_at_once_and_coming_back_revives_none() {
    let database = TestDatabase::new().await;
    let (one, other) = (open(&database).await, open(&database).await);
    let (owner, member) = (user(&one, "owner").await, user(&one, "member").await);
    let acme = account(&one, "acme", owner).await;
    one.add_member(&operator(), acme, member).await.unwrap();
    let (id, plaintext) = key(&one, acme, member).await;
    keys(&one, acme, member, NAMED_KEYS + 200).await;
    let (kept, kept_plaintext) = key(&one, acme, owner).await;
    other.lookup_api_key(&plaintext).await.unwrap();
    let done = one.remove_member(&as_user(owner), acme, member).await.unwrap();
    assert_eq!((done.events.len(), done.answer.count), (1, NAMED_KEYS as u64 + 201));
    assert_eq!(done.answer.first.len(), NAMED_KEYS);
    assert_eq!(done.answer.first[0], id, "the oldest first");
    let check = async |expected_events: usize| {
        for node in [&other, &one] {
            refused!(node.lookup_api_key(&plaintext).await, Refusal::NotFound(_));
            assert_eq!(node.lookup_api_key(&kept_plaintext).await.unwrap().id, kept);
            assert!(node.reader().api_key(id).await.unwrap().revoked_at.is_some());
            assert_eq!(node.reader().count_of_api_keys(acme).await.unwrap(), 1);
            refused!(
                node.rotate_api_key(&operator(), None, id, LIFE).await,
                Refusal::NotFound(Resource::ApiKey)
            );
            let again = node.revoke_api_key(&operator(), None, id).await.unwrap();
            assert!(again.events.is_empty(), "it has ended, and keeps its time");
            let by_key = Context { on_behalf_of: Some(member), ..Context::of(Actor::ApiKey(id)) };
            refused!(node.create_source(&by_key, acme, None, "x", None).await, Refusal::Forbidden);
        }
        assert_eq!(history(&one).await.len(), expected_events);
    };
    let events = history(&one).await.len();
    check(events).await;
    one.add_member(&as_user(owner), acme, member).await.unwrap();
    check(events + 1).await;
    let (fresh, fresh_plaintext) = {
        let minted = one.mint_api_key(&operator(), acme, "k", None, Some(member)).await.unwrap().answer;
        (minted.id, minted.plaintext.unwrap())
    };
    assert_eq!(other.lookup_api_key(&fresh_plaintext).await.unwrap().id, fresh);
    let revoked_at = one.reader().api_key(id).await.unwrap().revoked_at;
    other.clear_away().await.unwrap();
    assert_eq!(one.reader().api_key(id).await.unwrap().revoked_at, revoked_at);
    assert_eq!(other.lookup_api_key(&fresh_plaintext).await.unwrap().id, fresh);
    one.remove_member(&as_user(owner), acme, member).await.unwrap();
    refused!(other.lookup_api_key(&fresh_plaintext).await, Refusal::NotFound(_));
    assert_tables_are_a_fold_of_the_log(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_user_is_no_member_and_cannot_act_from_that_moment_on() {
    let database = TestDatabase::new().await;
    let (one, other) = (open(&database).await, open(&database).await);
    let (owner, member) = (user(&one, "owner").await, user(&one, "member").await);
    let acme = account(&one, "acme", owner).await;
    let beta = account(&one, "beta", owner).await;
    for id in [acme, beta] {
        one.add_member(&operator(), id, member).await.unwrap();
    }
    let (ended, plaintext) = key(&one, acme, member).await;
    let (_, kept) = key(&one, beta, member).await;
    one.remove_member_but_keep_keys(&as_user(owner), beta, member).await.unwrap();
    let (token, secret) = one.issue_bearer_token(&operator(), member, LIFE).await.unwrap().answer;
    let (session, cookie) = one.start_session(&operator(), member, LIFE).await.unwrap().answer;
    let link = one.issue_sign_in_link(&operator(), member).await.unwrap().answer;
    let (secret, cookie) = (secret.unwrap(), cookie.unwrap());
    other.lookup_bearer_token(&secret).await.unwrap();
    let done = one.forget_user(&operator(), member).await.unwrap();
    assert_eq!((done.events.len(), done.answer.count, done.answer.first), (1, 1, vec![ended]));
    for cleared in [false, true] {
        for node in [&other, &one] {
            let reader = node.reader();
            assert!(reader.members(acme).try_collect::<Vec<_>>().await.unwrap().is_empty());
            assert!(!reader.is_member_or_owner(acme, member).await);
            assert!(reader.accounts_for_user(member).try_collect::<Vec<_>>().await.unwrap().is_empty());
            assert!(matches!(reader.default_account_for(member).await, Err(QueryError::NotFound)));
            refused!(node.lookup_api_key(&plaintext).await, Refusal::NotFound(_));
            node.lookup_api_key(&kept).await.expect("the account kept it when they left");
            assert!(matches!(node.lookup_bearer_token(&secret).await, Err(QueryError::NotFound)));
            assert!(matches!(node.lookup_session(&cookie).await, Err(QueryError::NotFound)));
            assert!(matches!(node.lookup_sign_in_link(&link).await, Err(QueryError::NotFound)));
            assert!(reader.bearer_token_by_id(token).await.unwrap().revoked_at.is_some());
            assert!(reader.session_by_id(session).await.unwrap().ended_at.is_some());
            assert_eq!(reader.count_of_bearer_tokens(member, node.clock().now()).await.unwrap(), 0);
            // A request that was let in before, and is carried out after.
            for context in [
                as_user(member),
                Context { on_behalf_of: Some(member), ..Context::of(Actor::Token(token)) },
                Context { on_behalf_of: Some(member), ..Context::of(Actor::ApiKey(ended)) },
            ] {
                refused!(
                    node.create_source(&context, acme, None, "late", None).await,
                    Refusal::Forbidden | Refusal::NotFound(_)
                );
            }
            refused!(
                node.transfer_ownership(&as_user(owner), acme, member).await,
                Refusal::NotFound(Resource::Member)
            );
            refused!(
                node.remove_member(&as_user(owner), acme, member).await,
                Refusal::NotFound(Resource::Member)
            );
            assert!(node.revoke_bearer_token(&operator(), token).await.unwrap().events.is_empty());
        }
        if !cleared {
            one.clear_away().await.unwrap();
        }
    }
    let client = database.connect(None).await;
    assert!(rows(&client, "coarse.last_used").await.iter().all(|row| !row.contains(&token.to_string())));
    assert_tables_are_a_fold_of_the_log(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_engine_clears_away_by_itself_and_lists_whom_others_forget() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("forgotten");
    let database = TestDatabase::new().await;
    let one = database.open().await;
    let clear_every = Duration::from_millis(50);
    let other =
        open_with(Settings { clear_every, forgotten_list: Some(list.clone()), ..database.settings() }).await;
    let person = user(&one, "person").await;
    let mut follower = one.log().follow(one.log().newest().await.unwrap());
    one.forget_user(&operator(), person).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|kind| kind != "ending.finished") {
        seen.extend(follower.next().await.unwrap().into_iter().map(|event| event.event_type));
    }
    let text = format!("{person}\n");
    while std::fs::read_to_string(&list).unwrap_or_default() != text {
        tokio::task::yield_now().await;
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_and_nothing_of_its_unit_stays() {
    let tenure = TestDatabase::new().await.open().await;
    let append = async |bytes: usize| {
        let stream = StreamId { stream_type: "gadget".into(), id: format!("g{bytes}").into() };
        let at = tenure.clock().now();
        let event = NewEvent {
            id: EventId::new(at, &*tenure.entropy()),
            stream: stream.clone(),
            version: 1,
            event_type: "gadget.made".into(),
            event_version: "1".into(),
            account_id: None,
            payload: vec![b' '; bytes - 2].into(),
            metadata: "{}".into(),
            sealed: None,
        };
        let unit =
            Unit { at, premises: Premises::of_stream(stream, 0), events: vec![event], ..Unit::default() };
        tenure.log().append(unit).await
    };
    append(MAX_EVENT_BYTES).await.unwrap();
    let refused = append(MAX_EVENT_BYTES + 1).await;
    assert_eq!(refused.unwrap_err(), AppendError::EventTooLarge { bytes: MAX_EVENT_BYTES + 1 });
    assert_eq!(tenure.log().newest().await.unwrap(), 2);
}

/// How many keys the account of the next test has; a longer run takes 200,000.
fn many_keys() -> usize {
    std::env::var("TENURE_CLEAR_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(4_000)
}

/// Fills an account by the bulk writer: keys, half of them revoked, a member for 20 keys, a pipe for 40.
async fn fill(tenure: &Tenure, account: AccountId, owner: UserId, source: SourceId, keys: usize) {
    let mut writer = tenure.log().bulk_writer().await.unwrap();
    let (clock, entropy) = (tenure.clock(), tenure.entropy());
    let at = clock.now();
    let metadata = bytes::Bytes::from(operator().metadata());
    let decided = |stream: StreamId, stream_id, version, event: AnyEvent| Decided {
        id: EventId::new(at, &*entropy),
        stream_id,
        stream,
        version,
        event,
    };
    let mut units: Vec<Vec<Decided>> = Vec::new();
    for number in 0..keys {
        let id = ApiKeyId::new(at, &*entropy).as_uuid();
        let minted = ApiKeyEvent::Minted {
            account,
            minter: owner,
            removals: 0,
            prefix: KeyPrefix::of(&format!("{number:08}")),
            at,
            expires_at: None,
            hash: KeyHash::parse(HASH).unwrap().into(),
            label: Label::parse("filled").unwrap().into(),
        };
        let mut events = vec![decided(ApiKey::stream(id), id, 1, minted.into())];
        if number % 2 == 0 {
            events.push(decided(ApiKey::stream(id), id, 2, ApiKeyEvent::Revoked { account, at }.into()));
        }
        units.push(events);
    }
    let id = account.as_uuid();
    let begun = tenure.log().read_stream(&Account::stream(id), 0).await.unwrap().len();
    for member in 0..keys / 20 {
        let user = UserId::new(at, &*entropy);
        let registered = UserEvent::Registered {
            mode: UserMode::Internal,
            at,
            username: Username::parse(&format!("filled-{member}")).unwrap().into(),
            email: None.into(),
            github_id: None.into(),
            github_login: None.into(),
            avatar_url: None.into(),
        };
        units.push(vec![decided(User::stream(user.as_uuid()), user.as_uuid(), 1, registered.into())]);
        let version = i64::try_from(begun + member + 1).unwrap();
        let added = AccountEvent::MemberAdded { user, at };
        units.push(vec![decided(Account::stream(id), id, version, added.into())]);
    }
    for number in 0..keys / 40 {
        let made = SourceEvent::PipeCreated {
            account,
            pipe: PipeId::new(at, &*entropy),
            created_by: owner,
            name: PipeName::parse(&format!("p{number}")).unwrap(),
            retention: Retention::default(),
            at,
        };
        let version = i64::try_from(number + 2).unwrap();
        units.push(vec![decided(Source::stream(source.as_uuid()), source.as_uuid(), version, made.into())]);
    }
    for chunk in units.chunks_mut(10_000) {
        let mut encoded = Vec::new();
        for decided in chunk {
            let mut unit = Unit { at, ..Unit::default() };
            tenure.codec().encode(&mut unit, decided, &metadata, tenure.log().primary()).await.unwrap();
            encoded.push(unit);
        }
        writer.append(BulkBatch::of(&encoded).unwrap(), &*clock).await.unwrap();
    }
    tenure.log().analyse().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_account_closes_in_one_call_and_every_key_is_refused_on_both_nodes() {
    let (keys, sample) = (many_keys(), if many_keys() > 10_000 { 100 } else { 20 });
    let database = TestDatabase::new().await;
    let (one, other) = (open(&database).await, open(&database).await);
    let owner = user(&one, "owner").await;
    let large = account(&one, "large", owner).await;
    let source = one.create_source(&as_user(owner), large, None, "robot", None).await.unwrap().answer;
    let mut secrets = Vec::new();
    for _ in 0..sample {
        secrets.push(key(&one, large, owner).await.1);
    }
    fill(&one, large, owner, source, keys).await;
    for secret in &secrets {
        other.lookup_api_key(secret).await.unwrap();
    }
    let watch = Stopwatch::start();
    let done = one.close_account(&as_user(owner), large).await.unwrap();
    let closed = watch.elapsed();
    assert_eq!(done.events.len(), 1);
    assert!(closed < Duration::from_secs(2), "{closed:?}");
    for node in [&other, &one] {
        for secret in &secrets {
            refused!(node.lookup_api_key(secret).await, Refusal::NotFound(Resource::ApiKey));
        }
    }
    let watch = Stopwatch::start();
    // Stopped by its node's end, and gone on with by another.
    {
        let clearing = other.clear_away();
        tokio::pin!(clearing);
        let mut follower = one.log().follow(done.checkpoint.position);
        tokio::select! {
            ended = &mut clearing => drop(ended.unwrap()),
            seen = follower.next() => drop(seen.unwrap()),
        }
    }
    other.close().await;
    one.clear_away().await.unwrap();
    let cleared = watch.elapsed();
    assert!(cleared < Duration::from_secs(60), "{cleared:?}");
    println!("{keys} keys: closed in {closed:?}, cleared away in {cleared:?}");
    let client = database.connect(None).await;
    for table in ["view.api_keys", "view.members", "view.pipes", "view.sources", "view.endings"] {
        assert!(rows(&client, table).await.is_empty(), "{table}");
    }
}
