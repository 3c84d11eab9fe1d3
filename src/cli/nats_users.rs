//! `tenure nats user`, `users` and `revoke-user`: who may read the log's events at NATS.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{output, who};
use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::config::Config;
use crate::config::duration::duration;
use crate::nats::{
    NewPlatformUser, PlatformRights, issue_platform_user, platform_users, revoke_platform_user,
};
use crate::projections::QueryError;

/// The columns of the list.
const COLUMNS: [&str; 6] = ["public_key", "name", "rights", "expires_at", "issued_by", "revoked_at"];

/// How many credentials are read at a time.
const PAGE: i64 = 500;

/// The longest name, in characters, and the longest life.
const MAX_NAME: usize = 100;
const MAX_TTL: Duration = Duration::from_hours(10 * 365 * 24);

/// A credential that is wanted.
#[derive(clap::Args)]
pub(super) struct NewUser {
    /// Read events, and change nothing
    #[arg(long, required_unless_present = "manage", conflicts_with = "manage")]
    subscribe: bool,
    /// Everything within the account `tenure`, streams included: for tools of the operator
    #[arg(long)]
    manage: bool,
    /// Who is to have it; shown by `tenure nats users` and by tools of NATS
    #[arg(long, default_value = "subscriber")]
    name: String,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "90d")]
    expires: Duration,
    /// Write it to this new file, which only you may read, and not to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Who issues it; it is recorded [default: the name of the user who runs the command]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(super) async fn issue(config: &Config, tenure: &Tenure, wanted: NewUser) -> anyhow::Result<()> {
    let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if !is_plain(&wanted.name) || wanted.name.chars().count() > MAX_NAME {
        let rule = "1 to 100 characters, none of them a control character";
        return Err(Invalid { field: "--name", rule }.into());
    }
    if wanted.expires.is_zero() || wanted.expires > MAX_TTL {
        return Err(Invalid { field: "--expires", rule: "from 1s to 3650d" }.into());
    }
    let rights = if wanted.manage { PlatformRights::Manage } else { PlatformRights::Subscribe };
    let (name, ttl, by) = (wanted.name, wanted.expires, who::login(wanted.by));
    // Before anything is issued: the file has to be new.
    let file = wanted.out.as_deref().map(create).transpose()?;
    let issued = match issue_platform_user(tenure, &NewPlatformUser { name, rights, ttl, by }).await {
        Ok(issued) => issued,
        Err(error) => {
            // So that the same command can be given again.
            if let Some(path) = &wanted.out {
                std::fs::remove_file(path)?;
            }
            return Err(error.into());
        }
    };
    let mut answer = json!({
        "public_key": issued.public_key,
        "rights": rights,
        "expires_at": issued.expires_at,
        "file": wanted.out,
    });
    match (file, wanted.out) {
        (Some(mut file), Some(path)) => {
            file.write_all(issued.credentials.as_bytes())?;
            file.sync_all()?;
            if config.json {
                return output::json(&answer);
            }
            output::line(&format!("{}: valid until {}", path.display(), issued.expires_at))
        }
        _ if config.json => {
            answer["credentials"] = Value::from(issued.credentials.as_str());
            output::json(&answer)
        }
        _ => output::line(issued.credentials.trim_end()),
    }
}

fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|error| anyhow::anyhow!("cannot create {}: {error}", path.display()))
}

pub(super) async fn list(config: &Config, tenure: &Tenure) -> anyhow::Result<()> {
    let mut records = Vec::new();
    let mut last = None;
    loop {
        let page = platform_users(tenure, last.as_ref(), PAGE).await?;
        let Some(newest) = page.last() else { break };
        last = Some(newest.clone());
        records.extend(page.iter().map(|user| json!(user)));
    }
    output::list(config.json, "users", &COLUMNS, &records)
}

pub(super) async fn revoke(
    config: &Config,
    tenure: &Tenure,
    public_key: &str,
    by: Option<String>,
) -> anyhow::Result<()> {
    if !revoke_platform_user(tenure, public_key, &who::login(by)).await? {
        return Err(QueryError::NotFound.into());
    }
    if config.json {
        return output::json(&json!({"public_key": public_key, "revoked": true}));
    }
    output::line("revoked; a node that uses NATS cuts it off within 10 s")
}
