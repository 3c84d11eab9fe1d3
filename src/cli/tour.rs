//! `tenure tour`: demonstrates commands with their events, races and refusals, on a throwaway database.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;

use futures::future::join_all;
use serde_json::json;

use super::{open, output, tour_nats};
use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::aggregates::source::Retention;
use crate::aggregates::user::UserEvent;
use crate::clock::{Clock as _, Stopwatch, SystemClock};
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::credentials::master_key::MasterKeySource;
use crate::dispatch::{DispatchError, Dispatched};
use crate::entropy::{OsEntropy, uuid_v7};
use crate::event_log::RecordedEvent;
use crate::event_log::read::Filter;
use crate::ids::{AccountId, UserId};
use crate::operations::{Outcome, Refusal, Resource};
use crate::postgres::private::{temp_dir, unusable_temp_dir};
use crate::subscribers::{By, Delivery, EffectHandler, Failure, Subscription, Subscriptions};

/// How many callers race for the same name.
const RACERS: usize = 16;

/// How long the service of the tour may take to come to the end of the log.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// How many polls race for the same device code.
const POLLS: usize = 10;

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    if let Some(reason) = unusable_temp_dir() {
        anyhow::bail!(reason);
    }
    let watch = Stopwatch::start();
    let id = uuid_v7(SystemClock.now(), &OsEntropy::default());
    let data_dir = temp_dir().join(format!("tenure-tour-{id}"));
    // The tour must not touch the configured instance: its database, master key and list of forgotten users.
    let throwaway = Config {
        database: None,
        master_key: MasterKeySource {
            default_file: data_dir.join("master.key"),
            ..MasterKeySource::default()
        },
        forgotten_list: data_dir.join("forgotten.list"),
        data_dir: data_dir.clone(),
        // The log is compared with the responses; clearing away comes by itself, sooner or later.
        clear_every: Duration::from_hours(1),
        ..config
    };
    let result = on_throwaway(&throwaway).await;
    // Removed after a failure too; the error of the tour is the one to report.
    let removed = std::fs::remove_dir_all(&data_dir);
    let tour = result?;
    removed?;
    let seconds = (watch.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    if throwaway.json {
        return output::json(&json!({
            "commands": tour.commands, "events": tour.events, "refusals": tour.refusals, "no_ops": tour.no_ops,
            "one_winner": tour.one_winner, "consumed_once": tour.consumed_once,
            "revoked_key_refused": tour.revoked_key_refused, "forgotten_unreadable": tour.forgotten_unreadable,
            "positions_contiguous": tour.contiguous, "followed_once": tour.followed_once, "cut_off": tour.cut_off, "seconds": seconds,
        }));
    }
    output::line(&format!(
        "\n{} commands, {} events, {} refusals, {} repeated commands without an event, {seconds} s; the log has no gaps.",
        tour.commands, tour.events, tour.refusals, tour.no_ops
    ))
}

async fn on_throwaway(config: &Config) -> anyhow::Result<Tour> {
    let opened = open::open(config).await?;
    let mut tour = Tour { json: config.json, ..Tour::default() };
    let result = tour.walk(&opened.tenure, &config.data_dir).await;
    opened.close().await?;
    result.map(|()| tour)
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // each is a line of the summary
struct Tour {
    json: bool,
    commands: usize,
    events: usize,
    refusals: usize,
    no_ops: usize,
    one_winner: bool,
    consumed_once: bool,
    revoked_key_refused: bool,
    forgotten_unreadable: bool,
    contiguous: bool,
    followed_once: bool,
    /// Whether a revoked credential was cut off at NATS; none without a nats-server.
    cut_off: Option<bool>,
}

/// A service that cannot handle the events of one stream until it is repaired.
#[derive(Clone)]
struct Service {
    handled: Arc<Mutex<Vec<i64>>>,
    broken_at: Arc<Mutex<Option<String>>>,
}

impl Service {
    fn new(broken_at: String) -> Self {
        Self { handled: Arc::default(), broken_at: Arc::new(Mutex::new(Some(broken_at))) }
    }

    fn repair(&self) {
        *self.broken_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn positions(&self) -> Vec<i64> {
        self.handled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EffectHandler for Service {
    async fn handle(&self, event: &RecordedEvent, _: &Delivery) -> Result<(), Failure> {
        let broken_at = self.broken_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if broken_at.is_some_and(|stream| stream == event.stream.to_string()) {
            return Err(Failure::event("the service has a fault"));
        }
        self.handled.lock().unwrap_or_else(PoisonError::into_inner).push(event.position);
        Ok(())
    }
}

/// Waits until the tour's service has handled everything but parked streams.
async fn until_current(subscriptions: &Subscriptions) -> anyhow::Result<()> {
    let waited = Stopwatch::start();
    loop {
        let parked = subscriptions.parked("tour", None, 2).await?;
        let is_unparking = parked.iter().any(|parked| parked.released_at.is_some());
        if subscriptions.overview("tour").await?.lag_events == 0 && !is_unparking {
            return Ok(());
        }
        anyhow::ensure!(waited.elapsed() < FOLLOW_TIMEOUT, "the service does not come to the end of the log");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Tour {
    async fn walk(&mut self, tenure: &Tenure, data_dir: &Path) -> anyhow::Result<()> {
        let operator = Context::of(Actor::Operator);
        self.heading("Users")?;
        let ada = self.done(
            "register ada",
            tenure.insert_user(&operator, "ada", "ada@example.org", "internal").await,
        )?;
        let bob = self.done(
            "register Bob",
            tenure.insert_user(&operator, "Bob", "bob@example.org", "internal").await,
        )?;
        self.refused(
            "register BOB",
            tenure.insert_user(&operator, "BOB", "other@example.org", "internal").await,
        )?;
        self.refused(
            "register a name with a space",
            tenure.insert_user(&operator, "a b", "c@example.org", "internal").await,
        )?;
        self.done("make ada an operator", tenure.set_operator(&operator, ada, true).await)?;
        self.done("make ada an operator again", tenure.set_operator(&operator, ada, true).await)?;
        self.race(tenure).await?;

        self.heading("GitHub")?;
        let context = Context::of(Actor::System);
        let sign_in = |login: &'static str| tenure.sign_in_with_github(&context, 42, login, None, None);
        let (first, second) = tokio::join!(sign_in("bob"), sign_in("bob"));
        let first = self.done("first sign-in of GitHub's bob", first)?;
        let second = self.done("the same sign-in at the same moment", second)?;
        anyhow::ensure!(first.user == second.user, "two first sign-ins created two users");
        self.done("sign in as robert", sign_in("robert").await)?;
        self.users(tenure).await?;

        self.heading("A tenant")?;
        let carol = self.done(
            "register carol",
            tenure.insert_user(&operator, "carol", "carol@example.org", "internal").await,
        )?;
        let as_ada = Context::of(Actor::User(ada));
        let as_carol = Context::of(Actor::User(carol));
        let acme = self.done("open acme", tenure.open_account(&as_ada, "acme", Some(ada)).await)?;
        self.refused("open ACME", tenure.open_account(&as_carol, "ACME", Some(carol)).await)?;
        self.done("add Bob", tenure.add_member(&as_ada, acme, bob).await)?;
        self.done("add Bob again", tenure.add_member(&as_ada, acme, bob).await)?;
        self.refused("carol, a stranger, adds herself", tenure.add_member(&as_carol, acme, carol).await)?;
        self.refused("remove the owner", tenure.remove_member(&as_ada, acme, ada).await)?;
        self.done("transfer acme to Bob", tenure.transfer_ownership(&as_ada, acme, bob).await)?;
        let as_bob = Context::of(Actor::User(bob));
        self.members(tenure, acme).await?;
        self.done("ada leaves", tenure.remove_member(&as_ada, acme, ada).await)?;
        self.refused("ada leaves again", tenure.remove_member(&as_ada, acme, ada).await)?;
        self.done("close acme", tenure.close_account(&as_bob, acme).await)?;
        self.refused("add carol to the closed account", tenure.add_member(&as_bob, acme, carol).await)?;
        let again = self
            .done("open acme again, with a new id", tenure.open_account(&as_bob, "acme", Some(bob)).await)?;
        anyhow::ensure!(again != acme, "an account id was used twice");
        self.work(tenure, again, bob, carol).await?;
        self.device(tenure, carol).await?;
        self.forget(tenure, carol).await?;

        self.heading("The log")?;
        let events =
            tenure.log().read_page(0, &crate::event_log::read::Filter::default(), 1_000).await?.events;
        self.contiguous = (1..).zip(&events).all(|(position, event)| event.position == position);
        // One more than the commands stored: position 1 is the genesis event.
        anyhow::ensure!(
            self.contiguous && events.len() == self.events + 1,
            "the log does not match the responses"
        );
        self.say("every position once, in order", &format!("1 to {} (1 is genesis)", events.len()))?;
        self.follow(tenure, acme, events.len()).await?;
        self.at_nats(tenure, data_dir, again, bob).await
    }

    /// Lets a tenant publish at NATS, and revokes its key.
    async fn at_nats(
        &mut self,
        tenure: &Tenure,
        data_dir: &Path,
        account: AccountId,
        owner: UserId,
    ) -> anyhow::Result<()> {
        self.heading("A tenant at NATS")?;
        match tour_nats::show(tenure, data_dir, account, owner).await? {
            Ok(seen) => {
                self.cut_off = Some(true);
                self.say(
                    "exchange a key, publish to a pipe",
                    &format!("message {} of its stream", seen.sequence),
                )?;
                let after = seen.cut_off_after.as_millis();
                self.say("revoke the key", &format!("cut off after {after} ms, and no way in"))
            }
            Err(reason) => self.say("left out", &reason),
        }
    }

    /// Starts a service that follows the log and fails at the events of one account, and unparks them after a repair.
    async fn follow(&mut self, tenure: &Tenure, broken: AccountId, events: usize) -> anyhow::Result<()> {
        self.heading("A service that follows the log")?;
        let service = Service::new(format!("account/{broken}"));
        let subscription = Subscription::new("tour", 1)?.lease(Duration::from_secs(1));
        let running = subscription.start_effects(tenure, service.clone()).await?;
        let subscriptions = Subscriptions::of(tenure.log());
        until_current(&subscriptions).await?;
        let parked = subscriptions.parked("tour", None, 2).await?;
        let [parked] = &parked[..] else { anyhow::bail!("one stream should be parked: {parked:?}") };
        self.say(
            "it cannot handle the events of acme",
            &format!("{} wait in order, {} others are handled", parked.waiting, service.positions().len()),
        )?;
        service.repair();
        subscriptions.unpark("tour", None, &By::new("tour", "the service is repaired")?).await?;
        until_current(&subscriptions).await?;
        running.stop().await;
        let mut positions = service.positions();
        positions.sort_unstable();
        self.followed_once = positions.len() == events && (1..).zip(&positions).all(|(at, seen)| at == *seen);
        anyhow::ensure!(self.followed_once, "an event was lost or repeated: {positions:?}");
        self.say("unpark them after a repair", &format!("all {events} events handled, each once"))
    }

    /// Accepts an invite; mints, verifies and revokes an API key; creates and deletes a source with a pipe.
    async fn work(
        &mut self,
        tenure: &Tenure,
        acme: AccountId,
        bob: UserId,
        carol: UserId,
    ) -> anyhow::Result<()> {
        self.heading("Work")?;
        let (as_bob, as_carol) = (Context::of(Actor::User(bob)), Context::of(Actor::User(carol)));
        let invite = self.done("invite carol", tenure.create_invite(&as_bob, acme, "carol", None).await)?;
        self.refused("invite Carol again", tenure.create_invite(&as_bob, acme, "Carol", None).await)?;
        self.refused("Bob accepts carol's invite", tenure.accept_invite(&as_bob, invite, bob).await)?;
        self.done("carol accepts", tenure.accept_invite(&as_carol, invite, carol).await)?;
        self.refused("carol mints a key", tenure.mint_api_key(&as_carol, acme, "ci", None, None).await)?;
        let minted = tenure.mint_api_key(&as_bob, acme, "ci", None, None).await?;
        let (key, secret) = (minted.answer.id, minted.answer.plaintext.clone());
        self.done("Bob mints a key", Ok(minted.map(|_| key)))?;
        let secret = secret.ok_or_else(|| anyhow::anyhow!("a minted key has no secret"))?;
        let found = tenure.lookup_api_key(&secret).await?;
        anyhow::ensure!(found.id == key, "the secret matched another key");
        self.say("verify the secret", &format!("key {} of acme", found.key_prefix))?;
        self.done("revoke the key", tenure.revoke_api_key(&as_bob, Some(acme), key).await)?;
        let after = tenure.lookup_api_key(&secret).await;
        self.revoked_key_refused = matches!(after, Err(DispatchError::Refused(Refusal::NotFound(_))));
        anyhow::ensure!(self.revoked_key_refused, "a revoked key was accepted");
        self.say("verify the secret again", "refused: there is no such API key")?;
        self.done(
            "carol creates a source",
            tenure.create_source(&as_carol, acme, None, "robot", Some("pty")).await,
        )?;
        self.refused(
            "create another source with that handle",
            tenure.create_source(&as_bob, acme, None, "robot", None).await,
        )?;
        let kept = Retention::default();
        self.done(
            "carol creates a pipe",
            tenure.create_pipe(&as_carol, acme, None, "robot", "events", kept).await,
        )?;
        self.done("delete the source and its pipe", tenure.delete_source(&as_bob, acme, "robot").await)?;
        Ok(())
    }

    /// Approves a device code and polls it many times at once: exactly one poll may consume it.
    async fn device(&mut self, tenure: &Tenure, carol: UserId) -> anyhow::Result<()> {
        self.heading("A device")?;
        let (system, as_carol) = (Context::of(Actor::System), Context::of(Actor::User(carol)));
        let created = tenure.create_device_code(&system, Duration::from_mins(10), "a terminal").await?;
        let (code, typed) = (created.answer.device_code.clone(), created.answer.user_code.clone());
        self.done("a device asks for codes", Ok(created.map(|code| code.id)))?;
        self.refused("the device polls", tenure.consume_device_code(&system, &code).await)?;
        // Typed in lower case on purpose: user codes ignore case.
        self.done(
            "carol approves",
            tenure.approve_device_code(&as_carol, &typed.to_lowercase(), carol).await,
        )?;
        let polls = (0..POLLS).map(|_| tenure.consume_device_code(&system, &code));
        let polls = join_all(polls).await;
        let lost = |poll: &&Outcome<UserId>| {
            matches!(poll, Err(DispatchError::Refused(Refusal::NotFound(Resource::DeviceCode))))
        };
        let (taken, lost) =
            (polls.iter().filter(|poll| poll.is_ok()).count(), polls.iter().filter(lost).count());
        self.consumed_once = taken == 1 && lost == POLLS - 1;
        anyhow::ensure!(self.consumed_once, "{taken} polls consumed the code, {lost} found none");
        self.commands += POLLS;
        self.events += 1;
        self.refusals += lost;
        self.say(&format!("{POLLS} polls at once"), &format!("1 succeeds as carol, {lost} find no such code"))
    }

    /// Forgets a user and checks that their data in the log and the table is unreadable.
    async fn forget(&mut self, tenure: &Tenure, carol: UserId) -> anyhow::Result<()> {
        self.heading("Forgetting")?;
        self.done("forget carol", tenure.forget_user(&Context::of(Actor::User(carol)), carol).await)?;
        self.done("forget carol again", tenure.forget_user(&Context::of(Actor::Operator), carol).await)?;
        let row = tenure.reader().user(carol).await?;
        let events = tenure.log().read_page(0, &Filter::default(), 1_000).await?.events;
        let decoded = tenure.codec().decode(&events, tenure.log().primary()).await?;
        let hers = events.iter().zip(&decoded).filter(|(event, _)| *event.stream.id == *carol.to_string());
        let unreadable = hers.into_iter().all(|(_, event)| match event {
            AnyEvent::User(UserEvent::Registered { username, email, .. }) => {
                username.open().is_none() && email.open().is_none()
            }
            _ => true,
        });
        self.forgotten_unreadable =
            unreadable && row.email.is_none() && row.username.starts_with("forgotten-");
        anyhow::ensure!(self.forgotten_unreadable, "personal data of carol can still be read");
        self.say("carol's data in the log", &format!("unreadable; the users table shows {}", row.username))
    }

    /// Registers one username many times at once: one caller wins, every other is refused.
    async fn race(&mut self, tenure: &Tenure) -> anyhow::Result<()> {
        let operator = Context::of(Actor::Operator);
        let attempts =
            (0..RACERS).map(|_| tenure.insert_user(&operator, "dave", "dave@example.org", "internal"));
        let results = join_all(attempts).await;
        let winners = results.iter().filter(|result| result.is_ok()).count();
        let losers = results
            .iter()
            .filter(|result| matches!(result, Err(DispatchError::Refused(Refusal::UsernameTaken))))
            .count();
        self.one_winner = winners == 1 && losers == RACERS - 1;
        anyhow::ensure!(self.one_winner, "{winners} winners and {losers} losers");
        self.commands += RACERS;
        self.events += 1;
        self.refusals += losers;
        self.say(
            &format!("{RACERS} callers register dave at once"),
            &format!("1 wins, {losers} are refused: username taken"),
        )
    }

    fn done<T: Clone>(&mut self, what: &str, outcome: Outcome<T>) -> anyhow::Result<T> {
        let done = outcome?;
        self.commands += 1;
        self.events += done.events.len();
        self.no_ops += usize::from(done.events.is_empty());
        self.say(what, &described(&done))?;
        Ok(done.answer)
    }

    fn refused<T>(&mut self, what: &str, outcome: Outcome<T>) -> anyhow::Result<()> {
        self.commands += 1;
        match outcome {
            Err(DispatchError::Refused(refusal)) => {
                self.refusals += 1;
                self.say(what, &format!("refused: {refusal} ({})", refusal.code()))
            }
            Err(error) => Err(error.into()),
            Ok(_) => anyhow::bail!("{what}: should have been refused"),
        }
    }

    fn heading(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { output::line(&format!("\n{text}")) }
    }

    fn say(&self, command: &str, outcome: &str) -> anyhow::Result<()> {
        if self.json {
            return output::json(&json!({"command": command, "outcome": outcome}));
        }
        output::line(&format!("  {command:<42} {outcome}"))
    }

    async fn users(&self, tenure: &Tenure) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut rows = Vec::new();
        for name in ["ada", "bob", "robert", "dave"] {
            let user = tenure.reader().user_by_username(name).await?;
            let login = user.github_login.unwrap_or_default();
            rows.push(vec![user.username, user.mode.as_str().to_owned(), login, user.operator.to_string()]);
        }
        output::table(&["view.users", "mode", "GitHub login", "operator"], rows)
    }

    async fn members(&self, tenure: &Tenure, account: crate::ids::AccountId) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let members = tenure.reader().members(account).try_collect::<Vec<_>>().await?;
        let rows = members.into_iter().map(|member| vec![member.user.username, member.added_at.to_string()]);
        output::table(&["view.members of acme", "added at"], rows.collect())
    }
}

fn described<T>(done: &Dispatched<T>) -> String {
    if done.events.is_empty() {
        return "no change needed: no event".to_owned();
    }
    let events: Vec<String> =
        done.events.iter().map(|(position, _, event)| format!("#{position} {}", event.kind().0)).collect();
    events.join(", ")
}
