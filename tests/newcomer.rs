//! What meets a newcomer and an odd machine: settings, pipes, signals, accounts, and what `serve` prints.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tenure::clock::Stopwatch;

use crate::support::process::{isolated, tenure};
use crate::support::{TestDatabase, master_key};

/// How long a server may take to stop, whatever hangs: 8 seconds, and the time to notice. Docker kills after ten.
const STOP: Duration = Duration::from_millis(9_500);

fn on(database: &TestDatabase, mut command: Command) -> Command {
    command.env("DATABASE_URL", database.url()).env("TENURE_MASTER_KEY_FILE", master_key().default_file);
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn serve(data_dir: &Path) -> Command {
    let mut command = tenure();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null());
    command
}

/// Reads what `serve` announces, up to its last command.
fn announced(child: &mut Child) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    for line in lines {
        let is_last = line.ends_with(" tour");
        said.push(line);
        if is_last {
            break;
        }
    }
    said
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Waits until the process has ended, and gives its exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let waited = Stopwatch::start();
    let code = child.wait().unwrap().code();
    assert!(waited.elapsed() < STOP, "{:?}", waited.elapsed());
    code
}

/// Waits until the process has taken over SIGTERM from the kernel, in the first lines of `main`.
fn handles_signals(child: &Child) {
    let waited = Stopwatch::start();
    let is_caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & (1 << (Signal::SIGTERM as u64 - 1)) != 0
    };
    while !is_caught() {
        assert!(waited.elapsed() < STOP, "no handler for SIGTERM");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process works on the files of this data directory: one that is named on its command line.
fn is_in_use(data_dir: &Path) -> bool {
    let directory = data_dir.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| text(&line).contains(directory))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_ends_a_command_silently_with_0() {
    let database = TestDatabase::new().await;
    for arguments in ["events show", "events show --json", "completions bash", "man", "doctor", "--help"] {
        // The first process fails if it is told that its reader is gone, so its status is the one to look at.
        let script = format!("{{ \"$0\" {arguments}; echo $? >&3; }} 3>&2 | true");
        let mut shell = isolated("bash");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_tenure")]);
        let output = on(&database, shell).output().unwrap();
        assert_eq!(text(&output.stderr), "0\n", "{arguments}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_counts_as_unset_and_an_empty_database_is_reported() {
    let database = TestDatabase::new().await;
    let mut command = on(&database, tenure());
    for name in [
        "TENURE_CONFIG",
        "TENURE_DATA_DIR",
        "TENURE_LISTEN",
        "TENURE_METRICS_LISTEN",
        "TENURE_CONNECTIONS",
        "TENURE_SERVER",
        "TENURE_TOKEN",
        "TENURE_MASTER_KEY",
        "TENURE_POSTGRES_BIN",
        "TENURE_FORGOTTEN_LIST",
        "TENURE_KEY_SENTINEL",
        "TENURE_DEV_SIGN_IN",
        "TENURE_TRUSTED_PROXIES",
        "TENURE_PUBLIC_URL",
        "TENURE_TOKEN_TTL",
        "TENURE_GITHUB_CLIENT_ID",
        "TENURE_GITHUB_CLIENT_SECRET",
        "TENURE_LOG",
    ] {
        command.env(name, "");
    }
    let output = command.args(["events", "show", "--limit", "1"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));

    let directory = tempfile::tempdir().unwrap();
    let mut doctor = tenure();
    doctor.args(["doctor", "--data-dir"]).arg(directory.path()).env("DATABASE_URL", "");
    let said = text(&doctor.output().unwrap().stderr);
    assert!(said.contains("DATABASE_URL is empty"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_the_log_filter_is_reported_and_a_pipe_gets_no_colors() {
    let database = TestDatabase::empty().await;
    let say = |filter: &str| {
        let mut command = on(&database, tenure());
        text(&command.args(["user", "show", "ada"]).env("TENURE_LOG", filter).output().unwrap().stderr)
    };
    // The first one migrates, and says so.
    let info = say("info");
    assert!(info.contains("INFO") && !info.contains('\u{1b}'), "{info}");
    for nonsense in ["loud", "warn,tenure", "tenure=loud"] {
        assert!(say(nonsense).starts_with("tenure: TENURE_LOG is ignored: item "), "{}", say(nonsense));
    }
}

#[test]
fn an_address_in_use_is_reported_with_what_to_set() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let mut command = tenure();
    command.args(["serve", "--listen", &address, "--data-dir"]).arg(directory.path().join("data"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("TENURE_LISTEN"), "{said}");
    assert!(!directory.path().join("data").exists(), "nothing was begun");
}

#[test]
fn the_printed_commands_work_as_they_stand_and_a_later_start_says_how_to_sign_in() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("it's my data");
    for start in 0..2 {
        let mut child = serve(&data_dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = announced(&mut child);
        let commands: Vec<&String> =
            said.iter().skip_while(|line| !line.starts_with("Next,")).skip(1).collect();
        let adds_a_user = commands.iter().any(|command| command.contains("user add"));
        assert_eq!(adds_a_user, start == 0, "{said:?}");
        for command in &commands {
            if command.ends_with(" tour") || command.contains("events tail") {
                continue;
            }
            // From elsewhere, as in another terminal.
            let output = isolated("sh").args(["-c", command]).current_dir("/").output().unwrap();
            assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        }
        assert!(commands.iter().any(|command| command.contains("user sign-in-link")), "{said:?}");
        signal(&child, Signal::SIGTERM);
        assert_eq!(ended(&mut child), Some(0));
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_with_0_and_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    // While the files are made, while the server starts, and while the log is migrated.
    for milliseconds in [0, 100, 400, 900, 1_500] {
        let data_dir = directory.path().join(milliseconds.to_string());
        let mut child = serve(&data_dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        handles_signals(&child);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(&child, Signal::SIGTERM);
        assert_eq!(ended(&mut child), Some(0), "{milliseconds} ms");
        assert!(!is_in_use(&data_dir), "{milliseconds} ms");
        let mut again = serve(&data_dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        assert!(!announced(&mut again).is_empty(), "{milliseconds} ms: it starts afterwards");
        signal(&again, Signal::SIGTERM);
        assert_eq!(ended(&mut again), Some(0));
    }
}

#[test]
fn while_it_starts_connections_are_refused_and_not_held() {
    let directory = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut command = tenure();
    command.args(["serve", "--listen", &address, "--metrics-listen", "127.0.0.1:0", "--data-dir"]);
    let mut child =
        command.arg(directory.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut refused = 0;
    // Once a connection is accepted, an answer comes at once.
    let answer = loop {
        match std::net::TcpStream::connect(&address) {
            Err(_) => refused += 1,
            Ok(mut stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                std::io::Write::write_all(
                    &mut stream,
                    b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
                )
                .unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                break answer;
            }
        }
        assert!(child.try_wait().unwrap().is_none());
    };
    assert!(refused > 0 && answer.starts_with("HTTP/1.1 200"), "{refused} {answer}");
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn a_stop_takes_at_most_8_seconds_though_postgresql_hangs_and_a_second_signal_hastens_it() {
    let directory = tempfile::tempdir().unwrap();
    for signals in [1, 2] {
        let data_dir = directory.path().join(signals.to_string());
        let mut child = serve(&data_dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        announced(&mut child);
        let pid = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
        let postmaster = Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
        kill(postmaster, Signal::SIGSTOP).unwrap();
        let stopped = Stopwatch::start();
        signal(&child, Signal::SIGTERM);
        // Two signals that are pending together would be one.
        assert!(log.by_ref().any(|line| line.contains("a second signal stops at once")));
        if signals == 2 {
            signal(&child, Signal::SIGTERM);
        }
        let status = child.wait().unwrap();
        let took = stopped.elapsed();
        kill(postmaster, Signal::SIGCONT).unwrap();
        assert!(took < if signals == 1 { STOP } else { Duration::from_secs(4) }, "{took:?}");
        assert_eq!(status.code(), Some(1), "PostgreSQL did not stop");
    }
}

#[test]
fn standard_output_on_a_full_disk_does_not_end_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = serve(directory.path()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.into_iter().find(|line| line.contains("could not be printed"));
    assert!(said.is_some() && child.try_wait().unwrap().is_none());
    signal(&child, Signal::SIGTERM);
    assert_eq!(ended(&mut child), Some(0));
}

/// Runs a command as a user ID that has no entry in the user database.
fn as_unknown_user(directory: &Path, arguments: &[&str]) -> Output {
    std::os::unix::fs::chown(directory, Some(54_321), Some(54_321)).unwrap();
    let copy = directory.join("tenure");
    // By another process: a child that this one starts meanwhile would inherit the open file, which then cannot be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_tenure")).arg(&copy).status().unwrap().success());
    let mut command = isolated(copy.to_str().unwrap());
    command.args(arguments).uid(54_321).gid(54_321).current_dir("/").env("HOME", "/").output().unwrap()
}

#[test]
fn a_user_without_a_passwd_entry_is_told_what_to_do() {
    // Another user can only be taken on by root; `make test` runs in both ways.
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["user", "show", "ada", "--data-dir", data_dir.to_str().unwrap()];
    let output = as_unknown_user(directory.path(), &arguments);
    let said = text(&output.stderr);
    assert!(
        said.contains("user 54321 has no entry in /etc/passwd") && said.contains("DATABASE_URL"),
        "{said}"
    );
}

#[test]
fn what_belongs_to_root_is_named_as_such() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    let arguments = ["user", "show", "ada", "--data-dir", data_dir.to_str().unwrap()];
    let output = as_unknown_user(directory.path(), &arguments);
    let said = text(&output.stderr);
    assert!(said.contains("belongs to user `root`"), "{said}");
}

#[test]
fn a_wrong_directory_for_temporary_files_is_named() {
    let output = tenure().arg("tour").env("TMPDIR", "/nowhere at all").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("TMPDIR names /nowhere at all"), "{said}");
}

#[test]
fn as_the_first_process_of_a_container_it_passes_signals_on_and_reaps() {
    let unshare = || {
        let mut command = isolated("unshare");
        command.args(["--fork", "--pid", "--mount-proc", "--kill-child"]);
        command
    };
    // Where namespaces are not permitted there is no first process to be.
    if !unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return;
    }
    let children = |parent: u32| -> Vec<(u32, bool)> {
        // Each thread has its own.
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let list: String = threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        let is_dead = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
        };
        list.split_whitespace().map(|pid| pid.parse().unwrap()).map(|pid| (pid, is_dead(pid))).collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let mut command = unshare();
    command.args([env!("CARGO_BIN_EXE_tenure"), "serve", "--listen", "127.0.0.1:0", "--metrics-listen"]);
    command.args(["127.0.0.1:0", "--data-dir"]).arg(directory.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    announced(&mut child);
    let first = children(child.id())[0].0;
    let server = children(first)[0].0;
    let postmaster = children(server)[0].0;
    // Its backends become orphans, which are the first process's to reap.
    kill(Pid::from_raw(postmaster as i32), Signal::SIGKILL).unwrap();
    let waited = Stopwatch::start();
    while children(server).iter().all(|(pid, _)| *pid == postmaster)
        || children(first).iter().any(|(_, is_dead)| *is_dead)
    {
        assert!(waited.elapsed() < STOP, "{:?} {:?}", children(first), children(server));
    }
    kill(Pid::from_raw(first as i32), Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut child), Some(0));

    // Other commands can be stopped, too: this one waits for a server that does not speak.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://t@{}/t?connect_timeout=10", silent.local_addr().unwrap());
    let mut command = unshare();
    command.args([env!("CARGO_BIN_EXE_tenure"), "user", "show", "ada", "--database-url", &url]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    silent.accept().unwrap();
    kill(Pid::from_raw(children(child.id())[0].0 as i32), Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut child), Some(128 + Signal::SIGTERM as i32));
}

/// A generator of the moments and ways of a fault test (an LCG; the seed is the round).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_signals_and_a_lost_log_at_random_moments_lose_nothing_that_was_acknowledged() {
    let rounds =
        std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let port = crate::support::server::free_port();
    let base = format!("http://127.0.0.1:{port}");
    let start = || {
        let mut command = tenure();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--metrics-listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(&data_dir).stdin(Stdio::null());
        command
    };
    let mut first = start().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    announced(&mut first);
    let mut issue = tenure();
    issue.args(["token", "issue", "--user", "operator", "--json", "--data-dir"]).arg(&data_dir);
    let issued: serde_json::Value = serde_json::from_slice(&issue.output().unwrap().stdout).unwrap();
    let token = issued["token"].as_str().unwrap().to_owned();
    signal(&first, Signal::SIGTERM);
    assert_eq!(ended(&mut first), Some(0));

    tenure::http::tls_provider::install_crypto_provider();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..rounds {
        let mut chance = Chance(round);
        let (kind, way) = (chance.below(3), chance.below(4));
        let stderr = match kind {
            0 => Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap()),
            _ => Stdio::piped(),
        };
        let mut command = start();
        let mut child =
            command.env("TENURE_LOG", "debug").stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let log = child.stderr.take();
        let moment = Duration::from_millis(chance.below(3_500));
        let lost_at = Duration::from_millis(chance.below(3_500));
        // Read until it is closed, or for the whole time.
        let reader = log.map(|mut log| {
            let is_lost = kind == 1;
            std::thread::spawn(move || {
                let (began, mut said, mut piece) = (Stopwatch::start(), Vec::new(), [0; 4_096]);
                while let Ok(count @ 1..) = log.read(&mut piece) {
                    said.extend_from_slice(&piece[..count]);
                    if is_lost && began.elapsed() > lost_at {
                        break;
                    }
                }
                text(&said)
            })
        });
        let began = Stopwatch::start();
        let mut number = 0;
        while began.elapsed() < moment {
            let name = format!("r{round}n{number}");
            let body = serde_json::json!({"username": name, "email": "x@example.org", "mode": "internal"});
            let request = client.post(format!("{base}/api/v1/users")).bearer_auth(&token).json(&body).send();
            if tokio::time::timeout(moment, request)
                .await
                .is_ok_and(|sent| sent.is_ok_and(|a| a.status() == 201))
            {
                acknowledged.push(name);
            }
            number += 1;
        }
        match way {
            0 => child.kill().unwrap(),
            1 => signal(&child, Signal::SIGINT),
            2 => {
                signal(&child, Signal::SIGTERM);
                signal(&child, Signal::SIGINT);
            }
            _ => signal(&child, Signal::SIGTERM),
        }
        let code = ended(&mut child);
        let said = reader.map(|reader| reader.join().unwrap()).unwrap_or_default();
        assert!(!said.contains("panicked"), "round {round}: {said}");
        // In the first moments no handler is there yet, and the signal itself ends the process.
        let is_right = code == Some(0) || code.is_none() && (way == 0 || moment < Duration::from_millis(100));
        assert!(is_right, "round {round}, way {way}, after {moment:?}: {code:?}\n{said}");
    }
    let mut last = start().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    announced(&mut last);
    for name in &acknowledged {
        let user =
            client.get(format!("{base}/api/v1/users/{name}")).bearer_auth(&token).send().await.unwrap();
        assert_eq!(user.status(), 200, "{name}");
    }
    println!("{rounds} rounds, {} acknowledged, none lost", acknowledged.len());
    signal(&last, Signal::SIGTERM);
    assert_eq!(ended(&mut last), Some(0));
}
