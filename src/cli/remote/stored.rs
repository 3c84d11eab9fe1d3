//! The stored login: a file that only its owner can read.

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

/// A server and the token to use there.
pub(in crate::cli) struct Login {
    /// The server's URL, without a trailing slash.
    pub(in crate::cli) server: String,
    /// The token to send to the server.
    pub(in crate::cli) token: SecretString,
}

/// The path of the file: `$XDG_CONFIG_HOME/tenure/credentials.json`, or below `~/.config`.
pub(in crate::cli) fn file() -> anyhow::Result<PathBuf> {
    // Relative paths are ignored (XDG Base Directory Specification).
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .context("neither XDG_CONFIG_HOME nor HOME is an absolute path")?;
    Ok(directory.join("tenure").join("credentials.json"))
}

/// The stored login, if there is one.
///
/// Refuses a file that others can read, because its token may have leaked.
pub(in crate::cli) fn read() -> anyhow::Result<Option<Login>> {
    // Without a home directory there is no login; other commands must still work.
    let Ok(path) = file() else { return Ok(None) };
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    anyhow::ensure!(
        metadata.permissions().mode().trailing_zeros() >= 6,
        "{}: others may read it; revoke its token, run `chmod 600` on it, and log in again",
        path.display()
    );
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match (stored["server"].as_str(), stored["token"].as_str()) {
        (Some(server), Some(token)) => {
            Ok(Some(Login { server: server.to_owned(), token: token.to_owned().into() }))
        }
        _ => anyhow::bail!("{}: not written by `tenure login`; remove it and log in again", path.display()),
    }
}

/// A place for a login that has been tried: a token that a server has issued can be stored in it.
pub(in crate::cli) struct Place {
    path: PathBuf,
    /// A new file beside it, to be renamed: private from the start, and a crash keeps the previous login intact. Its name
    /// is its own, because another process may log in at the same time.
    fresh_path: PathBuf,
    fresh: std::fs::File,
}

impl Drop for Place {
    /// Removes the file if it was not renamed: the login was denied or has failed.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.fresh_path);
    }
}

/// The most octets of a stored login: a URL and a token of the greatest lengths.
const MAX_LOGIN: usize = 8_192;

/// Makes sure that a login can be stored, before a token is asked for that would otherwise be lost.
pub(in crate::cli) fn prepare() -> anyhow::Result<Place> {
    let path = file()?;
    let because = || format!("the login cannot be stored in {}", path.display());
    if let Some(directory) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).with_context(because)?;
    }
    anyhow::ensure!(!path.is_dir(), "the login cannot be stored in {}, which is a directory", path.display());
    let fresh_path = path.with_extension(format!("new-{}", std::process::id()));
    // An interrupted login of an earlier process with this number may have left it behind.
    let _ = std::fs::remove_file(&fresh_path);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh_path)
        .with_context(because)?;
    // Takes the space now: a disk can be full although a file can be created on it.
    file.write_all(&[b' '; MAX_LOGIN]).and_then(|()| file.sync_all()).with_context(because)?;
    Ok(Place { path, fresh_path, fresh: file })
}

/// Stores a login, replacing the previous one, and returns the path of the file.
pub(in crate::cli) fn write(mut place: Place, login: &Login) -> anyhow::Result<PathBuf> {
    let (path, fresh) = (place.path.clone(), &mut place.fresh);
    let mut stored = json!({"server": login.server, "token": login.token.expose_secret()}).to_string();
    // As long as what was tried, so that no more space is needed; JSON allows blanks at the end.
    stored.extend(std::iter::repeat_n(' ', MAX_LOGIN.saturating_sub(stored.len())));
    fresh.seek(std::io::SeekFrom::Start(0))?;
    fresh.write_all(stored.as_bytes())?;
    fresh.sync_all()?;
    std::fs::rename(&place.fresh_path, &path)?;
    Ok(path)
}

/// Removes the stored login, if there is one.
pub(in crate::cli) fn remove() -> anyhow::Result<()> {
    match std::fs::remove_file(file()?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
