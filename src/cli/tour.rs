//! `tenure tour`: a tenant's life on a throwaway database, each command with its events, races and refusals included.

use futures::future::join_all;
use serde_json::json;

use super::{open, output};
use crate::Tenure;
use crate::clock::{Clock as _, Stopwatch, SystemClock};
use crate::config::Config;
use crate::context::{Actor, Context};
use crate::credentials::master_key::MasterKeySource;
use crate::dispatch::{DispatchError, Dispatched};
use crate::entropy::{OsEntropy, uuid_v7};
use crate::operations::{Outcome, Refusal};

/// How many callers race for the same name.
const RACERS: usize = 16;

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    let id = uuid_v7(SystemClock.now(), &OsEntropy::default());
    let data_dir = std::env::temp_dir().join(format!("tenure-tour-{id}"));
    let throwaway = Config {
        database: None,
        master_key: MasterKeySource {
            default_file: data_dir.join("master.key"),
            ..MasterKeySource::default()
        },
        data_dir: data_dir.clone(),
        ..config
    };
    let result = on_throwaway(&throwaway).await;
    let removed = std::fs::remove_dir_all(&data_dir);
    let tour = result?;
    removed?;
    let seconds = (watch.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    if throwaway.json {
        return output::json(&json!({
            "commands": tour.commands, "events": tour.events, "refusals": tour.refusals, "no_ops": tour.no_ops,
            "one_winner": tour.one_winner, "positions_contiguous": tour.contiguous, "seconds": seconds,
        }));
    }
    output::line(&format!(
        "\n{} commands, {} events, {} refusals, {} repeated wishes without an event, {seconds} s; the log has no gaps.",
        tour.commands, tour.events, tour.refusals, tour.no_ops
    ))
}

async fn on_throwaway(config: &Config) -> anyhow::Result<Tour> {
    let opened = open::open(config).await?;
    let mut tour = Tour { json: config.json, ..Tour::default() };
    let result = tour.walk(&opened.tenure).await;
    opened.close().await?;
    result.map(|()| tour)
}

#[derive(Default)]
struct Tour {
    json: bool,
    commands: usize,
    events: usize,
    refusals: usize,
    no_ops: usize,
    one_winner: bool,
    contiguous: bool,
}

impl Tour {
    async fn walk(&mut self, tenure: &Tenure) -> anyhow::Result<()> {
        let operator = Context::of(Actor::Operator);
        self.heading("People")?;
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
        let second = self.done("the same, at the same moment", second)?;
        anyhow::ensure!(first.user == second.user, "two first sign-ins made two people");
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
        self.done("hand acme over to Bob", tenure.transfer_ownership(&as_ada, acme, bob).await)?;
        let as_bob = Context::of(Actor::User(bob));
        self.members(tenure, acme).await?;
        self.done("ada leaves", tenure.remove_member(&as_ada, acme, ada).await)?;
        self.refused("ada leaves again", tenure.remove_member(&as_ada, acme, ada).await)?;
        self.done("close acme", tenure.close_account(&as_bob, acme).await)?;
        self.refused("add carol to what is closed", tenure.add_member(&as_bob, acme, carol).await)?;
        let again = self
            .done("open acme again: a new identity", tenure.open_account(&as_bob, "acme", Some(bob)).await)?;
        anyhow::ensure!(again != acme, "an identity was used twice");

        self.heading("The log")?;
        let events = tenure.log().read_page(0, &crate::event_log::read::Filter::default(), 1_000).await?;
        self.contiguous = (1..).zip(&events).all(|(position, event)| event.position == position);
        anyhow::ensure!(self.contiguous && events.len() == self.events + 1, "the log and the answers differ");
        self.say("every position once, in order", &format!("1 to {} (1 is genesis)", events.len()))
    }

    /// Many callers, one name: one wins, and every other learns why not.
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
            &format!("1 wins, {losers} are told: username taken"),
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
            Ok(_) => anyhow::bail!("{what}: must be refused"),
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
        let members = tenure.reader().members(account).await?;
        let rows = members.into_iter().map(|member| vec![member.user.username, member.added_at.to_string()]);
        output::table(&["view.members of acme", "added at"], rows.collect())
    }
}

fn described<T>(done: &Dispatched<T>) -> String {
    if done.events.is_empty() {
        return "nothing had to change: no event".to_owned();
    }
    let events: Vec<String> =
        done.events.iter().map(|(position, _, event)| format!("#{position} {}", event.kind().0)).collect();
    events.join(", ")
}
