//! Given, when, then: each event and each refusal of a source.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{AccountId, PipeId, UserId};

type Framework = TestFramework<Source>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);
const ACME: AccountId = AccountId::from_uuid(Uuid::from_u128(1));
const PIPE: PipeId = PipeId::from_uuid(Uuid::from_u128(2));

fn handle() -> Handle {
    Handle::parse("robot").unwrap()
}

fn name() -> PipeName {
    PipeName::parse("events").unwrap()
}

fn hour() -> Retention {
    Retention::new(Some(3_600), None, None).unwrap()
}

fn new() -> SourceCommand {
    SourceCommand::Create(NewSource {
        account: ACME,
        created_by: UserId::UNAUTHENTICATED,
        handle: handle(),
        kind: SourceKind::Pty,
        at: AT,
    })
}

fn created() -> SourceEvent {
    SourceEvent::Created {
        account: ACME,
        created_by: UserId::UNAUTHENTICATED,
        handle: handle(),
        kind: SourceKind::Pty,
        at: AT,
    }
}

fn new_pipe() -> SourceCommand {
    SourceCommand::CreatePipe(NewPipe {
        id: PIPE,
        created_by: UserId::UNAUTHENTICATED,
        name: name(),
        retention: hour(),
        at: AT,
    })
}

fn pipe_created() -> SourceEvent {
    SourceEvent::PipeCreated {
        account: ACME,
        pipe: PIPE,
        created_by: UserId::UNAUTHENTICATED,
        name: name(),
        retention: hour(),
        at: AT,
    }
}

fn pipe_deleted() -> SourceEvent {
    SourceEvent::PipeDeleted { account: ACME, pipe: PIPE, name: name(), at: LATER }
}

fn deleted() -> SourceEvent {
    SourceEvent::Deleted { account: ACME, handle: handle(), at: LATER }
}

fn given(more: Vec<SourceEvent>) -> cqrs_es::test::AggregateTestExecutor<Source> {
    Framework::with(()).given(vec![created()]).and(more)
}

#[test]
fn a_source_is_made_once_even_after_its_end() {
    Framework::with(()).given_no_previous_events().when(new()).then_expect_events(vec![created()]);
    given(vec![]).when(new()).then_expect_error(SourceRefusal::AlreadyCreated);
    given(vec![deleted()]).when(new()).then_expect_error(SourceRefusal::AlreadyCreated);
}

#[test]
fn pipes_end_before_their_source() {
    let delete = || SourceCommand::Delete { at: LATER };
    given(vec![]).when(delete()).then_expect_events(vec![deleted()]);
    given(vec![pipe_created()]).when(delete()).then_expect_events(vec![pipe_deleted(), deleted()]);
}

#[test]
fn a_name_is_one_pipe_s_until_it_ends() {
    given(vec![]).when(new_pipe()).then_expect_events(vec![pipe_created()]);
    given(vec![pipe_created()]).when(new_pipe()).then_expect_error(SourceRefusal::PipeNameTaken);
    given(vec![pipe_created(), pipe_deleted()]).when(new_pipe()).then_expect_events(vec![pipe_created()]);
}

#[test]
fn retention_changes_once() {
    let change = |retention| SourceCommand::ChangeRetention { name: name(), retention, at: LATER };
    given(vec![pipe_created()]).when(change(hour())).then_expect_events(vec![]);
    given(vec![pipe_created()]).when(change(Retention::default())).then_expect_events(vec![
        SourceEvent::PipeRetentionChanged {
            account: ACME,
            pipe: PIPE,
            retention: Retention::default(),
            at: LATER,
        },
    ]);
    given(vec![]).when(change(hour())).then_expect_error(SourceRefusal::PipeNotFound);
}

#[test]
fn a_pipe_is_deleted_once() {
    let delete = || SourceCommand::DeletePipe { name: name(), at: LATER };
    given(vec![pipe_created()]).when(delete()).then_expect_events(vec![pipe_deleted()]);
    given(vec![pipe_created(), pipe_deleted()]).when(delete()).then_expect_error(SourceRefusal::PipeNotFound);
}

#[test]
fn what_does_not_exist_or_has_ended_is_not_found() {
    for command in [
        SourceCommand::Delete { at: LATER },
        new_pipe(),
        SourceCommand::ChangeRetention { name: name(), retention: hour(), at: LATER },
        SourceCommand::DeletePipe { name: name(), at: LATER },
    ] {
        given(vec![deleted()]).when(command.clone()).then_expect_error(SourceRefusal::NotFound);
        Framework::with(())
            .given_no_previous_events()
            .when(command)
            .then_expect_error(SourceRefusal::NotFound);
    }
}

#[test]
fn handles_and_names_of_pipes_are_held_to_their_form() {
    let longest = "a".repeat(32);
    for good in ["a", "a1-b", "0", longest.as_str()] {
        assert!(Handle::parse(good).is_ok() && PipeName::parse(good).is_ok(), "{good}");
    }
    let too_long = "a".repeat(33);
    for bad in ["", "-a", "a-", "A", "a_b", "a.b", "é", too_long.as_str(), "system", "db"] {
        assert!(Handle::parse(bad).is_err() && PipeName::parse(bad).is_err(), "{bad}");
    }
    for reserved in ["broadcast", "inbox", "stdin", "stdout", "stdctrl"] {
        assert!(Handle::parse(reserved).is_err() && PipeName::parse(reserved).is_ok(), "{reserved}");
    }
}

#[test]
fn pipes_that_a_source_has_by_itself_follow_from_its_kind() {
    assert_eq!(SourceKind::Message.auto_pipes(), ["inbox"]);
    assert_eq!(SourceKind::Pty.auto_pipes(), ["stdin", "stdout", "stdctrl", "inbox"]);
    assert!(SourceKind::Pty.is_auto_pipe("stdin") && !SourceKind::Message.is_auto_pipe("stdin"));
    assert!(!SourceKind::Message.is_auto_pipe("broadcast"));
    assert!("robot".parse::<SourceKind>().is_err());
}

#[test]
fn retention_is_held_to_its_bounds_and_filled_from_the_defaults() {
    for bad in [0, -1, i64::MIN, i64::MAX] {
        assert!(Retention::new(Some(bad), None, None).is_err());
        assert!(Retention::new(None, Some(bad), None).is_err());
        assert!(Retention::new(None, None, Some(bad)).is_err());
    }
    let most = (Retention::MAX_TTL_SECONDS, Retention::MAX_MSGS, Retention::MAX_BYTES);
    assert!(Retention::new(Some(most.0), Some(most.1), Some(most.2)).is_ok());
    assert!(Retention::new(Some(most.0 + 1), None, None).is_err());
    assert!(Retention::new(None, Some(most.1 + 1), None).is_err());
    assert!(Retention::new(None, None, Some(most.2 + 1)).is_err());
    let resolved = hour().resolved(&RetentionDefaults::default());
    let expected = Retention { ttl_seconds: Some(3_600), max_msgs: Some(1_000), max_bytes: Some(64 << 20) };
    assert_eq!(resolved, expected);
    assert_eq!(Retention::default().resolved(&RetentionDefaults::default()).ttl_seconds, Some(86_400));
}
