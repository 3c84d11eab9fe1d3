//! Given, when, then: each event and each refusal of a user.

use cqrs_es::test::TestFramework;

use super::*;
use crate::aggregates::{EventSourced as _, StoredEvent as _};
use crate::clock::Timestamp;
use crate::ids::NameKeyId;

type Framework = TestFramework<User>;

const AT: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn register(mode: UserMode, username: &str) -> NewUser {
    let github = (mode == UserMode::Github)
        .then(|| (GithubId::new(42).unwrap(), GithubLogin::parse(username).unwrap()));
    NewUser {
        username: name(username),
        email: Some(Email::parse("ada@example.org").unwrap()),
        mode,
        github,
        avatar_url: None,
        at: AT,
    }
}

fn registered(mode: UserMode, username: &str) -> UserEvent {
    let person = register(mode, username);
    let (github_id, github_login) = person.github.unzip();
    UserEvent::Registered {
        mode,
        at: AT,
        username: person.username.into(),
        email: person.email.into(),
        github_id: github_id.into(),
        github_login: github_login.into(),
        avatar_url: None.into(),
    }
}

fn profile(login: &str, email: &str) -> Profile {
    Profile {
        login: GithubLogin::parse(login).unwrap(),
        email: Some(Email::parse(email).unwrap()),
        avatar_url: None,
    }
}

fn refresh(login: &str, email: &str, rename_to: Option<&str>) -> UserCommand {
    UserCommand::RefreshProfile { profile: profile(login, email), rename_to: rename_to.map(name), at: LATER }
}

fn refreshed(login: &str, email: &str, renamed: Option<(&str, &str)>) -> UserEvent {
    let profile = profile(login, email);
    UserEvent::ProfileRefreshed {
        at: LATER,
        github_login: profile.login.into(),
        email: profile.email.into(),
        avatar_url: None.into(),
        username: renamed.map(|(to, _)| name(to)).into(),
        former_username: renamed.map(|(_, from)| name(from)).into(),
    }
}

#[test]
fn a_new_person_is_registered() {
    Framework::with(())
        .given_no_previous_events()
        .when(UserCommand::Register(register(UserMode::Internal, "ada")))
        .then_expect_events(vec![registered(UserMode::Internal, "ada")]);
}

#[test]
fn an_identifier_registers_once() {
    Framework::with(())
        .given(vec![registered(UserMode::Internal, "ada")])
        .when(UserCommand::Register(register(UserMode::Internal, "ada")))
        .then_expect_error(UserRefusal::AlreadyRegistered);
}

#[test]
fn an_unknown_user_is_not_found() {
    for command in [
        refresh("ada", "ada@example.org", None),
        UserCommand::GrantOperator { at: AT },
        UserCommand::RevokeOperator { at: AT },
        UserCommand::Forget { at: AT },
    ] {
        Framework::with(()).given_no_previous_events().when(command).then_expect_error(UserRefusal::NotFound);
    }
}

#[test]
fn the_same_profile_again_is_no_event() {
    Framework::with(())
        .given(vec![registered(UserMode::Github, "ada")])
        .when(refresh("ada", "ada@example.org", None))
        .then_expect_events(vec![]);
}

#[test]
fn a_new_email_is_one_event_and_leaves_the_username() {
    Framework::with(())
        .given(vec![registered(UserMode::Github, "ada")])
        .when(refresh("ada", "new@example.org", Some("other")))
        .then_expect_events(vec![refreshed("ada", "new@example.org", None)]);
}

#[test]
fn a_new_login_takes_the_username_along_when_it_is_free() {
    Framework::with(())
        .given(vec![registered(UserMode::Github, "ada")])
        .when(refresh("countess", "ada@example.org", Some("countess")))
        .then_expect_events(vec![refreshed("countess", "ada@example.org", Some(("countess", "ada")))]);
}

#[test]
fn a_new_login_whose_name_is_taken_leaves_the_username() {
    Framework::with(())
        .given(vec![registered(UserMode::Github, "ada")])
        .when(refresh("countess", "ada@example.org", None))
        .then_expect_events(vec![refreshed("countess", "ada@example.org", None)]);
}

#[test]
fn an_internal_user_has_no_github_profile() {
    Framework::with(())
        .given(vec![registered(UserMode::Internal, "ada")])
        .when(refresh("ada", "ada@example.org", None))
        .then_expect_error(UserRefusal::NotAGithubUser);
}

#[test]
fn operators_are_granted_and_revoked_once() {
    let given = || Framework::with(()).given(vec![registered(UserMode::Internal, "ada")]);
    given()
        .when(UserCommand::GrantOperator { at: LATER })
        .then_expect_events(vec![UserEvent::OperatorGranted { at: LATER }]);
    given()
        .and(vec![UserEvent::OperatorGranted { at: AT }])
        .when(UserCommand::GrantOperator { at: LATER })
        .then_expect_events(vec![]);
    given()
        .and(vec![UserEvent::OperatorGranted { at: AT }])
        .when(UserCommand::RevokeOperator { at: LATER })
        .then_expect_events(vec![UserEvent::OperatorRevoked { at: LATER }]);
    given().when(UserCommand::RevokeOperator { at: LATER }).then_expect_events(vec![]);
}

#[test]
fn a_forgotten_person_gives_up_the_names_and_is_not_found_any_more() {
    let given = || Framework::with(()).given(vec![registered(UserMode::Github, "ada")]);
    let forgotten = || UserEvent::Forgotten {
        at: LATER,
        name_keys: vec![],
        username: name("ada").into(),
        github_id: Some(GithubId::new(42).unwrap()).into(),
    };
    given().when(UserCommand::Forget { at: LATER }).then_expect_events(vec![forgotten()]);
    given().and(vec![forgotten()]).when(UserCommand::Forget { at: LATER }).then_expect_events(vec![]);
    given()
        .and(vec![forgotten()])
        .when(UserCommand::GrantOperator { at: LATER })
        .then_expect_error(UserRefusal::NotFound);
    given()
        .and(vec![forgotten()])
        .when(UserCommand::Register(register(UserMode::Github, "ada")))
        .then_expect_error(UserRefusal::AlreadyRegistered);
}

#[test]
fn names_are_held_to_their_form() {
    let longest = "a".repeat(39);
    for good in ["a", "A.b_c-9", longest.as_str(), "bob~2", "bob~1234567"] {
        assert!(Username::parse(good).is_ok(), "{good}");
    }
    let too_long = "a".repeat(40);
    for bad in [
        "",
        too_long.as_str(),
        "a b",
        "a\n",
        "é",
        "bob~",
        "bob~0",
        "bob~12345678",
        "bob~2~3",
        "~2",
        "a/b",
        "a\u{202e}b",
    ] {
        assert!(Username::parse(bad).is_err(), "{bad}");
    }
    assert!(Username::chosen("bob~2").is_err());
    let id = "0190f5a2-7c3b-7d4e-8f60-123456789abc";
    for ambiguous in ["me", "ME", "Me", ".", "..", id, &id.to_uppercase(), &id.replace('-', "")] {
        assert!(Username::parse(ambiguous).is_err(), "{ambiguous}");
        let login = GithubLogin::parse(ambiguous).unwrap();
        assert_eq!(login.usernames().next().unwrap().as_str(), format!("{ambiguous}~2"));
        assert!(login.as_username().is_none());
    }
    assert!(["me.", "mee", "...", &id[1..]].iter().all(|name| Username::parse(name).is_ok()));
    assert!(Email::parse(&format!("{}@x", "a".repeat(252))).is_ok());
    assert!(Email::parse(&format!("{}@x", "a".repeat(253))).is_err());
    for bad in ["", "@", "a@", "@b", "a b@c", "a\u{7}@b", "no-at"] {
        assert!(Email::parse(bad).is_err(), "{bad}");
    }
    assert!(AvatarUrl::parse("https://a.example/x.png").is_ok());
    for bad in ["http://a.example/x", "javascript:alert(1)", "https://", "https:///x", "https://a b"] {
        assert!(AvatarUrl::parse(bad).is_err(), "{bad}");
    }
    assert!(GithubId::new(0).is_err());
}

#[test]
fn only_an_ambiguous_name_is_changed() {
    let was = |text: &str| match registered(UserMode::Github, "ada") {
        UserEvent::Registered { mode, at, email, github_id, github_login, avatar_url, .. } => {
            // As stored when such names were still allowed.
            let username: Username = serde_json::from_value(text.into()).unwrap();
            let username = username.into();
            UserEvent::Registered { mode, at, username, email, github_id, github_login, avatar_url }
        }
        other => other,
    };
    let rename = || UserCommand::Rename { to: name("me~2"), at: LATER };
    Framework::with(()).given(vec![was("me")]).when(rename()).then_expect_events(vec![UserEvent::Renamed {
        at: LATER,
        username: name("me~2").into(),
        former_username: serde_json::from_value::<Username>("me".into()).unwrap().into(),
    }]);
    Framework::with(()).given(vec![was("ada")]).when(rename()).then_expect_events(vec![]);
}

#[test]
fn the_keys_of_names_that_a_person_has_taken_go_with_them() {
    let key = NameKeyId::from_uuid(uuid::Uuid::from_u128(9));
    let take = || UserCommand::TakeInvitedName { key, name: name("ada"), at: LATER };
    let taken = || UserEvent::InvitedNameTaken { at: LATER, key, username: name("ada").into() };
    let given = || Framework::with(()).given(vec![registered(UserMode::Github, "ada")]);
    given().when(take()).then_expect_events(vec![taken()]);
    given().and(vec![taken()]).when(take()).then_expect_events(vec![]);
    let forgotten = UserEvent::Forgotten {
        at: LATER,
        name_keys: vec![key],
        username: name("ada").into(),
        github_id: Some(GithubId::new(42).unwrap()).into(),
    };
    let stream = uuid::Uuid::from_u128(1);
    assert_eq!(forgotten.ends_subjects(stream), [User::subject(stream), key.subject()]);
    given().and(vec![taken()]).when(UserCommand::Forget { at: LATER }).then_expect_events(vec![forgotten]);
}
