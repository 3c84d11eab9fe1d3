//! Lists that existing clients expect unpaged: streamed a page at a time, and only a few at once.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, StreamExt as _, TryStreamExt as _, once};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ApiError;
use super::fair_semaphore::{FairSemaphore, Permit};
use crate::projections::QueryError;
use crate::projections::page::PAGE;

/// How many unpaged lists are read at once on a node, and how many of them for one caller.
const MAX_CONCURRENT: usize = 4;
const MAX_PER_CALLER: usize = 2;

/// How long a request waits for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a client may take to read a list.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// Bounds how many unpaged lists are read at once.
pub struct UnpagedLists {
    permits: FairSemaphore,
    timeout: Duration,
}

impl Default for UnpagedLists {
    fn default() -> Self {
        Self { permits: FairSemaphore::new(MAX_CONCURRENT, MAX_PER_CALLER), timeout: PERMIT_TIMEOUT }
    }
}

impl UnpagedLists {
    /// Waits for a permit to read a list.
    ///
    /// # Errors
    /// [`ApiError::NoCredential`] if the caller is anonymous; [`ApiError::TooMany`] if no permit is free in time.
    pub async fn permit(&self, caller: Option<Uuid>) -> Result<Permit, ApiError> {
        let caller = caller.ok_or(ApiError::NoCredential)?;
        self.permits.acquire(caller, Instant::now() + self.timeout).await
    }

    /// Streams a JSON object whose one member is the list. An error on the first page is returned; a later one breaks
    /// off the response, so that the client gets invalid JSON instead of half a list.
    ///
    /// # Errors
    /// Those of [`UnpagedLists::permit`], and an error of the first page.
    pub async fn answer<T: Serialize + Send + 'static>(
        &self,
        caller: Option<Uuid>,
        member: &'static str,
        items: impl Stream<Item = Result<T, QueryError>> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let permit = self.permit(caller).await?;
        let mut pages = Box::pin(items.try_chunks(PAGE).map_err(|error| error.1));
        // The first page before the status line is sent: an error can still have its own status.
        let first = pages.next().await.transpose()?.unwrap_or_default();
        let mut is_first = true;
        let pages = once(async { Ok(first) }).chain(pages).map(move |page| {
            let page: Vec<T> = page?;
            let mut octets = Vec::new();
            for item in page {
                if !std::mem::take(&mut is_first) {
                    octets.push(b',');
                }
                serde_json::to_writer(&mut octets, &item)?;
            }
            Ok::<_, axum::BoxError>(Bytes::from(octets))
        });
        let text = |text: String| once(async { Ok::<_, axum::BoxError>(Bytes::from(text)) });
        let whole = text(format!("{{\"{member}\":[")).chain(pages).chain(text("]}".to_owned()));
        let deadline = tokio::time::sleep(LIST_TIMEOUT);
        // The stream owns the permit: it is released when the response has been sent or the client is gone.
        let whole = whole.take_until(deadline).inspect(move |_| {
            let _ = &permit;
        });
        Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(whole)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::stream::iter;

    use super::*;
    use crate::event_log::ReadError;

    const CALLER: Option<Uuid> = Some(Uuid::nil());

    fn lists() -> UnpagedLists {
        UnpagedLists { permits: FairSemaphore::new(1, 9), timeout: Duration::from_millis(20) }
    }

    fn lost() -> QueryError {
        QueryError::Unavailable(ReadError::Unavailable("lost".into()))
    }

    #[tokio::test]
    async fn a_list_has_its_turn_until_it_is_read_or_left() {
        let lists = lists();
        let answer = lists.answer(CALLER, "numbers", iter((0..1_000).map(Ok))).await.unwrap();
        assert!(matches!(lists.permit(CALLER).await, Err(ApiError::TooMany { .. })));
        let octets = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let read: serde_json::Value = serde_json::from_slice(&octets).unwrap();
        assert_eq!(read["numbers"].as_array().unwrap().len(), 1_000);
        assert_eq!(read["numbers"][999], 999);
        drop(lists.answer(CALLER, "numbers", iter((0..1_000).map(Ok))).await.unwrap());
        assert!(lists.permit(CALLER).await.is_ok(), "a dropped answer gives the permit back");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_an_error_at_first_and_cuts_the_answer_later() {
        let lists = lists();
        let first = lists.answer(CALLER, "numbers", iter([Err::<u32, _>(lost())])).await;
        assert!(first.is_err() && lists.permit(CALLER).await.is_ok());
        let later = iter((0..1_000).map(|number| if number < 900 { Ok(number) } else { Err(lost()) }));
        let answer = lists.answer(CALLER, "numbers", later).await.unwrap();
        assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err());
    }
}
