//! The private server against real PostgreSQL programs: what it survives, and whom it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tenure::postgres::private::{Endpoint, Options, PrivatePostgres, PrivatePostgresError, State, running};
use tokio::time::timeout;

use crate::support::process::write_program;

const PATIENCE: Duration = Duration::from_mins(2);

/// Set in the processes that a test starts from its own executable, to the data directory they are to own.
const OWNER_OF: &str = "TENURE_TEST_OWNER_OF";

fn options(data_dir: &Path) -> Options {
    Options { data_dir: data_dir.to_path_buf(), bin_dir: None }
}

async fn start(data_dir: &Path) -> Result<PrivatePostgres, PrivatePostgresError> {
    timeout(PATIENCE, PrivatePostgres::start(options(data_dir))).await.expect("an answer in time")
}

/// Runs a statement on a new connection and gives its first value.
async fn ask(endpoint: &Endpoint, statement: &str) -> Result<String, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(&endpoint.socket_dir).user(endpoint.user).dbname(endpoint.database);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let mut value = String::new();
    for message in client.simple_query(statement).await? {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            row.get(0).unwrap_or_default().clone_into(&mut value);
        }
    }
    drop(client);
    connection.await.expect("the connection ends")?;
    Ok(value)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let look = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never true: {what}"));
}

fn pid_of(postgres: &PrivatePostgres) -> Pid {
    match *postgres.state().borrow() {
        State::Running { pid } => Pid::from_raw(pid),
        ref other => panic!("not running: {other:?}"),
    }
}

/// Gone, or ended and not yet asked how.
fn ended(pid: Pid) -> bool {
    kill(pid, None).is_err() || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
}

fn bin_dir() -> PathBuf {
    let usual =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = usual.chain(std::env::split_paths(&path)).collect();
    places.retain(|place| place.join("initdb").exists() && place.join("postgres").exists());
    places.first().expect("PostgreSQL is installed").canonicalize().expect("a directory")
}

/// A command of this executable that runs one test alone, as the owner of a data directory.
fn owner_process(executable: &Path, before: &[&str], test: &str, data_dir: &Path) -> Child {
    let module = module_path!().split_once("::").map_or(String::new(), |(_, module)| format!("{module}::"));
    let mut words = before.iter().map(Path::new).chain([executable]);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(["--exact", &format!("{module}{test}"), "--nocapture"]);
    command.env(OWNER_OF, data_dir).current_dir("/").stdout(Stdio::piped()).spawn().expect("it starts")
}

/// Reads what an owner process says until a line tells how its server is.
fn verdict(child: &mut Child) -> String {
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    lines.filter(|line| line.contains("verdict:")).take(1).collect()
}

/// What an owner process does: it starts the server, says so, and stays until it is killed.
async fn own(data_dir: PathBuf) {
    match start(&data_dir).await {
        Ok(postgres) => {
            println!("\nverdict: runs as {}", ask(postgres.endpoint(), "show data_directory").await.unwrap());
            std::future::pending::<()>().await;
        }
        Err(error) => println!("\nverdict: {error}"),
    }
}

fn owned_here() -> Option<PathBuf> {
    std::env::var_os(OWNER_OF).map(PathBuf::from)
}

#[tokio::test]
async fn data_survives_a_stop_and_a_start() {
    let temp = tempfile::tempdir().unwrap();
    let data_dir = temp.path().join("new, \"odd\" name/data");
    let first = start(&data_dir).await.unwrap();
    assert_eq!(running(&data_dir).unwrap().as_ref(), Some(first.endpoint()));
    ask(first.endpoint(), "create table kept as select 'still here' as note").await.unwrap();
    let (state, socket) = (first.state(), first.endpoint().socket());
    first.stop().await.unwrap();
    assert_eq!(*state.borrow(), State::Stopped);
    assert!(!socket.exists());
    assert_eq!(running(&data_dir).unwrap(), None);

    let second = start(&data_dir).await.unwrap();
    assert_eq!(ask(second.endpoint(), "select note from kept").await.unwrap(), "still here");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_acknowledged_or_secret_is_left_to_defaults() {
    let temp = tempfile::tempdir().unwrap();
    let postgres = start(temp.path()).await.unwrap();
    for (name, expected) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("TimeZone", "UTC"),
        ("log_statement", "none"),
    ] {
        let setting = ask(postgres.endpoint(), &format!("select current_setting('{name}')")).await;
        // Newer servers tell the collation elsewhere.
        let setting = if name == "lc_collate" {
            ask(postgres.endpoint(), "select datcollate from pg_database where datname = 'tenure'").await
        } else {
            setting
        };
        assert_eq!(setting.unwrap(), expected, "{name}");
    }
    ask(postgres.endpoint(), "create table people (name text primary key)").await.unwrap();
    for _ in 0..2 {
        let _ = ask(postgres.endpoint(), "insert into people values ('hidden-person')").await;
    }
    assert!(ask(postgres.endpoint(), "select 'hidden-word' from nowhere").await.is_err());
    postgres.stop().await.unwrap();
    let log = fs::read_to_string(temp.path().join("postgres.log")).unwrap();
    assert!(log.contains("duplicate key value"), "{log}");
    assert!(!log.contains("hidden"), "{log}");
    for (path, mode) in [("postgres", 0o700), ("run", 0o700), ("postgres.log", 0o600), ("lock", 0o600)] {
        assert_eq!(fs::metadata(temp.path().join(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn a_held_directory_is_refused_with_its_owner() {
    let temp = tempfile::tempdir().unwrap();
    let postgres = start(temp.path()).await.unwrap();
    let refused = start(temp.path()).await.unwrap_err();
    assert!(
        matches!(refused, PrivatePostgresError::InUse { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    assert_eq!(ask(postgres.endpoint(), "select 1").await.unwrap(), "1");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let temp = tempfile::tempdir().unwrap();
    let postgres = start(temp.path()).await.unwrap();
    ask(postgres.endpoint(), "create table kept as select 1").await.unwrap();
    for _ in 0..3 {
        let killed = pid_of(&postgres);
        kill(killed, Signal::SIGKILL).unwrap();
        let mut state = postgres.state();
        let again = |state: &State| matches!(state, State::Running { pid } if *pid != killed.as_raw());
        timeout(PATIENCE, state.wait_for(again)).await.expect("in time").unwrap();
        assert_eq!(ask(postgres.endpoint(), "select count(*) from kept").await.unwrap(), "1");
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_dropped_unstopped_ends_and_frees_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let postgres = start(temp.path()).await.unwrap();
    let pid = pid_of(&postgres);
    let mut state = postgres.state();
    drop(postgres);
    timeout(PATIENCE, state.wait_for(|state| *state == State::Stopped)).await.expect("in time").unwrap();
    assert!(ended(pid));
    start(temp.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_abandoned_start_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let abandoned = timeout(Duration::from_millis(300), PrivatePostgres::start(options(temp.path()))).await;
    drop(abandoned);
    let lock = fs::File::open(temp.path().join("lock")).unwrap();
    until("the lock is free", || lock.try_lock().is_ok()).await;
    drop(lock);
    assert!(!temp.path().join("postgres/postmaster.pid").exists());
    start(temp.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_under_a_free_lock_is_stopped_first() {
    let temp = tempfile::tempdir().unwrap();
    let first = start(temp.path()).await.unwrap();
    let endpoint = first.endpoint().clone();
    first.stop().await.unwrap();
    let pgdata = temp.path().join("postgres");
    let owner = fs::metadata(&pgdata).unwrap();
    let mut command = Command::new("setpriv");
    if geteuid().is_root() {
        command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())]);
        command.args(["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
    }
    command.arg(bin_dir().join("postgres")).arg("-D").arg(&pgdata).args(["-c", "listen_addresses="]);
    command.arg("-k").arg(&endpoint.socket_dir).stderr(Stdio::null());
    let mut orphan = command.spawn().unwrap();
    let pid_file = pgdata.join("postmaster.pid");
    until("the orphan runs", || fs::read_to_string(&pid_file).is_ok_and(|content| content.contains("ready")))
        .await;

    let postgres = start(temp.path()).await.unwrap();
    assert!(orphan.wait().unwrap().success(), "it shut down in order");
    assert_eq!(ask(postgres.endpoint(), "select 1").await.unwrap(), "1");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_stranger_under_a_stale_number_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    start(temp.path()).await.unwrap().stop().await.unwrap();
    let pgdata = temp.path().join("postgres");
    let mut command = Command::new("sleep");
    command.arg("1000");
    if geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(fs::metadata(&pgdata).unwrap().uid());
    }
    let mut stranger = command.spawn().unwrap();
    let stale = format!("{}\n{}\n0\n5432\n\n\n", stranger.id(), pgdata.display());
    fs::write(pgdata.join("postmaster.pid"), stale).unwrap();
    start(temp.path()).await.unwrap().stop().await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "it still runs");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn the_server_ends_with_its_killed_owner() {
    if let Some(data_dir) = owned_here() {
        return own(data_dir).await;
    }
    let temp = tempfile::tempdir().unwrap();
    let executable = std::env::current_exe().unwrap();
    let mut owner = owner_process(&executable, &[], "the_server_ends_with_its_killed_owner", temp.path());
    let said = verdict(&mut owner);
    assert!(said.contains("verdict: runs"), "{said}");
    let endpoint = running(temp.path()).unwrap().expect("another process owns it");
    assert_eq!(ask(&endpoint, "select 1").await.unwrap(), "1");
    assert!(matches!(
        start(temp.path()).await,
        Err(PrivatePostgresError::InUse { pid: Some(pid), .. }) if pid == owner.id()
    ));
    let pid_file = fs::read_to_string(temp.path().join("postgres/postmaster.pid")).unwrap();
    let server = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("the server is gone", || ended(server)).await;
    assert_eq!(running(temp.path()).unwrap(), None);
    start(temp.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_taken_for_one_that_does_not_run() {
    let temp = tempfile::tempdir().unwrap();
    let postgres = start(temp.path()).await.unwrap();
    let pid_file = fs::read_to_string(temp.path().join("postgres/postmaster.pid")).unwrap();
    let server = Pid::from_raw(pid_file.lines().next().unwrap().parse().unwrap());
    let tenure = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
        let output = command
            .args(arguments)
            .arg("--data-dir")
            .arg(temp.path())
            .env("DATABASE_URL", "")
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    kill(server, Signal::SIGSTOP).unwrap();
    let (found, doctor) = (running(temp.path()), tenure(&["doctor", "--json"]));
    let shown = tenure(&["user", "show", "ada"]);
    // Nor is one whose queue is full, to which connecting waits without a limit.
    let socket = temp.path().join("run/.s.PGSQL.5432");
    let mut waiting = Vec::new();
    while let Ok(connection) = tokio::net::UnixStream::connect(&socket).await {
        waiting.push(connection);
    }
    let full = running(temp.path());
    drop(waiting);
    kill(server, Signal::SIGCONT).unwrap();
    assert!(matches!(full, Err(PrivatePostgresError::NotAnswering { .. })), "{full:?}");
    assert!(
        matches!(found, Err(PrivatePostgresError::NotAnswering { pid, .. }) if pid == std::process::id()),
        "{found:?}"
    );
    assert!(doctor.0 == Some(1) && doctor.1.contains("does not answer"), "{doctor:?}");
    assert!(shown.0 == Some(5) && shown.2.contains("does not answer"), "{shown:?}");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn an_owner_killed_at_work_loses_nothing() {
    if let Some(data_dir) = owned_here() {
        return own(data_dir).await;
    }
    let temp = tempfile::tempdir().unwrap();
    let executable = std::env::current_exe().unwrap();
    for round in 0..3 {
        let mut owner = owner_process(&executable, &[], "an_owner_killed_at_work_loses_nothing", temp.path());
        let said = verdict(&mut owner);
        assert!(said.contains("verdict: runs"), "round {round}: {said}");
        let endpoint = running(temp.path()).unwrap().expect("another process owns it");
        let write = format!("create table kept_{round} as select 1");
        ask(&endpoint, &write).await.unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
    }
    let postgres = start(temp.path()).await.unwrap();
    let kept = "select count(*) from pg_tables where tablename like 'kept%'";
    assert_eq!(ask(postgres.endpoint(), kept).await.unwrap(), "3");
    postgres.stop().await.unwrap();
}

/// Runs as the user who runs the tests, and as `nobody` if that is root.
#[tokio::test]
async fn an_ordinary_user_can_run_it() {
    if let Some(data_dir) = owned_here() {
        assert!(!geteuid().is_root());
        return own(data_dir).await;
    }
    let temp = tempfile::tempdir().unwrap();
    let data_dir = temp.path().join("data");
    if !geteuid().is_root() {
        return start(&data_dir).await.unwrap().stop().await.unwrap();
    }
    let nobody = User::from_name("nobody").unwrap().expect("every system has one");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&data_dir).unwrap();
    chown(&data_dir, Some(uid), Some(gid)).unwrap();
    let executable = temp.path().join("tests");
    write_program(&executable, &fs::read(std::env::current_exe().unwrap()).unwrap());
    let (as_user, in_group) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let drop_rights = ["setpriv", &as_user, &in_group, "--clear-groups"];
    let mut owner = owner_process(&executable, &drop_rights, "an_ordinary_user_can_run_it", &data_dir);
    let said = verdict(&mut owner);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(said.contains("verdict: runs"), "{said}");
    assert_eq!(fs::metadata(data_dir.join("postgres")).unwrap().uid(), uid);

    // What nobody made, root can run, and leaves it nobody's.
    start(&data_dir).await.unwrap().stop().await.unwrap();
    assert_eq!(fs::metadata(data_dir.join("lock")).unwrap().uid(), uid);
    let mut owner = owner_process(&executable, &drop_rights, "an_ordinary_user_can_run_it", &data_dir);
    let said = verdict(&mut owner);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(said.contains("verdict: runs"), "{said}");
}

/// A directory that only its owner may enter: where the tests run as root, PostgreSQL's user may not.
#[tokio::test]
async fn it_runs_below_a_directory_only_the_owner_may_enter() {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o700)).unwrap();
    let postgres = start(&temp.path().join("data")).await.unwrap();
    assert_eq!(ask(postgres.endpoint(), "select 1").await.unwrap(), "1");
    let owner = fs::metadata(temp.path().join("data/postgres")).unwrap().uid();
    assert_ne!(owner, 0, "PostgreSQL never runs as root");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_path_gets_a_short_socket_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let data_dir = temp.path().join("x".repeat(120));
    let postgres = start(&data_dir).await.unwrap();
    let socket_dir = postgres.endpoint().socket_dir.clone();
    assert!(!socket_dir.starts_with(&data_dir));
    assert_eq!(fs::metadata(&socket_dir).unwrap().mode() & 0o777, 0o700);
    assert_eq!(running(&data_dir).unwrap().as_ref(), Some(postgres.endpoint()));
    assert_eq!(ask(postgres.endpoint(), "select 1").await.unwrap(), "1");
    postgres.stop().await.unwrap();

    // A symbolic link has been put in its place.
    fs::remove_dir(&socket_dir).unwrap();
    std::os::unix::fs::symlink(temp.path(), &socket_dir).unwrap();
    let refused = start(&data_dir).await;
    fs::remove_file(&socket_dir).unwrap();
    assert!(matches!(refused, Err(PrivatePostgresError::NotADirectory { .. })), "{refused:?}");
    if geteuid().is_root() {
        fs::create_dir(&socket_dir).unwrap();
        chown(&socket_dir, Some(12_345), None).unwrap();
        let refused = start(&data_dir).await;
        fs::remove_dir(&socket_dir).unwrap();
        assert!(
            matches!(refused, Err(PrivatePostgresError::WrongOwner { owner: 12_345, .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn files_of_another_major_version_are_refused_with_both_named() {
    let temp = tempfile::tempdir().unwrap();
    start(temp.path()).await.unwrap().stop().await.unwrap();
    let file = temp.path().join("postgres/PG_VERSION");
    let ours = fs::read_to_string(&file).unwrap();
    fs::write(&file, "99\n").unwrap();
    let refused = start(temp.path()).await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::OtherMajor { data: 99, .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("PostgreSQL 99") && text.contains(&format!("{}.", ours.trim())), "{text}");
    fs::write(&file, ours).unwrap();
    start(temp.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn foreign_and_damaged_directories_are_refused_untouched() {
    let temp = tempfile::tempdir().unwrap();
    let pgdata = temp.path().join("postgres");
    fs::create_dir(&pgdata).unwrap();
    fs::write(pgdata.join("thesis.txt"), "years of work").unwrap();
    let refused = start(temp.path()).await;
    assert!(matches!(refused, Err(PrivatePostgresError::Foreign { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(pgdata.join("thesis.txt")).unwrap(), "years of work");
    let refused = start(&pgdata.join("thesis.txt")).await;
    assert!(matches!(refused, Err(PrivatePostgresError::NotADirectory { .. })), "{refused:?}");

    let temp = tempfile::tempdir().unwrap();
    start(temp.path()).await.unwrap().stop().await.unwrap();
    let pgdata = temp.path().join("postgres");
    let refused = start(&pgdata).await;
    assert!(matches!(refused, Err(PrivatePostgresError::Foreign { .. })), "{refused:?}");
    let control = fs::read(pgdata.join("global/pg_control")).unwrap();
    fs::write(pgdata.join("global/pg_control"), vec![7; control.len()]).unwrap();
    let refused = start(temp.path()).await;
    assert!(
        matches!(refused, Err(PrivatePostgresError::Damaged { .. } | PrivatePostgresError::Ended { .. })),
        "{refused:?}"
    );
    fs::remove_file(pgdata.join("global/pg_control")).unwrap();
    let refused = start(temp.path()).await;
    assert!(matches!(refused, Err(PrivatePostgresError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_refused_with_the_way_out() {
    let temp = tempfile::tempdir().unwrap();
    let nowhere = Options { data_dir: temp.path().join("data"), bin_dir: Some(temp.path().to_path_buf()) };
    let refused = PrivatePostgres::start(nowhere.clone()).await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::BinariesMissing { .. }), "{refused:?}");
    for program in ["initdb", "postgres"] {
        let path = temp.path().join(program);
        write_program(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) 14.9'\n").as_bytes());
    }
    let refused = PrivatePostgres::start(nowhere).await.unwrap_err();
    assert!(matches!(refused, PrivatePostgresError::TooOld { .. }), "{refused:?}");
    assert!(refused.to_string().contains("14.9"), "{refused}");
}

/// A disk is filled for real where a small one can be mounted; elsewhere an `initdb` says what it says on a full one.
#[tokio::test]
async fn a_full_disk_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let (disk, programs) = (temp.path().join("disk"), temp.path().join("bin"));
    for directory in [&disk, &programs] {
        fs::create_dir(directory).unwrap();
    }
    let real = bin_dir();
    std::os::unix::fs::symlink(real.join("postgres"), programs.join("postgres")).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec '{}/initdb' --version\n\
         echo 'initdb: error: could not write file: No space left on device' >&2\nexit 1\n",
        real.display()
    );
    write_program(&programs.join("initdb"), script.as_bytes());
    let said = Options { data_dir: temp.path().join("data"), bin_dir: Some(programs) };
    let mut refusals = vec![PrivatePostgres::start(said).await.unwrap_err()];

    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(&disk).output();
    if mount.is_ok_and(|output| output.status.success()) {
        let refused = start(&disk.join("data")).await;
        let half_made = disk.join("data/postgres").exists();
        assert!(Command::new("umount").arg(&disk).status().unwrap().success());
        assert!(!half_made);
        refusals.push(refused.unwrap_err());
    }
    for refused in refusals {
        assert!(matches!(refused, PrivatePostgresError::DiskFull { .. }), "{refused:?}");
        assert!(refused.to_string().contains("no space is left"), "{refused}");
    }
}
