//! Lists that existing clients are given whole: written while they are read, a page at a time, and few of them at once.

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

/// How many such lists are read at once, and how many of them are one caller's.
const MAX_CONCURRENT: usize = 4;
const MAX_PER_CALLER: usize = 2;

/// How long a list waits for its turn.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a list may take to be read by its client.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// Whose turn it is to read a list whole.
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
    /// Waits for a turn.
    ///
    /// # Errors
    /// The caller is not authenticated, or too many lists are being read.
    pub async fn permit(&self, caller: Option<Uuid>) -> Result<Permit, ApiError> {
        let caller = caller.ok_or(ApiError::NoCredential)?;
        self.permits.acquire(caller, Instant::now() + self.timeout).await
    }

    /// Answers with a JSON object whose one member is the list. What goes wrong at its first page is answered as an error;
    /// later it cuts the answer, so that half a list is no JSON.
    ///
    /// # Errors
    /// There is no turn, or the first page cannot be read.
    pub async fn answer<T: Serialize + Send + 'static>(
        &self,
        caller: Option<Uuid>,
        member: &'static str,
        items: impl Stream<Item = Result<T, QueryError>> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let permit = self.permit(caller).await?;
        let mut pages = Box::pin(items.try_chunks(PAGE).map_err(|error| error.1));
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
        // The turn ends with the answer, however that ends.
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

    fn caller() -> Option<Uuid> {
        Some(Uuid::nil())
    }

    fn lists() -> UnpagedLists {
        UnpagedLists { permits: FairSemaphore::new(1, 9), timeout: Duration::from_millis(20) }
    }

    fn lost() -> QueryError {
        QueryError::Unavailable(ReadError::Unavailable("lost".into()))
    }

    #[tokio::test]
    async fn a_list_has_its_turn_until_it_is_read_or_left() {
        let lists = lists();
        let answer = lists.answer(caller(), "numbers", iter((0..1_000).map(Ok))).await.unwrap();
        assert!(matches!(lists.permit(caller()).await, Err(ApiError::TooMany { .. })));
        let octets = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let read: serde_json::Value = serde_json::from_slice(&octets).unwrap();
        assert_eq!(read["numbers"].as_array().unwrap().len(), 1_000);
        assert_eq!(read["numbers"][999], 999);
        drop(lists.answer(caller(), "numbers", iter((0..1_000).map(Ok))).await.unwrap());
        assert!(lists.permit(caller()).await.is_ok(), "a dropped answer gives the permit back");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_an_error_at_first_and_cuts_the_answer_later() {
        let lists = lists();
        let first = lists.answer(caller(), "numbers", iter([Err::<u32, _>(lost())])).await;
        assert!(first.is_err() && lists.permit(caller()).await.is_ok());
        let later = iter((0..1_000).map(|number| if number < 900 { Ok(number) } else { Err(lost()) }));
        let answer = lists.answer(caller(), "numbers", later).await.unwrap();
        assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err());
    }
}
