//! The database files: checks existing ones, and creates new ones completely or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::binaries::Installation;
use super::control::{Control, PROBE_INTERVAL};
use super::data_dir::DataDir;
use super::error::PrivatePostgresError;
use super::launcher::{Launcher, setting};
use super::log::Log;
use super::settings::{DATABASE, SUPERUSER};
use super::start_failure::{StartFailure, start_failure};

/// The major version that wrote the database files; none if there are no files yet.
///
/// # Errors
/// [`PrivatePostgresError::NotADirectory`] or [`PrivatePostgresError::Foreign`] if the path contains something else;
/// [`PrivatePostgresError::Damaged`] if files are missing.
pub(super) fn major_of(pgdata: &Path) -> Result<Option<u32>, PrivatePostgresError> {
    let fail = |action| PrivatePostgresError::io(action, pgdata);
    match fs::symlink_metadata(pgdata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("inspect")(error)),
        Ok(there) if !there.is_dir() => {
            return Err(PrivatePostgresError::NotADirectory { path: pgdata.to_path_buf() });
        }
        Ok(_) => {}
    }
    let text = match fs::read_to_string(pgdata.join("PG_VERSION")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::read_dir(pgdata).map_err(fail("read"))?.next().is_none() {
                return Ok(None);
            }
            let what = "contains files that are not a PostgreSQL database (PG_VERSION is missing)";
            return Err(PrivatePostgresError::Foreign { path: pgdata.to_path_buf(), what });
        }
        Err(error) => return Err(fail("read PG_VERSION in")(error)),
    };
    let damaged = |what: String| PrivatePostgresError::Damaged { path: pgdata.to_path_buf(), what };
    // Before version 10, the major version had two parts.
    let major = text.trim().split('.').next().unwrap_or_default().parse();
    let major = major.map_err(|_| damaged("PG_VERSION does not contain a version".to_owned()))?;
    // Without the control file PostgreSQL cannot start; found here, it gets a clear error.
    if pgdata.join("global/pg_control").exists() {
        Ok(Some(major))
    } else {
        Err(damaged("global/pg_control is missing".to_owned()))
    }
}

/// Creates the files and the database in a separate directory, and renames it when everything is on disk.
///
/// # Errors
/// [`PrivatePostgresError::InitFailed`] with PostgreSQL's output, [`PrivatePostgresError::DiskFull`], or
/// [`PrivatePostgresError::Cancelled`] after a stop request.
pub(super) fn initialise(
    data_dir: &DataDir,
    installation: &Installation,
    launcher: &Launcher,
    control: &Control,
) -> Result<(), PrivatePostgresError> {
    // An interrupted start may have left it, in any state.
    let unfinished = data_dir.unfinished();
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PrivatePostgresError::io("remove", &unfinished)(error));
        }
        _ => {}
    }
    launcher.own_dir(&unfinished)?;
    tracing::info!(path = %data_dir.pgdata().display(), "setting up a private PostgreSQL");

    // `--auth-local=trust`: the mode of the socket's directory is the only access control.
    let mut initdb = launcher.command(&installation.initdb(), "TERM");
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]);
    initdb.args(["--auth-local=trust", "--auth-host=reject", "--username", SUPERUSER, "--pgdata"]);
    run(initdb.arg(&unfinished), b"", data_dir, control)?;

    // Single-user mode: the database exists before the first server accepts a connection.
    let mut single = launcher.command(&installation.postgres(), "TERM");
    single.arg("--single");
    // Otherwise single-user mode reports success after a failed statement.
    setting(&mut single, "exit_on_error", "on");
    setting(&mut single, "log_min_messages", "warning");
    single.arg("-D").arg(&unfinished).arg("postgres");
    run(&mut single, format!("create database {DATABASE}\n").as_bytes(), data_dir, control)?;

    // The rename commits: before it there are no database files, after it they are complete.
    let pgdata = data_dir.pgdata();
    fs::rename(&unfinished, &pgdata).map_err(PrivatePostgresError::io("rename the new files to", &pgdata))?;
    // Without this, a power failure could undo the rename after the start was reported.
    let root = data_dir.path();
    File::open(root).and_then(|root| root.sync_all()).map_err(PrivatePostgresError::io("sync", root))
}

/// Runs one program until it exits. Its output goes to the log.
fn run(
    command: &mut Command,
    input: &[u8],
    data_dir: &DataDir,
    control: &Control,
) -> Result<(), PrivatePostgresError> {
    let path = data_dir.unfinished();
    let log = Log::open(data_dir)?;
    let started =
        Launcher::logged(command, &log.file).and_then(|()| control.spawn(command.stdin(Stdio::piped())));
    let started = started.map_err(PrivatePostgresError::io("start a program for", &path))?;
    let mut child = started.ok_or(PrivatePostgresError::Cancelled)?;
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input)
    {
        // Not an error yet: a program that does not read has failed, and its exit status and output say why.
        tracing::debug!(%error, "PostgreSQL did not read its input");
    }
    let status = until_ended(&mut child, control)
        .map_err(PrivatePostgresError::io("wait for a program for", &path))?;
    if status.success() {
        return Ok(());
    }
    if control.stopping() {
        return Err(PrivatePostgresError::Cancelled);
    }
    let said = log.tail();
    Err(match start_failure(&said) {
        StartFailure::DiskFull => PrivatePostgresError::DiskFull { path },
        _ => PrivatePostgresError::InitFailed { path, said },
    })
}

/// Waits until a program ends. After a stop request it is killed with its own children: `initdb` looks at signals only
/// between its steps, of which one can take long on a slow disk, and unfinished files are thrown away in any case.
fn until_ended(child: &mut Child, control: &Control) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = control.try_wait(child)? {
            return Ok(status);
        }
        if control.stopping()
            && let Ok(pid) = i32::try_from(child.id())
        {
            // The program leads a process group (`Launcher::command`), and is not reaped yet.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(PROBE_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_judged_before_any_program_runs() {
        let temp = tempfile::tempdir().unwrap();
        let pgdata = temp.path().join("postgres");
        assert_eq!(major_of(&pgdata).unwrap(), None);
        fs::create_dir(&pgdata).unwrap();
        assert_eq!(major_of(&pgdata).unwrap(), None);
        fs::write(pgdata.join("notes"), "").unwrap();
        assert!(matches!(major_of(&pgdata), Err(PrivatePostgresError::Foreign { .. })));
        fs::write(pgdata.join("PG_VERSION"), "16\n").unwrap();
        assert!(matches!(major_of(&pgdata), Err(PrivatePostgresError::Damaged { .. })));
        fs::create_dir(pgdata.join("global")).unwrap();
        fs::write(pgdata.join("global/pg_control"), "").unwrap();
        assert_eq!(major_of(&pgdata).unwrap(), Some(16));
        fs::write(pgdata.join("PG_VERSION"), "9.6").unwrap();
        assert_eq!(major_of(&pgdata).unwrap(), Some(9));
        fs::write(pgdata.join("PG_VERSION"), "rubbish").unwrap();
        assert!(matches!(major_of(&pgdata), Err(PrivatePostgresError::Damaged { .. })));
        assert!(matches!(
            major_of(&pgdata.join("PG_VERSION")),
            Err(PrivatePostgresError::NotADirectory { .. })
        ));
    }
}
