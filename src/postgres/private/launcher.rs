//! Starts PostgreSQL's programs: under an unprivileged user, and so that they end with the thread that started them.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use super::data_dir::{DataDir, make_dir};
use super::error::PrivatePostgresError;

/// The users as which root runs PostgreSQL, in order of preference.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user and group IDs of an unprivileged user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

/// How to start PostgreSQL's programs.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// The user to switch to; none unless this process runs as root.
    account: Option<Account>,
    /// The weakest capability that lets that user enter directories that only root can enter; none if it is not needed.
    capability: Option<&'static str>,
    /// Whether to start programs with `setpriv` from util-linux: it is installed and permitted.
    setpriv: bool,
}

impl Launcher {
    /// Chooses the user and the way to start programs, and tests them with `postgres --version`.
    pub fn new(data_dir: &DataDir, postgres: &Path) -> Result<Self, PrivatePostgresError> {
        let account = if geteuid().is_root() { Some(account_for(&data_dir.pgdata())?) } else { None };
        let capability = match account {
            Some(account) if !(enters(account, data_dir.path()) && enters(account, postgres)) => {
                Some(capability_to_pass(effective_capabilities())?)
            }
            _ => None,
        };
        // Tested, because `setpriv` may be missing, too old, or not permitted in a container.
        let mut reasons = Vec::new();
        for setpriv in [true, false] {
            let launcher = Self { account, capability, setpriv };
            // Only `setpriv` can pass a capability to the other user.
            if !setpriv && capability.is_some() {
                break;
            }
            match launcher.command(postgres, "INT").arg("--version").stderr(Stdio::piped()).output() {
                Ok(output) if output.status.success() => {
                    if let (false, Some(reason)) = (setpriv, reasons.first()) {
                        tracing::warn!(
                            %reason,
                            "PostgreSQL is started without `setpriv` and keeps running if this process is killed; \
                             the next start stops it"
                        );
                    }
                    return Ok(launcher);
                }
                Ok(output) => reasons.push(String::from_utf8_lossy(output.stderr.trim_ascii()).into_owned()),
                Err(error) if setpriv && error.kind() == io::ErrorKind::NotFound => {
                    reasons.push("`setpriv` is missing (package util-linux)".to_owned());
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(PrivatePostgresError::NoUnprivilegedUser { reason: reasons.join("; ") })
    }

    /// Refuses a user without an entry in the user database, as in containers that run under an arbitrary user ID:
    /// `initdb` does not run without one, existing files need none.
    ///
    /// # Errors
    /// [`PrivatePostgresError::UnknownUser`]
    pub fn require_known_user(&self) -> Result<(), PrivatePostgresError> {
        let uid = self.uid();
        match User::from_uid(uid.into()) {
            Ok(None) => Err(PrivatePostgresError::UnknownUser { uid }),
            // If the look-up fails, `initdb` says why.
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    /// The ID of the user who must own the server's files.
    pub fn uid(&self) -> u32 {
        self.account.map_or_else(|| geteuid().as_raw(), |account| account.uid)
    }

    /// A command whose program gets the given signal when the calling thread ends (only with `setpriv`). It does not
    /// inherit our environment, which may contain secrets, and does not receive our terminal's signals.
    pub fn command(&self, program: &Path, on_parent_death: &str) -> Command {
        let mut command = if self.setpriv {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", on_parent_death]);
            if let Some(Account { uid, gid }) = self.account {
                command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
            }
            if let Some(capability) = self.capability {
                command.args([format!("--inh-caps=+{capability}"), format!("--ambient-caps=+{capability}")]);
            }
            command.arg("--").arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if let Some(Account { uid, gid }) = self.account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let kept = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];
        let kept = kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        // `LC_ALL=C`: `start_failure` recognises English messages only.
        command.env_clear().envs(kept).env("LC_ALL", "C").env("TZ", "UTC");
        // Otherwise glibc returns the memory of each statement to the kernel and requests it again for the next one.
        command.env("MALLOC_TOP_PAD_", "1048576").env("MALLOC_TRIM_THRESHOLD_", "8388608");
        // `/`: PostgreSQL's user may be unable to enter our working directory. Own process group: Ctrl-C in the
        // terminal would otherwise reach the server directly, before this process asks it to stop.
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        command
    }

    /// Sends the output of a command to the log.
    pub fn logged(command: &mut Command, log: &File) -> io::Result<()> {
        command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        Ok(())
    }

    /// Creates a directory for PostgreSQL's user only, or gives an existing one that owner and mode.
    ///
    /// # Errors
    /// [`PrivatePostgresError::WrongOwner`] if it belongs to another user; [`PrivatePostgresError::NotADirectory`] if
    /// it is a link or a file.
    pub fn own_dir(&self, path: &Path) -> Result<(), PrivatePostgresError> {
        match make_dir(path, 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(PrivatePostgresError::io("create the directory", path)(error));
            }
            _ => {}
        }
        // Links are not followed: in a shared temporary directory another user could have placed one.
        let there = fs::symlink_metadata(path).map_err(PrivatePostgresError::io("inspect", path))?;
        if !there.is_dir() {
            return Err(PrivatePostgresError::NotADirectory { path: path.to_path_buf() });
        }
        let (owner, expected) = (there.uid(), self.uid());
        if owner != expected && owner != geteuid().as_raw() {
            return Err(PrivatePostgresError::WrongOwner { path: path.to_path_buf(), owner, expected });
        }
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(PrivatePostgresError::io("change the permissions of", path))?;
        match self.account {
            Some(Account { uid, gid }) if owner != uid => {
                std::os::unix::fs::lchown(path, Some(uid), Some(gid))
                    .map_err(PrivatePostgresError::io("change the owner of", path))
            }
            _ => Ok(()),
        }
    }
}

/// The owner of the existing database files, or else the first unprivileged user that exists.
fn account_for(pgdata: &Path) -> Result<Account, PrivatePostgresError> {
    if let Ok(files) = fs::metadata(pgdata)
        && files.uid() != 0
    {
        return Ok(Account { uid: files.uid(), gid: files.gid() });
    }
    let user = UNPRIVILEGED.iter().find_map(|name| User::from_name(name).ok().flatten());
    user.map(|user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }).ok_or_else(|| {
        PrivatePostgresError::NoUnprivilegedUser {
            reason: "there is no user `postgres` and no user `nobody`".to_owned(),
        }
    })
}

/// Whether the user can enter every directory above the path, and the path itself if it is a directory.
fn enters(account: Account, path: &Path) -> bool {
    let directories =
        path.ancestors().filter_map(|above| fs::metadata(above).ok()).filter(fs::Metadata::is_dir);
    directories
        .into_iter()
        .all(|directory| may_pass(account, directory.uid(), directory.gid(), directory.mode()))
}

/// As the kernel decides it: only the first class that applies counts, even if a later one allows more.
const fn may_pass(account: Account, uid: u32, gid: u32, mode: u32) -> bool {
    let needed = if account.uid == uid {
        0o100
    } else if account.gid == gid {
        0o010
    } else {
        0o001
    };
    mode & needed != 0
}

/// The weakest capability of this process that lets a process enter any directory.
fn capability_to_pass(effective: u64) -> Result<&'static str, PrivatePostgresError> {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    if effective & DAC_READ_SEARCH != 0 {
        Ok("dac_read_search")
    } else if effective & DAC_OVERRIDE != 0 {
        Ok("dac_override")
    } else {
        let reason = "only root can enter the directory, and this process has neither CAP_DAC_READ_SEARCH nor \
                      CAP_DAC_OVERRIDE";
        Err(PrivatePostgresError::NoUnprivilegedUser { reason: reason.to_owned() })
    }
}

/// The effective capabilities of this process as a bit mask; 0 if they cannot be read.
fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A path as a list setting with one entry: quoted, so that PostgreSQL does not split it at a comma.
pub(super) fn quoted(path: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let doubled: Vec<u8> = path
        .as_os_str()
        .as_bytes()
        .iter()
        .flat_map(|&byte| std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }))
        .collect();
    std::ffi::OsString::from_vec([b"\"", doubled.as_slice(), b"\""].concat())
}

/// Adds one setting to a command, as `-c name=value`.
pub(super) fn setting(command: &mut Command, name: &str, value: impl AsRef<OsStr>) {
    let mut pair = std::ffi::OsString::from(name);
    pair.push("=");
    pair.push(value);
    command.arg("-c").arg(pair);
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTGRES: Account = Account { uid: 101, gid: 104 };

    #[test]
    fn permissions_are_judged_as_the_kernel_does() {
        assert!(may_pass(POSTGRES, 0, 0, 0o711));
        assert!(!may_pass(POSTGRES, 0, 0, 0o710));
        assert!(may_pass(POSTGRES, 0, 104, 0o710));
        assert!(!may_pass(POSTGRES, 0, 104, 0o701));
        assert!(may_pass(POSTGRES, 101, 0, 0o700));
        assert!(!may_pass(POSTGRES, 101, 0, 0o077));
    }

    #[test]
    fn the_weakest_capability_is_taken() {
        assert_eq!(capability_to_pass(0x1ff_ffff_ffff).unwrap(), "dac_read_search");
        assert_eq!(capability_to_pass(0xa804_25fb).unwrap(), "dac_override");
        let refused = capability_to_pass(0).unwrap_err().to_string();
        assert!(refused.contains("CAP_DAC_READ_SEARCH") && refused.contains("--data-dir"), "{refused}");
    }

    #[test]
    fn commas_and_quotes_in_a_path_survive() {
        assert_eq!(quoted(Path::new("/a,b \"c\"")), OsStr::new("\"/a,b \"\"c\"\"\""));
    }
}
