//! Random commands against a plain in-memory model of the contract: the same answers, the same tables, on two nodes while
//! time moves. A difference is shrunk to the commands that it takes.

use futures::TryStreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tenure::aggregates::source::Retention;
use tenure::clock::{Clock as _, ManualClock, SystemClock, Timestamp};
use tenure::context::{Actor, Context};
use tenure::dispatch::{DispatchError, Dispatched};
use tenure::entropy::{Entropy as _, OsEntropy, SeededEntropy};
use tenure::ids::{AccountId, ApiKeyId, BearerTokenId, InviteId, UserId};
use tenure::operations::Refusal;
use tenure::{Settings, Tenure};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, as_user, operator};

/// How many commands a run has.
const COMMANDS: usize = 2_000;

const NAMES: u8 = 12;
const INVITE_LIFE: Duration = Duration::from_hours(14 * 24);
const TOKEN_LIFE: Duration = Duration::from_hours(10 * 24);
const CODE_LIFE: Duration = Duration::from_mins(10);

/// A command; things are named by their place among those that were made, so that any part of a run is a run.
#[derive(Clone, Copy, Debug)]
enum Command {
    InsertUser { name: u8, github: bool },
    SignIn { number: u8, login: u8 },
    Open { name: u8, owner: usize },
    AddMember { account: usize, user: usize },
    RemoveMember { account: usize, user: usize },
    Transfer { account: usize, user: usize },
    Close { account: usize },
    Forget { user: usize },
    ClearAway,
    Invite { account: usize, name: u8 },
    Accept { invite: usize, user: usize },
    Decline { invite: usize, user: usize },
    RevokeInvite { invite: usize },
    Mint { account: usize, user: usize },
    RevokeKey { key: usize },
    CreateCode,
    Approve { code: usize, user: usize },
    Deny { code: usize, user: usize },
    Consume { code: usize },
    Issue { user: usize },
    RevokeToken { token: usize },
    NewSource { account: usize, user: usize, handle: u8 },
    DeleteSource { account: usize, handle: u8 },
    NewPipe { account: usize, user: usize, handle: u8, name: u8 },
    DeletePipe { account: usize, handle: u8, name: u8 },
    Wait { how_long: u8 },
}

fn commands(seed: u64, count: usize) -> Vec<Command> {
    let entropy = SeededEntropy::new(seed);
    let draw = || {
        let mut octets = [0; 2];
        entropy.fill(&mut octets);
        usize::from(u16::from_be_bytes(octets))
    };
    let small = |below: u8| (draw() % usize::from(below)) as u8;
    (0..count)
        .map(|_| match draw() % 100 {
            0..8 => Command::InsertUser { name: small(NAMES), github: draw() % 2 == 0 },
            8..18 => Command::SignIn { number: small(8), login: small(NAMES) },
            18..24 => Command::Open { name: small(NAMES), owner: draw() },
            24..32 => Command::AddMember { account: draw(), user: draw() },
            32..37 => Command::RemoveMember { account: draw(), user: draw() },
            37..40 => Command::Transfer { account: draw(), user: draw() },
            40..42 => Command::Close { account: draw() },
            42..44 => Command::Forget { user: draw() },
            44..52 => Command::Invite { account: draw(), name: small(NAMES) },
            52..60 => Command::Accept { invite: draw(), user: draw() },
            60..63 => Command::Decline { invite: draw(), user: draw() },
            63..65 => Command::RevokeInvite { invite: draw() },
            65 => Command::Mint { account: draw(), user: draw() },
            66 => Command::RevokeKey { key: draw() },
            67..70 => Command::CreateCode,
            70..74 => Command::Approve { code: draw(), user: draw() },
            74 => Command::Deny { code: draw(), user: draw() },
            75..79 => Command::Consume { code: draw() },
            79..82 => Command::Issue { user: draw() },
            82 => Command::RevokeToken { token: draw() },
            83..88 => Command::NewSource { account: draw(), user: draw(), handle: small(4) },
            88..90 => Command::DeleteSource { account: draw(), handle: small(4) },
            90..95 => Command::NewPipe { account: draw(), user: draw(), handle: small(4), name: small(3) },
            95..97 => Command::DeletePipe { account: draw(), handle: small(4), name: small(3) },
            97 => Command::ClearAway,
            _ => Command::Wait { how_long: small(12) },
        })
        .collect()
}

#[derive(Clone)]
struct Person {
    name: String,
    github: bool,
    number: Option<u8>,
    login: Option<String>,
    forgotten: bool,
}

#[derive(Clone, Default)]
struct Tenant {
    name: String,
    owner: usize,
    members: Vec<usize>,
    closed: bool,
    /// Handles with the names of their pipes.
    sources: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Pending,
    Accepted,
    Declined,
    Revoked,
}

#[derive(Clone)]
struct Offer {
    account: usize,
    name: String,
    bound: Option<usize>,
    /// Whether nobody had the name when it was made.
    to_a_name: bool,
    /// Who has taken the name since.
    taken_by: Option<usize>,
    fate: Fate,
    end: Timestamp,
}

#[derive(Clone, Copy)]
struct Key {
    account: usize,
    minter: usize,
    revoked: bool,
}

#[derive(Clone, Copy)]
struct Code {
    end: Timestamp,
    approved: Option<usize>,
    denied: bool,
    consumed: bool,
}

#[derive(Clone, Copy)]
struct Token {
    user: usize,
    revoked: bool,
}

/// The contract, as plainly as can be.
#[derive(Clone, Default)]
struct Model {
    now: Timestamp,
    people: Vec<Person>,
    tenants: Vec<Tenant>,
    offers: Vec<Offer>,
    keys: Vec<Key>,
    codes: Vec<Code>,
    tokens: Vec<Token>,
}

/// How many events a command leads to, or the code of its refusal; what it makes is counted by the caller.
type Told = Result<usize, &'static str>;

fn name(number: u8) -> String {
    format!("Name{number}")
}

fn place<T>(things: &[T], any: usize) -> Option<usize> {
    (!things.is_empty()).then(|| any % things.len())
}

impl Model {
    fn living_person(&self, name: &str) -> Option<usize> {
        self.people.iter().position(|person| !person.forgotten && person.name.eq_ignore_ascii_case(name))
    }

    fn living_tenant(&self, name: &str) -> Option<usize> {
        self.tenants.iter().position(|tenant| !tenant.closed && tenant.name.eq_ignore_ascii_case(name))
    }

    fn is_pending(&self, offer: &Offer) -> bool {
        offer.fate == Fate::Pending && self.now < offer.end && !self.tenants[offer.account].closed
    }

    /// Gives a person who has taken a name the invites that waited for it, and all that was said of it; tells how many
    /// events that takes.
    fn bind(&mut self, user: usize) -> usize {
        let person = self.people[user].clone();
        let mut bound = 0;
        for offer in &mut self.offers {
            if offer.to_a_name && offer.taken_by.is_none() && offer.name.eq_ignore_ascii_case(&person.name) {
                offer.taken_by = Some(user);
                bound = 1;
            }
        }
        for place in 0..self.offers.len() {
            let offer = &self.offers[place];
            let waits = person.github
                && self.is_pending(offer)
                && offer.bound.is_none()
                && offer.taken_by == Some(user)
                && offer.name.eq_ignore_ascii_case(&person.name);
            let another = self.offers.iter().any(|other| {
                self.is_pending(other) && other.account == offer.account && other.bound == Some(user)
            });
            if waits && !another {
                self.offers[place].bound = Some(user);
                bound += 1;
            }
        }
        bound
    }

    fn belongs(&self, account: usize, user: usize) -> bool {
        self.tenants[account].owner == user || self.tenants[account].members.contains(&user)
    }

    fn open_tenant(&mut self, name: String, owner: usize) {
        self.tenants.push(Tenant { name, owner, ..Tenant::default() });
    }

    fn sign_in(&mut self, number: u8, login: String) -> Told {
        let known = self.people.iter().position(|person| !person.forgotten && person.number == Some(number));
        let mut events = 0;
        let user = if let Some(user) = known {
            if self.people[user].login.as_ref() != Some(&login) {
                events += 1;
                let holder = self.living_person(&login);
                let renamed = holder.is_none_or(|holder| holder == user) && self.people[user].name != login;
                self.people[user].login = Some(login.clone());
                if renamed {
                    self.people[user].name = login.clone();
                    events += self.bind(user);
                }
            }
            user
        } else {
            let mut free = login.clone();
            for clash in 2.. {
                if self.living_person(&free).is_none() {
                    break;
                }
                free = format!("{login}~{clash}");
            }
            self.people.push(Person {
                name: free,
                github: true,
                number: Some(number),
                login: Some(login.clone()),
                forgotten: false,
            });
            events += 1 + self.bind(self.people.len() - 1);
            self.people.len() - 1
        };
        let has_account =
            (0..self.tenants.len()).any(|tenant| !self.tenants[tenant].closed && self.belongs(tenant, user));
        if !has_account {
            let mut free = login.clone();
            for clash in 2.. {
                if self.living_tenant(&free).is_none() {
                    break;
                }
                free = format!("{login}-{clash}");
            }
            self.open_tenant(free, user);
            events += 1;
        }
        Ok(events)
    }

    /// Ends a membership and the keys minted in it.
    fn end_membership(&mut self, account: usize, user: usize) {
        self.tenants[account].members.retain(|member| *member != user);
        for key in &mut self.keys {
            if key.account == account && key.minter == user {
                key.revoked = true;
            }
        }
    }

    fn forget(&mut self, user: usize) -> Told {
        if self.people[user].forgotten {
            return Ok(0);
        }
        if self.tenants.iter().any(|tenant| !tenant.closed && tenant.owner == user) {
            return Err("user.owns_accounts");
        }
        for account in 0..self.tenants.len() {
            if !self.tenants[account].closed && self.tenants[account].members.contains(&user) {
                self.end_membership(account, user);
            }
        }
        for token in &mut self.tokens {
            if token.user == user {
                token.revoked = true;
            }
        }
        for offer in &mut self.offers {
            if offer.bound == Some(user) || offer.taken_by == Some(user) {
                if offer.fate == Fate::Pending {
                    offer.fate = Fate::Revoked;
                }
                // Nobody's any more: it is never counted again.
                offer.name = String::new();
            }
        }
        self.people[user].forgotten = true;
        Ok(1)
    }

    fn close(&mut self, account: usize) -> Told {
        for key in &mut self.keys {
            if key.account == account {
                key.revoked = true;
            }
        }
        let tenant = &mut self.tenants[account];
        tenant.sources.clear();
        tenant.members.clear();
        tenant.closed = true;
        Ok(1)
    }

    fn invite(&mut self, account: usize, to: String) -> Told {
        let bound = self.living_person(&to);
        let owner = self.tenants[account].owner;
        if bound == Some(owner) {
            return Err("invalid");
        }
        if bound.is_some_and(|user| self.belongs(account, user)) {
            return Err("invite.already_member");
        }
        let twice = self.offers.iter().any(|offer| {
            self.is_pending(offer)
                && offer.account == account
                && match (bound, offer.bound) {
                    (Some(user), Some(known)) => user == known,
                    (None, None) => offer.name.eq_ignore_ascii_case(&to),
                    _ => false,
                }
        });
        if twice {
            return Err("invite.duplicate_pending");
        }
        let end = self.now.after(INVITE_LIFE);
        let to_a_name = bound.is_none();
        self.offers.push(Offer {
            account,
            name: to,
            bound,
            to_a_name,
            taken_by: None,
            fate: Fate::Pending,
            end,
        });
        Ok(1)
    }

    fn decide(&mut self, invite: usize, user: usize, accept: bool) -> Told {
        let (offer, person) = (self.offers[invite].clone(), &self.people[user]);
        let theirs = match offer.bound {
            Some(bound) => bound == user,
            None => {
                person.github && offer.taken_by == Some(user) && person.name.eq_ignore_ascii_case(&offer.name)
            }
        };
        if person.forgotten || !theirs {
            return Err("forbidden");
        }
        if !self.is_pending(&offer) {
            return Err("invite.not_pending");
        }
        self.offers[invite].bound = Some(user);
        self.offers[invite].fate = if accept { Fate::Accepted } else { Fate::Declined };
        if accept && !self.belongs(offer.account, user) {
            self.tenants[offer.account].members.push(user);
            return Ok(2);
        }
        Ok(1)
    }

    /// What the contract says; `None` when the command names nothing that was ever made.
    fn tell(&mut self, command: Command) -> Option<Told> {
        let exists = |model: &Self, user: usize| {
            if model.people[user].forgotten { Err("user.not_found") } else { Ok(()) }
        };
        let open = |model: &Self, account: usize| {
            if model.tenants[account].closed { Err("account.not_found") } else { Ok(()) }
        };
        Some(match command {
            Command::InsertUser { name: number, github } => {
                if self.living_person(&name(number)).is_some() {
                    Err("user.username_taken")
                } else {
                    self.people.push(Person {
                        name: name(number),
                        github,
                        number: None,
                        login: None,
                        forgotten: false,
                    });
                    Ok(1 + self.bind(self.people.len() - 1))
                }
            }
            Command::SignIn { number, login } => self.sign_in(number, name(login)),
            Command::Open { name: number, owner } => {
                let owner = place(&self.people, owner)?;
                exists(self, owner).and_then(|()| {
                    if self.living_tenant(&name(number)).is_some() {
                        return Err("account.name_taken");
                    }
                    self.open_tenant(name(number), owner);
                    Ok(1)
                })
            }
            Command::AddMember { account, user } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| exists(self, user)).map(|()| {
                    if self.belongs(account, user) {
                        return 0;
                    }
                    self.tenants[account].members.push(user);
                    1
                })
            }
            Command::RemoveMember { account, user } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| {
                    if self.tenants[account].owner == user {
                        return Err("account.cannot_remove_owner");
                    }
                    if !self.belongs(account, user) {
                        return Err("member.not_found");
                    }
                    self.end_membership(account, user);
                    Ok(1)
                })
            }
            Command::Transfer { account, user } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| {
                    let tenant = &mut self.tenants[account];
                    if tenant.owner == user {
                        return Ok(0);
                    }
                    if !tenant.members.contains(&user) {
                        return Err("member.not_found");
                    }
                    tenant.members.retain(|member| *member != user);
                    tenant.members.push(std::mem::replace(&mut tenant.owner, user));
                    Ok(1)
                })
            }
            Command::Close { account } => {
                let account = place(&self.tenants, account)?;
                open(self, account).and_then(|()| self.close(account))
            }
            Command::Forget { user } => {
                let user = place(&self.people, user)?;
                self.forget(user)
            }
            Command::ClearAway => Ok(0),
            Command::Invite { account, name: number } => {
                let account = place(&self.tenants, account)?;
                open(self, account).and_then(|()| self.invite(account, name(number)))
            }
            Command::Accept { invite, user } => {
                let (invite, user) = (place(&self.offers, invite)?, place(&self.people, user)?);
                self.decide(invite, user, true)
            }
            Command::Decline { invite, user } => {
                let (invite, user) = (place(&self.offers, invite)?, place(&self.people, user)?);
                self.decide(invite, user, false)
            }
            Command::RevokeInvite { invite } => {
                let invite = place(&self.offers, invite)?;
                let offer = self.offers[invite].clone();
                open(self, offer.account).and_then(|()| {
                    if !self.is_pending(&offer) {
                        return Err("invite.not_pending");
                    }
                    self.offers[invite].fate = Fate::Revoked;
                    Ok(1)
                })
            }
            Command::Mint { account, user } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| exists(self, user)).and_then(|()| {
                    if !self.belongs(account, user) {
                        return Err("member.not_found");
                    }
                    self.keys.push(Key { account, minter: user, revoked: false });
                    Ok(1)
                })
            }
            Command::RevokeKey { key } => {
                let key = place(&self.keys, key)?;
                open(self, self.keys[key].account)
                    .map(|()| usize::from(!std::mem::replace(&mut self.keys[key].revoked, true)))
            }
            Command::CreateCode => {
                let end = self.now.after(CODE_LIFE);
                self.codes.push(Code { end, approved: None, denied: false, consumed: false });
                Ok(1)
            }
            Command::Approve { code, user } | Command::Deny { code, user } => {
                let (code, user) = (place(&self.codes, code)?, place(&self.people, user)?);
                let approve = matches!(command, Command::Approve { .. });
                exists(self, user).and_then(|()| {
                    let now = self.now;
                    let code = &mut self.codes[code];
                    let others = code.approved.is_some_and(|by| by != user);
                    if code.consumed || code.denied || others || now >= code.end {
                        return Err("device_code.not_found");
                    }
                    if !approve {
                        code.denied = true;
                        return Ok(1);
                    }
                    Ok(usize::from(code.approved.replace(user).is_none()))
                })
            }
            Command::Consume { code } => {
                let code = place(&self.codes, code)?;
                let Code { end, approved, denied, consumed } = self.codes[code];
                match approved {
                    _ if consumed => Err("device_code.not_found"),
                    _ if self.now >= end => Err("device_code.expired"),
                    _ if denied => Err("device_code.denied"),
                    None => Err("device_code.pending"),
                    Some(user) if self.people[user].forgotten => Err("device_code.not_found"),
                    Some(_) => {
                        self.codes[code].consumed = true;
                        Ok(1)
                    }
                }
            }
            Command::Issue { user } => {
                let user = place(&self.people, user)?;
                exists(self, user).map(|()| {
                    self.tokens.push(Token { user, revoked: false });
                    1
                })
            }
            Command::RevokeToken { token } => {
                let token = place(&self.tokens, token)?;
                Ok(usize::from(!std::mem::replace(&mut self.tokens[token].revoked, true)))
            }
            Command::NewSource { account, user, handle } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| exists(self, user)).and_then(|()| {
                    let sources = &mut self.tenants[account].sources;
                    if sources.contains_key(&format!("h{handle}")) {
                        return Err("source.handle_taken");
                    }
                    sources.insert(format!("h{handle}"), Vec::new());
                    Ok(1)
                })
            }
            Command::DeleteSource { account, handle } => {
                let account = place(&self.tenants, account)?;
                open(self, account).and_then(|()| {
                    let removed = self.tenants[account].sources.remove(&format!("h{handle}"));
                    removed.map(|pipes| 1 + pipes.len()).ok_or("source.not_found")
                })
            }
            Command::NewPipe { account, user, handle, name } => {
                let (account, user) = (place(&self.tenants, account)?, place(&self.people, user)?);
                open(self, account).and_then(|()| {
                    let forgotten = self.people[user].forgotten;
                    let pipes = self.tenants[account]
                        .sources
                        .get_mut(&format!("h{handle}"))
                        .ok_or("source.not_found")?;
                    if forgotten {
                        return Err("user.not_found");
                    }
                    if pipes.contains(&format!("p{name}")) {
                        return Err("pipe.name_taken");
                    }
                    pipes.push(format!("p{name}"));
                    Ok(1)
                })
            }
            Command::DeletePipe { account, handle, name } => {
                let account = place(&self.tenants, account)?;
                open(self, account).and_then(|()| {
                    let pipes = self.tenants[account]
                        .sources
                        .get_mut(&format!("h{handle}"))
                        .ok_or("source.not_found")?;
                    let place = pipes.iter().position(|pipe| *pipe == format!("p{name}"));
                    pipes.remove(place.ok_or("pipe.not_found")?);
                    Ok(1)
                })
            }
            Command::Wait { how_long } => {
                self.now = self.now.after(waited(how_long));
                Ok(0)
            }
        })
    }
}

fn waited(how_long: u8) -> Duration {
    match how_long {
        0 => INVITE_LIFE,
        1..4 => CODE_LIFE,
        _ => Duration::from_secs(u64::from(how_long)),
    }
}

/// Tenure, with the identifiers of what was made in the order of the model.
struct Real {
    nodes: [Tenure; 2],
    clock: Arc<ManualClock>,
    turn: usize,
    people: Vec<UserId>,
    tenants: Vec<AccountId>,
    offers: Vec<InviteId>,
    keys: Vec<ApiKeyId>,
    codes: Vec<(SecretString, String)>,
    tokens: Vec<BearerTokenId>,
}

fn told<T>(outcome: Result<Dispatched<T>, DispatchError<Refusal>>, keep: impl FnOnce(T)) -> Told {
    match outcome {
        Ok(done) => {
            let events = done.events.len();
            keep(done.answer);
            Ok(events)
        }
        Err(DispatchError::Refused(refusal)) => Err(refusal.code()),
        Err(error) => panic!("{error}"),
    }
}

impl Real {
    const fn on(nodes: [Tenure; 2], clock: Arc<ManualClock>) -> Self {
        Self {
            nodes,
            clock,
            turn: 0,
            people: Vec::new(),
            tenants: Vec::new(),
            offers: Vec::new(),
            keys: Vec::new(),
            codes: Vec::new(),
            tokens: Vec::new(),
        }
    }

    async fn tell(&mut self, command: Command) -> Option<Told> {
        self.turn += 1;
        let tenure = &self.nodes[self.turn % 2];
        let (operator, system) = (operator(), Context::of(Actor::System));
        let user = |any: usize| place(&self.people, any).map(|place| self.people[place]);
        let tenant = |any: usize| place(&self.tenants, any).map(|place| self.tenants[place]);
        let offer = |any: usize| place(&self.offers, any).map(|place| self.offers[place]);
        Some(match command {
            Command::InsertUser { name: number, github } => {
                let (name, mode) = (name(number), if github { "github" } else { "internal" });
                let outcome = tenure.insert_user(&operator, &name, "x@example.org", mode).await;
                told(outcome, |id| self.people.push(id))
            }
            Command::SignIn { number, login } => {
                let outcome = tenure
                    .sign_in_with_github(&system, i64::from(number) + 1, &name(login), None, None)
                    .await;
                told(outcome, |signed_in| {
                    if signed_in.created {
                        self.people.push(signed_in.user);
                    }
                    self.tenants.extend(signed_in.first_account);
                })
            }
            Command::Open { name: number, owner } => {
                let outcome = tenure.open_account(&operator, &name(number), Some(user(owner)?)).await;
                told(outcome, |id| self.tenants.push(id))
            }
            Command::AddMember { account, user: any } => {
                told(tenure.add_member(&operator, tenant(account)?, user(any)?).await, drop)
            }
            Command::RemoveMember { account, user: any } => {
                told(tenure.remove_member(&operator, tenant(account)?, user(any)?).await, drop)
            }
            Command::Transfer { account, user: any } => {
                told(tenure.transfer_ownership(&operator, tenant(account)?, user(any)?).await, drop)
            }
            Command::Close { account } => told(tenure.close_account(&operator, tenant(account)?).await, drop),
            Command::Forget { user: any } => told(tenure.forget_user(&operator, user(any)?).await, drop),
            Command::ClearAway => {
                tenure.clear_away().await.unwrap();
                Ok(0)
            }
            Command::Invite { account, name: number } => {
                let account = tenant(account)?;
                let owner = tenure.reader().account(account).await.ok().map(|account| account.owner_user_id);
                let outcome = tenure.create_invite(&operator, account, &name(number), owner).await;
                told(outcome, |id| self.offers.push(id))
            }
            Command::Accept { invite, user: any } => {
                let (invite, user) = (offer(invite)?, user(any)?);
                told(tenure.accept_invite(&as_user(user), invite, user).await, drop)
            }
            Command::Decline { invite, user: any } => {
                let (invite, user) = (offer(invite)?, user(any)?);
                told(tenure.decline_invite(&as_user(user), invite, user).await, drop)
            }
            Command::RevokeInvite { invite } => {
                told(tenure.revoke_invite(&operator, None, offer(invite)?).await, drop)
            }
            Command::Mint { account, user: any } => {
                let (account, by) = (tenant(account)?, Some(user(any)?));
                let outcome = tenure.mint_api_key(&operator, account, "label", None, by).await;
                told(outcome, |minted| self.keys.push(minted.id))
            }
            Command::RevokeKey { key } => {
                let key = self.keys[place(&self.keys, key)?];
                told(tenure.revoke_api_key(&operator, None, key).await, drop)
            }
            Command::CreateCode => {
                let outcome = tenure.create_device_code(&system, CODE_LIFE, "terminal").await;
                told(outcome, |code| self.codes.push((code.device_code, code.user_code)))
            }
            Command::Approve { code, user: any } => {
                let (typed, user) = (&self.codes[place(&self.codes, code)?].1, user(any)?);
                told(tenure.approve_device_code(&as_user(user), typed, user).await, drop)
            }
            Command::Deny { code, user: any } => {
                let (typed, user) = (&self.codes[place(&self.codes, code)?].1, user(any)?);
                told(tenure.deny_device_code(&as_user(user), typed, user).await, drop)
            }
            Command::Consume { code } => {
                let code = &self.codes[place(&self.codes, code)?].0;
                told(tenure.consume_device_code(&system, code).await, drop)
            }
            Command::Issue { user: any } => {
                let outcome = tenure.issue_bearer_token(&system, user(any)?, TOKEN_LIFE).await;
                told(outcome, |(id, _)| self.tokens.push(id))
            }
            Command::RevokeToken { token } => {
                let token = self.tokens[place(&self.tokens, token)?];
                told(tenure.revoke_bearer_token(&operator, token).await, drop)
            }
            Command::NewSource { account, user: any, handle } => {
                let (account, by, handle) = (tenant(account)?, Some(user(any)?), format!("h{handle}"));
                told(tenure.create_source(&operator, account, by, &handle, None).await, drop)
            }
            Command::DeleteSource { account, handle } => {
                told(tenure.delete_source(&operator, tenant(account)?, &format!("h{handle}")).await, drop)
            }
            Command::NewPipe { account, user: any, handle, name } => {
                let (account, by) = (tenant(account)?, Some(user(any)?));
                let (handle, name, unset) = (format!("h{handle}"), format!("p{name}"), Retention::default());
                told(tenure.create_pipe(&operator, account, by, &handle, &name, unset).await, drop)
            }
            Command::DeletePipe { account, handle, name } => {
                let (handle, name) = (format!("h{handle}"), format!("p{name}"));
                told(tenure.delete_pipe(&operator, tenant(account)?, &handle, &name).await, drop)
            }
            Command::Wait { how_long } => {
                self.clock.advance(waited(how_long));
                Ok(0)
            }
        })
    }

    /// Compares the tables with the model; says what differs.
    async fn compare(&self, model: &Model) -> Result<(), String> {
        let reader = self.nodes[0].reader();
        let differ = |what: String| Err(what);
        for (person, id) in model.people.iter().zip(&self.people) {
            let row = reader.user(*id).await.map_err(|error| error.to_string())?;
            if row.forgotten_at.is_some() != person.forgotten
                || (!person.forgotten && row.username != person.name)
            {
                return differ(format!("user {id}: {row:?}, not {}", person.name));
            }
        }
        for (tenant, id) in model.tenants.iter().zip(&self.tenants) {
            let row = reader.account(*id).await;
            if row.is_ok() == tenant.closed {
                return differ(format!("account {id}: {row:?}"));
            }
            let Ok(row) = row else { continue };
            if row.name != tenant.name || row.owner_user_id != self.people[tenant.owner] {
                return differ(format!("account {id}: {row:?}"));
            }
            let members =
                reader.members(*id).try_collect::<Vec<_>>().await.map_err(|error| error.to_string())?;
            let members: Vec<UserId> = members.iter().map(|member| member.user.id).collect();
            let expected: Vec<UserId> = tenant.members.iter().map(|member| self.people[*member]).collect();
            if members != expected {
                return differ(format!("members of {id}: {members:?}, not {expected:?}"));
            }
            let sources = reader
                .sources_for_account(*id)
                .try_collect::<Vec<_>>()
                .await
                .map_err(|error| error.to_string())?;
            let mut found = BTreeMap::new();
            for source in sources {
                let pipes = reader
                    .pipes_for_source(source.id)
                    .try_collect::<Vec<_>>()
                    .await
                    .map_err(|error| error.to_string())?;
                found.insert(source.handle, pipes.into_iter().map(|pipe| pipe.name).collect::<Vec<_>>());
            }
            let mut expected = tenant.sources.clone();
            for pipes in expected.values_mut() {
                pipes.sort();
            }
            if found != expected {
                return differ(format!("sources of {id}: {found:?}, not {expected:?}"));
            }
        }
        for (offer, id) in model.offers.iter().zip(&self.offers) {
            let row = reader.invite(*id).await;
            if model.tenants[offer.account].closed {
                if row.is_ok() {
                    return differ(format!("invite {id} of a closed account: {row:?}"));
                }
                continue;
            }
            let row = row.map_err(|error| error.to_string())?;
            let expected = match offer.fate {
                Fate::Pending if model.now >= offer.end => "expired",
                Fate::Pending => "pending",
                Fate::Accepted => "accepted",
                Fate::Declined => "declined",
                Fate::Revoked => "revoked",
            };
            let is_gone = |user: usize| model.people[user].forgotten;
            if offer.bound.is_some_and(is_gone) || offer.taken_by.is_some_and(is_gone) {
                if row.status_at(model.now).as_str() != expected || !row.invitee_username.is_empty() {
                    return differ(format!("invite {id} to a forgotten user: {row:?}, not {expected}"));
                }
                continue;
            }
            let user = offer.bound.map(|user| self.people[user]);
            if row.status_at(model.now).as_str() != expected || row.invitee_user_id != user {
                return differ(format!("invite {id}: {row:?}, not {expected} {user:?}"));
            }
        }
        for (token, id) in model.tokens.iter().zip(&self.tokens) {
            let rows = reader
                .bearer_tokens_for_user(self.people[token.user])
                .try_collect::<Vec<_>>()
                .await
                .map_err(|error| error.to_string())?;
            let row = rows.iter().find(|row| row.id == *id);
            if row.is_none_or(|row| row.revoked_at.is_some() != token.revoked) {
                return differ(format!("token {id}: {row:?}"));
            }
        }
        for (key, id) in model.keys.iter().zip(&self.keys) {
            let row = reader.api_key(*id).await.ok();
            let gone = model.tenants[key.account].closed;
            if row.as_ref().map(|row| row.revoked_at.is_some()) != (!gone).then_some(key.revoked) {
                return differ(format!("key {id}: {row:?}"));
            }
        }
        Ok(())
    }
}

/// Carries random commands out on two nodes, and calls `look` after each so many of them.
pub async fn random_history(
    database: &TestDatabase,
    (seed, count, every): (u64, usize, usize),
    mut look: impl AsyncFnMut(),
) -> [Tenure; 2] {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let open = || {
        let settings = Settings { connections: 4, ..database.settings() };
        Tenure::open(settings, clock.clone(), Arc::new(OsEntropy::default()))
    };
    let mut real = Real::on([open().await.unwrap(), open().await.unwrap()], clock.clone());
    for (number, command) in commands(seed, count).iter().enumerate() {
        real.tell(*command).await;
        if number % every == every - 1 {
            look().await;
        }
    }
    real.nodes
}

/// Runs the commands on both; gives the first difference.
async fn run(commands: &[Command]) -> Result<(), String> {
    let database = TestDatabase::new().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let open = || {
        let settings = Settings { connections: 4, ..database.settings() };
        Tenure::open(settings, clock.clone(), Arc::new(OsEntropy::default()))
    };
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    let mut model = Model { now: clock.now(), ..Model::default() };
    let mut real = Real::on([one, two], clock.clone());
    let outcome = walk(commands, &mut model, &mut real).await;
    let client = database.connect(None).await;
    if outcome.is_ok() {
        let fresh = open().await.unwrap();
        assert_tables_are_a_fold_of_the_log(&fresh).await;
        fresh.close().await;
    }
    for node in real.nodes {
        node.close().await;
    }
    // A listener goes on for a while; a difference takes many runs to shrink.
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid()";
    client.query(others, &[]).await.unwrap();
    outcome
}

async fn walk(commands: &[Command], model: &mut Model, real: &mut Real) -> Result<(), String> {
    for (number, command) in commands.iter().enumerate() {
        let (expected, found) = (model.tell(*command), real.tell(*command).await);
        if expected != found {
            return Err(format!("command {number}, {command:?}: {found:?}, not {expected:?}"));
        }
    }
    real.compare(model).await?;
    // What has ended looks the same whether its rows are still there or not.
    let (one, two) = tokio::join!(real.nodes[0].clear_away(), real.nodes[1].clear_away());
    one.and(two).map_err(|error| error.to_string())?;
    real.compare(model).await
}

/// Leaves out what a difference does not take, a part at a time.
async fn shrink(mut commands: Vec<Command>) -> (Vec<Command>, String) {
    let mut difference = run(&commands).await.expect_err("it differs");
    let mut part = commands.len() / 2;
    while part > 0 {
        let mut from = 0;
        while from < commands.len() {
            let mut fewer = commands.clone();
            fewer.drain(from..(from + part).min(commands.len()));
            match run(&fewer).await {
                Err(still) => (commands, difference) = (fewer, still),
                Ok(()) => from += part,
            }
        }
        part /= 2;
    }
    (commands, difference)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_commands_give_the_answers_and_the_tables_of_a_plain_model() {
    let seeds = std::env::var("TENURE_MODEL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    for seed in
        std::env::var("TENURE_MODEL_FROM").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)..=seeds
    {
        let commands = commands(seed, COMMANDS);
        if let Err(difference) = run(&commands).await {
            eprintln!("seed {seed}: {difference}; looking for the commands that it takes");
            let (commands, difference) = shrink(commands).await;
            panic!("seed {seed}: {difference}\nafter {commands:#?}");
        }
    }
}
