//! `tenure subscriptions`, as operators and scripts use it.

use serde_json::Value;

use super::*;
use crate::support::node::Release;

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_and_act_through_the_command_line() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let table = Table::default();
    table.script.set(&stream(accounts[1]), Behaviour::Refuses);
    let running = quick("ledger", 1).slices(2).start_transactional(&tenure, table.clone()).await.unwrap();
    until_current(&client, "ledger").await;
    let release = Release::new(env!("CARGO_BIN_EXE_tenure"), &database);
    let run = |arguments: &[&str]| {
        let all: Vec<&str> = ["--json", "subscriptions"].iter().chain(arguments).copied().collect();
        release.run(&all)
    };
    let why = ["--reason", "a test"];
    let (code, listed, errors) = run(&["list"]);
    assert_eq!(code, Some(0), "{errors}");
    let ledger = &listed["subscriptions"][0];
    assert_eq!(ledger["name"], "ledger");
    assert_eq!(
        (&ledger["state"], &ledger["parked_streams"], &ledger["held"]),
        (&"running".into(), &1.into(), &2.into())
    );
    let (code, shown, _) = run(&["show", "ledger"]);
    assert_eq!(code, Some(0));
    let parked = &shown["parked"][0];
    assert_eq!(parked["stream"], Value::from(stream(accounts[1])));
    assert_eq!((&parked["waiting"], &parked["failure"]), (&3.into(), &"this address does not exist".into()));
    let position = parked["position"].as_str().unwrap().to_owned();

    // Who is missing, what is not there, what is not allowed, what is malformed.
    let wrong: &[(&[&str], i32)] = &[
        (&["pause", "ledger"], 2),
        (&["pause", "ledger", "--reason", " "], 3),
        (&["unpark", "ledger", "--reason", "x"], 2),
        (&["unpark", "ledger", "account", "--reason", "x"], 3),
        (&["unpark", "ledger", "account/x", "--reason", "x"], 3),
        (&["show", "nothing"], 4),
        (&["resume", "nothing", "--reason", "x"], 4),
        (&["unpark", "nothing", "--all", "--reason", "x"], 4),
        (&["rewind", "nothing", "--to", "0", "--reason", "x"], 4),
        (&["rewind", "ledger", "--to", "yesterday", "--reason", "x"], 3),
        (&["rewind", "ledger", "--to", "1-1", "--reason", "x"], 3),
        (&["skip", "ledger", "12", "--reason", "x"], 3),
        (&["remove", "ledger", "--reason", "x"], 3),
        (&["list", "--limit", "0"], 2),
    ];
    for (arguments, expected) in wrong {
        let (code, _, errors) = run(arguments);
        assert_eq!(code, Some(*expected), "{arguments:?}: {errors}");
        assert!(!errors.is_empty(), "{arguments:?}");
    }
    table.script.clear();
    let act = |arguments: &[&str]| {
        let all: Vec<&str> = arguments.iter().chain(&why).copied().collect();
        let (code, answer, errors) = run(&all);
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        answer
    };
    assert_eq!(
        act(&["skip", "ledger", &position, "--by", "ada"])["stream"],
        Value::from(stream(accounts[1]))
    );
    until_current(&client, "ledger").await;
    act(&["pause", "ledger"]);
    until(&client, "select count(holder) = 0 from log.subscription_slice").await;
    act(&["resume", "ledger"]);
    until(&client, "select count(holder) = 2 from log.subscription_slice").await;
    running.stop().await;
    assert_eq!(run(&["list"]).1["subscriptions"][0]["state"], "idle");
    // The rows of the events are there, so the table must go before they come again.
    client.batch_execute("delete from service.seen").await.unwrap();
    assert_eq!(act(&["rewind", "ledger", "--to", "0"])["slices"], 2);
    let acts = run(&["show", "ledger"]).1["acts"].as_array().unwrap().clone();
    let named: Vec<&str> = acts.iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(named, ["rewind", "resume", "pause", "skip"]);
    assert_eq!((&acts[3]["actor"], &acts[3]["reason"]), (&"ada".into(), &"a test".into()));
    act(&["remove", "ledger"]);
    assert_eq!(run(&["list"]).1["subscriptions"], Value::Array(vec![]));
    // Tables for people.
    let (code, _, errors) = release.run(&["subscriptions", "list"]);
    assert_eq!(code, Some(0), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_reports_the_lag_also_while_no_process_takes_part() {
    let database = TestDatabase::new().await;
    let client = make_tables(&database).await;
    let tenure = database.open().await;
    let accounts = make_events(&tenure, "a", 3).await;
    let table = Table::default();
    table.script.set(&stream(accounts[1]), Behaviour::Refuses);
    let running = quick("ledger", 1).start_transactional(&tenure, table).await.unwrap();
    until_current(&client, "ledger").await;
    running.stop().await;
    make_events(&tenure, "b", 1).await;
    let release = Release::new(env!("CARGO_BIN_EXE_tenure"), &database);
    let mut command =
        release.command(&["serve", "--json", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut said)
        .unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let address = format!("http://{}/metrics", said["metrics_listen"].as_str().unwrap());
    let http = crate::support::node::client();
    let waited = Stopwatch::start();
    let figure = |text: &str, name: &str| -> Option<f64> {
        let line = format!("tenure_subscription_{name}{{subscription=\"ledger\"}} ");
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
    };
    let metrics = loop {
        let text = http.get(&address).send().await.unwrap().text().await.unwrap();
        if figure(&text, "lag_events").is_some() {
            break text;
        }
        assert!(waited.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Two users and an account, a member who came and one who went; and what the first start of a node writes.
    assert!(figure(&metrics, "lag_events").unwrap() >= 5.0, "{metrics}");
    assert_eq!(figure(&metrics, "parked_streams"), Some(1.0));
    assert!(figure(&metrics, "lag_seconds").unwrap() > 0.0);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
