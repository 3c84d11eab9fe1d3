//! `GET /api/v1/accounts/{account}/sources/{handle}/pipes`: the pipes of a source.

use axum::Json;
use axum::extract::{Path, State};

use super::PipeRecord;
use crate::http::error::ApiError;
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::pagination::{Page, Paging};
use crate::http::policy::Permission;
use crate::http::state::SharedState;

/// The pipes of a source: those that it has by itself, then those that people have made, by name
///
/// For keys of the account, members, the owner and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/sources/{handle}/pipes", operation_id = "listPipes",
    tag = "pipes",
    params(("account" = String, Path, description = "An identifier or a name"),
        ("handle" = String, Path, description = "What the source is called"), Paging),
    responses((status = 200, description = "A page of pipes", body = Page<PipeRecord>)))]
pub async fn list(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path((account, handle)): Path<(String, String)>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<PipeRecord>>, ApiError> {
    let account = state.authorize(read.caller, Permission::Read, &account).await?;
    let source = state.source(account.id, &handle).await?;
    let (size, after) = (paging.size()?, paging.after()?.unwrap_or_default());
    // Those that it has by itself have keys before every name.
    let auto = source.kind.auto_pipes().iter().enumerate();
    let mut pipes: Vec<(String, PipeRecord)> = auto
        .map(|(place, name)| (format!("0{place:02}"), state.auto_pipe_record(&source, name)))
        .filter(|(key, _)| *key > after)
        .collect();
    let after = after.strip_prefix('1').unwrap_or_default();
    let made = state.tenure.reader().pipes_after(source.id, after, size + 1).await?;
    pipes.extend(
        made.into_iter()
            .map(|pipe| (format!("1{}", pipe.name), state.pipe_record(account.id, &handle, pipe))),
    );
    Ok(Json(Page::of(pipes, size, |(key, _)| key.clone(), |(_, pipe)| pipe)))
}
