//! The events of one group: a few people, the accounts that they share, and what they do there.

use uuid::Uuid;

use super::error::SeedError;
use crate::aggregates::account::{Account, AccountEvent, AccountName};
use crate::aggregates::api_key::{ApiKey, ApiKeyEvent, KeyHash, KeyPrefix, Label};
use crate::aggregates::bearer_token::{BearerToken, BearerTokenEvent};
use crate::aggregates::device_code::{ClientName, DeviceCode, DeviceCodeEvent, UserCode};
use crate::aggregates::ending::{Ended, Ending, EndingEvent};
use crate::aggregates::field::Invalid;
use crate::aggregates::invite::{Invite, InviteEnd, InviteEvent, InviteeKey};
use crate::aggregates::secret::SecretDigest;
use crate::aggregates::session::{Session, SessionEvent};
use crate::aggregates::source::{Handle, PipeName, Retention, Source, SourceEvent, SourceKind};
use crate::aggregates::user::{AvatarUrl, Email, GithubId, GithubLogin, User, UserEvent, UserMode, Username};
use crate::aggregates::{AnyEvent, EventSourced};
use crate::clock::Timestamp;
use crate::codec::Decided;
use crate::entropy::{Entropy, SeededEntropy};
use crate::ids::{
    AccountId, ApiKeyId, BearerTokenId, DeviceCodeId, EventId, InviteId, NameKeyId, PipeId, SessionId,
    SourceId, UserId,
};

/// How many people a group has.
pub(super) const PEOPLE: u64 = 5;

/// An argon2id string that no secret has: making a million real ones would take days.
const HASH: &str =
    "$argon2id$v=19$m=65536,t=1,p=4$c2VlZHNlZWRzZWVkc2VlZA$c2VlZHNlZWRzZWVkc2VlZHNlZWRzZWVkc2VlZHNlZWQ";

/// How long what is made lasts.
const DAY: std::time::Duration = std::time::Duration::from_hours(24);

/// Makes the events of a group, in the order in which commands would have stored them.
pub(super) struct Group<'a> {
    entropy: &'a SeededEntropy,
    at: Timestamp,
    prefix: &'a str,
    number: u64,
    pub(super) decided: Vec<Decided>,
    pub(super) accounts: u64,
    pub(super) users: u64,
}

impl<'a> Group<'a> {
    pub(super) const fn new(entropy: &'a SeededEntropy, at: Timestamp, prefix: &'a str, number: u64) -> Self {
        Self { entropy, at, prefix, number, decided: Vec::new(), accounts: 0, users: 0 }
    }

    /// About 75 events: people sign up and in, own, join and leave accounts, mint keys, invite, authorise devices, and make
    /// sources with pipes. In some groups somebody is forgotten, or an account is closed.
    pub(super) fn make(mut self) -> Result<Self, SeedError> {
        let mut people = Vec::new();
        for place in 0..PEOPLE {
            let number = self.number * PEOPLE + place;
            people.push((self.person(&format!("{}p{number}", self.prefix), number)?, number));
        }
        for place in 0..2 {
            self.account(&people, place)?;
        }
        for (user, _) in people.iter().take(3) {
            self.session(*user, user == &people[0].0);
        }
        self.device(people[1].0, people[1].1)?;
        if self.number.is_multiple_of(10) {
            self.forgotten()?;
        }
        if self.number.is_multiple_of(15) {
            self.closed(people[3].0)?;
        }
        Ok(self)
    }

    fn id<T>(&self, make: fn(Timestamp, &dyn Entropy) -> T) -> T {
        make(self.at, self.entropy)
    }

    /// Adds an event to the stream of an aggregate.
    fn add<A: EventSourced>(&mut self, id: Uuid, event: impl Into<AnyEvent>) {
        let stream = A::stream(id);
        // A group is small, so the streams in it are searched from the end.
        let last = self.decided.iter().rev().find(|decided| decided.stream == stream);
        let version = last.map_or(1, |last| last.version + 1);
        let id_of_event = self.id(EventId::new);
        self.decided.push(Decided { id: id_of_event, stream_id: id, stream, version, event: event.into() });
    }

    fn person(&mut self, login: &str, number: u64) -> Result<UserId, SeedError> {
        let user = self.id(UserId::new);
        let from_github = !number.is_multiple_of(4);
        let mut id = [0; 8];
        self.entropy.fill(&mut id);
        let github_id = i64::try_from(u64::from_be_bytes(id) >> 2).unwrap_or(0) + 1;
        let github = from_github
            .then(|| Ok::<_, Invalid>((GithubId::new(github_id)?, GithubLogin::parse(login)?)))
            .transpose()?;
        let (github_id, github_login) = github.unzip();
        let avatar_url =
            from_github.then(|| AvatarUrl::parse(&format!("https://avatars.example/{login}"))).transpose()?;
        let event = UserEvent::Registered {
            mode: if from_github { UserMode::Github } else { UserMode::Internal },
            at: self.at,
            username: Username::parse(login)?.into(),
            email: Some(Email::parse(&format!("{login}@people.example"))?).into(),
            github_id: github_id.into(),
            github_login: github_login.into(),
            avatar_url: avatar_url.into(),
        };
        self.add::<User>(user.as_uuid(), event);
        self.users += 1;
        Ok(user)
    }

    fn open(&mut self, owner: UserId, name: &str) -> Result<AccountId, SeedError> {
        let account = self.id(AccountId::new);
        let event = AccountEvent::Opened { owner, at: self.at, name: AccountName::parse(name)?.into() };
        self.add::<Account>(account.as_uuid(), event);
        self.accounts += 1;
        Ok(account)
    }

    /// An account of one of the people, which the others join by their owner or by an invite.
    fn account(&mut self, people: &[(UserId, u64)], place: usize) -> Result<(), SeedError> {
        let at = self.at;
        let owner = people[place].0;
        let account = self.open(owner, &format!("{}acme-{}-{place}", self.prefix, self.number))?;
        let others: Vec<(UserId, u64)> = people.iter().copied().filter(|(user, _)| *user != owner).collect();
        for (user, _) in &others[..3] {
            self.add::<Account>(account.as_uuid(), AccountEvent::MemberAdded { user: *user, at });
        }
        if self.number.is_multiple_of(3) {
            let event = AccountEvent::MemberRemoved { user: others[0].0, at, removal: None };
            self.add::<Account>(account.as_uuid(), event);
        }
        let (invited, number) = others[3];
        self.invite(account, owner, invited, &format!("{}p{number}", self.prefix))?;
        self.invite_of_a_stranger(account, owner, place)?;
        for key in 0..3_u64 {
            self.key(account, owner, key)?;
        }
        for handle in ["builder", "robot"] {
            self.source(account, owner, handle)?;
        }
        if self.number.is_multiple_of(7) {
            let event = AccountEvent::OwnershipTransferred { from: owner, to: others[1].0, at };
            self.add::<Account>(account.as_uuid(), event);
        }
        Ok(())
    }

    fn invite(
        &mut self,
        account: AccountId,
        inviter: UserId,
        user: UserId,
        name: &str,
    ) -> Result<(), SeedError> {
        let (invite, at) = (self.id(InviteId::new).as_uuid(), self.at);
        let username = Username::parse(name)?;
        let created = InviteEvent::Created {
            account,
            inviter,
            bound: Some(user),
            mode: UserMode::Github,
            at,
            expires_at: at.after(14 * DAY),
            invitee_key: Some(InviteeKey::User(user)),
            invitee: username.clone().into(),
        };
        self.add::<Invite>(invite, created);
        let accepted = InviteEvent::Accepted(InviteEnd {
            account,
            user: Some(user),
            at,
            was_pending: true,
            was_bound: true,
            invitee_key: Some(InviteeKey::User(user)),
            invitee: username.into(),
        });
        self.add::<Invite>(invite, accepted);
        self.add::<Account>(account.as_uuid(), AccountEvent::MemberAdded { user, at });
        Ok(())
    }

    /// An invite to a name that nobody has yet.
    fn invite_of_a_stranger(
        &mut self,
        account: AccountId,
        inviter: UserId,
        place: usize,
    ) -> Result<(), SeedError> {
        let (invite, at) = (self.id(InviteId::new).as_uuid(), self.at);
        let name = format!("{}x{}-{place}", self.prefix, self.number);
        let created = InviteEvent::Created {
            account,
            inviter,
            bound: None,
            mode: UserMode::Github,
            at,
            expires_at: at.after(14 * DAY),
            invitee_key: Some(InviteeKey::Name { id: self.id(NameKeyId::new), begins: true }),
            invitee: Username::parse(&name)?.into(),
        };
        self.add::<Invite>(invite, created);
        Ok(())
    }

    fn key(&mut self, account: AccountId, minter: UserId, place: u64) -> Result<(), SeedError> {
        let (key, at) = (self.id(ApiKeyId::new), self.at);
        let random = key.as_uuid().simple().to_string();
        let event = ApiKeyEvent::Minted {
            account,
            minter,
            removals: 0,
            prefix: KeyPrefix::of(&random[24..]),
            at,
            expires_at: (place == 1).then(|| at.after(90 * DAY)),
            hash: KeyHash::parse(HASH)?.into(),
            label: Label::parse("deploy")?.into(),
        };
        self.add::<ApiKey>(key.as_uuid(), event);
        if place == 2 {
            self.add::<ApiKey>(key.as_uuid(), ApiKeyEvent::Revoked { account, at });
        }
        Ok(())
    }

    fn source(&mut self, account: AccountId, created_by: UserId, handle: &str) -> Result<(), SeedError> {
        let (source, at) = (self.id(SourceId::new).as_uuid(), self.at);
        let created = SourceEvent::Created {
            account,
            created_by,
            handle: Handle::parse(handle)?,
            kind: SourceKind::Message,
            at,
        };
        self.add::<Source>(source, created);
        for name in ["logs", "results"] {
            let event = SourceEvent::PipeCreated {
                account,
                pipe: self.id(PipeId::new),
                created_by,
                name: PipeName::parse(name)?,
                retention: Retention::new(Some(86_400), Some(1_000), Some(64 << 20))?,
                at,
            };
            self.add::<Source>(source, event);
        }
        Ok(())
    }

    /// The digest of a secret that nobody knows.
    fn digest(&self) -> SecretDigest {
        let mut secret = [0; 32];
        self.entropy.fill(&mut secret);
        SecretDigest::of(&format!("{secret:?}"))
    }

    fn session(&mut self, user: UserId, ends: bool) {
        let (session, at) = (self.id(SessionId::new).as_uuid(), self.at);
        let event =
            SessionEvent::Started { user, at, expires_at: at.after(30 * DAY), digest: self.digest().into() };
        self.add::<Session>(session, event);
        if ends {
            self.add::<Session>(session, SessionEvent::Ended { user, at });
        }
    }

    /// A device asks, the person approves, and the device gets a token.
    fn device(&mut self, user: UserId, number: u64) -> Result<(), SeedError> {
        let (code, at) = (self.id(DeviceCodeId::new).as_uuid(), self.at);
        let mut octets = [0; 32];
        self.entropy.fill(&mut octets);
        let user_code = UserCode::from_random(&octets).unwrap_or(UserCode::parse("BCDFGHJK")?);
        let created = DeviceCodeEvent::Created {
            at,
            expires_at: at.after(DAY / 144),
            digest: self.digest().into(),
            user_code: user_code.clone().into(),
            client_name: ClientName::parse(&format!("laptop of p{number}"))?.into(),
        };
        self.add::<DeviceCode>(code, created);
        self.add::<DeviceCode>(code, DeviceCodeEvent::Approved { user, at });
        self.add::<DeviceCode>(code, DeviceCodeEvent::Consumed { user, at, user_code: user_code.into() });
        let token = self.id(BearerTokenId::new).as_uuid();
        let prefix = KeyPrefix::of(&token.simple().to_string()[24..]);
        let event = BearerTokenEvent::Issued {
            user,
            prefix,
            at,
            expires_at: at.after(30 * DAY),
            digest: self.digest().into(),
        };
        self.add::<BearerToken>(token, event);
        if number.is_multiple_of(4) {
            self.add::<BearerToken>(token, BearerTokenEvent::Revoked { user, at });
        }
        Ok(())
    }

    /// Somebody who signs up and asks to be forgotten.
    fn forgotten(&mut self) -> Result<(), SeedError> {
        let login = format!("{}f{}", self.prefix, self.number);
        let (user, at) = (self.person(&login, 4)?, self.at);
        let event = UserEvent::Forgotten {
            at,
            name_keys: Vec::new(),
            username: Username::parse(&login)?.into(),
            github_id: None.into(),
        };
        self.add::<User>(user.as_uuid(), event);
        self.finished(Ended::Person(user));
        Ok(())
    }

    /// An account that is opened and closed.
    fn closed(&mut self, owner: UserId) -> Result<(), SeedError> {
        let name = format!("{}gone-{}", self.prefix, self.number);
        let account = self.open(owner, &name)?;
        let event =
            AccountEvent::Closed { listed: None, at: self.at, name: AccountName::parse(&name)?.into() };
        self.add::<Account>(account.as_uuid(), event);
        self.finished(Ended::Account(account));
        Ok(())
    }

    /// Nothing is left to be cleared away.
    fn finished(&mut self, of: Ended) {
        self.add::<Ending>(of.id(), EndingEvent::Finished { of });
    }
}
