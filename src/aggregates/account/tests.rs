//! Given, when, then: each event and each refusal of an account.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::ids::UserId;

type Framework = TestFramework<Account>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);
const OWNER: UserId = UserId::from_uuid(Uuid::from_u128(10));
const MEMBER: UserId = UserId::from_uuid(Uuid::from_u128(11));
const STRANGER: UserId = UserId::from_uuid(Uuid::from_u128(12));

fn name() -> AccountName {
    AccountName::parse("Acme").unwrap()
}

fn opened() -> AccountEvent {
    AccountEvent::Opened { owner: OWNER, at: AT, name: name().into() }
}

const fn added(user: UserId) -> AccountEvent {
    AccountEvent::MemberAdded { user, at: AT }
}

fn closed() -> AccountEvent {
    AccountEvent::Closed { listed: None, at: LATER, name: name().into() }
}

fn acme() -> cqrs_es::test::AggregateTestExecutor<Account> {
    Framework::with(()).given(vec![opened(), added(MEMBER)])
}

#[test]
fn a_new_account_is_opened() {
    Framework::with(())
        .given_no_previous_events()
        .when(AccountCommand::Open { name: name(), owner: OWNER, at: AT })
        .then_expect_events(vec![opened()]);
}

#[test]
fn an_identifier_opens_once_even_after_closing() {
    let open = || AccountCommand::Open { name: name(), owner: OWNER, at: AT };
    acme().when(open()).then_expect_error(AccountRefusal::AlreadyOpen);
    acme().and(vec![closed()]).when(open()).then_expect_error(AccountRefusal::AlreadyOpen);
}

#[test]
fn a_member_is_added_once_and_keeps_the_first_time() {
    acme()
        .when(AccountCommand::AddMember { user: STRANGER, at: LATER })
        .then_expect_events(vec![AccountEvent::MemberAdded { user: STRANGER, at: LATER }]);
    acme().when(AccountCommand::AddMember { user: MEMBER, at: LATER }).then_expect_events(vec![]);
}

#[test]
fn adding_the_owner_changes_nothing() {
    acme().when(AccountCommand::AddMember { user: OWNER, at: LATER }).then_expect_events(vec![]);
}

#[test]
fn a_member_is_removed() {
    acme()
        .when(AccountCommand::RemoveMember { user: MEMBER, ends_keys: true, at: LATER })
        .then_expect_events(vec![AccountEvent::MemberRemoved { user: MEMBER, at: LATER, removal: Some(1) }]);
}

#[test]
fn each_removal_that_ends_keys_has_a_number() {
    let removed = |removal| AccountEvent::MemberRemoved { user: MEMBER, at: LATER, removal };
    let added = || AccountEvent::MemberAdded { user: MEMBER, at: LATER };
    acme()
        .and(vec![removed(Some(1)), added(), removed(None), added()])
        .when(AccountCommand::RemoveMember { user: MEMBER, ends_keys: true, at: LATER })
        .then_expect_events(vec![removed(Some(2))]);
}

#[test]
fn the_owner_cannot_be_removed() {
    acme()
        .when(AccountCommand::RemoveMember { user: OWNER, ends_keys: false, at: LATER })
        .then_expect_error(AccountRefusal::CannotRemoveOwner);
}

#[test]
fn a_non_member_can_neither_be_removed_nor_own() {
    acme()
        .when(AccountCommand::RemoveMember { user: STRANGER, ends_keys: true, at: LATER })
        .then_expect_error(AccountRefusal::NotAMember);
    acme()
        .when(AccountCommand::TransferOwnership { to: STRANGER, at: LATER })
        .then_expect_error(AccountRefusal::NotAMember);
}

#[test]
fn ownership_passes_to_a_member_and_the_old_owner_becomes_one() {
    let transferred = AccountEvent::OwnershipTransferred { from: OWNER, to: MEMBER, at: LATER };
    acme()
        .when(AccountCommand::TransferOwnership { to: MEMBER, at: LATER })
        .then_expect_events(vec![transferred.clone()]);
    acme()
        .and(vec![transferred])
        .when(AccountCommand::RemoveMember { user: OWNER, ends_keys: false, at: LATER })
        .then_expect_events(vec![AccountEvent::MemberRemoved { user: OWNER, at: LATER, removal: None }]);
    acme().when(AccountCommand::TransferOwnership { to: OWNER, at: LATER }).then_expect_events(vec![]);
}

#[test]
fn a_closed_account_is_not_found() {
    acme().when(AccountCommand::Close { at: LATER }).then_expect_events(vec![closed()]);
    for command in [
        AccountCommand::Close { at: LATER },
        AccountCommand::AddMember { user: STRANGER, at: LATER },
        AccountCommand::RemoveMember { user: MEMBER, ends_keys: true, at: LATER },
        AccountCommand::TransferOwnership { to: MEMBER, at: LATER },
    ] {
        acme().and(vec![closed()]).when(command.clone()).then_expect_error(AccountRefusal::NotFound);
        Framework::with(())
            .given_no_previous_events()
            .when(command)
            .then_expect_error(AccountRefusal::NotFound);
    }
}

#[test]
fn the_account_at_nats_is_set_once_and_its_signing_seed_may_be_issued_again() {
    let key = |last: char| NatsPublicKey::parse(&format!("A{}{last}", "A".repeat(54))).unwrap();
    let seed = |last: char| NatsSeed::parse(&format!("SA{}{last}", "A".repeat(55))).unwrap();
    let set = |key, seed| AccountCommand::SetNatsAccount { public_key: key, signing_seed: seed, at: LATER };
    let was_set =
        || AccountEvent::NatsAccountSet { public_key: key('B'), at: LATER, signing_seed: seed('B').into() };
    acme().when(set(key('B'), seed('B'))).then_expect_events(vec![was_set()]);
    acme().and(vec![was_set()]).when(set(key('B'), seed('B'))).then_expect_events(vec![]);
    acme()
        .and(vec![was_set()])
        .when(set(key('C'), seed('B')))
        .then_expect_error(AccountRefusal::NatsAccountMismatch);
    acme().and(vec![was_set()]).when(set(key('B'), seed('C'))).then_expect_events(vec![
        AccountEvent::NatsSigningSeedReissued {
            public_key: key('B'),
            at: LATER,
            signing_seed: seed('C').into(),
        },
    ]);
}

#[test]
fn names_are_held_to_their_form() {
    let longest = "a".repeat(64);
    for good in ["a", "Acme.io_1-x", longest.as_str(), "0190"] {
        assert!(AccountName::parse(good).is_ok(), "{good}");
    }
    let too_long = "a".repeat(65);
    let uuid = Uuid::from_u128(1);
    let shapes = [uuid.hyphenated().to_string(), uuid.simple().to_string().to_uppercase()];
    for bad in ["", too_long.as_str(), "a b", "a\u{0}", "ä", "a/b", &shapes[0], &shapes[1]] {
        assert!(AccountName::parse(bad).is_err(), "{bad}");
    }
}
