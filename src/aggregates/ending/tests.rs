//! Given, when, then: the rules of an ending.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{AccountRows, Ended, Ending, EndingCommand, EndingEvent};
use crate::ids::{AccountId, UserId};

type Framework = TestFramework<Ending>;

const ACCOUNT: AccountId = AccountId::from_uuid(Uuid::from_u128(1));

fn rows() -> AccountRows {
    let members = vec![UserId::from_uuid(Uuid::from_u128(2))];
    let (api_keys, invites, pipes, sources) = (vec![], vec![], vec![], vec![]);
    AccountRows { account: ACCOUNT, members, api_keys, invites, pipes, sources }
}

#[test]
fn what_is_left_goes_step_by_step_until_it_is_finished() {
    let of = Ended::Account(ACCOUNT);
    Framework::with(())
        .given(vec![EndingEvent::AccountRowsRemoved(rows())])
        .when(EndingCommand::RemoveAccountRows(rows()))
        .then_expect_events(vec![EndingEvent::AccountRowsRemoved(rows())]);
    Framework::with(())
        .given(vec![EndingEvent::Finished { of }])
        .when(EndingCommand::Finish(of))
        .then_expect_events(vec![]);
}

#[test]
fn every_ending_has_a_stream_of_its_own() {
    let user = UserId::from_uuid(Uuid::from_u128(2));
    let membership = |removal| Ended::Membership { account: ACCOUNT, user, removal }.id();
    assert_ne!(membership(1), membership(2));
    assert_ne!(membership(1), Ended::Account(ACCOUNT).id());
    assert_eq!(Ended::Person(user).id(), user.as_uuid());
}
