//! A database whose address leads astray: to a standby that lags, to silence, to a server that was promoted, with and
//! without its last events. Nothing stale is believed, nothing written is lost, and service goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tenure::Settings;
use tenure::credentials::master_key::MasterKeySource;
use tenure::http::Rate;
use tenure::postgres::migrate::MigrateError;
use tenure::postgres::{Database, Watch};
use tenure::replay::{Phase, Progress, RebuildError, RebuildOptions, Step};
use tokio::sync::watch;

use crate::http::{Answer, Server as Node, answer};
use crate::support::server::Server;
use crate::support::switch::Switch;
use crate::support::{TestDatabase, operator};

/// How long everything may take to work again after a detour, on a machine that is busy with other things.
const RECOVERY: Duration = Duration::from_secs(20);

/// How many detours; 20 by hand.
fn detours() -> usize {
    std::env::var("TENURE_DETOURS").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

fn settings(switch: &Switch, keys: &tempfile::TempDir) -> Settings {
    let address = switch.url("sslmode=disable").parse().unwrap();
    let key = MasterKeySource { default_file: keys.path().join("master.key"), ..MasterKeySource::default() };
    let mut settings = Settings { connections: 8, ..Settings::new(address, key) };
    settings.rules.limits.device_codes_per_address = 1_000_000;
    settings.rules.limits.device_codes = 1_000_000;
    settings
}

/// A node with its follower, as `serve` runs it.
pub async fn node(switch: &Switch, keys: &tempfile::TempDir) -> Node {
    let tenure = Arc::new(crate::support::open_with(settings(switch, keys)).await);
    let many = Rate { burst: 1_000_000, per_second: 1_000_000 };
    Node::with(tenure, |settings| {
        settings.rates.anonymous = many;
        settings.rates.commands = many;
        settings.rates.tenant = many;
    })
    .await
}

/// What one caller does over and over, and what must hold whatever the database's address does meanwhile.
struct Caller {
    nodes: Arc<[Node; 2]>,
    number: usize,
    operator_token: String,
    stop: Arc<AtomicBool>,
    answered: Arc<watch::Sender<usize>>,
}

impl Caller {
    /// An answer that is not an outage; only outages are excused.
    fn available(&self, answer: Answer, allowed: &[u16]) -> Option<Answer> {
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        assert!(allowed.contains(&answer.status.as_u16()), "caller {}: {answer:?}", self.number);
        self.answered.send_modify(|answered| *answered += 1);
        Some(answer)
    }

    async fn run(self) {
        for round in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let here = (self.number + round) % 2;
            // An outage ends the round early; what was found out until then was checked.
            let _ = match self.number % 3 {
                0 => self.own_write(here, round).await,
                1 => self.revoked_token(here).await,
                _ => self.device_flow(here).await,
            };
        }
    }

    /// A registered user is found, on this node and on the other.
    async fn own_write(&self, here: usize, round: usize) -> Option<()> {
        let name = format!("c{}-{round}", self.number);
        let body = json!({"username": name, "email": format!("{name}@people.example")});
        let made = self.nodes[here].post("/api/v1/users", body).bearer_auth(&self.operator_token);
        self.available(answer(made).await, &[201])?;
        for node in [here, 1 - here] {
            let path = format!("/api/v1/users/{name}");
            let found = self.nodes[node].get(&path).bearer_auth(&self.operator_token);
            self.available(answer(found).await, &[200]);
        }
        Some(())
    }

    /// A token is good until its revocation was acknowledged, and never after, on no node.
    async fn revoked_token(&self, here: usize) -> Option<()> {
        let issue = self.nodes[here].post("/api/v1/users/me/tokens", json!({"expires_in": 3_600}));
        let issued = self.available(answer(issue.bearer_auth(&self.operator_token)).await, &[201])?.json();
        let (id, token) = (issued["id"].as_str().unwrap(), issued["access_token"].as_str().unwrap());
        for node in [here, 1 - here] {
            let me = self.nodes[node].get("/api/v1/users/me").bearer_auth(token);
            self.available(answer(me).await, &[200]);
        }
        let revoke = self.nodes[1 - here]
            .request(reqwest::Method::DELETE, &format!("/api/v1/users/me/tokens/{id}"))
            .bearer_auth(&self.operator_token);
        self.available(answer(revoke).await, &[204])?;
        for node in [here, 1 - here, here] {
            let me = self.nodes[node].get("/api/v1/users/me").bearer_auth(token);
            self.available(answer(me).await, &[401]);
        }
        Some(())
    }

    /// A device code that was given is known; writes outside the log included.
    async fn device_flow(&self, here: usize) -> Option<()> {
        let made = self.nodes[here].form("/oauth/device/code", &[("client_name", "detour")]).await;
        let made = self.available(made, &[200])?.json();
        let code = made["device_code"].as_str().unwrap();
        let poll = self.nodes[1 - here].form("/oauth/device/token", &[("device_code", code)]).await;
        let pending = self.available(poll, &[400])?.json();
        assert_eq!(pending["error"], "authorization_pending", "caller {}", self.number);
        Some(())
    }
}

/// The forms of a detour.
#[derive(Clone, Copy, Debug)]
enum Detour {
    /// Connections are cut on the way there and on the way back.
    Cut,
    /// Only new connections are led astray; some old ones die.
    NotCut,
    /// New connections are accepted and nothing is said on them; the old ones are silent for as long.
    Silent,
    /// Connections that exist are led to the standby between two statements.
    BetweenStatements,
    /// New connections are accepted and nothing is said on them; the old ones are cut.
    HalfOpen,
    /// The standby catches up and is promoted for good, and the old primary comes back as its standby.
    Promotion,
}

const DETOURS: [Detour; 6] = [
    Detour::Cut,
    Detour::NotCut,
    Detour::Silent,
    Detour::BetweenStatements,
    Detour::HalfOpen,
    Detour::Promotion,
];

/// Waits until as many answers have come again as there are callers.
async fn until_answered(answered: &watch::Sender<usize>, callers: usize, why: &str) {
    let mut counted = answered.subscribe();
    let from = *counted.borrow();
    let enough = counted.wait_for(|now| *now >= from + callers);
    let waited = tokio::time::timeout(RECOVERY, enough).await;
    waited.unwrap_or_else(|_| panic!("stuck after {why}")).unwrap();
}

/// Waits until both nodes are ready: the answers that came may all be those of one of them.
async fn until_ready(nodes: &[Node], why: &str) {
    for node in nodes {
        let mut last = None;
        let look = async {
            loop {
                let readiness = answer(node.get("/readyz")).await;
                if readiness.status == StatusCode::OK {
                    return;
                }
                last = Some(readiness);
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(RECOVERY, look).await;
        let reason = if waited.is_err() { Some(node.tenure.ready().await) } else { None };
        assert!(waited.is_ok(), "not ready after {why}: {last:?}; {reason:?} now");
    }
}

async fn lead_astray(detour: Detour, switch: &Switch, primary: &mut Server, standby: &mut Server) {
    let astray = Duration::from_millis(1_500);
    match detour {
        Detour::Cut => {
            switch.lead_to(standby.port);
            switch.cut();
            tokio::time::sleep(astray).await;
            switch.lead_to(primary.port);
            switch.cut();
        }
        Detour::NotCut => {
            switch.lead_to(standby.port);
            let some = "select pg_terminate_backend(pid) from pg_stat_activity
                        where application_name like 'tenure%' and pid % 2 = 0";
            primary.connect_to("tenure").await.execute(some, &[]).await.unwrap();
            tokio::time::sleep(astray).await;
            switch.lead_to(primary.port);
        }
        Detour::Silent => {
            switch.swallow();
            switch.silence(true);
            tokio::time::sleep(astray).await;
            switch.lead_to(primary.port);
            switch.silence(false);
        }
        Detour::BetweenStatements => {
            switch.repoint(true);
            switch.lead_to(standby.port);
            tokio::time::sleep(astray).await;
            switch.lead_to(primary.port);
            tokio::time::sleep(Duration::from_millis(300)).await;
            switch.repoint(false);
        }
        Detour::HalfOpen => {
            switch.swallow();
            switch.cut();
            tokio::time::sleep(astray).await;
            switch.lead_to(primary.port);
        }
        Detour::Promotion => {
            standby.follow(primary).await;
            standby.catch_up(primary).await;
            primary.shut_down();
            standby.promote().await;
            switch.lead_to(standby.port);
            primary.come_back_as_standby_of(standby).await;
            std::mem::swap(primary, standby);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_no_detour_of_the_databases_address_makes_a_stale_answer_or_a_stuck_route() {
    let mut primary = Server::primary().await;
    let switch = Switch::to(primary.port).await;
    let keys = tempfile::tempdir().unwrap();
    let nodes = Arc::new([node(&switch, &keys).await, node(&switch, &keys).await]);
    let runs = nodes[0].tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let operator_token = nodes[0].token(runs).await;
    let mut standby = primary.standby().await;
    let epoch = nodes[0].tenure.log().seen().get().epoch;

    let callers = 64;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(watch::Sender::new(0)));
    let calling: Vec<_> = (0..callers)
        .map(|number| {
            let (nodes, stop, answered) = (nodes.clone(), stop.clone(), answered.clone());
            let operator_token = operator_token.clone();
            tokio::spawn(Caller { nodes, number, operator_token, stop, answered }.run())
        })
        .collect();
    until_answered(&answered, callers, "the start").await;
    for round in 0..detours() {
        let detour = DETOURS[round % DETOURS.len()];
        // From here on the standby lacks what is committed.
        standby.lag().await;
        until_answered(&answered, callers, "the standby was left behind").await;
        lead_astray(detour, &switch, &mut primary, &mut standby).await;
        until_answered(&answered, 4 * callers, &format!("{detour:?}")).await;
        until_ready(&nodes[..], &format!("{detour:?}")).await;
        standby.follow(&primary).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in calling {
        caller.await.expect("no caller has seen what must not be");
    }
    let now = nodes[1].tenure.log().seen().get().epoch;
    assert_eq!(now, epoch, "nothing was lost, so that positions keep their meaning");
    println!("{} detours, {} answers checked", detours(), *answered.borrow());
}

/// The position token of an answer.
fn token(answer: &Answer) -> String {
    answer.header("tenure-position").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_standby_that_was_promoted_without_its_tail_begins_a_new_epoch_and_service_goes_on() {
    let mut primary = Server::primary().await;
    let switch = Switch::to(primary.port).await;
    let keys = tempfile::tempdir().unwrap();
    let nodes = [node(&switch, &keys).await, node(&switch, &keys).await];
    let runs = nodes[0].tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = nodes[0].token(runs).await;
    let kept = nodes[0].user("kept").await;
    let acme = nodes[0].account("acme", kept).await;
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    let epoch = nodes[0].tenure.log().seen().get().epoch;

    // The tail: acknowledged, read on both nodes, in the memory of both, and on no other disk.
    standby.lag().await;
    let get = |node: &Node, path: &str| node.get(path).bearer_auth(&bearer);
    let add = |node: &Node, name: &str| {
        let body = json!({"username": name, "email": format!("{name}@people.example")});
        node.post("/api/v1/users", body).bearer_auth(&bearer)
    };
    let lost = answer(add(&nodes[0], "lost")).await.is(201);
    let (lost_token, lost_id) = (token(&lost), lost.json()["id"].as_str().unwrap().parse().unwrap());
    nodes[1].tenure.add_member(&operator(), acme, lost_id).await.unwrap();
    let page = answer(get(&nodes[1], "/api/v1/events?order=asc")).await.is(200).json();
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    let page = answer(get(&nodes[1], "/api/v1/users?limit=1")).await.is(200).json();
    let list_cursor = page["next_cursor"].as_str().unwrap().to_owned();
    answer(get(&nodes[0], &format!("/api/v1/users?cursor={list_cursor}"))).await.is(200);
    let mut follower = nodes[0].tenure.log().follow(0);
    follower.next().await.unwrap();
    let place = follower.checkpoint();

    primary.kill();
    standby.promote().await;
    switch.lead_to(standby.port);
    switch.cut();
    let served = async {
        while answer(get(&nodes[0], "/api/v1/users/kept")).await.status != StatusCode::OK
            || answer(get(&nodes[1], "/api/v1/users/kept")).await.status != StatusCode::OK
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(RECOVERY, served).await.expect("service goes on");

    for node in &nodes {
        answer(node.get("/readyz")).await.is(200);
        assert_ne!(node.tenure.log().seen().get().epoch, epoch);
        let read = get(node, "/api/v1/users/kept").header("tenure-min-position", &lost_token);
        answer(read).await.fails(409, "log_replaced");
        let path = format!("/api/v1/events?order=asc&cursor={cursor}");
        answer(get(node, &path)).await.fails(409, "log_replaced");
        let path = format!("/api/v1/users?cursor={list_cursor}");
        answer(get(node, &path)).await.fails(409, "log_replaced");
        let refused = node.tenure.log().resume(&place).await.err().unwrap();
        assert!(matches!(refused, tenure::event_log::ReadError::LogReplaced { .. }), "{refused}");
        answer(get(node, "/api/v1/users/lost")).await.is(404);
    }
    assert_eq!(nodes[0].tenure.log().seen().get().epoch, nodes[1].tenure.log().seen().get().epoch);
    assert!(follower.next().await.is_err(), "a follower is told, and never goes on in another history");

    // What is decided now rests on what is there, at the very versions at which something else was before.
    let other = nodes[0].user("other").await;
    nodes[0].tenure.add_member(&operator(), acme, other).await.unwrap();
    let members = answer(get(&nodes[1], "/api/v1/accounts/acme/members")).await.is(200);
    assert!(
        members.text.contains(&other.to_string()) && !members.text.contains(&lost_id.to_string()),
        "{members:?}"
    );
    let again = answer(add(&nodes[1], "lost")).await.is(201);
    let read = get(&nodes[0], "/api/v1/users/lost").header("tenure-min-position", token(&again));
    answer(read).await.is(200);
    crate::replay::assert_tables_are_a_fold_of_the_log(&nodes[0].tenure).await;
}

/// Waits until a question is answered with true.
async fn until(client: &tokio_postgres::Client, question: &str) {
    let asking = async {
        while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(RECOVERY, asking).await.unwrap_or_else(|_| panic!("{question}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_late_answers_of_a_server_that_was_left_count_for_nothing() {
    let primary = Server::primary().await;
    let switch = Switch::to(primary.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = Arc::new(node(&switch, &keys).await);
    let ada = node.user("ada").await;
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    standby.lag().await;
    standby.promote().await;

    // Stored and read on the old primary alone, whose answers are on their way for a while.
    node.tenure.reader().user(ada).await.unwrap();
    let old = primary.connect_to("tenure").await;
    old.batch_execute(
        "create temp table before as
         select (select count(*) from log.event) as events, clock_timestamp() as at",
    )
    .await
    .unwrap();
    switch.hold_answers(true);
    let writing = tokio::spawn({
        let node = node.clone();
        async move { node.user("late").await }
    });
    until(&old, "select (select count(*) from log.event) > events from before").await;
    let reading = tokio::spawn({
        let node = node.clone();
        async move { node.tenure.reader().user(ada).await }
    });
    until(
        &old,
        "select exists (select from pg_stat_activity, before
                        where query like '%view.users%' and query_start > at and state = 'idle')",
    )
    .await;
    switch.lead_to(standby.port);
    let moving = async { while node.tenure.ready().await.is_err() {} };
    tokio::time::timeout(RECOVERY, moving).await.expect("the node moves to the new primary");
    switch.hold_answers(false);

    reading.await.unwrap().unwrap();
    let late = writing.await.unwrap();
    let new = standby.connect_to("tenure").await;
    until(&new, &format!("select exists (select from view.users where id = '{late}')")).await;
    // Every connection is checked anew.
    switch.cut();
    until_ready(std::slice::from_ref(&*node), "late answers").await;
    assert_eq!(node.tenure.reader().user(late).await.unwrap().username, "late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_frozen_postgresql_is_answered_for_in_time_and_forgotten_soon() {
    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = Arc::new(node(&switch, &keys).await);
    let runs = node.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = node.token(runs).await;
    let acme = node.account("acme", runs).await;
    let key = node.key(acme, runs).await.1;
    let session = node.session(runs).await;
    answer(node.get("/readyz")).await.is(200);

    server.freeze();
    let started = tenure::clock::Stopwatch::start();
    // The first answer may be of a quarter of a second ago.
    let not_ready = loop {
        let readiness = answer(node.get("/readyz")).await;
        if readiness.status == StatusCode::SERVICE_UNAVAILABLE {
            break readiness.json();
        }
    };
    assert_eq!(not_ready["postgres"]["state"], "unreachable");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let description = tenure::http::description();
    let mut asked = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path.replace("{user}", "me").replace("{account}", "acme").replace("{slug}", "acme");
        let path =
            path.replace("{handle}", "robot").replace("{name}", "logs").replace("{id}", &runs.to_string());
        for method in operations.as_object().unwrap().keys() {
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            for credential in 0..3 {
                let request = node.request(method.clone(), &path);
                let request = match credential {
                    0 => request.bearer_auth(&bearer),
                    1 => request.bearer_auth(&key),
                    _ => request.header("cookie", &session),
                };
                let request = if method == reqwest::Method::GET {
                    request
                } else {
                    request.json(&json!({"name": "x"}))
                };
                asked.push((format!("{method} {path}"), request));
            }
        }
    }
    asked.push(("a page".to_owned(), node.get("/").header("cookie", &session)));
    let body = json!({"username": "written", "email": "w@example.org"});
    asked.push(("a write".to_owned(), node.post("/api/v1/users", body).bearer_auth(&bearer)));
    let (count, waiting) = (asked.len(), asked.into_iter());
    let answers = waiting.map(|(what, request)| async move {
        let started = tenure::clock::Stopwatch::start();
        let answer = answer(request).await;
        // Existing clients wait five seconds.
        let is_theirs =
            ["/api/v1/sources", "/api/v1/invites", "/api/v1/orgs/"].iter().any(|path| what.contains(path));
        assert!(
            started.elapsed() < Duration::from_millis(if is_theirs { 4_900 } else { 15_000 }),
            "{what} after {:?}: {answer:?}",
            started.elapsed()
        );
        answer.status
    });
    let statuses = futures::future::join_all(answers).await;
    assert!(statuses.iter().filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE).count() > count / 2);
    assert!(statuses.iter().all(|status| !status.is_success() || *status == StatusCode::OK));
    assert!(started.elapsed() < Duration::from_secs(16), "{:?} for all of them at once", started.elapsed());

    server.thaw();
    let thawed = tenure::clock::Stopwatch::start();
    let well = async {
        loop {
            let body = json!({"username": "again", "email": "a@example.org"});
            let write = answer(node.post("/api/v1/users", body).bearer_auth(&bearer)).await.status;
            let read = answer(node.get("/api/v1/users/runs").bearer_auth(&bearer)).await.status;
            let ready = answer(node.get("/readyz")).await.status;
            let flow = node.form("/oauth/device/code", &[("client_name", "x")]).await.status;
            if [write, read, ready, flow]
                == [StatusCode::CREATED, StatusCode::OK, StatusCode::OK, StatusCode::OK]
                || (write == StatusCode::CONFLICT
                    && read == StatusCode::OK
                    && ready == StatusCode::OK
                    && flow == StatusCode::OK)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(2), well).await.expect("all is well within 2 s");
    println!("frozen: {count} requests answered, not ready at once, well {:?} after", thawed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_connection_that_falls_silent_under_two_batches_holds_up_neither_longer_than_the_first() {
    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let tenure = Arc::new(crate::support::open_with(settings(&switch, &keys)).await);
    crate::support::user(&tenure, "first").await;
    let register = |name: String| {
        let tenure = tenure.clone();
        tokio::spawn(async move {
            let started = tenure::clock::Stopwatch::start();
            let done = tenure.insert_user(&operator(), &name, "x@people.example", "internal").await;
            (done.map(|done| done.answer), started.elapsed())
        })
    };
    switch.silence(true);
    let ahead = register("ahead".to_owned());
    // The second batch leaves shortly before the first is given up.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let behind: Vec<_> = (0..32).map(|number| register(format!("behind{number}"))).collect();
    ahead.await.unwrap().0.expect("the first is found out about");
    for caller in behind {
        let (done, took) = caller.await.unwrap();
        done.expect("and so are the others");
        assert!(took < Duration::from_secs(6), "{took:?}");
    }
    assert_eq!(crate::support::history(&tenure).await.len(), 2 + 1 + 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_tail_waits_out_a_database_that_goes_while_it_opens_sealed_fields() {
    use std::io::BufRead as _;

    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let tenure = crate::support::open_with(settings(&switch, &keys)).await;
    let mut tail = crate::support::process::tenure()
        .args(["events", "tail", "--json", "--after", "0", "--limit", "120"])
        .env("DATABASE_URL", switch.url("sslmode=disable"))
        .env("TENURE_DATA_DIR", keys.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(tail.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["position"], 1);
    // Each event has a key of its own to be read, so that some are opened while the database is gone.
    let direct = {
        let address = server.conninfo("tenure").parse().unwrap();
        crate::support::open_with(Settings { address, ..settings(&switch, &keys) }).await
    };
    for number in 0..119 {
        if number == 20 {
            switch.swallow();
            switch.cut();
        }
        if number == 100 {
            switch.lead_to(server.port);
            switch.cut();
        }
        crate::support::user(&direct, &format!("u{number}")).await;
    }
    let rest: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(tail.wait().unwrap().success());
    let positions: Vec<i64> = rest.iter().map(|event| event["position"].as_i64().unwrap()).collect();
    assert_eq!(positions, (2..=120).collect::<Vec<_>>());
    assert!(rest.iter().all(|event| event["sealed"]["username"].is_string()));
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_connections_to_a_primary_that_was_left_behind_give_no_answer() {
    let primary = Server::primary().await;
    let switch = Switch::to(primary.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = node(&switch, &keys).await;
    let runs = node.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = node.token(runs).await;
    // Many at once, so that every place in the pool is taken by a connection to the old primary.
    let reads =
        (0..64).map(|_| async { answer(node.get("/api/v1/users/runs").bearer_auth(&bearer)).await.is(200) });
    futures::future::join_all(reads).await;
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    standby.promote().await;
    switch.lead_to(standby.port);
    // Only the committer is led to the new one; the old one goes on, fenced by nobody.
    let committer =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tenure committer'";
    primary.connect_to("tenure").await.query(committer, &[]).await.unwrap();
    for number in 0..20 {
        let name = format!("n{number}");
        let body = json!({"username": name, "email": format!("{name}@people.example")});
        let made = async {
            loop {
                let made = answer(node.post("/api/v1/users", body.clone()).bearer_auth(&bearer)).await;
                if made.status == StatusCode::CREATED {
                    return;
                }
                assert_eq!(made.status, StatusCode::SERVICE_UNAVAILABLE, "{made:?}");
            }
        };
        tokio::time::timeout(RECOVERY, made).await.expect("it is written");
        let reads = (0..16).map(|_| {
            let path = format!("/api/v1/users/{name}");
            let read = node.get(&path).bearer_auth(&bearer);
            async move { answer(read).await.is(200) }
        });
        futures::future::join_all(reads).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_server_that_was_left_is_not_followed_back_into_its_epoch() {
    let primary = Server::primary().await;
    let switch = Switch::to(primary.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = node(&switch, &keys).await;
    let runs = node.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = node.token(runs).await;
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    standby.lag().await;
    node.user("tail").await;
    let first = node.tenure.log().seen().checkpoint();
    standby.promote().await;
    let mut left = vec![first];
    for port in [standby.port, primary.port, standby.port] {
        switch.lead_to(port);
        switch.cut();
        let moved = async {
            loop {
                let body = json!({"username": format!("at-{}", left.len()), "email": "x@people.example"});
                let made = answer(node.post("/api/v1/users", body).bearer_auth(&bearer)).await;
                if made.status == StatusCode::CREATED {
                    return;
                }
            }
        };
        tokio::time::timeout(RECOVERY, moved).await.expect("service goes on");
        let now = node.tenure.log().seen().checkpoint();
        assert!(
            left.iter().all(|before| before.epoch != now.epoch),
            "an epoch that was left is never taken up again"
        );
        for before in &left {
            let read = node.get("/api/v1/users/runs").bearer_auth(&bearer);
            answer(read.header("tenure-min-position", before.to_string())).await.fails(409, "log_replaced");
        }
        left.push(now);
    }
}

/// A node with the token of an operator, and a connection that holds up everybody who reads accounts.
async fn node_that_waits_for_accounts(
    database: &TestDatabase,
) -> (Arc<Node>, String, tokio_postgres::Client) {
    let node = Arc::new(Node::on(database).await);
    let runs = node.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = node.token(runs).await;
    let holder = database.connect(None).await;
    holder.batch_execute("begin; lock table view.accounts").await.unwrap();
    (node, bearer, holder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_callers_leave_no_busy_connection_and_open_no_more_of_them() {
    let database = TestDatabase::new().await;
    let (node, bearer, holder) = node_that_waits_for_accounts(&database).await;
    for _ in 0..4 {
        let leaving = (0..32).map(|_| async {
            let request =
                node.get("/api/v1/accounts").bearer_auth(&bearer).timeout(Duration::from_millis(300));
            assert!(request.send().await.is_err(), "it waits for the lock");
        });
        futures::future::join_all(leaving).await;
    }
    let open = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tenure'";
    let admin = database.connect(None).await;
    let connections: i64 = admin.query_one(open, &[]).await.unwrap().get(0);
    assert!(connections <= 8, "{connections} connections of a pool of 8");
    holder.batch_execute("rollback").await.unwrap();
    let started = tenure::clock::Stopwatch::start();
    let reads =
        (0..32).map(|_| async { answer(node.get("/api/v1/users/runs").bearer_auth(&bearer)).await.is(200) });
    futures::future::join_all(reads).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_whose_readers_keep_every_connection_busy_is_not_taken_for_dead() {
    let database = TestDatabase::new().await;
    let (node, bearer, holder) = node_that_waits_for_accounts(&database).await;
    let readers: Vec<_> = (0..32)
        .map(|_| {
            let (node, bearer) = (node.clone(), bearer.clone());
            tokio::spawn(async move {
                loop {
                    answer(node.get("/api/v1/accounts").bearer_auth(&bearer)).await;
                }
            })
        })
        .collect();
    let admin = database.connect(None).await;
    let wait = "select count(*) >= 8 from pg_stat_activity
                where datname = current_database() and application_name = 'tenure' and wait_event_type = 'Lock'";
    while !admin.query_one(wait, &[]).await.unwrap().get::<_, bool>(0) {}
    let row = "select expires_at::text from log.node";
    let expires = async || admin.query_one(row, &[]).await.unwrap().get::<_, String>(0);
    let renewed = async {
        for _ in 0..2 {
            let before = expires().await;
            while expires().await == before {}
        }
    };
    // Less than a row lasts.
    tokio::time::timeout(Duration::from_secs(4), renewed).await.expect("the row is renewed");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    holder.batch_execute("rollback").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_node_is_ready_again_although_connecting_takes_longer_than_a_probe() {
    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let nodes = [node(&switch, &keys).await, node(&switch, &keys).await];
    until_ready(&nodes, "the start").await;
    let admin = server.connect_to("tenure").await;
    admin.batch_execute("alter system set post_auth_delay = '2s'").await.unwrap();
    let probes =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tenure probe'";
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let is_slow = "select current_setting('post_auth_delay') = '2s'";
    while !server.connect_to("tenure").await.query_one(is_slow, &[]).await.unwrap().get::<_, bool>(0) {}
    admin.execute(probes, &[]).await.unwrap();
    let not_ready = answer(nodes[0].get("/readyz")).await.is(503).json();
    assert_eq!(not_ready["postgres"]["state"], "unreachable");
    until_ready(&nodes, "connections became slow to open").await;
    // One is kept, and the others are closed.
    let are_few = "select count(*) <= 2 from pg_stat_activity where application_name = 'tenure probe'";
    server.until(are_few).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_postgresql_that_freezes_under_a_question_about_the_past_is_an_outage_and_no_question_of_size()
 {
    let server = Server::primary().await;
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = Arc::new(node(&switch, &keys).await);
    let owner = node.user("owner").await;
    let (acme, token) = (node.account("acme", owner).await, node.token(owner).await);
    // It waits here while the server freezes.
    let admin = server.connect_to("tenure").await;
    let lock = format!("begin; select pg_advisory_xact_lock(hashtextextended('tenure as-of {acme}', 0))");
    admin.batch_execute(&lock).await.unwrap();
    let path = format!("/api/v1/accounts/{acme}?as_of=2");
    let asked = tokio::spawn(answer(node.get(&path).bearer_auth(&token)));
    server
        .until(
            "select exists (select from pg_stat_activity
                            where application_name = 'tenure as-of' and wait_event_type = 'Lock')",
        )
        .await;
    server.freeze();
    let refused = tokio::time::timeout(Duration::from_secs(15), asked).await.unwrap().unwrap();
    server.thaw();
    refused.is(503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_a_postgresql_that_freezes_under_a_rebuild_ends_it_with_the_reason() {
    let server = Arc::new(Server::primary().await);
    let switch = Switch::to(server.port).await;
    let keys = tempfile::tempdir().unwrap();
    let node = node(&switch, &keys).await;
    node.user("owner").await;
    for phase in [Phase::CatchingUp, Phase::Swapping] {
        let freezing = server.clone();
        let progress = Progress::new(move |step| {
            if matches!(step, Step::Begun(begun, _) if begun == phase) {
                freezing.freeze();
            }
        });
        let options = RebuildOptions::default();
        let rebuilding = node.tenure.replay().rebuild(&options, &progress);
        let ended = tokio::time::timeout(Duration::from_secs(60), rebuilding).await;
        server.thaw();
        let error = ended.expect("it does not wait for ever").unwrap_err();
        assert!(matches!(&error, RebuildError::Replay(error) if error.may_succeed_later()), "{error}");
        until_ready(std::slice::from_ref(&node), &format!("{phase:?}")).await;
    }
    // What is left stands in nobody's way.
    let again = async {
        while node.tenure.replay().rebuild(&RebuildOptions::default(), &Progress::none()).await.is_err() {}
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("a rebuild succeeds");
}

/// Another host of the same address, which was promoted in the place of a frozen one, says nothing of the work on that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_long_work_on_a_frozen_server_ends_although_another_host_of_the_address_answers() {
    let primary = Server::primary().await;
    let standby = primary.standby().await;
    standby.catch_up(&primary).await;
    let address = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=tenure dbname=tenure sslmode=disable",
        primary.port, standby.port
    );
    let database = Database::new(&address.parse().unwrap(), None).unwrap();
    let working = database.connect("long work", "").await.unwrap();
    let work = working.client.batch_execute("select pg_sleep(600)");
    let second = database.connect("tenure watch", "").await.unwrap();
    let mut watch = Watch::of(&database, second).await.unwrap();
    let watched = watch.during(work);
    let fails_over = async {
        primary
            .until("select exists (select from pg_stat_activity where application_name = 'tenure watch')")
            .await;
        primary.freeze();
        standby.promote().await;
    };
    let both = async { tokio::join!(watched, fails_over).0 };
    let ended = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it ends");
    primary.thaw();
    assert!(matches!(ended, Err(MigrateError::TimedOut)), "{ended:?}");
}
