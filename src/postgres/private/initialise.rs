//! The database files: judged when they are there, made whole or not at all when they are not.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::binaries::Installation;
use super::control::Control;
use super::data_dir::DataDir;
use super::error::PrivatePostgresError;
use super::launcher::{Launcher, setting};
use super::log::Log;
use super::settings::{DATABASE, SUPERUSER};
use super::start_failure::{Complaint, start_failure};

/// The major version that wrote the files; none if there are none yet.
///
/// # Errors
/// There is something else in their place, or they are incomplete.
pub(super) fn major_of(pgdata: &Path) -> Result<Option<u32>, PrivatePostgresError> {
    let fail = |action| PrivatePostgresError::io(action, pgdata);
    match fs::symlink_metadata(pgdata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("look at")(error)),
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
            let what = "holds other files than those of a PostgreSQL database (PG_VERSION is missing)";
            return Err(PrivatePostgresError::Foreign { path: pgdata.to_path_buf(), what });
        }
        Err(error) => return Err(fail("read PG_VERSION in")(error)),
    };
    let damaged = |what: String| PrivatePostgresError::Damaged { path: pgdata.to_path_buf(), what };
    // Before version 10, the major version had two parts.
    let major = text.trim().split('.').next().unwrap_or_default().parse();
    let major = major.map_err(|_| damaged("PG_VERSION holds no version".to_owned()))?;
    if pgdata.join("global/pg_control").exists() {
        Ok(Some(major))
    } else {
        Err(damaged("global/pg_control is missing".to_owned()))
    }
}

/// Makes the files and the database in a directory beside, and renames it when everything is on the disk.
///
/// # Errors
/// PostgreSQL says why it could not, or somebody asked to stop.
pub(super) fn initialise(
    data_dir: &DataDir,
    installation: &Installation,
    launcher: &Launcher,
    control: &Control,
) -> Result<(), PrivatePostgresError> {
    let unfinished = data_dir.unfinished();
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PrivatePostgresError::io("remove", &unfinished)(error));
        }
        _ => {}
    }
    launcher.own_dir(&unfinished)?;
    tracing::info!(path = %data_dir.pgdata().display(), "setting up a private PostgreSQL");

    let mut initdb = launcher.command(&installation.initdb(), "TERM");
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]);
    initdb.args(["--auth-local=trust", "--auth-host=reject", "--username", SUPERUSER, "--pgdata"]);
    run(initdb.arg(&unfinished), b"", data_dir, control)?;

    let mut single = launcher.command(&installation.postgres(), "TERM");
    single.arg("--single");
    setting(&mut single, "exit_on_error", "on");
    setting(&mut single, "log_min_messages", "warning");
    single.arg("-D").arg(&unfinished).arg("postgres");
    run(&mut single, format!("create database {DATABASE}\n").as_bytes(), data_dir, control)?;

    let pgdata = data_dir.pgdata();
    fs::rename(&unfinished, &pgdata).map_err(PrivatePostgresError::io("rename the new files to", &pgdata))?;
    let root = data_dir.path();
    File::open(root).and_then(|root| root.sync_all()).map_err(PrivatePostgresError::io("write", root))
}

/// Runs one program to its end; its output goes to the log.
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
        // A program that no longer reads tells why by its end.
        tracing::debug!(%error, "PostgreSQL took no input");
    }
    let status =
        control.wait(&mut child).map_err(PrivatePostgresError::io("wait for a program for", &path))?;
    if status.success() {
        return Ok(());
    }
    if control.stopping() {
        return Err(PrivatePostgresError::Cancelled);
    }
    let said = log.tail();
    Err(match start_failure(&said) {
        Complaint::DiskFull => PrivatePostgresError::DiskFull { path },
        _ => PrivatePostgresError::InitFailed { path, said },
    })
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
