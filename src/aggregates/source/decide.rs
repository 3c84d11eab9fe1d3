//! The rules of a source and its pipes.

use super::commands::SourceCommand;
use super::events::SourceEvent;
use super::refusal::SourceRefusal;
use super::state::{Active, Source};
use crate::aggregates::EventSourced;

impl EventSourced for Source {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: SourceCommand) -> Result<Vec<SourceEvent>, SourceRefusal> {
        match (self, command) {
            (Self::Unknown, SourceCommand::Create(new)) => Ok(vec![SourceEvent::Created {
                account: new.account,
                created_by: new.created_by,
                handle: new.handle,
                kind: new.kind,
                at: new.at,
            }]),
            (Self::Active(_) | Self::Deleted, SourceCommand::Create(_)) => Err(SourceRefusal::AlreadyCreated),
            (Self::Unknown | Self::Deleted, _) => Err(SourceRefusal::NotFound),
            (Self::Active(source), command) => decide_active(source, command),
        }
    }
}

fn decide_active(source: &Active, command: SourceCommand) -> Result<Vec<SourceEvent>, SourceRefusal> {
    let account = source.account;
    Ok(match command {
        SourceCommand::Create(_) => return Err(SourceRefusal::AlreadyCreated),
        SourceCommand::CreatePipe(new) => {
            if source.kind.is_auto_pipe(new.name.as_str()) || source.pipes.contains_key(&new.name) {
                return Err(SourceRefusal::PipeNameTaken);
            }
            vec![SourceEvent::PipeCreated {
                account,
                pipe: new.id,
                created_by: new.created_by,
                name: new.name,
                retention: new.retention,
                at: new.at,
            }]
        }
        SourceCommand::ChangeRetention { name, retention, at } => {
            let (pipe, kept) = source.pipes.get(&name).ok_or(SourceRefusal::PipeNotFound)?;
            if *kept == retention {
                vec![]
            } else {
                vec![SourceEvent::PipeRetentionChanged { account, pipe: *pipe, retention, at }]
            }
        }
        SourceCommand::DeletePipe { name, at } => {
            let (pipe, _) = source.pipes.get(&name).ok_or(SourceRefusal::PipeNotFound)?;
            vec![SourceEvent::PipeDeleted { account, pipe: *pipe, name, at }]
        }
        SourceCommand::Delete { at } => {
            let pipe_ends = source.pipes.iter().map(|(name, (pipe, _))| SourceEvent::PipeDeleted {
                account,
                pipe: *pipe,
                name: name.clone(),
                at,
            });
            let end = SourceEvent::Deleted { account, handle: source.handle.clone(), at };
            pipe_ends.chain([end]).collect()
        }
    })
}
