//! `GET /assets/style.css`: the style sheet of the pages.

use axum::http::header;
use axum::response::IntoResponse;

/// The style sheet, cached by browsers for an hour.
pub async fn style() -> impl IntoResponse {
    let headers =
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")];
    (headers, include_str!("templates/style.css"))
}
