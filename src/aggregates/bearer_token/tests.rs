//! Given, when, then: each event and each refusal of a bearer token.

use cqrs_es::test::TestFramework;

use super::*;
use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

type Framework = TestFramework<BearerToken>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const END: Timestamp = Timestamp::from_micros(9_000_000);

fn new() -> BearerTokenCommand {
    BearerTokenCommand::Issue(NewBearerToken {
        user: UserId::UNAUTHENTICATED,
        prefix: KeyPrefix::of("abcdefghij"),
        digest: SecretDigest::of("secret"),
        at: AT,
        expires_at: END,
    })
}

fn began() -> BearerTokenEvent {
    BearerTokenEvent::Issued {
        user: UserId::UNAUTHENTICATED,
        prefix: KeyPrefix::of("abcdefghij"),
        at: AT,
        expires_at: END,
        digest: SecretDigest::of("secret").into(),
    }
}

fn ended() -> BearerTokenEvent {
    BearerTokenEvent::Revoked { user: UserId::UNAUTHENTICATED, at: AT }
}

#[test]
fn it_begins_once() {
    Framework::with(()).given_no_previous_events().when(new()).then_expect_events(vec![began()]);
    Framework::with(())
        .given(vec![began()])
        .when(new())
        .then_expect_error(BearerTokenRefusal::IdentifierInUse);
}

#[test]
fn it_ends_once_and_again_without_an_event() {
    let end = || BearerTokenCommand::Revoke { at: AT };
    Framework::with(()).given(vec![began()]).when(end()).then_expect_events(vec![ended()]);
    Framework::with(()).given(vec![began(), ended()]).when(end()).then_expect_events(vec![]);
    Framework::with(())
        .given_no_previous_events()
        .when(end())
        .then_expect_error(BearerTokenRefusal::NotFound);
}
