//! The exit codes of the commands.

use super::{nats, open, remote};
use crate::aggregates::field::Invalid;
use crate::codec::CodecError;
use crate::credentials::key_ring::KeyLoadError;
use crate::dispatch::{DispatchError, Failure};
use crate::engine::OpenError;
use crate::event_log::{AppendError, BulkError, PrimaryError, ReadError};
use crate::explain::ExplainError;
use crate::genesis::GenesisError;
use crate::nats::NatsError;
use crate::operations::Refusal;
use crate::postgres;
use crate::postgres::migrate::MigrateError;
use crate::postgres::private::PrivatePostgresError;
use crate::projections::QueryError;
use crate::replay::{AsOfError, MomentError, RebuildError, ReplayError};
use crate::rotate_keys::RotateError;
use crate::seed::SeedError;
use crate::subscribers::OperateError;
use crate::verify_forgotten::VerifyForgottenError;

/// Maps an error to one of the exit codes that `--help` lists.
pub(super) fn of(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<DispatchError<Refusal>>() {
        return exit_code_of_command(error);
    }
    if let Some(error) = error.downcast_ref::<remote::RemoteError>() {
        return error.exit_code();
    }
    if error.is::<Invalid>() {
        return 3;
    }
    if error.is::<open::NoDatabase>() {
        return 4;
    }
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return match error {
            // Opening the engine runs commands of its own; their errors map like those of any command.
            OpenError::Upgrade(error) | OpenError::Forgettings(error) => exit_code_of_command(error),
            OpenError::Rebuild(error) => exit_code_of_rebuild(error),
            OpenError::Primary(PrimaryError::NoLog) => 4,
            error if is_unavailable(error) => 5,
            _ => 1,
        };
    }
    if let Some(code) = of_replay_of_history(error) {
        return code;
    }
    if let Some(error) = error.downcast_ref::<ReadError>() {
        return exit_code_of_read(error);
    }
    if let Some(error) = error.downcast_ref::<ExplainError>() {
        return match error {
            ExplainError::Read(error) => exit_code_of_read(error),
            ExplainError::Codec(error) => exit_code_of_codec(error),
            ExplainError::NotFound(_)
            | ExplainError::OtherKind { .. }
            | ExplainError::Forgotten { .. }
            | ExplainError::NoEvent(_) => 4,
        };
    }
    if let Some(error) = error.downcast_ref::<OperateError>() {
        return match error {
            OperateError::NotFound(_) => 4,
            OperateError::Log(error) => exit_code_of_read(error),
            _ => 3,
        };
    }
    if let Some(error) = error.downcast_ref::<NatsError>() {
        return if error.passes() { 5 } else { 1 };
    }
    if error.is::<nats::NatsUnusable>()
        || matches!(error.downcast_ref(), Some(PrivatePostgresError::NotAnswering { .. }))
    {
        return 5;
    }
    if let Some(error) = error.downcast_ref::<CodecError>() {
        return exit_code_of_codec(error);
    }
    match error.downcast_ref::<QueryError>() {
        Some(QueryError::NotFound) => 4,
        Some(QueryError::Unavailable(_)) => 5,
        None => 1,
    }
}

/// The exit code of what replays the log, rotates keys or generates data.
fn of_replay_of_history(error: &anyhow::Error) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<RebuildError>() {
        return Some(exit_code_of_rebuild(error));
    }
    if let Some(error) = error.downcast_ref::<ReplayError>() {
        return Some(exit_code_of_replay(error));
    }
    if let Some(error) = error.downcast_ref::<MomentError>() {
        return Some(exit_code_of_moment(error));
    }
    if let Some(error) = error.downcast_ref::<AsOfError>() {
        return Some(match error {
            AsOfError::Moment(error) => exit_code_of_moment(error),
            AsOfError::Replay(error) => exit_code_of_replay(error),
            AsOfError::SchemaName | AsOfError::SchemaExists(_) | AsOfError::Keep => 3,
            AsOfError::NoSchema(_) => 4,
            AsOfError::InUse(_) | AsOfError::Dropped { .. } | AsOfError::Running(_) => 5,
        });
    }
    if let Some(error) = error.downcast_ref::<SeedError>() {
        return Some(match error {
            SeedError::Read(error) => exit_code_of_read(error),
            SeedError::Bulk(BulkError::Append(error)) if may_succeed_later(error) => 5,
            SeedError::Bulk(
                BulkError::Connect(_)
                | BulkError::TimedOut
                | BulkError::Primary(_)
                | BulkError::Unavailable(_),
            ) => 5,
            SeedError::Codec(error) => exit_code_of_codec(error),
            SeedError::Bulk(_) | SeedError::Invalid(_) | SeedError::Failed => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<RotateError>() {
        return Some(match error {
            RotateError::SameKey(_)
            | RotateError::OtherUnderWay { .. }
            | RotateError::NothingToAbandon
            | RotateError::NoFile => 3,
            RotateError::NodesWithout { .. }
            | RotateError::WithoutAnnounced { .. }
            | RotateError::Running(_) => 5,
            RotateError::Database(error) => exit_code_of_replay(error),
            RotateError::MasterKey(_) | RotateError::Damaged { .. } => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<VerifyForgottenError>() {
        return Some(match error {
            VerifyForgottenError::NotFound => 4,
            VerifyForgottenError::NotForgotten(_) | VerifyForgottenError::Texts => 3,
            VerifyForgottenError::Replay(error) => exit_code_of_replay(error),
            VerifyForgottenError::Codec(error) => exit_code_of_codec(error),
            VerifyForgottenError::List(_) => 1,
        });
    }
    None
}

/// The exit code when the log could not be read.
const fn exit_code_of_read(error: &ReadError) -> u8 {
    match error {
        ReadError::Unavailable(_) => 5,
        // The position does not fit this log: a retry cannot succeed.
        ReadError::LogReplaced { .. } | ReadError::BeyondHead { .. } | ReadError::AnotherLog { .. } => 3,
        ReadError::Gap { .. } => 1,
    }
}

/// The exit code when events could not be opened or sealed: without their data keys, that can be done later.
const fn exit_code_of_codec(error: &CodecError) -> u8 {
    match error {
        CodecError::Keys(KeyLoadError::Read(error)) => exit_code_of_read(error),
        _ => 1,
    }
}

/// The exit code of a failed replay.
fn exit_code_of_replay(error: &ReplayError) -> u8 {
    if error.may_succeed_later() { 5 } else { 1 }
}

/// The exit code when a moment cannot be looked at.
const fn exit_code_of_moment(error: &MomentError) -> u8 {
    match error {
        MomentError::Future { .. } | MomentError::BeforeFirst { .. } => 3,
        MomentError::Read(error) => exit_code_of_read(error),
    }
}

/// The exit code of a failed rebuild.
fn exit_code_of_rebuild(error: &RebuildError) -> u8 {
    match error {
        RebuildError::Differs { .. } => 6,
        RebuildError::Running(_)
        | RebuildError::Overtaken
        | RebuildError::Blocked(_)
        | RebuildError::Paused
        | RebuildError::FreshInUse(_) => 5,
        RebuildError::InUse(_) => 3,
        RebuildError::Replay(error) if error.may_succeed_later() => 5,
        RebuildError::Replay(_) => 1,
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
        DispatchError::Failed(Failure::Codec(error)) => exit_code_of_codec(error),
        DispatchError::Refused(_) | DispatchError::KeyReused => 3,
        DispatchError::Failed(_) => 1,
    }
}

/// Whether the database or its address is at fault, so that the same command may succeed later or with another address.
fn is_unavailable(error: &OpenError) -> bool {
    match error {
        OpenError::Connect(_) | OpenError::Read(_) | OpenError::Primary(_) | OpenError::Clock(_) => true,
        OpenError::Genesis(GenesisError::Append(error)) => may_succeed_later(error),
        OpenError::Migrate(error) => {
            let is_named = matches!(
                error,
                MigrateError::Connect(_)
                    | MigrateError::Pooler
                    | MigrateError::NodesRunning { .. }
                    | MigrateError::NodesServing { .. }
                    | MigrateError::Locked { .. }
                    | MigrateError::Blocked(_)
                    | MigrateError::Denied(_)
                    | MigrateError::MayNotWrite { .. }
                    | MigrateError::TimedOut
            );
            is_named || postgres::is_outage(error)
        }
        other => postgres::is_outage(other),
    }
}
