//! The command line: one file per noun, tables by default, `--json` for scripts, and stable exit codes.

mod account;
mod audit;
mod bench;
mod doctor;
mod events;
mod examples;
mod exit_code;
mod explain;
mod init;
mod invite;
mod key;
mod keys;
mod log;
mod lookup;
mod migrate;
mod nats;
mod nats_users;
mod open;
mod output;
mod pipe;
mod projections;
mod remote;
mod replay_progress;
mod serve;
mod shell;
mod source;
mod subscriptions;
mod token;
mod tour;
mod tour_nats;
mod user;
mod who;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::Flags;
use crate::config::heading::{HTTP, NATS};
use crate::postgres;
use crate::telemetry;

/// An event-sourced identity and tenancy engine.
#[derive(Parser)]
#[command(name = "tenure", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 refused by a rule · 4 not found · 5 \
                          unavailable, try again later · 6 the tables differ from what the log says";

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP on the listen address until SIGTERM or Ctrl-C
    #[command(after_help = examples::SERVE)]
    Serve,
    /// Migrate the database to this release and exit
    Migrate,
    /// Check the setup without changing it, and say what is missing and what to do
    Doctor,
    /// Demonstrate users, accounts, keys and devices in a few seconds, on a throwaway database
    Tour,
    /// Register, show and forget users
    #[command(subcommand, after_help = examples::USER)]
    User(user::UserCommand),
    /// Manage accounts (tenants) and their members
    #[command(subcommand, after_help = examples::ACCOUNT)]
    Account(account::AccountCommand),
    /// Manage invites to accounts
    #[command(subcommand, after_help = examples::INVITE)]
    Invite(invite::InviteCommand),
    /// Manage the API keys of accounts
    #[command(subcommand, after_help = examples::KEY)]
    Key(key::KeyCommand),
    /// Manage the bearer tokens of users
    #[command(subcommand, after_help = examples::TOKEN)]
    Token(token::TokenCommand),
    /// Manage sources: named actors in an account
    #[command(subcommand, after_help = examples::SOURCE)]
    Source(source::SourceCommand),
    /// Manage pipes: named sub-channels of a source
    #[command(subcommand, after_help = examples::PIPE)]
    Pipe(pipe::PipeCommand),
    /// Log in to a running Tenure (--server) in a browser, or with --token
    #[command(after_help = examples::LOGIN)]
    Login,
    /// Revoke the token stored by `login` and remove it
    Logout,
    /// Print the completion script of a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Show or follow the events of the log
    #[command(subcommand, after_help = examples::EVENTS)]
    Events(events::EventsCommand),
    /// Show and rebuild the tables that queries read
    #[command(subcommand, after_help = examples::PROJECTIONS)]
    Projections(projections::ProjectionsCommand),
    /// Show the subscriptions of services, and let them go on when an event or an operator has stopped them
    #[command(subcommand, after_help = examples::SUBSCRIPTIONS)]
    Subscriptions(subscriptions::SubscriptionsCommand),
    /// Compare what is stored with what the log says
    #[command(subcommand, after_help = examples::AUDIT)]
    Audit(audit::AuditCommand),
    /// Change the master key of the log
    #[command(subcommand, after_help = examples::KEYS)]
    Keys(keys::KeysCommand),
    /// Maintain the event log
    #[command(subcommand, after_help = examples::LOG)]
    Log(log::LogCommand),
    /// Make the operator of NATS, issue credentials for the log's events there, and compare what is there with the log
    #[command(subcommand, after_help = examples::NATS)]
    Nats(nats::NatsCommand),
    /// Generate data for benchmarks
    #[command(subcommand, after_help = examples::BENCH)]
    Bench(bench::BenchCommand),
}

impl Command {
    /// Whether the command has no form that goes through a server.
    const fn works_on_the_database_itself(&self) -> bool {
        match self {
            Self::Migrate
            | Self::Doctor
            | Self::Projections(projections::ProjectionsCommand::Rebuild { .. })
            | Self::Subscriptions(_)
            | Self::Audit(_)
            | Self::Keys(_)
            | Self::Log(_)
            | Self::Nats(_)
            | Self::Bench(_) => true,
            Self::Serve
            | Self::Tour
            | Self::User(_)
            | Self::Account(_)
            | Self::Invite(_)
            | Self::Key(_)
            | Self::Token(_)
            | Self::Source(_)
            | Self::Pipe(_)
            | Self::Login
            | Self::Logout
            | Self::Completions { .. }
            | Self::Man
            | Self::Projections(projections::ProjectionsCommand::List)
            | Self::Events(_) => false,
        }
    }

    /// Whether the command means nothing on a database that it would make first.
    const fn needs_a_log(&self) -> bool {
        match self {
            Self::Projections(projections::ProjectionsCommand::Rebuild { .. })
            | Self::Subscriptions(_)
            | Self::Audit(_)
            | Self::Keys(_)
            | Self::Log(_) => true,
            Self::Nats(command) => !matches!(command, nats::NatsCommand::Bootstrap { .. }),
            _ => false,
        }
    }
}

/// Parses the arguments, runs the command, prints its error and returns its exit code.
///
/// # Errors
/// The threads of the runtime cannot be started.
// Not async, so that this crate compiles the runtime's code for these futures and the binary does not compile it again.
pub fn main() -> std::io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(run_and_report());
    // Does not wait for blocking calls: the resolution of a host name can hang for half a minute.
    runtime.shutdown_background();
    Ok(code)
}

async fn run_and_report() -> ExitCode {
    // First of all: until then, the kernel drops the signals to PID 1.
    let signals = init::is_first_process().then(init::Signals::listen);
    let cli = parse();
    // Other commands print their result; informational log lines would only clutter it.
    let log = telemetry::log(match cli.command {
        Command::Serve => "info",
        // The tour makes a subscriber fail, and says so itself.
        Command::Tour => "warn,tenure::subscribers=off,tenure::nats=off,async_nats=off",
        _ => "warn",
    });
    let result = match signals {
        Some(Ok(signals)) => init::run(matches!(cli.command, Command::Serve), signals).await,
        Some(Err(error)) => Err(error.into()),
        None => Box::pin(run(cli)).await.map(|()| 0),
    };
    let code = match result {
        Ok(code) => code,
        Err(error) if error.is::<output::ReaderGone>() => 0,
        Err(error) => {
            log.say(&format!("tenure: {}", in_full(&error)));
            exit_code::of(&error)
        }
    };
    // Bounded: standard error may be closed, full or an unread pipe, and the exit code reports the failure anyway.
    log.flush();
    ExitCode::from(code)
}

/// Parses the arguments; prints help or a usage error and exits if that is what they lead to.
fn parse() -> Cli {
    let mut command = command();
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    parsed.unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The command line with its help: an empty environment variable counts as unset, and only `serve` shows the flags of
/// the HTTP server.
fn command() -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let mut command = Cli::command().mut_args(|arg| {
        let unset = arg.get_env().is_some_and(is_empty);
        // No variable has an empty name, and an argument's variable cannot be taken away.
        if unset { arg.env("").hide_env(true) } else { arg }
    });
    // Gives each subcommand its own copy of the global flags.
    command.build();
    command.mut_subcommands(|subcommand| match subcommand.get_name() {
        "serve" => subcommand.mut_args(|arg| {
            let is_its_own = matches!(arg.get_help_heading(), Some(HTTP | NATS));
            if is_its_own { arg.hide(false) } else { arg }
        }),
        "nats" => subcommand.mut_args(|arg| {
            let is_its_own = arg.get_help_heading() == Some(NATS);
            if is_its_own { arg.hide(false) } else { arg }
        }),
        _ => subcommand,
    })
}

/// The error followed by its causes. Skips a cause that the text already contains: some errors print their source.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        // An answer of PostgreSQL is shortened, because its details may hold values of rows; its own cause is the same again.
        let answer = postgres::answer_in(cause);
        let is_last = answer.is_some();
        let cause = answer.unwrap_or_else(|| cause.to_string());
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        if is_last {
            break;
        }
    }
    text
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    // These need no settings, so a broken settings file does not stop them.
    match cli.command {
        Command::Completions { shell } => return shell::completions(shell, command()),
        Command::Man => return shell::manual(command()),
        _ => {}
    }
    let config = cli.flags.resolve()?;
    let is_empty = std::env::var_os("DATABASE_URL").is_some_and(|url| url.is_empty());
    if is_empty && config.database.is_none() && config.server.is_none() {
        tracing::warn!(
            "DATABASE_URL is empty and counts as unset: using the private PostgreSQL of the data directory"
        );
    }
    if cli.command.works_on_the_database_itself() {
        remote::refuse_a_server(&config)?;
    }
    if cli.command.needs_a_log() {
        open::require_a_database(&config)?;
    }
    match cli.command {
        Command::Serve => serve::run(config).await,
        Command::Migrate => migrate::run(config).await,
        Command::Doctor => doctor::run(config).await,
        Command::Tour => tour::run(config).await,
        Command::User(command) => user::run(config, command).await,
        Command::Account(command) => account::run(config, command).await,
        Command::Invite(command) => invite::run(config, command).await,
        Command::Key(command) => key::run(config, command).await,
        Command::Token(command) => token::run(config, command).await,
        Command::Source(command) => source::run(config, command).await,
        Command::Pipe(command) => pipe::run(config, command).await,
        Command::Login => remote::login::log_in(config).await,
        Command::Logout => remote::login::log_out(config).await,
        Command::Completions { .. } | Command::Man => Ok(()),
        Command::Events(command) => events::run(config, command).await,
        Command::Projections(command) => Box::pin(projections::run(config, command)).await,
        Command::Subscriptions(command) => subscriptions::run(config, command).await,
        Command::Audit(command) => Box::pin(audit::run(config, command)).await,
        Command::Keys(command) => Box::pin(keys::run(config, command)).await,
        Command::Log(command) => Box::pin(log::run(config, command)).await,
        Command::Nats(command) => nats::run(config, command).await,
        Command::Bench(command) => bench::run(config, command).await,
    }
}
