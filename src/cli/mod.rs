//! The command line: one file per noun, tables by default, `--json` for scripts, and stable exit codes.

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
    /// Serve HTTP on the listen address until SIGTERM or Ctrl-C
    Serve,
    /// Migrate the database to this release and exit
    Migrate,
    /// Check the setup without changing it, and say what is missing and what to do
    Doctor,
    /// Demonstrate users, accounts, keys and devices in a few seconds, on a throwaway database
    Tour,
    /// Register, show and forget users
    #[command(subcommand)]
    User(user::UserCommand),
    /// Manage accounts (tenants) and their members
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Manage invites to accounts
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// Manage the API keys of accounts
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Manage the bearer tokens of users
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Manage sources: named actors in an account
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Manage pipes: named sub-channels of a source
    #[command(subcommand)]
    Pipe(pipe::PipeCommand),
    /// Log in to a running Tenure (--server) in a browser, or with --token
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
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Maintain the event log
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Generate data for benchmarks
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

/// Parses the arguments, runs the command, prints its error and returns its exit code.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Other commands print their result; informational log lines would only clutter it.
    let log = telemetry::log(if matches!(cli.command, Command::Serve) { "info" } else { "warn" });
    let result = Box::pin(run(cli)).await;
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            // A reader may close the pipe early (`| head`): not worth an error message.
            if !is_broken_pipe(&error) {
                log.say(&format!("tenure: {}", in_full(&error)));
            }
            exit_code(&error)
        }
    };
    // Bounded: standard error may be closed, full or an unread pipe, and the exit code reports the failure anyway.
    log.flush();
    ExitCode::from(code)
}

/// The error followed by its causes. Skips a cause that the text already contains: some errors print their source.
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
    // These need no settings, so a broken settings file does not stop them.
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

/// Maps an error to one of the exit codes that `--help` lists.
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
            // Opening the engine runs commands of its own; their errors map like those of any command.
            OpenError::Upgrade(error) | OpenError::Forgettings(error) => exit_code_of_command(error),
            error if is_unavailable(error) => 5,
            _ => 1,
        };
    }
    if let Some(error) = error.downcast_ref::<ReadError>() {
        return match error {
            ReadError::Unavailable(_) => 5,
            // The position does not fit this log: a retry cannot succeed.
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

/// Whether a failed append may succeed when it is retried.
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

/// The exit code of a failed command.
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

/// Whether the database or its address is at fault, so that the same command may succeed later or with another address.
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
