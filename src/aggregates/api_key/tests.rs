//! Given, when, then: each event and each refusal of an API key.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};

type Framework = TestFramework<ApiKey>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);
const END: Timestamp = Timestamp::from_micros(9_000_000);
const ACME: AccountId = AccountId::from_uuid(Uuid::from_u128(1));

fn hash(end: char) -> KeyHash {
    KeyHash::parse(&format!("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAA{end}")).unwrap()
}

fn mint() -> ApiKeyCommand {
    ApiKeyCommand::Mint(NewApiKey {
        account: ACME,
        minter: UserId::UNAUTHENTICATED,
        removals: 0,
        prefix: KeyPrefix::of("01234567xx"),
        hash: hash('A'),
        label: Label::parse("ci").unwrap(),
        at: AT,
        expires_at: Some(END),
    })
}

fn minted() -> ApiKeyEvent {
    ApiKeyEvent::Minted {
        account: ACME,
        minter: UserId::UNAUTHENTICATED,
        removals: 0,
        prefix: KeyPrefix::of("01234567"),
        at: AT,
        expires_at: Some(END),
        hash: hash('A').into(),
        label: Label::parse("ci").unwrap().into(),
    }
}

fn rotate(at: Timestamp) -> ApiKeyCommand {
    ApiKeyCommand::Rotate { prefix: KeyPrefix::of("abcdefgh"), hash: hash('B'), former_until: END, at }
}

fn revoked() -> ApiKeyEvent {
    ApiKeyEvent::Revoked { account: ACME, at: LATER }
}

#[test]
fn a_key_is_minted_once() {
    Framework::with(()).given_no_previous_events().when(mint()).then_expect_events(vec![minted()]);
    Framework::with(()).given(vec![minted()]).when(mint()).then_expect_error(ApiKeyRefusal::AlreadyMinted);
    Framework::with(())
        .given(vec![minted(), revoked()])
        .when(mint())
        .then_expect_error(ApiKeyRefusal::AlreadyMinted);
}

#[test]
fn a_rotation_keeps_the_former_secret_in_the_event() {
    Framework::with(()).given(vec![minted()]).when(rotate(LATER)).then_expect_events(vec![
        ApiKeyEvent::Rotated {
            account: ACME,
            prefix: KeyPrefix::of("abcdefgh"),
            former_prefix: KeyPrefix::of("01234567"),
            former_until: END,
            at: LATER,
            hash: hash('B').into(),
            former_hash: hash('A').into(),
        },
    ]);
}

#[test]
fn what_is_dead_is_not_rotated() {
    Framework::with(()).given(vec![minted()]).when(rotate(END)).then_expect_error(ApiKeyRefusal::NotFound);
    Framework::with(())
        .given(vec![minted(), revoked()])
        .when(rotate(LATER))
        .then_expect_error(ApiKeyRefusal::NotFound);
    Framework::with(())
        .given_no_previous_events()
        .when(rotate(AT))
        .then_expect_error(ApiKeyRefusal::NotFound);
}

#[test]
fn a_key_is_revoked_once_and_again_without_an_event() {
    let revoke = || ApiKeyCommand::Revoke { at: LATER };
    Framework::with(()).given(vec![minted()]).when(revoke()).then_expect_events(vec![revoked()]);
    Framework::with(()).given(vec![minted(), revoked()]).when(revoke()).then_expect_events(vec![]);
    Framework::with(()).given_no_previous_events().when(revoke()).then_expect_error(ApiKeyRefusal::NotFound);
}

#[test]
fn a_key_acts_until_it_expires() {
    let mut key = ApiKey::default();
    cqrs_es::Aggregate::apply(&mut key, minted());
    assert!(key.active(Timestamp::from_micros(END.as_micros() - 1)).is_some());
    assert!(key.active(END).is_none());
    cqrs_es::Aggregate::apply(&mut key, revoked());
    assert!(key.active(AT).is_none());
    assert_eq!(key.account(), Some(ACME));
}

#[test]
fn labels_are_held_to_their_form() {
    assert!(Label::parse("").is_ok());
    assert!(Label::parse(&"é".repeat(200)).is_ok());
    for bad in ["é".repeat(201), "a\nb".to_owned(), "a\u{202e}b".to_owned()] {
        assert!(Label::parse(&bad).is_err(), "{bad}");
    }
}
