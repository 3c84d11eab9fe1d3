//! Prepares the files for a start: stops a server that outlived its owner, and never signals any other process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control::{Control, PROBE_INTERVAL};
use super::error::PrivatePostgresError;
use super::settings::SOCKET_NAME;
use crate::clock::Stopwatch;

/// How long an orphan may take for a fast shutdown (SIGINT), and then for an immediate one (SIGQUIT).
const FAST: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::from_secs(10);

/// The process that has the ID in `postmaster.pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resident {
    /// There is no such process, or only a zombie.
    Gone,
    /// A PostgreSQL that runs on these files.
    Orphan,
    /// Another program, or a PostgreSQL on other files: the ID was reused, so `postmaster.pid` is stale.
    Stranger,
    /// A PostgreSQL whose working directory cannot be read, or a process whose command line cannot: it may be ours.
    Unknown,
}

/// Stops an orphaned server and removes its stale files. The caller holds the lock of the directory, so a server that
/// still runs on the files has lost its owner.
///
/// # Errors
/// [`PrivatePostgresError::StillUsed`] if the orphan does not stop.
pub(super) fn clear(pgdata: &Path, socket_dir: &Path, control: &Control) -> Result<(), PrivatePostgresError> {
    let pid_file = pgdata.join("postmaster.pid");
    if let Some(pid) = named_pid(&pid_file) {
        match resident(pid, pgdata) {
            Resident::Gone => {}
            Resident::Orphan => stop(pid, pgdata, control)?,
            // PostgreSQL refuses to start while a process of its user has this ID, whatever program it is.
            Resident::Stranger => remove(&pid_file)?,
            // PostgreSQL itself refuses to start if this is a server on the files; until then the socket may be in use.
            Resident::Unknown => return Ok(()),
        }
    }
    // No server is left. A socket lock file names a process ID too, which may be reused by now.
    let socket = socket_dir.join(SOCKET_NAME);
    remove(&socket)?;
    remove(&socket.with_added_extension("lock"))
}

fn remove(path: &Path) -> Result<(), PrivatePostgresError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PrivatePostgresError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The process ID in the first line of the file; negative if written by a single-user server. None if the file is
/// missing or unreadable, or names process 0 or 1.
fn named_pid(pid_file: &Path) -> Option<Pid> {
    let content = fs::read(pid_file).ok()?;
    let line = content.split(|&byte| byte == b'\n').next()?;
    let number: i32 = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    (number.unsigned_abs() > 1).then(|| Pid::from_raw(number.wrapping_abs()))
}

fn resident(pid: Pid, pgdata: &Path) -> Resident {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return Resident::Gone;
    }
    let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok();
    match command_line(pid) {
        Some(line) => judge(&line, works_in.as_deref(), pgdata),
        None => Resident::Unknown,
    }
}

/// Classifies a process by its command line and its working directory. A server changes into its data directory.
fn judge(line: &[u8], works_in: Option<&Path>, pgdata: &Path) -> Resident {
    let words: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
    let program = words.first().copied().unwrap_or_default();
    if program.is_empty() {
        // A zombie: it has exited but has not been reaped.
        return Resident::Gone;
    }
    let name = Path::new(OsStr::from_bytes(program)).file_name().unwrap_or_default();
    if name != "postgres" && name != "postmaster" {
        return Resident::Stranger;
    }
    let ours = pgdata.as_os_str().as_bytes();
    match works_in {
        Some(directory) if directory == pgdata => Resident::Orphan,
        _ if words.contains(&ours) => Resident::Orphan,
        Some(_) => Resident::Stranger,
        None => Resident::Unknown,
    }
}

/// The command line of a process, with a zero byte after each word. Without `/proc` (macOS) it comes from `ps`, which
/// separates words by blanks only.
fn command_line(pid: Pid) -> Option<Vec<u8>> {
    if Path::new("/proc/self").exists() {
        return fs::read(format!("/proc/{pid}/cmdline")).ok();
    }
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    let line = output.stdout.trim_ascii().to_vec();
    Some(line.into_iter().map(|byte| if byte == b' ' { 0 } else { byte }).collect())
}

fn stop(pid: Pid, pgdata: &Path, control: &Control) -> Result<(), PrivatePostgresError> {
    tracing::warn!(%pid, "stopping a PostgreSQL that outlived its owner");
    for (signal, patience) in [(Signal::SIGINT, FAST), (Signal::SIGQUIT, AT_ONCE)] {
        // Not permitted: the process is of another user, and waiting does not help.
        if let Err(error) = kill(pid, signal)
            && error != Errno::ESRCH
        {
            break;
        }
        let asked = Stopwatch::start();
        while asked.elapsed() < patience {
            // Not only whether the process exists: its ID may be reused, and a zombie counts as gone.
            if resident(pid, pgdata) != Resident::Orphan {
                return Ok(());
            }
            if control.stopping() {
                return Err(PrivatePostgresError::Cancelled);
            }
            std::thread::sleep(PROBE_INTERVAL);
        }
    }
    Err(PrivatePostgresError::StillUsed { path: pgdata.to_path_buf(), pid: Some(pid.as_raw()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/d/postgres";

    fn judged(line: &str, works_in: Option<&str>) -> Resident {
        judge(line.as_bytes(), works_in.map(Path::new), Path::new(OURS))
    }

    #[test]
    fn only_a_postgresql_on_these_files_is_an_orphan() {
        let line = "/usr/lib/postgresql/15/bin/postgres\0-D\0/d/postgres\0";
        assert_eq!(judged(line, Some(OURS)), Resident::Orphan);
        assert_eq!(judged(line, None), Resident::Orphan);
        assert_eq!(judged("postgres\0", Some(OURS)), Resident::Orphan);
        assert_eq!(judged("postgres\0-D\0/else\0", Some("/else")), Resident::Stranger);
        assert_eq!(judged("postgres\0", None), Resident::Unknown);
        assert_eq!(judged("", None), Resident::Gone);
    }

    #[test]
    fn strangers_are_strangers_wherever_they_are() {
        assert_eq!(judged("bash\0", Some(OURS)), Resident::Stranger);
        assert_eq!(judged("vi\0/d/postgres\0", Some(OURS)), Resident::Stranger);
        assert_eq!(judged("postgres: checkpointer \0", Some("/else")), Resident::Stranger);
    }

    #[test]
    fn the_number_is_read_with_or_without_a_sign() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("postmaster.pid");
        for (content, expected) in
            [("123\n/d\n", Some(123)), ("-45\n", Some(45)), ("", None), ("1\n", None), ("x", None)]
        {
            fs::write(&file, content).unwrap();
            assert_eq!(named_pid(&file).map(Pid::as_raw), expected, "{content:?}");
        }
    }
}
