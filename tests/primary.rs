//! A database whose address leads astray: to a standby that lags, to silence, to a server that was promoted, with and
//! without its last events. Nothing stale is believed, nothing written is lost, and service goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tenure::credentials::master_key::MasterKeySource;
use tenure::http::Rate;
use tenure::Settings;

use crate::http::{Answer, Server as Node, answer};
use crate::support::server::Server;
use crate::support::switch::Switch;
use crate::support::operator;

/// How long everything may take to work again after a detour.
const RECOVERY: Duration = Duration::from_secs(8);

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
async fn node(switch: &Switch, keys: &tempfile::TempDir) -> Node {
    let tenure = Arc::new(crate::support::open_with(settings(switch, keys)).await);
    let observed = tenure.clone();
    tokio::spawn(async move { observed.observe().await });
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
    answered: Arc<AtomicUsize>,
}

impl Caller {
    /// An answer that is not an outage; only outages are excused.
    fn available(&self, answer: Answer, allowed: &[u16]) -> Option<Answer> {
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        assert!(allowed.contains(&answer.status.as_u16()), "caller {}: {answer:?}", self.number);
        self.answered.fetch_add(1, Ordering::SeqCst);
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

    /// Whoever is registered is found, on this node and on the other.
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
async fn until_answered(answered: &AtomicUsize, callers: usize, why: &str) {
    let from = answered.load(Ordering::SeqCst);
    let look = async {
        while answered.load(Ordering::SeqCst) < from + callers {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(RECOVERY, look).await.unwrap_or_else(|_| panic!("stuck after {why}"));
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
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
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
        for node in nodes.iter() {
            answer(node.get("/readyz")).await.is(200);
        }
        standby.follow(&primary).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in calling {
        caller.await.expect("no caller has seen what must not be");
    }
    let now = nodes[1].tenure.log().seen().get().epoch;
    assert_eq!(now, epoch, "nothing was lost, so that positions keep their meaning");
    println!("{} detours, {} answers checked", detours(), answered.load(Ordering::SeqCst));
}
