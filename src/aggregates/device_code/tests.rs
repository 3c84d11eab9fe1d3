//! Given, when, then: each event and each refusal of a device code.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::UserId;

type Framework = TestFramework<DeviceCode>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const END: Timestamp = Timestamp::from_micros(9_000_000);
const ADA: UserId = UserId::from_uuid(Uuid::from_u128(1));
const BOB: UserId = UserId::from_uuid(Uuid::from_u128(2));

fn code() -> UserCode {
    UserCode::parse("bcdf-ghjk").unwrap()
}

fn new() -> DeviceCodeCommand {
    DeviceCodeCommand::Create(DeviceCodeDetails {
        digest: SecretDigest::of("secret"),
        user_code: code(),
        client_name: ClientName::parse("a terminal").unwrap(),
        at: AT,
        expires_at: END,
    })
}

fn created() -> DeviceCodeEvent {
    DeviceCodeEvent::Created {
        at: AT,
        expires_at: END,
        digest: SecretDigest::of("secret").into(),
        user_code: code().into(),
        client_name: ClientName::parse("a terminal").unwrap().into(),
    }
}

fn approved() -> DeviceCodeEvent {
    DeviceCodeEvent::Approved { user: ADA, at: AT }
}

fn denied() -> DeviceCodeEvent {
    DeviceCodeEvent::Denied { user: ADA, at: AT, user_code: code().into() }
}

fn consumed() -> DeviceCodeEvent {
    DeviceCodeEvent::Consumed { user: ADA, at: AT, user_code: code().into() }
}

fn given(more: Vec<DeviceCodeEvent>) -> cqrs_es::test::AggregateTestExecutor<DeviceCode> {
    Framework::with(()).given(vec![created()]).and(more)
}

const fn approve(user: UserId, at: Timestamp) -> DeviceCodeCommand {
    DeviceCodeCommand::Approve { user, at }
}

const fn deny(user: UserId, at: Timestamp) -> DeviceCodeCommand {
    DeviceCodeCommand::Deny { user, at }
}

const fn consume(at: Timestamp) -> DeviceCodeCommand {
    DeviceCodeCommand::Consume { at }
}

#[test]
fn a_pair_of_codes_is_handed_out_once() {
    Framework::with(()).given_no_previous_events().when(new()).then_expect_events(vec![created()]);
    given(vec![]).when(new()).then_expect_error(DeviceCodeRefusal::AlreadyCreated);
}

#[test]
fn one_person_approves_and_again_without_an_event() {
    given(vec![]).when(approve(ADA, AT)).then_expect_events(vec![approved()]);
    given(vec![approved()]).when(approve(ADA, AT)).then_expect_events(vec![]);
}

#[test]
fn only_the_user_approves_and_only_a_pending_device_code() {
    given(vec![approved()]).when(approve(BOB, AT)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![denied()]).when(approve(ADA, AT)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![approved(), consumed()]).when(approve(ADA, AT)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![]).when(approve(ADA, END)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![approved()]).when(approve(ADA, END)).then_expect_error(DeviceCodeRefusal::NotFound);
    Framework::with(())
        .given_no_previous_events()
        .when(approve(ADA, AT))
        .then_expect_error(DeviceCodeRefusal::NotFound);
}

#[test]
fn a_user_denies_a_device_code_that_no_other_user_has_approved() {
    given(vec![]).when(deny(ADA, AT)).then_expect_events(vec![denied()]);
    given(vec![approved()]).when(deny(ADA, AT)).then_expect_events(vec![denied()]);
    given(vec![approved()]).when(deny(BOB, AT)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![]).when(deny(ADA, END)).then_expect_error(DeviceCodeRefusal::NotFound);
}

#[test]
fn what_is_approved_is_used_up_once() {
    given(vec![approved()]).when(consume(AT)).then_expect_events(vec![consumed()]);
    given(vec![approved(), consumed()]).when(consume(AT)).then_expect_error(DeviceCodeRefusal::NotFound);
}

#[test]
fn the_device_learns_why_not_in_the_order_of_the_contract() {
    Framework::with(())
        .given_no_previous_events()
        .when(consume(AT))
        .then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![approved(), consumed()]).when(consume(END)).then_expect_error(DeviceCodeRefusal::NotFound);
    given(vec![approved()]).when(consume(END)).then_expect_error(DeviceCodeRefusal::Expired);
    given(vec![denied()]).when(consume(END)).then_expect_error(DeviceCodeRefusal::Expired);
    given(vec![denied()]).when(consume(AT)).then_expect_error(DeviceCodeRefusal::Denied);
    given(vec![]).when(consume(AT)).then_expect_error(DeviceCodeRefusal::Pending);
}

#[test]
fn user_codes_are_read_as_people_and_their_phones_type_them() {
    for typed in [
        "BCDF-GHJK",
        "bcdfghjk",
        " bcdf ghjk",
        "b-c-d-f-g-h-j-k",
        // En dash, em dash, minus, soft hyphen, full-width hyphen.
        "BCDF–GHJK",
        "BCDF—GHJK",
        "BCDF−GHJK",
        "BCDF\u{ad}GHJK",
        "ＢＣＤＦ－ＧＨＪＫ",
        "ｂｃｄｆｇｈｊｋ",
        // No-break, thin and ideographic spaces; zero-width characters, a byte order mark, text directions, line ends.
        "BCDF\u{a0}GHJK",
        "BCDF\u{2009}-\u{2009}GHJK",
        "BCDF\u{3000}GHJK\r\n",
        "\u{feff}BCDF\u{200b}-GH\u{2060}JK\u{200d}",
        "\u{202a}BCDF-GHJK\u{202c}\u{fe0f}",
        "\tBCDF-GHJK",
    ] {
        assert_eq!(UserCode::parse(typed).unwrap().shown(), "BCDF-GHJK");
    }
    for bad in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "0CDF-GHJK", "BCDF_GHJK", "ÄCDF-GHJK"] {
        assert!(UserCode::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn user_codes_are_drawn_evenly_and_need_enough_octets() {
    assert_eq!(UserCode::from_random(&[0; 8]).unwrap().shown(), "BBBB-BBBB");
    assert!(UserCode::from_random(&[255; 32]).is_none());
    assert!(UserCode::from_random(&[0; 7]).is_none());
}
