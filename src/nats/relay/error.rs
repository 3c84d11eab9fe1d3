//! Why the relay does not get on.

use crate::event_log::ReadError;
use crate::nats::error::NatsError;

/// Why the relay has stopped, until it is told from where to go on, or the reason is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    /// The stream was made and is not there any more.
    #[error(
        "the stream {stream} is gone, which held the events from position {first} to {relayed}; say from where another one begins: \
         `tenure nats relay --from 1`, `--from head` or `--from N`"
    )]
    StreamGone {
        /// Its name.
        stream: String,
        /// The first position that it carried.
        first: i64,
        /// The newest position that was seen in it.
        relayed: i64,
    },
    /// The stream was made by someone else.
    #[error(
        "the stream {stream} was not made by the relay of this log; copy what you need of it, and delete it"
    )]
    StreamOfOthers {
        /// Its name.
        stream: String,
    },
    /// The stream holds a message that is not the log's event of that position.
    #[error(
        "the stream {stream} holds at sequence {sequence} a message that is not the log's event of that position: someone else \
         publishes there; look at it, and have the stream made anew: `tenure nats relay --from 1`, `--from head` or `--from N`"
    )]
    OtherMessage {
        /// The stream's name.
        stream: String,
        /// The message.
        sequence: i64,
    },
    /// Every message has expired, and it is not known what the last ones were.
    #[error(
        "the stream {stream} is at sequence {sequence}, its messages have expired, and the relay has published only up to {relayed}: \
         someone else may have published there; have the stream made anew: `tenure nats relay --from {next}`"
    )]
    NotVerified {
        /// The stream's name.
        stream: String,
        /// Its last sequence.
        sequence: i64,
        /// The newest position that was seen in it.
        relayed: i64,
        /// The position after that.
        next: i64,
    },
    /// The stream has events that the log does not have.
    #[error(
        "the stream {stream} has events up to position {tail}, the log only up to {head}: the database has lost events; run \
         `tenure log new-epoch --yes`, and the events get a stream of the new epoch"
    )]
    StreamAhead {
        /// The stream's name.
        stream: String,
        /// Its last sequence.
        tail: i64,
        /// The newest position of the log.
        head: i64,
    },
    /// The stream has forgotten the sequence that it began at.
    #[error(
        "the stream {stream} goes on at sequence {next}, though it began at {first}: the server has lost its state; have the stream \
         made anew: `tenure nats relay --from 1`, `--from head` or `--from N`"
    )]
    StreamReset {
        /// The stream's name.
        stream: String,
        /// The sequence of the next message.
        next: i64,
        /// The first position that it should carry.
        first: i64,
    },
    /// Events within the stream were lost again, soon after it was made anew for that.
    #[error(
        "the stream {stream} has lost events again soon after it was made anew; look at the server's disk, then have the stream made \
         anew: `tenure nats relay --from 1`, `--from head` or `--from N`"
    )]
    LosesEvents {
        /// The stream's name.
        stream: String,
    },
    /// A stream should begin where the log does not reach yet.
    #[error(
        "the relay cannot begin at position {from}: the log's newest event has position {head}; say another beginning: \
         `tenure nats relay --from 1`, `--from head` or `--from N`"
    )]
    BeyondHead {
        /// Where it should begin.
        from: i64,
        /// The newest position.
        head: i64,
    },
}

/// Why the relay does not get on.
#[derive(Debug, thiserror::Error)]
pub(in crate::nats) enum RelayError {
    /// It has to look at the stream again: another node, or a message before, was faster.
    #[error("{0}")]
    LookAgain(&'static str),
    /// Another node has the lease.
    #[error("another node relays")]
    NotLeading,
    /// It has stopped.
    #[error(transparent)]
    Refused(#[from] RelayRefusal),
    /// A message is larger than the server takes.
    #[error(
        "the event at position {position}, {bytes} bytes and its headers, is more than the {most} bytes that the server takes; raise \
         its max_payload"
    )]
    TooLarge {
        /// The event.
        position: i64,
        /// The size of its payload.
        bytes: usize,
        /// The server's limit.
        most: usize,
    },
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}
