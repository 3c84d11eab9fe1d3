//! `tenure doctor`: checks the setup without changing it, and says what is missing and what to do.

use serde_json::json;

use super::{open, output};
use crate::clock::{MAX_CLOCK_OFFSET, SystemClock};
use crate::config::Config;
use crate::postgres::{Database, health, private};
use crate::projections;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    Warning,
    Failed,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

struct Finding {
    check: &'static str,
    status: Status,
    found: String,
    advice: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        check: &'static str,
        status: Status,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.0.push(Finding { check, status, found: found.into(), advice: advice.into() });
    }

    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Status::Ok, found, "");
    }
}

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    let address = match &config.database {
        Some(address) => Some(address.clone()),
        None => private_server(&config, &mut findings),
    };
    // Not `?`: without a usable key the database can still be checked.
    let key = config.master_key.load();
    match &key {
        Ok(Some(key)) => findings.ok("master key", key.id()),
        Ok(None) => findings.add(
            "master key",
            Status::Warning,
            "none yet",
            format!(
                "a new log gets one in {}; back it up separately from the database",
                config.master_key.default_file.display()
            ),
        ),
        Err(error) => findings.add("master key", Status::Failed, "not usable", error.to_string()),
    }
    if let Some(address) = address {
        let given = key.ok().flatten();
        match Database::new(&address, None) {
            Err(error) => findings.add("database", Status::Failed, address.to_string(), error.to_string()),
            Ok(database) => match health::look(&database, &SystemClock).await {
                Err(error) => {
                    findings.add("database", Status::Failed, address.to_string(), error.to_string());
                }
                Ok(health) => {
                    findings.ok("database", address.to_string());
                    // While the key is changed, a node may have the log's own as the next one.
                    let stored = health.log.as_ref().and_then(|log| log.key_id.as_deref());
                    let found = stored.and_then(|id| config.master_key.find(id).ok().flatten()).or(given);
                    let id = found.as_ref().map(crate::credentials::master_key::MasterKey::id);
                    database_findings(&health, id, &mut findings);
                }
            },
        }
    }
    // All findings are printed before the error, which only summarizes them and sets the exit code. A reader that has
    // seen enough does not turn a failed check into a success.
    output::unless_reader_gone(print(&config, &findings))?;
    let failed = findings.0.iter().filter(|finding| finding.status == Status::Failed).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.0.len());
    Ok(())
}

/// Checks the private server and returns its address if it is running.
fn private_server(config: &Config, findings: &mut Findings) -> Option<crate::postgres::Address> {
    match private::installed(config.postgres_bin.as_deref()) {
        Ok(found) => findings.ok("PostgreSQL programs", found),
        Err(error) => findings.add("PostgreSQL programs", Status::Failed, "not found", error.to_string()),
    }
    match private::running(&config.data_dir) {
        Ok(Some(endpoint)) => {
            findings
                .ok("private PostgreSQL", format!("running, socket in {}", endpoint.socket_dir.display()));
            Some(open::address(&endpoint))
        }
        Ok(None) => {
            let found = format!("not running in {}", config.data_dir.display());
            findings.add("private PostgreSQL", Status::Warning, found, "`tenure serve` starts it");
            None
        }
        Err(error) => {
            findings.add(
                "private PostgreSQL",
                Status::Failed,
                config.data_dir.display().to_string(),
                error.to_string(),
            );
            None
        }
    }
}

fn database_findings(health: &health::Health, given: Option<&str>, findings: &mut Findings) {
    match crate::postgres::version::supported(health.server_version_num) {
        Ok(()) => findings.ok("PostgreSQL version", health.server_version.clone()),
        Err(error) => {
            findings.add(
                "PostgreSQL version",
                Status::Failed,
                health.server_version.clone(),
                error.to_string(),
            );
        }
    }
    server_findings(health, findings);
    if health.encoding == "UTF8" {
        findings.ok("encoding", "UTF8");
    } else {
        findings.add(
            "encoding",
            Status::Failed,
            health.encoding.clone(),
            "create a database with encoding 'UTF8'",
        );
    }
    for (name, value) in &health.durability {
        if value == "off" {
            findings.add(
                "durability",
                Status::Failed,
                format!("{name} = off"),
                format!("set {name} = on; otherwise acknowledged writes can be lost"),
            );
        } else {
            findings.ok("durability", format!("{name} = {value}"));
        }
    }
    let binary = crate::postgres::migrate::newest_version();
    match health.schema_version {
        None => {
            findings.add(
                "schema",
                Status::Warning,
                "none yet",
                "run `tenure migrate` or `tenure serve` to create it",
            );
        }
        Some(version) if version == binary => findings.ok("schema", format!("version {version}")),
        Some(version) if version < binary => findings.add(
            "schema",
            Status::Warning,
            format!("version {version}; this release needs version {binary}"),
            "run `tenure migrate`",
        ),
        Some(version) => findings.add(
            "schema",
            Status::Failed,
            format!("version {version}; this release supports up to version {binary}"),
            "run the release that created it, or a newer one",
        ),
    }
    if let Some(log) = &health.log {
        log_findings(health, log, given, findings);
    }
}

/// How many seconds an ending may wait until a running node has cleared its rows; longer is a warning.
const CLEARING_GRACE: f64 = 120.0;

/// Checks the log, and whether this release and the given master key match it.
fn log_findings(health: &health::Health, log: &health::Log, given: Option<&str>, findings: &mut Findings) {
    findings.ok("log", format!("{} at position {}-{}", log.log_id, log.epoch, log.newest));
    // `None` on a replica or an older schema, where it is not known.
    if log.at_home == Some(false) {
        findings.add(
            "server",
            Status::Warning,
            "not the server that the log was last served from (restored or promoted)",
            "the next start gives positions a new epoch; earlier positions will be refused",
        );
    }
    let set = projections::set_name();
    if log.projection_set == set {
        findings.ok("projections", set);
    } else {
        findings.add(
            "projections",
            Status::Failed,
            log.projection_set.clone(),
            format!("this release needs {set}: its first node, or `tenure migrate`, replaces them while others serve"),
        );
    }
    if log.is_expected_build == Some(false) {
        findings.add(
            "projection build",
            Status::Failed,
            "not the one that the log expects, as in a dump that was taken while the projections were replaced",
            "the next start rebuilds the projections from the log before it answers",
        );
    }
    match (&log.key_id, given) {
        (Some(log), Some(given)) if log == given => findings.ok("key ring", log.clone()),
        (Some(log), Some(given)) => findings.add(
            "key ring",
            Status::Failed,
            format!("the log is sealed under {log}, but the given key is {given}"),
            "give this node the log's own key",
        ),
        (Some(log), None) => findings.add(
            "key ring",
            Status::Failed,
            format!("the log is sealed under {log}, but no key is given"),
            "set TENURE_MASTER_KEY_FILE",
        ),
        (None, _) => findings.add("key ring", Status::Warning, "none yet", "the first start creates it"),
    }
    match log.endings {
        None | Some((0, _)) => findings.ok("endings", "none left to clear"),
        Some((count, seconds)) if seconds < CLEARING_GRACE => {
            findings.ok("endings", format!("{count} waiting to be cleared, the oldest for {seconds:.0} s"));
        }
        Some((count, seconds)) => findings.add(
            "endings",
            Status::Warning,
            format!("{count} waiting to be cleared, the oldest for {seconds:.0} s"),
            "a running node clears them; see its log for what stops it",
        ),
    }
    if health.roles {
        findings.ok("roles", "tenure_owner owns the schemas, tenure_app serves");
    } else {
        findings.add(
            "roles",
            Status::Warning,
            "tenure_owner and tenure_app are not set up for this login",
            "only triggers protect the log; migrate once with a login that has CREATEROLE",
        );
    }
}

/// Checks whether the server accepts writes from this login, and the clock offset.
fn server_findings(health: &health::Health, findings: &mut Findings) {
    if health.in_recovery {
        let advice = "this is a replica; name the primary";
        findings.add("primary", Status::Failed, "in recovery", advice);
    } else if health.read_only {
        let advice = "set default_transaction_read_only = off for the server, the database and the login";
        findings.add("primary", Status::Failed, "read-only", advice);
    } else {
        findings.ok("primary", "accepts writes");
    }
    if !health.may_write {
        findings.add(
            "privileges",
            Status::Failed,
            "this login may not write to the log",
            "migrate once with a login that owns the database, or grant tenure_app to this login",
        );
    }
    let offset = format!("{:+.3} s relative to the server", health.clock_offset);
    if health.clock_offset.abs() <= MAX_CLOCK_OFFSET.as_secs_f64() {
        findings.ok("clock", offset);
    } else {
        findings.add(
            "clock",
            Status::Failed,
            offset,
            "synchronize both clocks by NTP; beyond 5 s writes are refused",
        );
    }
}

fn print(config: &Config, findings: &Findings) -> anyhow::Result<()> {
    if config.json {
        let findings: Vec<_> = findings
            .0
            .iter()
            .map(|finding| {
                json!({
                    "check": finding.check, "status": finding.status.as_str(), "found": finding.found,
                    "advice": finding.advice,
                })
            })
            .collect();
        return output::json(&json!({"findings": findings}));
    }
    let rows = findings
        .0
        .iter()
        .map(|finding| {
            vec![
                finding.check.to_owned(),
                finding.status.as_str().to_owned(),
                finding.found.clone(),
                finding.advice.clone(),
            ]
        })
        .collect();
    output::table(&["check", "status", "found", "what to do"], rows)
}
