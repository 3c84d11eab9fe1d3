//! The rules of an account.

use super::commands::AccountCommand;
use super::events::AccountEvent;
use super::refusal::AccountRefusal;
use super::state::{Account, Open};
use super::values::AccountName;
use crate::aggregates::EventSourced;

impl EventSourced for Account {
    const STATE_VERSION: i32 = 3;

    fn decide(&self, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountRefusal> {
        match (self, command) {
            (Self::Unknown, AccountCommand::Open { name, owner, at }) => {
                Ok(vec![AccountEvent::Opened { owner, at, name: name.into() }])
            }
            (Self::Open(_) | Self::Closed, AccountCommand::Open { .. }) => Err(AccountRefusal::AlreadyOpen),
            (Self::Unknown | Self::Closed, _) => Err(AccountRefusal::NotFound),
            (Self::Open(account), command) => decide_open(account, command),
        }
    }
}

fn decide_open(account: &Open, command: AccountCommand) -> Result<Vec<AccountEvent>, AccountRefusal> {
    Ok(match command {
        AccountCommand::Open { .. } => return Err(AccountRefusal::AlreadyOpen),
        AccountCommand::AddMember { user, at } => {
            if account.includes(user) {
                vec![]
            } else {
                vec![AccountEvent::MemberAdded { user, at }]
            }
        }
        AccountCommand::RemoveMember { user, .. } if account.owner == user => {
            return Err(AccountRefusal::CannotRemoveOwner);
        }
        AccountCommand::RemoveMember { user, ends_keys, at } => {
            if !account.members.contains_key(&user) {
                return Err(AccountRefusal::NotAMember);
            }
            // Keys minted so far have a lower count and end; keys minted after a return do not.
            let removal = ends_keys.then(|| account.removals_of(user) + 1);
            vec![AccountEvent::MemberRemoved { user, at, removal }]
        }
        AccountCommand::TransferOwnership { to, .. } if account.owner == to => vec![],
        AccountCommand::TransferOwnership { to, at } => {
            if !account.members.contains_key(&to) {
                return Err(AccountRefusal::NotAMember);
            }
            vec![AccountEvent::OwnershipTransferred { from: account.owner, to, at }]
        }
        AccountCommand::SetNatsAccount { public_key, signing_seed, at } => match &account.nats_public_key {
            None => vec![AccountEvent::NatsAccountSet { public_key, at, signing_seed: signing_seed.into() }],
            Some(known) if *known != public_key => return Err(AccountRefusal::NatsAccountMismatch),
            Some(_) if account.nats_signing_seed.open() == Some(&Some(signing_seed.clone())) => vec![],
            Some(_) => {
                vec![AccountEvent::NatsSigningSeedReissued {
                    public_key,
                    at,
                    signing_seed: signing_seed.into(),
                }]
            }
        },
        AccountCommand::Rename { to, at } => {
            // Only a stored name that is invalid today is replaced, so a repeated command changes nothing.
            if account.name.open().is_some_and(AccountName::is_ambiguous) {
                vec![AccountEvent::Renamed { at, name: to.into(), former_name: account.name.clone() }]
            } else {
                vec![]
            }
        }
        AccountCommand::Close { at } => {
            vec![AccountEvent::Closed { at, listed: None, name: account.name.clone() }]
        }
    })
}
