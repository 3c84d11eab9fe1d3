//! The rules of a user.

use super::commands::{NewUser, Profile, UserCommand};
use super::events::{UserEvent, UserMode};
use super::refusal::UserRefusal;
use super::state::{Registered, User};
use super::values::Username;
use crate::aggregates::EventSourced;
use crate::clock::Timestamp;

impl EventSourced for User {
    const STATE_VERSION: i32 = 3;

    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserRefusal> {
        match (self, command) {
            (Self::Unknown, UserCommand::Register(person)) => Ok(vec![register(person)]),
            (Self::Registered(_) | Self::Forgotten, UserCommand::Register(_)) => {
                Err(UserRefusal::AlreadyRegistered)
            }
            (Self::Forgotten, UserCommand::Forget { .. }) => Ok(vec![]),
            (Self::Unknown | Self::Forgotten, _) => Err(UserRefusal::NotFound),
            (Self::Registered(person), UserCommand::Forget { at }) => Ok(vec![UserEvent::Forgotten {
                at,
                name_keys: person.name_keys.clone(),
                username: person.username.clone(),
                github_id: person.github_id.clone(),
            }]),
            (Self::Registered(person), UserCommand::TakeInvitedName { key, name, at }) => {
                let known = person.name_keys.contains(&key);
                Ok(if known {
                    vec![]
                } else {
                    vec![UserEvent::InvitedNameTaken { at, key, username: name.into() }]
                })
            }
            (Self::Registered(person), UserCommand::RefreshProfile { profile, rename_to, at }) => {
                refresh(person, profile, rename_to, at)
            }
            (Self::Registered(person), UserCommand::Rename { to, at }) => {
                // Only a stored name that is invalid today is replaced, so a repeated command changes nothing.
                let is_ambiguous = person.username.open().is_some_and(Username::is_ambiguous);
                Ok(if is_ambiguous { vec![rename(person, to, at)] } else { vec![] })
            }
            (Self::Registered(person), UserCommand::GrantOperator { at }) => {
                Ok(if person.operator { vec![] } else { vec![UserEvent::OperatorGranted { at }] })
            }
            (Self::Registered(person), UserCommand::RevokeOperator { at }) => {
                Ok(if person.operator { vec![UserEvent::OperatorRevoked { at }] } else { vec![] })
            }
        }
    }
}

fn register(person: NewUser) -> UserEvent {
    let (github_id, github_login) = person.github.unzip();
    UserEvent::Registered {
        mode: person.mode,
        at: person.at,
        username: person.username.into(),
        email: person.email.into(),
        github_id: github_id.into(),
        github_login: github_login.into(),
        avatar_url: person.avatar_url.into(),
    }
}

fn rename(person: &Registered, to: Username, at: Timestamp) -> UserEvent {
    UserEvent::Renamed { at, username: to.into(), former_username: person.username.clone() }
}

/// Gives one event, or none if nothing changed. The username changes only together with the GitHub login.
fn refresh(
    person: &Registered,
    profile: Profile,
    rename_to: Option<Username>,
    at: Timestamp,
) -> Result<Vec<UserEvent>, UserRefusal> {
    if person.mode != UserMode::Github {
        return Err(UserRefusal::NotAGithubUser);
    }
    let Profile { login, email, avatar_url } = profile;
    let same_login = person.github_login.open().is_some_and(|known| known.as_ref() == Some(&login));
    let unchanged =
        same_login && person.email.open() == Some(&email) && person.avatar_url.open() == Some(&avatar_url);
    if unchanged {
        return Ok(vec![]);
    }
    let former = person.username.open().cloned();
    // With an unchanged login the user keeps a suffixed username, even if the plain one has become free.
    let username = rename_to.filter(|name| !same_login && former.as_ref() != Some(name));
    let former_username = if username.is_some() { former } else { None };
    Ok(vec![UserEvent::ProfileRefreshed {
        at,
        github_login: login.into(),
        email: email.into(),
        avatar_url: avatar_url.into(),
        username: username.into(),
        former_username: former_username.into(),
    }])
}
