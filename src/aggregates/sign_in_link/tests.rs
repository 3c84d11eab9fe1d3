//! Given, when, then: each event and each refusal of a sign-in link.

use cqrs_es::test::TestFramework;

use super::*;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

type Framework = TestFramework<SignInLink>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const END: Timestamp = Timestamp::from_micros(9_000_000);

fn issue() -> SignInLinkCommand {
    SignInLinkCommand::Issue(NewSignInLink {
        user: UserId::UNAUTHENTICATED,
        digest: SecretDigest::of("secret"),
        at: AT,
        expires_at: END,
    })
}

fn issued() -> SignInLinkEvent {
    SignInLinkEvent::Issued {
        user: UserId::UNAUTHENTICATED,
        at: AT,
        expires_at: END,
        digest: SecretDigest::of("secret").into(),
    }
}

fn record_use() -> SignInLinkEvent {
    SignInLinkEvent::Used { user: UserId::UNAUTHENTICATED, at: AT }
}

#[test]
fn it_is_issued_once() {
    Framework::with(()).given_no_previous_events().when(issue()).then_expect_events(vec![issued()]);
    for given in [vec![issued()], vec![issued(), record_use()]] {
        Framework::with(()).given(given).when(issue()).then_expect_error(SignInLinkRefusal::IdentifierInUse);
    }
}

#[test]
fn it_is_used_once_and_in_time() {
    let by = |at| SignInLinkCommand::Use { at };
    Framework::with(()).given(vec![issued()]).when(by(AT)).then_expect_events(vec![record_use()]);
    let not_found = SignInLinkRefusal::NotFound;
    Framework::with(()).given(vec![issued(), record_use()]).when(by(AT)).then_expect_error(not_found);
    Framework::with(()).given(vec![issued()]).when(by(END)).then_expect_error(not_found);
    Framework::with(()).given_no_previous_events().when(by(AT)).then_expect_error(not_found);
}
