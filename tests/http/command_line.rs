//! The command line against a running server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::{Server, answer};
use crate::support::operator;

/// The binary, with a home of its own and nothing else to go by.
fn tenure(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::from(crate::support::process::tenure());
    command.args(arguments).env("XDG_CONFIG_HOME", home);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = tenure(home, arguments).output().await.expect("the binary");
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

async fn json(home: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = run(home, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    serde_json::from_str(out.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_noun_works_against_a_server_as_the_user_who_is_logged_in() {
    let server = Server::new().await;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let token = server.token(runs).await;
    let login = json(home, &["login", "--server", &server.base, "--token", &token]).await;
    assert_eq!(login["username"], "runs");
    let file = home.join("tenure/credentials.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let ada = json(home, &["user", "add", "ada", "--email", "ada@example.org"]).await;
    assert_eq!(ada["username"], "ada");
    assert!(ada["position"].as_str().unwrap().parse::<tenure::event_log::PositionToken>().is_ok());
    assert_eq!(json(home, &["user", "show", "ada"]).await["id"], ada["id"]);
    assert!(
        json(home, &["user", "sign-in-link", "ada"]).await["url"].as_str().unwrap().starts_with(&server.base)
    );
    let acme = json(home, &["account", "open", "acme", "--owner", "ada"]).await;
    assert_eq!(acme["owner_user_id"], ada["id"]);
    json(home, &["user", "add", "bob", "--email", "bob@example.org"]).await;
    json(home, &["account", "add-member", "acme", "bob"]).await;
    let members = json(home, &["account", "members", "acme"]).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    let invite = json(home, &["invite", "send", "--account", "acme", "--to", "carol"]).await;
    assert_eq!(json(home, &["invite", "list", "--account", "acme"]).await["invites"][0]["id"], invite["id"]);
    json(home, &["invite", "revoke", invite["id"].as_str().unwrap(), "--account", "acme"]).await;

    let minted = json(home, &["key", "mint", "--account", "acme", "--label", "ci"]).await;
    let (id, plaintext) = (minted["id"].as_str().unwrap(), minted["plaintext"].as_str().unwrap());
    let mut verify = tenure(home, &["key", "verify", "--json"]);
    let mut child = verify.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{plaintext}\n").as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["id"], id);
    let rotated = json(home, &["key", "rotate", id, "--account", "acme", "--grace", "0"]).await;
    assert_ne!(rotated["plaintext"], minted["plaintext"]);
    json(home, &["key", "revoke", id, "--account", "acme"]).await;
    assert!(json(home, &["key", "list", "--account", "acme"]).await["keys"][0]["revoked_at"].is_string());

    let issued = json(home, &["token", "issue", "--user", "ada", "--ttl", "1h"]).await;
    assert!(issued["token"].as_str().unwrap().starts_with("ppz_oauth_"));
    assert_eq!(json(home, &["token", "list", "--user", "ada"]).await["tokens"].as_array().unwrap().len(), 1);
    json(home, &["token", "revoke", issued["id"].as_str().unwrap(), "--user", "ada"]).await;

    json(home, &["source", "create", "robot", "--account", "acme", "--kind", "pty"]).await;
    let pipe =
        json(home, &["pipe", "create", "logs", "--source", "robot", "--account", "acme", "--ttl", "1h"])
            .await;
    assert_eq!((pipe["ttl_seconds"].as_i64(), pipe["max_msgs"].as_i64()), (Some(3_600), Some(1_000)));
    let kept = json(
        home,
        &["pipe", "retention", "logs", "--source", "robot", "--account", "acme", "--max-msgs", "5"],
    )
    .await;
    assert_eq!(kept["max_msgs"], 5);
    let sources = json(home, &["source", "list", "--account", "acme"]).await;
    assert_eq!(sources["sources"][0]["pipes"], json!(["stdin", "stdout", "stdctrl", "inbox", "logs"]));
    assert_eq!(
        json(home, &["pipe", "list", "--source", "robot", "--account", "acme"]).await["pipes"][0]["name"],
        "logs"
    );
    json(home, &["pipe", "delete", "logs", "--source", "robot", "--account", "acme"]).await;
    json(home, &["source", "delete", "robot", "--account", "acme"]).await;
    let last = json(home, &["events", "show", "--account", "acme"]).await;
    assert_eq!(last["event_type"], "source.deleted");
    let (code, text, _) = run(home, &["events", "tail", "--limit", "3"]).await;
    assert_eq!((code, text.lines().count()), (0, 3));
    json(home, &["account", "remove-member", "acme", "bob"]).await;
    json(home, &["user", "forget", "bob"]).await;
    json(home, &["account", "close", "acme"]).await;

    let code = |arguments: Vec<&'static str>| async move { run(home, &arguments).await };
    assert_eq!(code(vec!["account", "members", "nowhere"]).await.0, 4);
    assert_eq!(code(vec!["user", "add", "ADA", "--email", "a@example.org"]).await.0, 3);
    let (refused, _, err) = code(vec!["user", "add", "a b", "--email", "a@example.org"]).await;
    assert_eq!(refused, 3);
    assert!(err.contains("username: 1 to 39"), "{err}");
    assert_eq!(
        code(vec!["user", "show", "ada", "--server", "http://127.0.0.1:1", "--token", "x"]).await.0,
        5
    );
    assert_eq!(json(home, &["logout"]).await["logged_out"], true);
    assert!(!file.exists());
    answer(server.get("/api/v1/users/me").bearer_auth(&token)).await.is(401);
    let (code, _, err) = run(home, &["user", "show", "ada", "--server", &server.base]).await;
    assert_eq!(code, 3);
    assert!(err.contains("not logged in"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_by_the_device_flow_and_a_file_that_others_read_is_refused() {
    let tenure_ = std::sync::Arc::new(crate::support::TestDatabase::new().await.open().await);
    let server =
        Server::with(tenure_, |settings| settings.poll_interval = std::time::Duration::from_secs(1)).await;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let ada = server.user("ada").await;
    let mut command = tenure(home, &["login", "--server", &server.base, "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let shown: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let context = crate::support::as_user(ada);
    server.tenure.approve_device_code(&context, shown["user_code"].as_str().unwrap(), ada).await.unwrap();
    let done: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(done["username"], "ada");
    assert!(child.wait().await.unwrap().success());
    assert_eq!(json(home, &["account", "open", "mine"]).await["owner_user_id"], ada.to_string());
    assert_eq!(json(home, &["account", "list"]).await["accounts"][0]["name"], "mine");
    let file = home.join("tenure/credentials.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = run(home, &["account", "list"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("others may read it") && !err.contains("ppz_oauth_"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_cannot_be_stored_asks_for_no_token() {
    let server = Server::new().await;
    let home = tempfile::tempdir().unwrap();
    let token = server.token(server.user("ada").await).await;
    let missing = home.path().join("not/there/yet");
    json(&missing, &["login", "--server", &server.base, "--token", &token]).await;
    for directory in [missing.join("tenure"), missing.clone(), home.path().join("not")] {
        assert_eq!(
            std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777,
            0o700,
            "{directory:?}"
        );
    }
    json(&missing, &["account", "list"]).await;
    // A directory in the place of the file: nothing can be stored there, not even by root.
    let blocked = home.path().join("blocked");
    std::fs::create_dir_all(blocked.join("tenure/credentials.json")).unwrap();
    let (code, _, err) = run(&blocked, &["login", "--server", &server.base]).await;
    assert_eq!(code, 1);
    assert!(err.contains("the login cannot be stored in"), "{err}");
    let codes = server
        .tenure
        .log()
        .read_page(0, &tenure::event_log::read::Filter::default(), 1_000)
        .await
        .unwrap()
        .events;
    assert!(codes.iter().all(|event| &*event.stream.stream_type != "device_code"), "no code was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_are_served() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(home.path(), &["completions", shell]).await;
        assert!(code == 0 && script.contains("sign-in-link"), "{shell}");
    }
    let (code, page, _) = run(home.path(), &["man"]).await;
    assert!(code == 0 && page.starts_with(".ie") && page.contains("TENURE KEY MINT"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_file_that_names_an_instance_wins_over_a_stored_login() {
    let (server, home) = (Server::new().await, tempfile::tempdir().unwrap());
    let home = home.path();
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let token = server.token(runs).await;
    json(home, &["login", "--server", &server.base, "--token", &token]).await;
    let other = crate::support::TestDatabase::new().await;
    let file = home.join("tenure.toml");
    let key = crate::support::master_key().default_file;
    let settings =
        format!("database_url = {:?}\nmaster_key_file = {:?}\n", other.url(), key.display().to_string());
    std::fs::write(&file, settings).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, err) = run(home, &["--config", file, "user", "show", "runs"]).await;
    assert_eq!(code, 4, "that instance knows nobody of the name: {out}{err}");
    json(home, &["--config", file, "user", "add", "there", "--email", "t@example.org"]).await;
    assert!(server.tenure.reader().user_by_username("there").await.is_err());
    let there = other.open().await;
    assert_eq!(there.reader().user_by_username("there").await.unwrap().username, "there");
}
