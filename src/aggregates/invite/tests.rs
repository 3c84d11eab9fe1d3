//! Given, when, then: each event and each refusal of an invite.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::aggregates::user::{Registered, UserMode, Username};
use crate::aggregates::{EventSourced as _, StoredEvent as _};
use crate::clock::Timestamp;
use crate::ids::{AccountId, NameKeyId, UserId};
use crate::sealing::{FieldVisitor, SealError, SealedField, SealedFields as _, Subject};

type Framework = TestFramework<Invite>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);
const END: Timestamp = Timestamp::from_micros(9_000_000);
const ACME: AccountId = AccountId::from_uuid(Uuid::from_u128(1));
const BOB: UserId = UserId::from_uuid(Uuid::from_u128(2));

fn bob() -> Username {
    Username::parse("Bob").unwrap()
}

fn new(bound: Option<UserId>) -> InviteCommand {
    InviteCommand::Create(NewInvite {
        account: ACME,
        inviter: UserId::UNAUTHENTICATED,
        invitee: bob(),
        bound,
        invitee_key: key(bound),
        mode: UserMode::Github,
        at: AT,
        expires_at: END,
    })
}

fn key(bound: Option<UserId>) -> InviteeKey {
    let name = InviteeKey::Name { id: NameKeyId::from_uuid(Uuid::from_u128(3)), begins: true };
    bound.map_or(name, InviteeKey::User)
}

fn created(bound: Option<UserId>) -> InviteEvent {
    InviteEvent::Created {
        account: ACME,
        inviter: UserId::UNAUTHENTICATED,
        bound,
        mode: UserMode::Github,
        at: AT,
        expires_at: END,
        invitee_key: Some(key(bound)),
        invitee: bob().into(),
    }
}

fn end(user: Option<UserId>, at: Timestamp, was_pending: bool, was_bound: bool) -> InviteEnd {
    let invitee_key = Some(InviteeKey::User(BOB));
    InviteEnd { account: ACME, user, at, was_pending, was_bound, invitee_key, invitee: bob().into() }
}

fn given(bound: Option<UserId>) -> cqrs_es::test::AggregateTestExecutor<Invite> {
    Framework::with(()).given(vec![created(bound)])
}

#[test]
fn an_offer_is_made_once() {
    Framework::with(()).given_no_previous_events().when(new(None)).then_expect_events(vec![created(None)]);
    given(None).when(new(None)).then_expect_error(InviteRefusal::AlreadyCreated);
}

#[test]
fn what_does_not_exist_is_not_found() {
    for command in [
        InviteCommand::Bind { user: BOB, at: AT },
        InviteCommand::Accept { user: BOB, at: AT },
        InviteCommand::Decline { user: BOB, at: AT },
        InviteCommand::Revoke { at: AT },
    ] {
        Framework::with(())
            .given_no_previous_events()
            .when(command)
            .then_expect_error(InviteRefusal::NotFound);
    }
}

#[test]
fn it_is_bound_once_and_only_while_it_stands() {
    let bind = |at| InviteCommand::Bind { user: BOB, at };
    given(None).when(bind(LATER)).then_expect_events(vec![InviteEvent::Bound {
        account: ACME,
        user: BOB,
        at: LATER,
        expires_at: END,
        invitee_key: Some(key(None).known()),
        invitee: bob().into(),
    }]);
    given(Some(BOB)).when(bind(LATER)).then_expect_events(vec![]);
    given(None).when(bind(END)).then_expect_error(InviteRefusal::NotPending);
}

#[test]
fn it_is_decided_once() {
    let accepted = || InviteEvent::Accepted(end(Some(BOB), LATER, true, true));
    let declined = || InviteEvent::Declined(end(Some(BOB), LATER, true, true));
    let revoked = || InviteEvent::Revoked(end(Some(BOB), LATER, true, true));
    let accept = || InviteCommand::Accept { user: BOB, at: LATER };
    let decline = || InviteCommand::Decline { user: BOB, at: LATER };
    let revoke = || InviteCommand::Revoke { at: LATER };
    given(Some(BOB)).when(accept()).then_expect_events(vec![accepted()]);
    given(Some(BOB)).when(decline()).then_expect_events(vec![declined()]);
    given(Some(BOB)).when(revoke()).then_expect_events(vec![revoked()]);
    for decided in [accepted(), declined(), revoked()] {
        for command in [accept(), decline(), revoke()] {
            given(Some(BOB))
                .and(vec![decided.clone()])
                .when(command)
                .then_expect_error(InviteRefusal::NotPending);
        }
    }
}

#[test]
fn it_is_dead_at_its_time_and_not_before() {
    let just_before = Timestamp::from_micros(END.as_micros() - 1);
    given(Some(BOB))
        .when(InviteCommand::Accept { user: BOB, at: just_before })
        .then_expect_events(vec![InviteEvent::Accepted(end(Some(BOB), just_before, true, true))]);
    for command in [
        InviteCommand::Accept { user: BOB, at: END },
        InviteCommand::Decline { user: BOB, at: END },
        InviteCommand::Revoke { at: END },
    ] {
        given(Some(BOB)).when(command).then_expect_error(InviteRefusal::NotPending);
    }
}

#[test]
fn its_name_is_sealed_under_the_persons_key_or_the_names_and_never_its_own() {
    let subjects = |mut event: InviteEvent| {
        struct Seen(Vec<Subject>);
        impl FieldVisitor for Seen {
            fn field(
                &mut self,
                _: &'static str,
                of: Subject,
                _: &mut dyn SealedField,
            ) -> Result<(), SealError> {
                self.0.push(of);
                Ok(())
            }
        }
        let mut seen = Seen(Vec::new());
        event.visit_sealed(Invite::subject(Uuid::nil()), &mut seen).unwrap();
        seen.0
    };
    assert_eq!(subjects(created(Some(BOB))), [BOB.subject()]);
    assert_eq!(subjects(created(None)), [key(None).subject()]);
    assert_eq!(created(None).begins_subject(Uuid::nil()), Some(key(None).subject()));
    assert_eq!(created(Some(BOB)).begins_subject(Uuid::nil()), None);
    assert_eq!(subjects(InviteEvent::Accepted(end(Some(BOB), LATER, true, true))), [BOB.subject()]);
}

#[test]
fn an_invite_of_version_1_ends_when_its_user_is_forgotten() {
    for was_pending in [true, false] {
        given(Some(BOB))
            .and(vec![InviteEvent::InviteeForgotten(end(Some(BOB), LATER, was_pending, true))])
            .when(InviteCommand::Accept { user: BOB, at: END })
            .then_expect_error(InviteRefusal::NotPending);
    }
}

#[test]
fn a_name_is_matched_without_case_for_its_way_of_signing_in_and_its_holder_alone() {
    let mut invite = Invite::default();
    cqrs_es::Aggregate::apply(&mut invite, created(None));
    let offer = invite.offer().unwrap();
    let person = |name: &str, mode, has_taken: bool| Registered {
        mode,
        registered_at: AT,
        operator: false,
        name_keys: if has_taken { vec![NameKeyId::from_uuid(Uuid::from_u128(3))] } else { vec![] },
        username: Username::parse(name).unwrap().into(),
        email: None.into(),
        github_id: None.into(),
        github_login: None.into(),
        avatar_url: None.into(),
    };
    assert!(offer.is_for(BOB, &person("BOB", UserMode::Github, true)));
    assert!(!offer.is_for(BOB, &person("Bob", UserMode::Internal, true)));
    assert!(!offer.is_for(BOB, &person("bob~2", UserMode::Github, true)));
    assert!(
        !offer.is_for(BOB, &person("Bob", UserMode::Github, false)),
        "another user had the name in between"
    );
    cqrs_es::Aggregate::apply(&mut invite, created(Some(BOB)));
    let offer = invite.offer().unwrap();
    assert!(offer.is_for(BOB, &person("bob~2", UserMode::Internal, false)));
    assert!(!offer.is_for(UserId::UNAUTHENTICATED, &person("Bob", UserMode::Github, true)));
}
