//! The binary, as people and scripts use it.

use std::process::Output;

use serde_json::Value;

use crate::support::{TestDatabase, master_key};

fn tenure(database: &TestDatabase, arguments: &[&str]) -> Output {
    crate::support::process::tenure()
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("TENURE_MASTER_KEY_FILE", master_key().default_file)
        .output()
        .expect("the binary")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The position in a token, which is opaque to everybody but these tests.
fn position(answer: &Value) -> i64 {
    let token: tenure::event_log::PositionToken = answer["position"].as_str().unwrap().parse().unwrap();
    token.position
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_accounts_are_made_listed_and_shown() {
    let database = TestDatabase::new().await;
    let ada = json(&tenure(
        &database,
        &["user", "add", "ada", "--email", "ada@example.org", "--operator", "--json"],
    ));
    assert_eq!((ada["username"].as_str(), position(&ada)), (Some("ada"), 3));
    let acme = json(&tenure(&database, &["account", "open", "acme", "--owner", "ADA", "--json"]));
    assert_eq!(acme["owner_user_id"], ada["id"]);
    let members = json(&tenure(&database, &["account", "members", "acme", "--json"]));
    assert_eq!(members["owner"]["username"], "ada");
    assert_eq!(members["members"].as_array().map(Vec::len), Some(0));
    let text = tenure(&database, &["account", "members", "acme"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("ada"));

    let shown = tenure(&database, &["events", "show", "--json", "--type", "user.registered"]);
    let last = json(&shown);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count(), 2);
    assert_eq!(
        (last["position"].as_i64(), last["sealed"]["email"].as_str()),
        (Some(2), Some("ada@example.org"))
    );
    assert!(last["payload"].to_string().find("ada@").is_none());
    let of_account = json(&tenure(&database, &["events", "show", "--json", "--account", "acme"]));
    assert_eq!(
        (of_account["event_type"].as_str(), of_account["sealed"]["name"].as_str()),
        (Some("account.opened"), Some("acme"))
    );
    let tail = tenure(&database, &["events", "tail", "--json", "--after", "0", "--limit", "4"]);
    assert_eq!(String::from_utf8_lossy(&tail.stdout).lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_refused_from_missing_from_wrong_usage() {
    let database = TestDatabase::new().await;
    let code = |arguments: &[&str]| tenure(&database, arguments).status.code();
    assert_eq!(code(&["user", "add", "ada", "--email", "ada@example.org"]), Some(0));
    assert_eq!(code(&["user", "add", "Ada", "--email", "ada@example.org"]), Some(3));
    assert_eq!(code(&["user", "add", "a b", "--email", "ada@example.org"]), Some(3));
    assert_eq!(code(&["account", "open", "acme", "--owner", "nobody"]), Some(4));
    assert_eq!(code(&["account", "members", "nowhere"]), Some(4));
    assert_eq!(code(&["account", "fly"]), Some(2));
    assert_eq!(code(&["migrate", "--database-url", "postgres://127.0.0.1:1/none"]), Some(5));
    for (flag, value) in [("--since", "yesterday"), ("--until", "x"), ("--stream", "ada")] {
        assert_eq!(code(&["events", "show", flag, value]), Some(3), "{flag}");
    }
    // The events can be read, and the keys that open them cannot for now.
    let client = database.connect(None).await;
    client.batch_execute("begin; lock table log.data_key").await.unwrap();
    assert_eq!(code(&["events", "show"]), Some(5));
    client.batch_execute("commit").await.unwrap();
    let refused = tenure(&database, &["user", "add", "a\u{202e}b", "--email", "x@y"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("username: 1 to 39 characters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_fills_the_log() {
    let database = TestDatabase::new().await;
    let seeded = json(&tenure(&database, &["bench", "seed", "--events", "2000", "--json"]));
    assert!(seeded["events"].as_u64().unwrap() >= 2_000);
    assert_eq!(seeded["position"].as_u64().unwrap(), seeded["events"].as_u64().unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_healthy_database_and_says_what_is_wrong_with_others() {
    let database = TestDatabase::new().await;
    let healthy = json(&tenure(&database, &["doctor", "--json"]));
    let findings = healthy["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["status"] == "ok"), "{findings:?}");
    let gone = crate::support::process::tenure()
        .args(["doctor", "--json", "--database-url", "postgres://user:hunter2@127.0.0.1:1/none"])
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(1));
    let said = format!("{}{}", String::from_utf8_lossy(&gone.stdout), String::from_utf8_lossy(&gone.stderr));
    assert!(said.contains("127.0.0.1") && !said.contains("hunter2"), "{said}");
}

#[test]
fn the_tour_ends_with_one_object_that_counts() {
    let output = crate::support::process::tenure().args(["tour", "--json"]).output().unwrap();
    let last = json(&output);
    for count in ["commands", "events", "refusals"] {
        assert!(last[count].as_u64().is_some_and(|count| count > 0), "{last}");
    }
    assert_eq!(
        (&last["one_winner"], &last["positions_contiguous"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_answers_health_readiness_and_metrics_and_ends_clean_on_sigterm() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut serve = crate::support::process::tenure()
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let health = get(said["listen"].as_str().unwrap(), "/healthz").await;
    assert!(health.contains("200 OK") && health.contains(r#""status":"ok""#), "{health}");
    let ready = get(said["listen"].as_str().unwrap(), "/readyz").await;
    assert!(ready.contains("200 OK") && ready.contains(r#""state":"up""#), "{ready}");

    // A command beside the server uses the same database.
    let added = crate::support::process::tenure()
        .args(["user", "add", "ada", "--email", "ada@example.org", "--json", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    let before = said["sign_in_link"].as_str().expect("the first operator signs in by a link");
    assert!(before.contains("/sign-in/link/"));
    assert_eq!(position(&json(&added)), 5, "genesis; the first operator: registered, granted, a link; ada");
    // A link that is made beside the server leads to it.
    let link = crate::support::process::tenure()
        .args(["user", "sign-in-link", "ada", "--json", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    let link = json(&link)["url"].as_str().unwrap().to_owned();
    let (address, path) =
        link.strip_prefix("http://").unwrap().split_at(said["listen"].as_str().unwrap().len());
    assert_eq!(address, said["listen"]);
    assert!(get(address, path).await.contains("Sign in as ada?"));
    let metrics = get(said["metrics_listen"].as_str().unwrap(), "/metrics").await;
    for name in [
        "tenure_commits_total",
        "tenure_overtaken_batches_total",
        "tenure_events_total",
        "tenure_batch_units",
        "tenure_append_queue",
        "tenure_append_seconds",
        "tenure_follower_lag_events",
    ] {
        assert!(metrics.contains(name), "{name} is missing: {metrics}");
    }
    let in_use = crate::support::process::tenure()
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    assert!(!in_use.status.success());
    assert!(String::from_utf8_lossy(&in_use.stderr).contains(&serve.id().to_string()), "{in_use:?}");

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(serve.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    assert!(!data_dir.join("postgres/postmaster.pid").exists(), "PostgreSQL is still there");
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_noun_creates_lists_and_ends_its_resources() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("forgotten");
    let run = |arguments: &[&str]| {
        let mut all = vec!["--json", "--forgotten-list", list.to_str().unwrap()];
        all.extend(arguments);
        json(&tenure(&database, &all))
    };
    for name in ["ada", "bob"] {
        run(&["user", "add", name, "--email", "x@example.org"]);
    }
    run(&["account", "open", "acme", "--owner", "ada"]);
    let invite = run(&["invite", "send", "--account", "acme", "--to", "bob", "--by", "ada"]);
    let id = invite["id"].as_str().unwrap();
    assert_eq!(run(&["invite", "list", "--user", "bob"])["invites"][0]["account_name"], "acme");
    assert_eq!(run(&["invite", "accept", id, "--user", "bob"])["events"], 2);
    assert_eq!(run(&["invite", "list", "--account", "acme"])["invites"][0]["status"], "accepted");

    let key = run(&["key", "mint", "--account", "acme", "--label", "ci", "--by", "ada"]);
    let (id, plaintext) = (key["id"].as_str().unwrap(), key["plaintext"].as_str().unwrap());
    let verify = |secret: &str| {
        let mut child = crate::support::process::tenure()
            .args(["key", "verify", "--json"])
            .env("DATABASE_URL", database.url())
            .env("TENURE_MASTER_KEY_FILE", master_key().default_file)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{secret}\n").as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(json(&verify(plaintext))["id"], id);
    let rotated = run(&["key", "rotate", id, "--account", "acme", "--by", "ada", "--grace", "0"]);
    assert_eq!(verify(plaintext).status.code(), Some(4));
    assert_eq!(json(&verify(rotated["plaintext"].as_str().unwrap()))["id"], id);
    run(&["key", "revoke", id, "--account", "acme", "--by", "ada"]);
    let refused = verify(rotated["plaintext"].as_str().unwrap());
    assert_eq!(refused.status.code(), Some(4));
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("ppz_"));
    assert!(run(&["key", "list", "--account", "acme"])["keys"][0]["revoked_at"].is_string());

    let token = run(&["token", "issue", "--user", "bob", "--ttl", "1h"]);
    assert!(token["token"].as_str().unwrap().starts_with("ppz_oauth_"));
    run(&["token", "revoke", token["id"].as_str().unwrap()]);
    assert!(run(&["token", "list", "--user", "bob"])["tokens"][0]["revoked_at"].is_string());

    run(&["source", "create", "robot", "--account", "acme", "--by", "bob", "--kind", "pty"]);
    let place = ["--source", "robot", "--account", "acme"];
    let create = ["pipe", "create", "events", "--by", "bob", "--ttl", "1h"];
    let pipe = run(&[&create[..], &place[..]].concat());
    assert_eq!((pipe["ttl_seconds"].as_i64(), pipe["max_msgs"].as_i64()), (Some(3_600), Some(1_000)));
    run(&[&["pipe", "retention", "events", "--max-msgs", "5"][..], &place[..]].concat());
    assert_eq!(run(&[&["pipe", "list"][..], &place[..]].concat())["pipes"][0]["max_msgs"], 5);
    let pipes = &run(&["source", "list", "--account", "acme"])["sources"][0]["pipes"];
    assert_eq!(pipes.as_array().unwrap().len(), 5);
    run(&[&["pipe", "delete", "events"][..], &place[..]].concat());
    assert_eq!(run(&["source", "delete", "robot", "--account", "acme"])["events"], 1);

    run(&["account", "remove-member", "acme", "bob"]);
    run(&["account", "add-member", "acme", "bob"]);
    run(&["account", "transfer", "acme", "--to", "bob"]);
    assert_eq!(run(&["account", "list", "--user", "ada"])["accounts"][0]["name"], "acme");
    let bob = run(&["user", "show", "bob"])["id"].as_str().unwrap().to_owned();
    let owner = tenure(&database, &["user", "forget", "bob"]);
    assert_eq!(owner.status.code(), Some(3), "an owner is not forgotten");
    run(&["account", "close", "acme"]);
    run(&["user", "operator", "bob"]);
    run(&["user", "forget", "bob"]);
    assert!(run(&["user", "show", &bob])["username"].as_str().unwrap().starts_with("forgotten-"));
    assert_eq!(std::fs::read_to_string(&list).unwrap().trim(), bob);
    for wrong in [
        ["key", "mint", "--account", "nobody", "--by", "ada"].as_slice(),
        &["invite", "accept", "nonsense", "--user", "ada"],
        &["token", "revoke", "nonsense"],
    ] {
        assert_eq!(tenure(&database, wrong).status.code(), Some(4), "{wrong:?}");
    }
}

#[test]
fn commands_that_work_on_the_database_itself_refuse_a_server_and_make_no_database() {
    let home = tempfile::tempdir().unwrap();
    let user = uuid::Uuid::nil().to_string();
    let commands: &[&[&str]] = &[
        &["migrate"],
        &["doctor"],
        &["projections", "rebuild"],
        &["subscriptions", "list"],
        &["audit", "diff"],
        &["audit", "verify-forgotten", &user],
        &["audit", "schemas"],
        &["keys", "rotate"],
        &["keys", "rotate", "--abandon"],
        &["log", "new-epoch", "--yes"],
        &["nats", "status"],
        &["bench", "seed", "--events", "1000"],
    ];
    let run = |arguments: &[&str], server: &[&str]| {
        let mut command = crate::support::process::tenure();
        command.args(arguments).args(server).env("HOME", home.path()).current_dir(home.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let is_empty =
        || std::fs::read_dir(home.path()).unwrap().all(|entry| entry.unwrap().file_name() == ".config");
    for arguments in commands {
        let with_both = ["--server", "http://127.0.0.1:1", "--database-url", "postgres://127.0.0.1:1/none"];
        assert_eq!(run(arguments, &with_both).0, Some(3), "{arguments:?}");
        let (code, says) = run(arguments, &["--server", "http://127.0.0.1:1"]);
        assert_eq!(code, Some(3), "{arguments:?}: {says}");
        assert!(says.contains("--database-url"), "{says}");
    }
    for arguments in commands.iter().filter(|command| {
        ["audit", "keys", "log", "nats", "projections", "subscriptions"].contains(&command[0])
    }) {
        let (code, says) = run(arguments, &[]);
        assert_eq!(code, Some(4), "{arguments:?}: {says}");
    }
    // Neither is a login at a server a reason to make one here.
    let login = home.path().join(".config/tenure/credentials.json");
    std::fs::create_dir_all(login.parent().unwrap()).unwrap();
    std::fs::write(&login, r#"{"server": "http://127.0.0.1:1", "token": "x"}"#).unwrap();
    std::fs::set_permissions(&login, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for arguments in commands {
        assert_eq!(run(arguments, &[]).0, Some(3), "{arguments:?}");
    }
    assert!(is_empty(), "nothing was made");
}
