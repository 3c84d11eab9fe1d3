//! PostgreSQL servers of a test's own, on loopback ports: primaries, their standbys, promotions, freezes.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tokio_postgres::{Client, NoTls};

use crate::sealing::program;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with its data, ended when dropped.
pub struct Server {
    pub port: u16,
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// Further `-c name=value`.
    settings: Vec<&'static str>,
}

/// Whom the server's programs run as: never root.
fn account() -> Option<User> {
    let named = |name| User::from_name(name).ok().flatten();
    geteuid().is_root().then(|| named("postgres").or_else(|| named("nobody")).expect("an unprivileged user"))
}

pub fn command(name: &str) -> Command {
    let mut command = match account() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
            command.args(["--clear-groups", "--pdeathsig", "INT"]).arg(program(name));
            command
        }
        None => Command::new(program(name)),
    };
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A free port for a server that may be restarted on it: below those that the kernel gives to outgoing connections, of which
/// one could take the port while nobody listens on it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes of the same moment begin at different ports.
    let begin = std::process::id() as u16;
    let ports = std::iter::repeat_with(|| begin.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)));
    ports
        .map(|port| 20_000 + port % 12_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    if let Some(user) = account() {
        chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
    directory
}

/// Gives a file to the account that the server's programs run as.
pub fn own(path: &Path) {
    if let Some(user) = account() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// What other services of a test need too, which must not run as root.
pub mod run_as_service {
    pub use super::{command, directory, free_port, own};
}

impl Server {
    /// A new primary with a superuser `tenure` and a database `tenure`.
    pub async fn primary() -> Self {
        let directory = directory();
        let data = directory.path().join("data");
        run(command("initdb")
            .args([
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--auth=trust",
                "--username=tenure",
                "--pgdata",
            ])
            .arg(&data));
        let mut server = Self { port: free_port(), directory, child: None, settings: Vec::new() };
        server.allow_replication();
        server.start().await;
        server.connect_to("postgres").await.batch_execute("create database tenure").await.unwrap();
        server
    }

    /// A primary that logs the plan of every statement.
    pub async fn explaining() -> Self {
        let mut server = Self::primary().await;
        server.shut_down();
        server.settings = vec![
            "shared_preload_libraries=auto_explain",
            "log_min_messages=log",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_analyze=on",
            "auto_explain.log_timing=off",
            "auto_explain.log_format=json",
            "auto_explain.log_nested_statements=on",
        ];
        server.start().await;
        server
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A streaming standby of this server.
    pub async fn standby(&self) -> Self {
        let directory = directory();
        run(command("pg_basebackup")
            .args([
                "--host=127.0.0.1",
                "--username=tenure",
                "--checkpoint=fast",
                "--write-recovery-conf",
                "--no-sync",
            ])
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(directory.path().join("data")));
        let mut standby = Self { port: free_port(), directory, child: None, settings: Vec::new() };
        standby.start().await;
        standby
    }

    /// A backup of this server's files as they are now, for a recovery to a later time.
    pub fn base_backup(&self) -> tempfile::TempDir {
        let directory = directory();
        run(command("pg_basebackup")
            .args(["--host=127.0.0.1", "--username=tenure", "--checkpoint=fast", "--no-sync"])
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(directory.path().join("data")));
        directory
    }

    /// A server that begins from a backup, recovers as far as the backup goes, and is a primary on a timeline of its own.
    pub async fn recovered(backup: tempfile::TempDir) -> Self {
        let mut server = Self { port: free_port(), directory: backup, child: None, settings: Vec::new() };
        server.write("recovery.signal", "");
        server.append(
            "postgresql.auto.conf",
            "restore_command = 'false'\nrecovery_target = 'immediate'\nrecovery_target_action = 'promote'\n",
        );
        server.start().await;
        server.until("select not pg_is_in_recovery()").await;
        server
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, text).unwrap();
        own(&path);
    }

    fn append(&self, name: &str, text: &str) {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(self.data().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn allow_replication(&self) {
        self.append("pg_hba.conf", "host replication all 127.0.0.1/32 trust\n");
    }

    /// Starts the server and waits until it takes connections.
    pub async fn start(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join("log"));
        let child = command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"])
            .args(["-c", "wal_keep_size=256MB", "-c", "max_connections=300", "-c", "wal_log_hints=on"])
            .args(["-c", "log_min_messages=fatal", "-c", "max_wal_senders=8", "-c", "hot_standby=on"])
            .args(["-c", &format!("port={}", self.port)])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let ready = async {
            while tokio_postgres::connect(&self.conninfo("postgres"), NoTls).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the server starts");
    }

    pub fn conninfo(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=tenure dbname={database}", self.port)
    }

    pub async fn connect_to(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.conninfo(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until a question is answered with true.
    pub async fn until(&self, question: &str) {
        let client = self.connect_to("tenure").await;
        let look = async {
            while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never true: {question}"));
    }

    /// Follows this primary from now on.
    pub async fn follow(&self, primary: &Self) {
        let conninfo = primary.conninfo("replication").replace(" dbname=replication", "");
        self.set("primary_conninfo", &conninfo).await;
    }

    /// Stops receiving: whatever is committed from now on, this standby lacks.
    pub async fn lag(&self) {
        self.set("primary_conninfo", "host=127.0.0.1 port=1").await;
        self.until("select not exists (select from pg_stat_wal_receiver)").await;
    }

    async fn set(&self, name: &str, value: &str) {
        let client = self.connect_to("tenure").await;
        client.batch_execute(&format!("alter system set {name} = '{value}'")).await.unwrap();
        client.batch_execute("select pg_reload_conf()").await.unwrap();
    }

    /// Waits until this standby has all that the primary has now.
    pub async fn catch_up(&self, primary: &Self) {
        let lsn: String = primary
            .connect_to("tenure")
            .await
            .query_one("select pg_current_wal_insert_lsn()::text", &[])
            .await
            .unwrap()
            .get(0);
        self.until(&format!("select pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn")).await;
    }

    pub async fn promote(&self) {
        self.connect_to("tenure").await.batch_execute("select pg_promote()").await.unwrap();
        self.until("select not pg_is_in_recovery()").await;
    }

    /// Starts again as a standby of another server, after a clean stop.
    pub async fn come_back_as_standby_of(&mut self, primary: &Self) {
        self.write("standby.signal", "");
        let conninfo = primary.conninfo("replication").replace(" dbname=replication", "");
        self.append("postgresql.auto.conf", &format!("primary_conninfo = '{conninfo}'\n"));
        self.start().await;
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("a running server").id() as i32)
    }

    /// Every process of the server, the postmaster first.
    fn processes(&self) -> Vec<Pid> {
        let postmaster = self.pid();
        let mut all = vec![postmaster];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name may hold blanks; the parent is the second field behind it.
            let parent =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
            if parent == Some(postmaster.as_raw()) {
                all.push(Pid::from_raw(pid));
            }
        }
        all
    }

    /// Stops every process in its tracks; the kernel goes on acknowledging what is sent to them.
    pub fn freeze(&self) {
        // Twice, for those that were started between the look and the stop of their parent.
        for _ in 0..2 {
            for pid in self.processes() {
                let _ = kill(pid, Signal::SIGSTOP);
            }
        }
    }

    pub fn thaw(&self) {
        for pid in self.processes().into_iter().rev() {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// Ends the server cleanly: a standby gets everything before.
    pub fn shut_down(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.thaw();
            self.end(Signal::SIGQUIT);
        }
    }
}
