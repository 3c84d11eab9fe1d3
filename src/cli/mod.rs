//! The command line: every noun a file, tables for people, `--json` for scripts, exit codes that mean something.

mod account;
mod bench;
mod doctor;
mod events;
mod invite;
mod key;
mod log;
mod lookup;
mod migrate;
mod open;
mod output;
mod pipe;
mod remote;
mod serve;
mod shell;
mod source;
mod token;
mod tour;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::aggregates::field::Invalid;
use crate::config::Flags;
use crate::dispatch::{DispatchError, Failure};
use crate::engine::OpenError;
use crate::event_log::{AppendError, ReadError};
use crate::genesis::GenesisError;
use crate::operations::Refusal;
use crate::postgres;
use crate::postgres::migrate::MigrateError;
use crate::projections::QueryError;
use crate::replay::fold::FoldError;
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
                          unavailable, try again later";

#[derive(Subcommand)]
enum Command {
    /// Serve on the listen address until SIGTERM
    Serve,
    /// Bring the database up to this release
    Migrate,
    /// Say what is found, what is missing, and what to do
    Doctor,
    /// A tenant's life in a few seconds, on a throwaway database
    Tour,
    /// People
    #[command(subcommand)]
    User(user::UserCommand),
    /// Tenants
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Offers of membership
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// API keys of accounts
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Bearer tokens of people
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Named actors in an account
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Sub-channels of a source
    #[command(subcommand)]
    Pipe(pipe::PipeCommand),
    /// Log in to a running Tenure (--server): in a browser, or with --token
    Login,
    /// Revoke the token that `login` has stored, and remove it
    Logout,
    /// Completions for a shell, on standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The manual page, on standard output
    Man,
    /// The event log
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// The log itself
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Data and load for measurements
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// Runs the command line of this process.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = telemetry::log(if matches!(cli.command, Command::Serve) { "info" } else { "warn" });
    let result = Box::pin(run(cli)).await;
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            // A reader that has seen enough (`| head`) is no failure worth words.
            if !is_broken_pipe(&error) {
                log.say(&format!("tenure: {}", in_full(&error)));
            }
            exit_code(&error)
        }
    };
    // Standard error may be gone, full, or a pipe that nobody empties: the exit code says it all the same.
    log.flush();
    ExitCode::from(code)
}

/// An error with its causes, each said once: some repeat theirs.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Completions { shell } => return shell::completions(shell, Cli::command()),
        Command::Man => return shell::manual(Cli::command()),
        _ => {}
    }
    let config = cli.flags.resolve()?;
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
        Command::Log(command) => log::run(config, command).await,
        Command::Bench(command) => bench::run(config, command).await,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<DispatchError<Refusal>>() {
        return exit_code_of_command(error);
    }
    if let Some(error) = error.downcast_ref::<remote::RemoteError>() {
        return error.exit_code();
    }
    if error.downcast_ref::<Invalid>().is_some() {
        return 3;
    }
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return match error {
            // Commands that a start carries out.
            OpenError::Upgrade(error) | OpenError::Forgettings(error) => exit_code_of_command(error),
            error if is_unavailable(error) => 5,
            _ => 1,
        };
    }
    if let Some(error) = error.downcast_ref::<ReadError>() {
        return match error {
            ReadError::Unavailable(_) => 5,
            ReadError::LogReplaced { .. } | ReadError::BeyondHead { .. } | ReadError::AnotherLog { .. } => 3,
            ReadError::Gap { .. } => 1,
        };
    }
    match error.downcast_ref::<QueryError>() {
        Some(QueryError::NotFound) => 4,
        Some(QueryError::Unavailable(_)) => 5,
        None => 1,
    }
}

/// Whether an append that was refused may succeed if it is tried again.
const fn may_succeed_later(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::Busy
            | AppendError::Unavailable(_)
            | AppendError::OutcomeUnknown
            | AppendError::EpochChanged
            | AppendError::ClockAhead(_)
            | AppendError::ClockBehind(_)
    )
}

/// The exit code of a command that was not carried out.
fn exit_code_of_command(error: &DispatchError<Refusal>) -> u8 {
    match error {
        DispatchError::Refused(Refusal::NotFound(_)) => 4,
        DispatchError::Refused(Refusal::Busy)
        | DispatchError::Contended
        | DispatchError::Failed(Failure::Read(ReadError::Unavailable(_))) => 5,
        DispatchError::Failed(Failure::Append(error)) if may_succeed_later(error) => 5,
        DispatchError::Refused(_) | DispatchError::KeyReused => 3,
        DispatchError::Failed(_) => 1,
    }
}

/// Whether it is the database's fault or its address's, so that the same command may succeed later or elsewhere.
fn is_unavailable(error: &OpenError) -> bool {
    match error {
        OpenError::Connect(_) | OpenError::Read(_) | OpenError::Primary(_) | OpenError::Clock(_) => true,
        OpenError::Genesis(GenesisError::Append(error)) => may_succeed_later(error),
        OpenError::Migrate(error) | OpenError::Fold(FoldError::Migrate(error)) => {
            let is_named = matches!(
                error,
                MigrateError::Connect(_)
                    | MigrateError::Pooler
                    | MigrateError::NodesRunning { .. }
                    | MigrateError::Locked { .. }
                    | MigrateError::Denied(_)
                    | MigrateError::MayNotWrite { .. }
                    | MigrateError::TimedOut
            );
            is_named || postgres::is_outage(error)
        }
        other => postgres::is_outage(other),
    }
}
