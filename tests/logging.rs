//! The log of a process: a reader that goes, a pipe that nobody empties or a full disk costs lines and nothing else.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tenure::clock::Stopwatch;

use crate::support::{TestDatabase, as_user, user};

struct Serve {
    child: Child,
    listen: String,
}

fn serve(database: &TestDatabase, directory: &std::path::Path, stderr: Stdio, level: &str) -> Serve {
    let mut child = crate::support::process::tenure()
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
        .env("DATABASE_URL", database.url())
        .env("TENURE_DATA_DIR", directory)
        .env("TENURE_MASTER_KEY_FILE", crate::support::cluster_dir().join("master.key"))
        .env("TENURE_LOG", level)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    Serve { child, listen: said["listen"].as_str().unwrap().to_owned() }
}

impl Serve {
    async fn answers(&self) {
        tenure::http::tls_provider::install_crypto_provider();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        for path in ["/healthz", "/readyz", "/sign-in"] {
            let answer =
                client.get(format!("http://{}{path}", self.listen)).send().await.expect("an answer in time");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
        }
    }

    /// Ends the server and gives its exit code.
    fn end(&mut self) -> Option<i32> {
        let told = Stopwatch::start();
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
        status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_level_shows_what_queries_ask_for() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada-lovelace").await;
    let issued = tenure.issue_bearer_token(&as_user(ada), ada, Duration::from_secs(60)).await.unwrap();
    let token = issued.answer.1.unwrap();
    tenure.close().await;
    let directory = tempfile::tempdir().unwrap();
    let said = tempfile::NamedTempFile::new().unwrap();
    for level in ["trace", "trace,tokio_postgres::query=trace,log=trace"] {
        let mut serve = serve(&database, directory.path(), said.reopen().unwrap().into(), level);
        tenure::http::tls_provider::install_crypto_provider();
        let client = reqwest::Client::new();
        for path in ["/api/v1/users/ada-lovelace", "/api/v1/invites"] {
            let asked = client.get(format!("http://{}{path}", serve.listen));
            assert_eq!(
                asked.bearer_auth(token.expose_secret()).send().await.unwrap().status(),
                200,
                "{path}"
            );
        }
        assert_eq!(serve.end(), Some(0));
        let said = std::fs::read_to_string(said.path()).unwrap();
        assert!(said.contains("/api/v1/users/"), "{said}");
        let secret = said.lines().find(|line| line.contains("parameters") || line.contains("\"ada-lovelace"));
        assert_eq!(secret, None, "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_goes_away_ends_nothing() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut serve = serve(&database, directory.path(), Stdio::piped(), "debug");
    serve.answers().await;
    let mut first = [0; 1];
    serve.child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(serve.child.stderr.take());
    for _ in 0..50 {
        serve.answers().await;
    }
    // The committer logs too when its connection goes.
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name like 'tenure%'";
    database.connect(None).await.query(cut, &[]).await.unwrap();
    serve.answers().await;
    assert_eq!(serve.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pipe_for_the_log_holds_up_nothing() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut serve = serve(&database, directory.path(), Stdio::piped(), "trace");
    // Far more than a pipe holds.
    for _ in 0..400 {
        serve.answers().await;
    }
    assert_eq!(serve.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_ends_nothing_and_exit_codes_stay() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut serve = serve(&database, directory.path(), full(), "debug");
    for _ in 0..10 {
        serve.answers().await;
    }
    assert_eq!(serve.end(), Some(0));
    let code = |stderr: &str, arguments: &str| {
        let command = format!("exec \"$0\" {arguments} {stderr}");
        let status = crate::support::process::isolated("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_tenure")])
            .env("DATABASE_URL", database.url())
            .env("TENURE_DATA_DIR", directory.path())
            .env("TENURE_MASTER_KEY_FILE", crate::support::cluster_dir().join("master.key"))
            .env("TENURE_LOG", "trace")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        status.code()
    };
    for stderr in ["2>/dev/full", "2>&-"] {
        assert_eq!(code(stderr, "user show nobody"), Some(4), "{stderr}");
        assert_eq!(code(stderr, "user add 'not a name' --email a@example.org"), Some(3), "{stderr}");
        assert_eq!(code(stderr, "user show unauthenticated"), Some(0), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_request_name_its_trace() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut serve = serve(&database, directory.path(), Stdio::piped(), "warn,tenure=debug");
    tenure::http::tls_provider::install_crypto_provider();
    let client = reqwest::Client::new();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for (path, traceparent) in
        [("/healthz", format!("00-{trace}-b7ad6b7169203331-01")), ("/sign-in", "nonsense".to_owned())]
    {
        let url = format!("http://{}{path}", serve.listen);
        client.get(url).header("traceparent", traceparent).send().await.unwrap();
    }
    let mut log = serve.child.stderr.take().unwrap();
    assert_eq!(serve.end(), Some(0));
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    let line =
        |route: &str| said.lines().find(|line| line.contains(route)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("/healthz").contains(trace), "{said}");
    assert!(!line("/sign-in").contains("trace_id") && !said.contains("nonsense"), "{said}");
}
