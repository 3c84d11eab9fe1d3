//! `tenure audit explain`: why things are as they are.

use clap::{Args, ValueEnum};

use super::{lookup, output};
use crate::Tenure;
use crate::explain::{Entry, ExplainError, SEARCHED, Thing, Viewer};
use crate::operations::Resource;

/// How many events are read at a time.
const PAGE: usize = 500;

#[derive(Args)]
pub(super) struct Question {
    /// The kind of thing
    #[arg(value_enum)]
    kind: Kind,
    /// Its identifier; accounts and users also by name, sources also as ACCOUNT/HANDLE, events by position
    id: String,
    /// Tell at most so many events [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// An account, with everything in it
    Account,
    /// A user, with their tokens, sessions, invites and the accounts that they belong to or were invited to; not their keys
    User,
    /// An API key
    Key,
    /// An invite
    Invite,
    /// A source, with its pipes
    Source,
    /// An event: what caused it, and what it caused
    Event,
}

/// Tells the story of a thing, or the causes and effects of an event.
pub(super) async fn run(tenure: &Tenure, as_json: bool, question: Question) -> anyhow::Result<()> {
    let Question { kind, id, limit } = question;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let thing = match kind {
        Kind::Event => return event(tenure, as_json, &id).await,
        // A malformed name or identifier is nobody's.
        Kind::Account if id.parse::<uuid::Uuid>().is_err() => {
            Thing::Account(lookup::account(tenure, &id).await?.id)
        }
        Kind::Account => Thing::Account(lookup::id(&id, Resource::Account)?),
        Kind::User if id.parse::<uuid::Uuid>().is_err() => Thing::User(lookup::user(tenure, &id).await?.id),
        Kind::User => Thing::User(lookup::id(&id, Resource::User)?),
        Kind::Key => Thing::Key(lookup::id(&id, Resource::ApiKey)?),
        Kind::Invite => Thing::Invite(lookup::id(&id, Resource::Invite)?),
        Kind::Source => Thing::Source(match id.split_once('/') {
            Some((account, handle)) => {
                let account = lookup::account(tenure, account).await?.id;
                let found = tenure.reader().source_by_handle(account, handle).await;
                found.map_err(|error| lookup::missing(error, Resource::Source))?.id
            }
            None => lookup::id(&id, Resource::Source)?,
        }),
    };
    let (mut after, mut told) = (0, 0);
    loop {
        let page = limit.map_or(PAGE, |limit| PAGE.min(limit - told));
        let story = tenure.explain(thing, Viewer::Operator, after, page).await?;
        for entry in &story.entries {
            print(as_json, entry, "")?;
        }
        told += story.entries.len();
        match story.next {
            Some(next) if limit.is_none_or(|limit| told < limit) => after = next,
            Some(_) => return note(as_json, "… and more; raise --limit"),
            None if story.is_partial => {
                return note(
                    as_json,
                    "older credentials and invites of this user are not followed; ask for them one by one",
                );
            }
            None => return Ok(()),
        }
    }
}

async fn event(tenure: &Tenure, as_json: bool, id: &str) -> anyhow::Result<()> {
    let position = match (id.parse::<i64>(), id.parse::<crate::ids::EventId>()) {
        (Ok(position), _) => position,
        (_, Ok(id)) => {
            let found = tenure.find_event(id).await?;
            found.ok_or_else(|| ExplainError::NoEvent(id.to_string()))?.position
        }
        _ => {
            return Err(ExplainError::NoEvent(format!(
                "`{id}`: give a position or the identifier of an event"
            ))
            .into());
        }
    };
    let chain = tenure.explain_event(position, Viewer::Operator).await?;
    if as_json {
        return output::json(&serde_json::to_value(&chain)?);
    }
    for (depth, entry) in chain.causes.iter().chain([&chain.event]).enumerate() {
        print(false, entry, &"  ".repeat(depth))?;
    }
    for entry in &chain.effects {
        print(false, entry, &"  ".repeat(chain.causes.len() + 1))?;
    }
    output::line(&format!("effects are searched among the {SEARCHED} events after it"))
}

/// Prints an event of a story: as JSON on a line of its own, or as lines for people.
fn print(as_json: bool, entry: &Entry, indent: &str) -> anyhow::Result<()> {
    if as_json {
        return output::json(&serde_json::to_value(entry)?);
    }
    let event = &entry.event;
    let (kind, id) = (&event.stream_type, &event.stream_id);
    output::line(&format!(
        "{indent}{}  {}  {}  [{kind} {id}]",
        event.recorded_at, event.position, entry.what
    ))?;
    let facts: Vec<String> = entry.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !facts.is_empty() {
        output::line(&format!("{indent}    {}", facts.join(" · ")))?;
    }
    let because = match &entry.because {
        Some(because) => match (because.position, &because.event_type) {
            (Some(position), Some(kind)) => format!(", because of {kind} at {position}"),
            _ => format!(", because of event {}", because.event_id),
        },
        None => String::new(),
    };
    output::line(&format!("{indent}    by {}{because}", entry.who))
}

fn note(as_json: bool, text: &str) -> anyhow::Result<()> {
    if as_json { Ok(()) } else { output::line(text) }
}
