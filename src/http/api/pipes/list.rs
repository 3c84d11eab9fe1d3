//! `GET /api/v1/accounts/{account}/sources/{handle}/pipes`: lists the pipes of a source.

use axum::extract::{Path, State};

use super::PipeRecord;
use crate::http::api::pipes::{auto_pipe_record, pipe_record, pipe_states};
use crate::http::api::sources::source_of;
use crate::http::as_of::{PagingAsOf, Shown, view_page};
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::Page;
use crate::http::policy::Permission;
use crate::http::state::SharedState;
use crate::nats::streams::StreamOf;

/// List the pipes of a source
///
/// Automatic pipes first, then created pipes sorted by name. For API keys of the account, its members and owner, and
/// operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}/pipes", operation_id = "listPipes",
    tag = "pipes",
    params(("account" = String, Path, description = "The account's identifier or name"),
        ("handle" = String, Path, description = "The source's handle"), PagingAsOf),
    responses((status = 200, description = "A page of pipes", body = Page<PipeRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle)): Path<(String, String)>,
    Parameters(query): Parameters<PagingAsOf>,
) -> Result<Shown<Page<PipeRecord>>, ApiError> {
    let (view, wanted) = view_page::<String>(&state, read.caller, Permission::Read, &account, query).await?;
    let account = &view.now;
    let source = source_of(&state, &view, &handle).await?;
    let (bounds, after) = (wanted.bounds, wanted.after.unwrap_or_default());
    // The streams are those of now.
    let states = if view.is_past() { None } else { pipe_states(&state, account.id).await? };
    let found = |name: &str, of| states.as_ref().map(|states| states.of(&handle, name, of));
    // Cursors: `0` and a number for an automatic pipe, `1` and the name for a created one, so that automatic pipes sort
    // first.
    let auto = source.kind.auto_pipes().iter().enumerate();
    let mut pipes: Vec<(String, PipeRecord)> = auto
        .map(|(place, name)| {
            let record =
                auto_pipe_record(&state, &source, name).with(found(name, StreamOf::Source(source.id)));
            (format!("0{place:02}"), record)
        })
        .filter(|(key, _)| *key > after)
        .collect();
    // A cursor at an automatic pipe continues with the first created one.
    let after = after.strip_prefix('1').unwrap_or_default();
    let made = view.reader.pipes_after(source.id, after, bounds.size + 1).await?;
    pipes.extend(made.into_iter().map(|pipe| {
        let found = found(&pipe.name, StreamOf::Pipe(pipe.id));
        (format!("1{}", pipe.name), pipe_record(&state, account.id, &handle, pipe).with(found))
    }));
    Ok(view.show(Page::of(&state, pipes, bounds, |(key, _)| key.clone(), |(_, pipe)| pipe)?))
}
