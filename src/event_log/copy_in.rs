//! Rows for a binary `COPY … FROM STDIN`: the one encoder of bulk appends and of rebuilds.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type};

use super::wire::EncodeError;

/// The signature, the flags, and the length of the header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of -1.
const TRAILER: &[u8] = &[0xff, 0xff];

/// The length that stands for null.
pub(crate) const NULL: i32 = -1;

/// How many bytes are sent at a time.
const CHUNK: usize = 128 * 1024;

/// Appends a field: the length of its value (i32, big-endian, -1 for null) and the value.
pub(crate) fn put_field(out: &mut BytesMut, ty: &Type, value: &impl ToSql) -> Result<(), EncodeError> {
    let place = out.len();
    out.put_i32(NULL);
    if let IsNull::No = value.to_sql_checked(ty, out)? {
        let length = i32::try_from(out.len() - place - 4)?;
        out[place..place + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// Begins a row of so many fields.
pub(crate) fn begin_row(out: &mut BytesMut, fields: usize) {
    out.put_i16(i16::try_from(fields).unwrap_or(i16::MAX));
}

/// Stores rows in these columns of a table.
pub(crate) async fn copy_in(
    client: &Client,
    table: &str,
    columns: &str,
    mut rows: Bytes,
) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in(&format!("copy {table} ({columns}) from stdin (format binary)")).await?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(Bytes::from_static(HEADER)).await?;
    while !rows.is_empty() {
        let chunk = rows.split_to(rows.len().min(CHUNK));
        sink.send(chunk).await?;
    }
    sink.feed(Bytes::from_static(TRAILER)).await?;
    sink.finish().await?;
    Ok(())
}
