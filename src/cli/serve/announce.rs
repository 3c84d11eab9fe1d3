//! What `tenure serve` prints once it serves: addresses, how to sign in, and commands that work as they stand.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::output;
use crate::cli::remote::stored;
use crate::config::{Config, DEFAULT_DATA_DIR};
use crate::operations::Rules;

/// How users of this instance sign in.
#[derive(Clone)]
pub(super) enum SignIn {
    /// This start has created the first operator.
    First {
        /// The operator's username.
        username: &'static str,
        /// A link that signs the operator in, once.
        link: String,
    },
    /// There are users already. The first operator's name, if that user is still there.
    Later(Option<String>),
}

/// Where a node serves, and what it uses.
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) metrics_listen: SocketAddr,
    /// The database, in words.
    pub(super) database: String,
    /// NATS, in words.
    pub(super) nats: String,
}

/// Prints where the instance is served, and what to do next.
pub(super) fn announce(config: &Config, addresses: &Addresses, sign_in: &SignIn) -> anyhow::Result<()> {
    let Addresses { listen, metrics_listen, database, nats } = addresses;
    let first_link = match sign_in {
        SignIn::First { link, .. } => Some(link.as_str()),
        SignIn::Later(_) => None,
    };
    if config.json {
        return output::json(&json!({
            "listen": listen, "metrics_listen": metrics_listen, "database": database, "nats": nats,
            "sign_in_link": first_link,
        }));
    }
    let program = std::env::args_os().next().map_or_else(|| PathBuf::from("tenure"), PathBuf::from);
    let directory = std::env::current_dir().ok().filter(|_| is_relative(&program));
    // In this directory the default leads here too, unless a login is stored, which a command would use instead.
    let names_data_dir = directory.is_none()
        || config.data_dir != Path::new(DEFAULT_DATA_DIR)
        || !matches!(stored::read(), Ok(None));
    let command = |words: &str| {
        let mut command = vec![quoted(&program), words.to_owned()];
        for (flag, value) in same_instance(config, names_data_dir) {
            command.extend([flag.to_owned(), quoted(&value)]);
        }
        command.join(" ")
    };
    let mut lines = vec![
        format!("Tenure {} is listening on http://{listen}", env!("CARGO_PKG_VERSION")),
        format!("  health    http://{listen}/healthz   http://{listen}/readyz"),
        format!("  API       http://{listen}/docs"),
        format!("  metrics   http://{metrics_listen}/metrics"),
        format!("  database  {database}"),
        format!("  NATS      {nats}"),
    ];
    if let SignIn::First { username, link } = sign_in {
        lines.push(format!("  sign in   {link}"));
        lines.push(format!(
            "            (as `{username}`, who runs this instance; valid once, for ten minutes)"
        ));
    }
    lines.push(String::new());
    lines.push("Next, in another terminal:".to_owned());
    if let Some(directory) = directory {
        lines.push(format!("  cd {}", quoted(&directory)));
    }
    if std::env::var_os("TENURE_SERVER").is_some_and(|url| !url.is_empty()) {
        lines.push("  unset TENURE_SERVER    # commands would go to that server".to_owned());
    }
    if config.database.is_some() {
        lines.push("  # with DATABASE_URL and the master key set as they are here".to_owned());
    }
    match sign_in {
        SignIn::First { .. } => {
            lines.push(format!("  {}", command("user add ada --email ada@example.org --operator")));
            lines.push(format!("  {}", command("account open acme --owner ada")));
            lines.push(format!("  {}", command("user sign-in-link ada")));
        }
        SignIn::Later(operator) => {
            let name = operator.as_deref().unwrap_or("USERNAME");
            lines.push(format!("  {}", command(&format!("user sign-in-link {name}"))));
        }
    }
    lines.push(format!("  {}", command("events tail")));
    lines.push(format!("  {} tour", quoted(&program)));
    output::line(&lines.join("\n"))
}

/// The flags that lead another command to this instance. A connection string is not among them: it may hold a password.
fn same_instance(config: &Config, names_data_dir: bool) -> Vec<(&'static str, PathBuf)> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut flags = Vec::new();
    if let Some(file) = &config.settings_file {
        flags.push(("--config", absolute(file)));
    }
    // Also with a database of one's own: the master key and the list of forgotten users are in it.
    if names_data_dir {
        flags.push(("--data-dir", absolute(&config.data_dir)));
    }
    if let Some(file) = &config.master_key.file {
        flags.push(("--master-key-file", absolute(file)));
    }
    if config.forgotten_list != config.data_dir.join("forgotten.list") {
        flags.push(("--forgotten-list", absolute(&config.forgotten_list)));
    }
    if config.rules.sentinel != Rules::default().sentinel {
        flags.push(("--key-sentinel", PathBuf::from(&config.rules.sentinel)));
    }
    flags
}

/// Whether the shell would look for the program below the working directory.
fn is_relative(program: &Path) -> bool {
    program.is_relative() && program.components().count() > 1
}

/// The text as one word of a POSIX shell.
fn quoted(text: &Path) -> String {
    let text = text.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:@%+=,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell_only_where_they_must_be() {
        assert_eq!(quoted(Path::new("target/release/tenure")), "target/release/tenure");
        assert_eq!(quoted(Path::new("/srv/my data")), "'/srv/my data'");
        assert_eq!(quoted(Path::new("a'b$c")), r"'a'\''b$c'");
        assert_eq!(quoted(Path::new("")), "''");
    }

    #[test]
    fn only_a_path_from_here_needs_the_working_directory() {
        assert!(is_relative(Path::new("target/release/tenure")) && is_relative(Path::new("./tenure")));
        assert!(!is_relative(Path::new("tenure")) && !is_relative(Path::new("/usr/bin/tenure")));
    }
}
