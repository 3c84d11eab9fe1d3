//! Every question of the readers on large and skewed tables: answered through an index, without background workers, and
//! without walking past what is over to find what is alive.

use futures::TryStreamExt as _;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tenure::Tenure;
use tenure::clock::{Clock as _, SystemClock, Timestamp};
use tenure::credentials::master_key::MasterKeySource;
use tenure::event_log::RecordedEvent;
use tenure::event_log::read::Filter;
use tenure::explain::{Story, Thing, Viewer};
use tenure::ids::{AccountId, ApiKeyId, BearerTokenId, InviteId, PipeId, SessionId, SourceId, UserId};
use tenure::projections::page::TimeKey;
use tenure::subscribers::{
    By, Delivery, Failure, Start, Status, Subscription, Subscriptions, TransactionalHandler,
};
use tenure::{Settings, aggregates};
use tokio_postgres::Transaction;
use uuid::Uuid;

use crate::support::many_events::{add_members, change_retentions};
use crate::support::server::Server;

/// How many rows each table gets, nearly all of them of one person or one account, and over.
const ROWS: u32 = 100_000;

/// How many rows a plan may look at in vain.
const MAX_IN_VAIN: u64 = 1_100;

/// The account that has nearly everything, and the person.
const HEAVY: u128 = 0x7;

/// Skewed tables, written past the log: only their plans are of interest.
const FILL: &str = "
    insert into view.users (id, username, email, mode, operator, created_at, forgotten_at, position)
        select lpad(to_hex(n), 32, '0')::uuid, 'user' || n, 'e', 'internal', false, now(),
               case when n % 50 = 0 then now() end, 1000 + n
        from generate_series(16, 16 + $ROWS) n;
    insert into view.users (id, username, mode, operator, created_at, position)
        values ('00000000-0000-0000-0000-000000000007', 'heavy', 'internal', false, now(), 900);
    insert into view.accounts (id, name, owner_user_id, created_at, owner_position, position)
        select lpad(to_hex(n), 32, '0')::uuid, 'account' || n,
               lpad(to_hex(case when n % 2000 = 0 then 7 else n end), 32, '0')::uuid, now(), 1000 + n, 1000 + n
        from generate_series(16, 16 + $ROWS) n;
    insert into view.accounts (id, name, owner_user_id, created_at, owner_position, position)
        values ('00000000-0000-0000-0000-000000000007', 'heavy', '00000000-0000-0000-0000-000000000007', now(), 900, 900);
    insert into view.endings (id, user_id, removal, is_person, at, position)
        select lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid, 1, false, now(), n
        from generate_series(16, 16 + $ROWS) n;
    insert into view.name_keys (id, user_id, position)
        select lpad(to_hex(n), 32, '0')::uuid, case when n % 3 = 0 then lpad(to_hex(n), 32, '0')::uuid end, n
        from generate_series(16, 16 + $ROWS) n;
    insert into view.members (account_id, user_id, added_at, position)
        select lpad(to_hex(n), 32, '0')::uuid, '00000000-0000-0000-0000-000000000007', now(), n
        from generate_series(16, 500) n;
    insert into view.members (account_id, user_id, added_at, position)
        select '00000000-0000-0000-0000-000000000007', lpad(to_hex(n), 32, '0')::uuid, now(), n
        from generate_series(16, 200) n;
    insert into view.members (account_id, user_id, added_at, position)
        select lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n + 1), 32, '0')::uuid, now(), n
        from generate_series(1000, 1000 + $ROWS) n;
    insert into view.invites (id, account_id, invitee_username, mode, inviter_user_id, status, created_at, expires_at,
                              invitee_user_id, name_key, position)
        select gen_random_uuid(), '00000000-0000-0000-0000-000000000007', 'name' || n % 10, 'github',
               '00000000-0000-0000-0000-000000000007',
               case when n % 1000 = 0 then 'pending' when n % 3 = 0 then 'pending' else 'revoked' end, now(),
               case when n % 1000 = 0 then now() + interval '1 day' else now() - interval '1 day' end,
               case when n % 2 = 0 then '00000000-0000-0000-0000-000000000007'::uuid end,
               case when n % 2 = 1 then lpad(to_hex(n), 32, '0')::uuid end, n
        from generate_series(1, $ROWS) n;
    insert into view.api_keys (id, account_id, created_by_user_id, key_hash, key_prefix, label, created_at, revoked_at,
                               revoked_position, position)
        select gen_random_uuid(), '00000000-0000-0000-0000-000000000007', '00000000-0000-0000-0000-000000000007', 'h',
               substr(md5(n::text), 1, 8), 'l', now(), case when n % 500 <> 0 then now() end,
               case when n % 500 <> 0 then 1 + n % 100 end, n
        from generate_series(1, $ROWS) n;
    insert into view.bearer_tokens (id, user_id, digest, prefix, created_at, expires_at, revoked_at, position)
        select gen_random_uuid(), '00000000-0000-0000-0000-000000000007', sha256(n::text::bytea), 'p', now(),
               case when n % 3 = 0 then now() - interval '1 day' else now() + interval '1 day' end,
               case when n % 500 <> 1 then now() end, n
        from generate_series(1, $ROWS) n;
    insert into view.sessions (id, user_id, digest, created_at, expires_at, ended_at, position)
        select gen_random_uuid(), '00000000-0000-0000-0000-000000000007', sha256(n::text::bytea), now(),
               case when n % 3 = 0 then now() - interval '1 day' else now() + interval '1 day' end,
               case when n % 500 <> 1 then now() end, n
        from generate_series(1, $ROWS) n;
    insert into view.sources (id, account_id, handle, kind, created_by_user_id, created_at, position)
        select lpad(to_hex(n), 32, '0')::uuid,
               case when n < 1000 then '00000000-0000-0000-0000-000000000007'::uuid else lpad(to_hex(n), 32, '0')::uuid end,
               'h' || n, 'message', '00000000-0000-0000-0000-000000000007', now(), n
        from generate_series(16, 16 + $ROWS) n;
    insert into view.pipes (id, source_id, created_by_user_id, name, created_at, position)
        select gen_random_uuid(), lpad(to_hex(16 + n % 1000), 32, '0')::uuid, '00000000-0000-0000-0000-000000000007',
               'p' || n, now(), n
        from generate_series(1, $ROWS) n;
    insert into view.unique_claims (kind, key, holder, free_after, position)
        select 'username', sha256(n::text::bytea), 'x', null, n from generate_series(1, $ROWS) n;";

/// A subscription with as much parked and recorded, beside many others.
const FILL_SUBSCRIPTIONS: &str = "
    -- Each row checks its foreign key, and each check would be logged.
    set auto_explain.log_min_duration = -1;
    insert into log.subscription (name, version, definition, slices, epoch)
        select 'other' || n, 1, '{}', 1, 1 from generate_series(1, 2000) n;
    insert into log.subscription_slice (subscription, slice, position, event_id)
        select 'other' || n, 0, 0, '00000000-0000-0000-0000-000000000000' from generate_series(1, 2000) n;
    insert into log.parked_stream (subscription, stream_type, stream_id, stream_hash, slice, after, failure)
        select 'heavy', 'user', lpad(to_hex(n), 32, '0')::uuid::text, n, n % 256, 0, 'f' from generate_series(1, $ROWS) n;
    insert into log.subscription_act (subscription, act, actor, reason)
        select 'heavy', 'unpark', 'a', 'r' from generate_series(1, $ROWS) n;
    analyze log.subscription, log.subscription_slice, log.parked_stream, log.subscription_act, log.subscriber;";

/// Does nothing with any event.
struct Nothing;

impl TransactionalHandler for Nothing {
    async fn handle(
        &self,
        _: &[Arc<RecordedEvent>],
        _: &Delivery,
        _: &Transaction<'_>,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

/// Everything that subscribers and operators ask of subscriptions.
async fn ask_of_subscriptions(tenure: &Tenure, admin: &tokio_postgres::Client) {
    let heavy = Subscription::new("heavy", 1).unwrap().slices(256).starting_at(Start::Newest);
    let heavy = heavy.lease(Duration::from_secs(1));
    heavy.start_transactional(tenure, Nothing).await.unwrap().stop().await;
    admin.batch_execute(&FILL_SUBSCRIPTIONS.replace("$ROWS", &ROWS.to_string())).await.unwrap();
    let mut running = heavy.start_transactional(tenure, Nothing).await.unwrap();
    running.until(|status| matches!(status, Status::Running { slices } if slices.len() == 256)).await;
    crate::support::user(tenure, "later").await;
    let subscriptions = Subscriptions::of(tenure.log());
    while subscriptions.overview("heavy").await.unwrap().lag_events > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let by = By::new("a test", "to see its plan").unwrap();
    subscriptions.list("other5", 100).await.unwrap();
    subscriptions.slices("heavy").await.unwrap();
    let parked = subscriptions.parked("heavy", None, 20).await.unwrap();
    let last: uuid::Uuid = parked[19].stream.strip_prefix("user/").unwrap().parse().unwrap();
    let stream = tenure::event_log::StreamId::new("user", last);
    subscriptions.parked("heavy", Some(&stream), 20).await.unwrap();
    subscriptions.acts("heavy", Some(90_000), 20).await.unwrap();
    subscriptions.unpark("heavy", Some(&stream), &by).await.unwrap();
    subscriptions.pause("heavy", &by).await.unwrap();
    running.until(|status| *status == Status::Paused).await;
    subscriptions.resume("heavy", &by).await.unwrap();
    running.stop().await;
    subscriptions.remove("other7", &by).await.unwrap();
}

pub async fn open(server: &Server, keys: &Path) -> Tenure {
    let key = MasterKeySource { default_file: keys.join("master.key"), ..MasterKeySource::default() };
    let address = server.conninfo("tenure").parse().unwrap();
    // What the tables hold does not follow from the log, so nothing of it is cleared away.
    let clear_every = Duration::from_hours(24);
    crate::support::open_with(Settings { connections: 2, clear_every, ..Settings::new(address, key) }).await
}

/// What is wrong with a node of a plan and those below it.
fn judge(node: &Value, wrong: &mut Vec<String>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let relation = node["Relation Name"].as_str().unwrap_or_default();
    let loops = node["Actual Loops"].as_f64().unwrap_or(1.0);
    let removed = |by: &str| node[by].as_f64().unwrap_or(0.0);
    let (in_vain, joined) =
        (removed("Rows Removed by Filter") * loops, removed("Rows Removed by Join Filter") * loops);
    // One row each, or a row for each schema or table: nodes look whether a rebuild has left a schema behind, and whether
    // a table has grown.
    let is_tiny = matches!(
        relation,
        "head"
            | "pg_namespace"
            | "pg_class"
            | "public_url_of_instance"
            | "key_ring"
            | "nats_reconciler"
            | "nats_private"
            | "nats_lease"
            | "nats_relay"
            | "as_of_schema"
    );
    if kind == "Seq Scan" && !is_tiny {
        wrong.push(format!("reads all of {relation}"));
    }
    if kind.starts_with("Gather") {
        wrong.push("starts background workers".to_owned());
    }
    if kind.contains("Index") && node["Index Cond"].is_null() && !node["Filter"].is_null() && !is_tiny {
        wrong.push(format!("walks all of an index of {relation} to filter it"));
    }
    #[allow(clippy::cast_precision_loss)]
    if in_vain > MAX_IN_VAIN as f64 && !is_tiny {
        wrong.push(format!("looks at {in_vain} rows of {relation} in vain"));
    }
    #[allow(clippy::cast_precision_loss)]
    if joined > MAX_IN_VAIN as f64 {
        wrong.push(format!("joins {joined} rows in vain"));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        judge(below, wrong);
    }
}

/// The plans that the server has logged, each with its statement.
fn plans(log: &str) -> Vec<(String, Value)> {
    log.split("plan:\n")
        .skip(1)
        .map(|text| {
            let lines = text.lines().take_while(|line| line.starts_with('\t') || line.starts_with('{'));
            let json: String = lines.collect::<Vec<_>>().join("\n");
            let plan: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
            (plan["Query Text"].as_str().unwrap_or_default().to_owned(), plan["Plan"].clone())
        })
        .collect()
}

/// The names of all questions, as the source has them.
fn questions() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/projections");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(directory).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        for part in text.split("    pub async fn ").skip(1) {
            names.insert(part.split(['(', '<']).next().unwrap().to_owned());
        }
    }
    names
}

/// Fills the tables with what the questions of [`ask_everything`] are about.
pub async fn fill(tenure: &Tenure, admin: &tokio_postgres::Client) {
    admin.batch_execute(&FILL.replace("$ROWS", &ROWS.to_string())).await.unwrap();
    // The heavy person is found by name, so that the invites bound to them are looked for.
    let heavy = claim_of("heavy", tenure);
    let claim = "insert into view.unique_claims (kind, key, holder, position)
                 values ($1, $2, '00000000-0000-0000-0000-000000000007', 900)";
    admin.execute(claim, &[&heavy.kind, &heavy.key.as_slice()]).await.unwrap();
}

fn claim_of(username: &str, tenure: &Tenure) -> tenure::event_log::claim::ClaimKey {
    let username = aggregates::user::Username::parse(username).unwrap();
    aggregates::user::username_claim(&username, &**tenure.codec().keys())
}

/// What has been asked by [`ask_everything`].
#[derive(PartialEq, Eq, Debug)]
pub struct Asked {
    /// How many questions there are.
    pub questions: usize,
    /// How many full pages of API keys were read: six if the tables are filled.
    pub full_pages: usize,
}

/// Asks every question of the readers, and reads the log in each way.
pub async fn ask_everything(tenure: &Tenure, rare: UserId) -> Asked {
    let (reader, now) = (tenure.reader(), SystemClock.now());
    let (account, user) =
        (AccountId::from_uuid(Uuid::from_u128(HEAVY)), UserId::from_uuid(Uuid::from_u128(HEAVY)));
    let heavy = claim_of("heavy", tenure);
    let nobody = Uuid::from_u128(0xdead_beef);
    let name = aggregates::user::Username::parse("name1").unwrap();
    let mut asked = BTreeSet::new();
    macro_rules! ask {
        ($question:ident($($argument:expr),*)) => {
            let _ = reader.$question($($argument),*).await;
            asked.insert(stringify!($question).to_owned());
        };
    }
    ask!(account(account));
    ask!(account_by_name("account77"));
    ask!(account_by_slug("account77"));
    ask!(accounts_for_user_after(user, "account5", 50));
    ask!(first_owned_account_for(user));
    ask!(default_account_for(user));
    ask!(is_member_or_owner(account, user));
    ask!(membership(account, user));
    ask!(count_of_accounts(user));
    ask!(accounts_after("account5", 50));
    ask!(api_key(ApiKeyId::from_uuid(nobody)));
    ask!(end_of_api_key(ApiKeyId::from_uuid(nobody)));
    ask!(api_key_candidates(&aggregates::api_key::KeyPrefix::of("ppz_00000000000000000000000000"), now));
    ask!(api_keys_minted_by(account, user, 1_000));
    ask!(api_keys_of_member(user, 1_000));
    ask!(api_keys_ended_with(account, user, i64::MAX, 500));
    ask!(endings(100));
    ask!(rows_of_closed_account(account, 500));
    ask!(rows_of_forgotten_person(user, now, 500));
    ask!(memberships_left(user, 50));
    ask!(count_of_api_keys(account));
    ask!(bearer_token("ppz_oauth_x", now));
    ask!(bearer_token_by_id(BearerTokenId::from_uuid(nobody)));
    ask!(count_of_bearer_tokens(user, now));
    ask!(device_code("x"));
    ask!(device_code_by_user_code("BCDF-GHJK", now));
    ask!(invite(InviteId::from_uuid(nobody)));
    ask!(pending_invites_after("heavy", now, TimeKey::OLDEST, 50));
    ask!(pending_invites_after("name1", now, TimeKey::OLDEST, 50));
    ask!(unbound_invites(&name, aggregates::user::UserMode::Github, now, 1_000));
    ask!(count_of_pending_invites(account, now));
    ask!(members_begin());
    let begin = reader.members_begin().await.unwrap();
    ask!(members_after(account, begin, 50));
    ask!(pipe_by_name(SourceId::from_uuid(nobody), "logs"));
    ask!(pipes_after(SourceId::from_uuid(Uuid::from_u128(20)), "p5", 50));
    ask!(count_of_pipes(account));
    ask!(pipes_of_sources(&[SourceId::from_uuid(Uuid::from_u128(20)), SourceId::from_uuid(nobody)]));
    ask!(pipe(PipeId::from_uuid(nobody)));
    ask!(session("x", now));
    ask!(session_by_id(SessionId::from_uuid(nobody)));
    ask!(count_of_sessions(user, now));
    ask!(sign_in_link("x", now));
    ask!(source_by_handle(account, "h20"));
    ask!(count_of_sources(account));
    ask!(source(SourceId::from_uuid(nobody)));
    ask!(sources_after(account, "h2", 50));
    ask!(user(user));
    ask!(user_by_username("user77"));
    ask!(usernames_by_ids(&[user, rare]));
    ask!(labels_of_api_keys(&[ApiKeyId::from_uuid(nobody)]));
    ask!(prefixes_of_bearer_tokens(&[BearerTokenId::from_uuid(nobody)]));
    ask!(streams_of_user(user, true, 2_000));
    ask!(usernames_of_members_among(account, &[user, rare]));
    ask!(count_of_forgotten_users());
    ask!(count_of_forgotten_among(&[user, rare]));
    ask!(forgotten_users_after(0, 50));
    ask!(still_known(&[user, rare]));
    ask!(users_after(user, 50));
    ask!(invites_by_id_after(InviteId::from_uuid(nobody), 50));
    ask!(invites_before(account, TimeKey::NEWEST, 50));
    let claim = claim_of("name1", tenure);
    ask!(last_holder(&claim));
    ask!(holder(&claim, now));
    ask!(holders([&claim, &heavy], now));
    ask!(bearer_tokens_after(user, TimeKey::OLDEST, 50));
    ask!(sessions_after(user, TimeKey::OLDEST, 50));
    ask!(living_sessions(user, now, 50));
    let begin = reader.api_keys_begin(now).await.unwrap();
    ask!(api_keys_begin(now));
    // A page of those that are good, one in which the others begin, and one of the others alone.
    let (mut place, mut full_pages) = (begin, 0);
    for _ in 0..6 {
        let page = reader.api_keys_after(account, place, 50).await.unwrap();
        let Some((_, last)) = page.last() else { break };
        place = *last;
        full_pages += usize::from(page.len() == 50);
    }
    ask!(api_keys_after(account, place, 50));
    assert_eq!(questions(), asked, "a question of the source is not asked here");

    // The log: by type, by time, by account, by stream, forwards and backwards.
    let log = tenure.log();
    let some = Timestamp::from_micros(now.as_micros() - 1_000_000);
    for filter in [
        Filter { types: vec!["user.operator_granted".to_owned()], ..Filter::default() },
        Filter { since: Some(some), until: Some(now.after(Duration::from_secs(1))), ..Filter::default() },
        Filter { account: Some(nobody), types: vec!["account.opened".to_owned()], ..Filter::default() },
        Filter {
            stream: Some(tenure::event_log::StreamId::new("user", rare.as_uuid())),
            ..Filter::default()
        },
        Filter::default(),
    ] {
        let forwards = log.read_page(0, &filter, 100).await.unwrap();
        let backwards = log.read_page_back(i64::MAX, &filter, 100).await.unwrap();
        if !filter.types.is_empty() && filter.account.is_none() {
            assert_eq!((forwards.events.len(), backwards.events.len()), (1, 1));
        }
    }
    Asked { questions: asked.len(), full_pages }
}

/// What is wrong with the plans that the server has logged, and how many there are.
pub fn judged(log: &str) -> (BTreeSet<String>, usize) {
    let plans = plans(log);
    let mut wrong = BTreeSet::new();
    for (sql, plan) in &plans {
        let mut found = Vec::new();
        judge(plan, &mut found);
        // A search by type looks at so many events a statement, and says so.
        let bounded = sql.contains("event_type = any");
        // A subscription has at most 256 slices, which are compared each with each.
        let few = sql.contains("update log.subscription_slice");
        let wrongs = found.into_iter().filter(|what| !(bounded || few && what.starts_with("joins ")));
        wrong.extend(wrongs.map(|what| format!("{what}: {sql}")));
    }
    (wrong, plans.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_readers_is_answered_through_an_index() {
    let server = Server::explaining().await;
    let keys = tempfile::tempdir().unwrap();
    let tenure = open(&server, keys.path()).await;
    tenure::seed::generate(&tenure, 60_000, 1, |_| {}).await.unwrap();
    let rare = crate::support::user(&tenure, "rare").await;
    tenure.set_operator(&crate::support::operator(), rare, true).await.unwrap();
    let admin = server.connect_to("tenure").await;
    fill(&tenure, &admin).await;
    admin.batch_execute("analyze").await.unwrap();
    let invites = tenure.reader().pending_invites_for_username("heavy", SystemClock.now());
    assert!(!invites.try_collect::<Vec<_>>().await.unwrap().is_empty());
    let before = server.log().len();
    let asked = ask_everything(&tenure, rare).await;
    assert_eq!(asked.full_pages, 6);
    ask_of_subscriptions(&tenure, &admin).await;
    tenure.close().await;
    let (wrong, plans) = judged(&server.log()[before..]);
    assert!(plans > asked.questions, "{plans} plans");
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

/// What years of exchanges and closed accounts could leave: nearly all of it over, and of one account.
const FILL_NATS: &str = "
    insert into coarse.nats_account (account_id, public_key, signing_key, epoch, revoked_before, pushed, retired_at)
        select lpad(to_hex(n), 32, '0')::uuid, 'A' || n, 'A', 1, 0, 1, now() from generate_series(16, 16 + $ROWS) n;
    insert into coarse.nats_user (public_key, account_id, user_id, api_key_id, bearer_token_id, position, issued, expires,
                                  revoked)
        select 'X' || g, n.account_id, n.user_id, n.api_key_id, n.bearer_token_id, n.position, 0, 0, g % 2 = 0
        from coarse.nats_user n, generate_series(1, $ROWS) g;
    insert into coarse.nats_stream (account_id, name, reason)
        select lpad(to_hex(n % 1000), 32, '0')::uuid, 'stream' || n, 'r' from generate_series(1, $ROWS) n;
    insert into coarse.nats_relay_user (public_key, name, may_manage, issued, expires, issued_by, revoked_at)
        select 'U' || n, 'n', false, n, case when n % 1000 = 0 then 4000000000 else 1 end, 'x', now()
        from generate_series(1, $ROWS) n;
    analyze coarse.nats_account, coarse.nats_user, coarse.nats_stream, coarse.nats_relay_user;";

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_nats_is_answered_through_an_index() {
    use crate::support::nats::{Node, connect, is_cut_off, private};
    let server = Server::explaining().await;
    let keys = tempfile::tempdir().unwrap();
    let tenure = open(&server, keys.path()).await;
    let nats = private(&tenure, keys.path()).await;
    let node = Node::on(tenure.clone(), nats.url(), |_| {}).await;
    let owner = node.server.user("owner").await;
    let acme = node.server.account("acme", owner).await;
    let key = node.server.key(acme, owner).await.1;
    node.exchange(&key, 200).await;
    node.nats.close().await;
    let admin = server.connect_to("tenure").await;
    admin.batch_execute(&FILL_NATS.replace("$ROWS", &ROWS.to_string())).await.unwrap();
    let before = server.log().len();

    let node = Node::on(tenure.clone(), nats.url(), |_| {}).await;
    let operator = crate::support::operator();
    tenure.create_source(&operator, acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let (id, other) = node.server.key(acme, owner).await;
    let exchanged = node.exchange(&other, 200).await;
    let client = connect(&exchanged).await.unwrap();
    tenure.revoke_api_key(&operator, Some(acme), id).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, Duration::from_secs(5)).await);
    let token = node.server.token(owner).await;
    node.exchange(&token, 200).await;
    let token = tenure.lookup_bearer_token(&token.into()).await.unwrap();
    tenure.revoke_bearer_token(&operator, token.id).await.unwrap();
    let member = node.server.user("member").await;
    tenure.add_member(&operator, acme, member).await.unwrap();
    tenure.remove_member(&operator, acme, member).await.unwrap();
    tenure.forget_user(&operator, member).await.unwrap();
    node.nats.pipe_states(acme).await.unwrap();
    let first = tenure::nats::platform_users(&tenure, None, 100).await.unwrap();
    assert_eq!(tenure::nats::platform_users(&tenure, first.last(), 100).await.unwrap().len(), 100);
    crate::support::relay::until(&node, "relayed", |relay| relay.lag == Some(0)).await;
    // Until it has looked for what no event announces, too.
    let looked = || server.log()[before..].matches("from coarse.nats_account n\\n").count() > 0;
    let waiting = async {
        while !looked() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(8), waiting).await;
    node.nats.close().await;
    tenure.close().await;

    let logged = server.log()[before..].to_owned();
    let (mut wrong, mut count) = (BTreeSet::new(), 0);
    for (sql, plan) in plans(&logged).iter().filter(|(sql, _)| sql.contains("coarse.nats_")) {
        count += 1;
        let mut found = Vec::new();
        judge(plan, &mut found);
        wrong.extend(found.into_iter().map(|what| format!("{what}: {sql}")));
    }
    assert!(count > 20, "{count} plans");
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

fn types(story: &Story) -> Vec<&str> {
    story.entries.iter().map(|entry| &*entry.event.event_type).collect()
}

/// How many events of accounts a part of a story looks at, and a few of its own.
const LOOKED_AT: f64 = 51_000.0;

#[tokio::test(flavor = "multi_thread")]
async fn stories_look_at_a_bounded_number_of_events_however_many_an_account_has() {
    use crate::support::{account, operator, user};
    let server = Server::explaining().await;
    let keys = tempfile::tempdir().unwrap();
    let tenure = open(&server, keys.path()).await;
    let (ada, bob, eve) =
        (user(&tenure, "ada").await, user(&tenure, "bob").await, user(&tenure, "eve").await);
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    let key = tenure.mint_api_key(&operator(), acme, "a key", None, Some(bob)).await.unwrap().answer.id;
    let invite = tenure.create_invite(&operator(), acme, "eve", Some(ada)).await.unwrap().answer;
    tenure.create_source(&operator(), acme, Some(ada), "robot", None).await.unwrap();
    let robot = tenure.reader().source_by_handle(acme, "robot").await.unwrap().id;
    let admin = server.connect_to("tenure").await;
    admin.batch_execute("set auto_explain.log_min_duration = -1").await.unwrap();
    add_members(&admin, acme, ROWS).await;
    tenure.remove_member(&operator(), acme, bob).await.unwrap();
    tenure.accept_invite(&crate::support::as_user(eve), invite, eve).await.unwrap();

    let before = server.log().len();
    for (thing, expected) in [
        (Thing::Key(key), vec!["api_key.minted", "account.member_removed"]),
        (Thing::Invite(invite), vec!["invite.created", "invite.accepted", "account.member_added"]),
        (Thing::User(ada), vec!["user.registered", "account.opened"]),
    ] {
        let (mut told, mut after) = (Vec::new(), 0);
        loop {
            let story = tenure.explain(thing, Viewer::Operator, after, 100).await.unwrap();
            told.extend(types(&story).into_iter().map(str::to_owned));
            match story.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(told, expected);
    }
    // A thing with very many events of its own, which end with its account.
    change_retentions(&admin, acme, robot, ROWS).await;
    let almost_at_the_end = tenure.log().newest().await.unwrap() - 3;
    tenure.close_account(&operator(), acme).await.unwrap();
    let thing = Thing::Source(robot);
    let first = tenure.explain(thing, Viewer::Operator, 0, 2).await.unwrap();
    assert_eq!(types(&first), ["source.created", "pipe.retention_changed"]);
    assert!(first.next.is_some());
    let last = tenure.explain(thing, Viewer::Operator, almost_at_the_end, 100).await.unwrap();
    assert_eq!(types(&last).last().copied(), Some("account.closed"));
    assert_eq!((last.entries.len(), last.next), (4, None));
    tenure.close().await;
    let logged = server.log()[before..].to_owned();
    let (mut count, mut wrong) = (0, Vec::new());
    for (sql, plan) in plans(&logged).iter().filter(|(sql, _)| sql.contains("log.event")) {
        count += 1;
        let mut found = Vec::new();
        judge(plan, &mut found);
        found.retain(|what| {
            let in_vain =
                what.strip_prefix("looks at ").and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
            in_vain.is_none_or(|in_vain| in_vain > LOOKED_AT)
        });
        wrong.extend(found.into_iter().map(|what| format!("{what}: {sql}")));
    }
    assert!(count > 10, "{count} plans");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
