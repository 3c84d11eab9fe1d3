//! Reads the rows of a binary `COPY … TO STDOUT`, without decoding their values.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::TryStreamExt as _;
use tokio::time::timeout;
use tokio_postgres::{Client, CopyOutStream};

/// The signature of a binary COPY.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The signature, the flags and the length of the header extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// How long the server may take to send the next rows.
const NEXT_TIMEOUT: Duration = Duration::from_mins(1);

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The server refused the statement, or the connection was lost.
    #[error("{}", super::statement_reason(.0))]
    Statement(#[from] tokio_postgres::Error),
    /// The server stopped sending.
    #[error("the database sent nothing for {} s", NEXT_TIMEOUT.as_secs())]
    TimedOut,
    /// The bytes are not those of a binary COPY.
    #[error("the database sent rows that cannot be read")]
    Malformed,
}

/// The rows of a binary COPY, in the order in which the server sends them.
pub struct CopyRows {
    stream: Pin<Box<CopyOutStream>>,
    buffer: BytesMut,
    is_begun: bool,
}

impl CopyRows {
    /// Sends `copy (select) to stdout`.
    ///
    /// # Errors
    /// [`CopyError::Statement`] or [`CopyError::TimedOut`].
    pub async fn of(client: &Client, select: &str) -> Result<Self, CopyError> {
        let sql = format!("copy ({select}) to stdout (format binary)");
        let stream =
            timeout(NEXT_TIMEOUT, client.copy_out(&sql)).await.map_err(|_| CopyError::TimedOut)??;
        Ok(Self { stream: Box::pin(stream), buffer: BytesMut::new(), is_begun: false })
    }

    /// The fields of the next row, each a length (i32, -1 for null) and its bytes; `None` after the last row.
    ///
    /// # Errors
    /// [`CopyError`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, CopyError> {
        loop {
            if !self.is_begun && self.buffer.len() >= HEADER {
                if !self.buffer.starts_with(SIGNATURE) {
                    return Err(CopyError::Malformed);
                }
                self.buffer.advance(HEADER);
                self.is_begun = true;
            }
            if self.is_begun {
                match row(&self.buffer) {
                    Parsed::Row(length) => {
                        self.buffer.advance(2);
                        return Ok(Some(self.buffer.split_to(length).freeze()));
                    }
                    Parsed::End => return Ok(None),
                    Parsed::Incomplete => {}
                }
            }
            let chunk =
                timeout(NEXT_TIMEOUT, self.stream.try_next()).await.map_err(|_| CopyError::TimedOut)??;
            self.buffer.extend_from_slice(&chunk.ok_or(CopyError::Malformed)?);
        }
    }
}

/// What the buffer begins with.
enum Parsed {
    /// A row whose fields take this many bytes, after the two of their number.
    Row(usize),
    /// The trailer.
    End,
    /// Less than a row.
    Incomplete,
}

fn row(buffer: &[u8]) -> Parsed {
    let Some(count) = buffer.first_chunk().copied().map(i16::from_be_bytes) else {
        return Parsed::Incomplete;
    };
    let Ok(count) = usize::try_from(count) else { return Parsed::End };
    let mut place = 2;
    for _ in 0..count {
        let Some(length) = buffer.get(place..).and_then(<[u8]>::first_chunk) else {
            return Parsed::Incomplete;
        };
        place += 4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    }
    if place <= buffer.len() { Parsed::Row(place - 2) } else { Parsed::Incomplete }
}
