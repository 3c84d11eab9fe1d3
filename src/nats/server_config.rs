//! The configuration of nats-server in operator mode.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::NatsError;
use super::keys::OperatorKeys;

/// How much a server may say that it can store. The limit of an account is no reservation, but that of a stream is: a large figure
/// keeps reservations from using it up.
const MAX_FILE: &str = "10T";
const MAX_MEMORY: &str = "1G";

/// How long a server looks for the token of an account that it does not have. A server that has lost its tokens looks for that of
/// every account with streams, one after the other, before it listens. A server alone has nobody to ask.
const LOOKUP_TIMEOUT: &str = "250ms";
const LOOKUP_TIMEOUT_ALONE: &str = "50ms";

/// What to write for a server.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// The directory of the configuration, of accounts' tokens and of streams.
    pub dir: PathBuf,
    /// The host and port that it listens on.
    pub listen: String,
    /// Whether it is the only one, which has no other server to ask.
    pub is_alone: bool,
}

impl ServerFiles {
    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("nats-server.conf")
    }

    /// The file with the operator's identity seed.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.dir.join("operator.nk")
    }

    /// Writes the configuration, and the identity seed if one is given.
    ///
    /// # Errors
    /// [`NatsError::File`]
    pub fn write(&self, keys: &OperatorKeys, identity: Option<&str>) -> Result<(), NatsError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| failed(&self.dir, &error))?;
        if let Some(identity) = identity {
            write(&self.identity(), &format!("{identity}\n"))?;
        }
        write(&self.config(), &self.text(keys))
    }

    fn text(&self, keys: &OperatorKeys) -> String {
        let mut text = String::from(
            "# Written by `tenure`; another operator or other ports are set by `tenure nats bootstrap`.\n",
        );
        // The former one too: while servers are started anew one after the other, all of them trust it.
        let operators: Vec<&str> = keys.operators.iter().map(|operator| operator.token.as_str()).collect();
        let system = &keys.system_account;
        let system_token = keys.operators.first().map_or("", |operator| operator.system_token.as_str());
        let dir = |name: &str| quoted(&self.dir.join(name));
        let written = write!(
            text,
            "listen: {listen}\noperator: [{operators}]\nsystem_account: {system}\n\
             resolver {{\n  type: full\n  dir: {tokens}\n  allow_delete: true\n  interval: \"2m\"\n  \
             timeout: \"{lookup}\"\n}}\n\
             resolver_preload {{\n  {system}: {system_token}\n}}\n\
             jetstream {{\n  store_dir: {store}\n  max_file: {MAX_FILE}\n  max_mem: {MAX_MEMORY}\n}}\n",
            listen = self.listen,
            operators = operators.join(", "),
            lookup = if self.is_alone { LOOKUP_TIMEOUT_ALONE } else { LOOKUP_TIMEOUT },
            tokens = dir("accounts"),
            store = dir("jetstream"),
        );
        debug_assert!(written.is_ok(), "a String takes everything");
        text
    }
}

/// A path as nats-server reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

fn failed(path: &Path, error: &std::io::Error) -> NatsError {
    NatsError::File { path: path.display().to_string(), reason: error.to_string() }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), NatsError> {
    let partial = path.with_extension("partial");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| failed(path, &error))
}
