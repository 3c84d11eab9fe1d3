//! Generates deterministic users and accounts for measurements: a realistic mix, encoded as every command's events are.

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::Tenure;
use crate::aggregates::account::{Account, AccountEvent, AccountName};
use crate::aggregates::field::Invalid;
use crate::aggregates::user::{AvatarUrl, Email, GithubId, GithubLogin, User, UserEvent, UserMode, Username};
use crate::aggregates::{AnyEvent, EventSourced as _};
use crate::clock::Timestamp;
use crate::codec::{CodecError, Decided};
use crate::context::{Actor, Context};
use crate::entropy::{Entropy as _, SeededEntropy};
use crate::event_log::bulk::BulkError;
use crate::event_log::{EventLog, ReadError, Unit};
use crate::ids::{AccountId, EventId, UserId};

/// The approximate number of events per transaction.
const CHUNK: u64 = 40_000;

/// How many users form a group that shares accounts.
const PEOPLE: u64 = 5;

/// What has been generated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// The number of events.
    pub events: u64,
    /// The number of users.
    pub users: u64,
    /// The number of accounts.
    pub accounts: u64,
    /// The newest position of the log.
    pub position: i64,
}

/// Why the data could not be generated or stored.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log refused a chunk, or the database failed.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// An event cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A generated name is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Appends at least `events` events to the log, and calls `progress` with the number so far after each chunk.
///
/// The data depends only on the seed, the log's newest position and the clock.
///
/// # Errors
/// [`SeedError`] as its variants say. Chunks already reported stay in the log.
pub async fn generate(
    tenure: &Tenure,
    events: u64,
    seed: u64,
    progress: impl Fn(u64),
) -> Result<Seeded, SeedError> {
    let from = tenure.log().newest().await?;
    let mut writer = tenure.log().bulk_writer().await?;
    // Capacity 1: the next chunk is encoded while this one is written, and memory stays bounded.
    let (made_chunks, mut chunks) = mpsc::channel::<(Vec<Unit>, Seeded)>(1);
    let maker = Maker::new(tenure, seed, from);
    let making = tokio::spawn(maker.make(events, made_chunks));
    let mut seeded = Seeded { position: from, ..Seeded::default() };
    let clock = tenure.clock();
    while let Some((units, so_far)) = chunks.recv().await {
        let position = writer.append(&units, &*clock).await?;
        seeded = Seeded { position, ..so_far };
        progress(seeded.events);
    }
    if let Ok(made) = making.await {
        made?;
    }
    writer.analyse().await;
    Ok(seeded)
}

/// Encodes chunks of units.
struct Maker {
    log: EventLog,
    codec: crate::codec::Codec,
    entropy: SeededEntropy,
    at: Timestamp,
    prefix: String,
    metadata: Bytes,
}

impl Maker {
    fn new(tenure: &Tenure, seed: u64, from: i64) -> Self {
        // Mixed with the position, so that a second run with the same seed makes other identifiers.
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ from.unsigned_abs();
        Self {
            log: tenure.log().clone(),
            codec: tenure.codec().clone(),
            entropy: SeededEntropy::new(mixed),
            at: tenure.clock().now(),
            prefix: format!("s{from:x}-"),
            metadata: Bytes::from(Context::of(Actor::System).metadata()),
        }
    }

    async fn make(self, events: u64, chunks: mpsc::Sender<(Vec<Unit>, Seeded)>) -> Result<(), SeedError> {
        let mut seeded = Seeded::default();
        let mut group = 0;
        while seeded.events < events {
            let mut units = Vec::new();
            let begin = seeded.events;
            while seeded.events < events && seeded.events - begin < CHUNK {
                for decided in self.group(group, &mut seeded)? {
                    seeded.events += decided.len() as u64;
                    units.push(self.unit(decided).await?);
                }
                group += 1;
            }
            // The receiver is dropped when writing fails; `generate` has returned that error.
            if chunks.send((units, seeded)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Five users, two of whom own an account that the others join and leave. Each inner list is one unit.
    fn group(&self, number: u64, seeded: &mut Seeded) -> Result<Vec<Vec<Decided>>, SeedError> {
        let mut units = Vec::new();
        let mut people = Vec::new();
        for place in 0..PEOPLE {
            let user = UserId::new(self.at, &self.entropy);
            let event = self.person(number * PEOPLE + place)?;
            units.push(vec![self.first(user.as_uuid(), User::stream(user.as_uuid()), event.into())]);
            people.push(user);
            seeded.users += 1;
        }
        for (place, owner) in people.iter().take(2).enumerate() {
            let account = AccountId::new(self.at, &self.entropy).as_uuid();
            let at = self.at;
            let name = AccountName::parse(&format!("{}acme-{number}-{place}", self.prefix))?;
            let mut history = vec![AccountEvent::Opened { owner: *owner, at, name: name.into() }];
            for user in people.iter().filter(|user| *user != owner) {
                history.push(AccountEvent::MemberAdded { user: *user, at });
            }
            if number.is_multiple_of(3) {
                history.push(AccountEvent::MemberRemoved { user: people[4], at, removal: None });
            }
            if number.is_multiple_of(7) {
                history.push(AccountEvent::OwnershipTransferred { from: *owner, to: people[2], at });
            }
            let stream = Account::stream(account);
            for (version, event) in (1..).zip(history) {
                let event = Decided {
                    id: EventId::new(at, &self.entropy),
                    stream_id: account,
                    stream: stream.clone(),
                    version,
                    event: event.into(),
                };
                units.push(vec![event]);
            }
            seeded.accounts += 1;
        }
        Ok(units)
    }

    fn person(&self, number: u64) -> Result<UserEvent, SeedError> {
        let login = format!("{}p{number}", self.prefix);
        let from_github = !number.is_multiple_of(4);
        let mut id = [0; 8];
        self.entropy.fill(&mut id);
        let github_id = i64::try_from(u64::from_be_bytes(id) >> 2).unwrap_or(0) + 1;
        let github = from_github
            .then(|| Ok::<_, Invalid>((GithubId::new(github_id)?, GithubLogin::parse(&login)?)))
            .transpose()?;
        let (github_id, github_login) = github.unzip();
        let avatar_url =
            from_github.then(|| AvatarUrl::parse(&format!("https://avatars.example/{login}"))).transpose()?;
        Ok(UserEvent::Registered {
            mode: if from_github { UserMode::Github } else { UserMode::Internal },
            at: self.at,
            username: Username::parse(&login)?.into(),
            email: Some(Email::parse(&format!("{login}@people.example"))?).into(),
            github_id: github_id.into(),
            github_login: github_login.into(),
            avatar_url: avatar_url.into(),
        })
    }

    fn first(&self, stream_id: Uuid, stream: crate::event_log::StreamId, event: AnyEvent) -> Decided {
        Decided { id: EventId::new(self.at, &self.entropy), stream_id, stream, version: 1, event }
    }

    async fn unit(&self, mut decided: Vec<Decided>) -> Result<Unit, SeedError> {
        let mut unit = Unit { at: self.at, ..Unit::default() };
        self.codec.encode(&mut unit, &mut decided, &self.metadata, self.log.primary()).await?;
        Ok(unit)
    }
}
