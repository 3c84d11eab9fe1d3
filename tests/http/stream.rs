//! Events as they happen: server-sent events, their places, and the rights of their readers.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tenure::ids::{AccountId, UserId};

use super::{Server, answer};
use crate::support::{TestDatabase, history, operator};

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader of a stream, as a stock client reads it: fields up to a blank line.
struct Reader {
    response: Response,
    text: String,
    /// The newest `id`.
    place: String,
}

/// What a reader gets: an event of the log, or the reason of an end.
#[derive(Debug, PartialEq)]
enum Got {
    Event(Value),
    End(String),
    Over,
}

impl Reader {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self::of(response)
    }

    fn of(response: Response) -> Self {
        Self { response, text: String::new(), place: String::new() }
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a piece in time");
            self.text.push_str(std::str::from_utf8(&piece.ok()??).unwrap());
        }
    }

    async fn next(&mut self) -> Got {
        loop {
            let Some(block) = self.block().await else { return Got::Over };
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let Some(id) = field("id") {
                self.place = id.to_owned();
            }
            match (field("event"), field("data")) {
                (Some("end"), Some(data)) => {
                    let data: Value = serde_json::from_str(data).unwrap();
                    return Got::End(data["reason"].as_str().unwrap().to_owned());
                }
                (_, Some(data)) => return Got::Event(serde_json::from_str(data).unwrap()),
                (_, None) => {}
            }
        }
    }

    async fn event(&mut self) -> Value {
        match self.next().await {
            Got::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// Reads until the place is there, without an event.
    async fn begun(&mut self) {
        while self.place.is_empty() {
            let block = self.block().await.unwrap();
            let id = block.lines().find_map(|line| line.strip_prefix("id: "));
            self.place = id.unwrap_or_default().to_owned();
        }
    }
}

async fn runs(server: &Server) -> (UserId, String) {
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    (runs, server.token(runs).await)
}

fn of_account(server: &Server, account: AccountId, token: &str, query: &str) -> RequestBuilder {
    server.get(&format!("/api/v1/accounts/{account}/events/stream{query}")).bearer_auth(token)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_in_order_and_a_reader_resumes_where_it_was() {
    let server = Server::new().await;
    let (_, token) = runs(&server).await;
    for number in 0..150 {
        server.user(&format!("before-{number}")).await;
    }
    let all = |query: &str| server.get(&format!("/api/v1/events/stream{query}")).bearer_auth(&token);
    let (mut from_start, mut live) = (Reader::open(all("?cursor=start")).await, Reader::open(all("")).await);
    live.begun().await;
    let newest = server.tenure.log().newest().await.unwrap();
    for number in 0..150 {
        server.user(&format!("after-{number}")).await;
    }
    let events = history(&server.tenure).await;
    for event in &events {
        let got = from_start.event().await;
        assert_eq!(got["position"], event.position);
        assert_eq!(got["event_id"], event.id.to_string());
    }
    for event in events.iter().filter(|event| event.position > newest) {
        assert_eq!(live.event().await["position"], event.position);
    }
    // Cut off in the middle, and again where it was: by the header, as browsers do, or by the parameter.
    let mut cut = Reader::open(all("?cursor=start")).await;
    for _ in 0..100 {
        cut.event().await;
    }
    let place = cut.place.clone();
    drop(cut);
    for request in [all("?cursor=start").header("last-event-id", &place), all(&format!("?cursor={place}"))] {
        let mut again = Reader::open(request).await;
        for event in &events[100..] {
            assert_eq!(again.event().await["position"], event.position);
        }
    }
    // As the pages have it.
    let page =
        answer(server.get("/api/v1/events?order=asc&limit=1").bearer_auth(&token)).await.is(200).json();
    let mut first = Reader::open(all("?cursor=start")).await;
    assert_eq!(first.event().await, page["items"][0]);
    assert_eq!(first.place, page["next_cursor"].as_str().unwrap());
}

/// Otherwise whoever polls for a rare type searches the same events with every request.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_polls_for_a_type_goes_on_after_what_was_searched() {
    let server = Server::new().await;
    let (_, token) = runs(&server).await;
    for number in 0..20 {
        server.user(&format!("before-{number}")).await;
    }
    let page = async |cursor: &str| {
        let path = format!("/api/v1/events?order=asc&type=account.opened{cursor}");
        answer(server.get(&path).bearer_auth(&token)).await.is(200).json()
    };
    let empty = page("").await;
    let cursor = empty["next_cursor"].as_str().unwrap();
    let newest = server.tenure.log().newest().await.unwrap();
    assert!(cursor.ends_with(&format!("-{newest}")), "{empty}");
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let next = page(&format!("&cursor={cursor}")).await;
    assert_eq!(next["items"].as_array().unwrap().len(), 1, "{next}");
    assert_eq!(
        page(&format!("&cursor={}", next["next_cursor"].as_str().unwrap())).await["items"],
        serde_json::json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_get_what_they_ask_for_and_their_place_goes_on_all_the_same() {
    let server = Server::new().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let (acme, other) = (server.account("acme", ada).await, server.account("other", bob).await);
    let token = server.token(ada).await;
    let mut whole = Reader::open(of_account(&server, acme, &token, "?cursor=start")).await;
    let mut sources = Reader::open(of_account(&server, acme, &token, "?type=source.created")).await;
    sources.begun().await;
    for (account, owner, handle) in
        [(other, bob, "theirs"), (acme, ada, "one"), (other, bob, "more"), (acme, ada, "two")]
    {
        server.tenure.create_source(&operator(), account, Some(owner), handle, None).await.unwrap();
    }
    server.tenure.add_member(&operator(), acme, bob).await.unwrap();
    for (kind, handle) in [
        ("account.opened", None),
        ("source.created", Some("one")),
        ("source.created", Some("two")),
        ("account.member_added", None),
    ] {
        let event = whole.event().await;
        assert_eq!((&event["event_type"], &event["account_id"]), (&json!(kind), &json!(acme.to_string())));
        assert_eq!(event["payload"]["created"]["handle"].as_str(), handle);
    }
    for handle in ["one", "two"] {
        assert_eq!(sources.event().await["payload"]["created"]["handle"], handle);
    }
    // Foreign events move a reader's place, so that it does not read them again: the place comes with the heartbeat.
    for number in 0..10 {
        server.user(&format!("u{number}")).await;
    }
    let newest = server.tenure.log().newest().await.unwrap();
    let at = |place: &str| place.rsplit_once('-').unwrap().1.parse::<i64>().unwrap();
    while at(&sources.place) < newest {
        let block = sources.block().await.unwrap();
        assert!(!block.contains("data:"), "{block}");
        sources.place = block.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_reader_loses_the_right_and_gives_nothing_that_came_after() {
    let server = Server::new().await;
    let tenure = &server.tenure;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    let (runs, operators) = runs(&server).await;
    let secret = |number: usize| format!("secret-{number}");
    for case in 0..6 {
        tenure.add_member(&operator(), acme, bob).await.unwrap();
        tenure.set_operator(&operator(), runs, true).await.unwrap();
        let token = server.token(bob).await;
        let session = server.session(bob).await;
        let mut reader = match case {
            4 => Reader::open(server.get("/api/v1/events/stream").bearer_auth(&operators)).await,
            2 => {
                let path = format!("/api/v1/accounts/{acme}/events/stream");
                Reader::open(server.get(&path).header("cookie", &session)).await
            }
            _ => Reader::open(of_account(&server, acme, &token, "")).await,
        };
        reader.begun().await;
        match case {
            0 => drop(tenure.remove_member(&operator(), acme, bob).await.unwrap()),
            1 => server
                .form("/oauth/revoke", &[("token", &token)])
                .await
                .is(200)
                .status
                .as_u16()
                .eq(&200)
                .then_some(())
                .unwrap(),
            2 => {
                let sessions = server.get("/api/v1/users/me/sessions?limit=200").header("cookie", &session);
                let list = answer(sessions).await.is(200).json();
                for one in list["items"].as_array().unwrap() {
                    let id = one["id"].as_str().unwrap().parse().unwrap();
                    tenure.end_session(&operator(), id).await.unwrap();
                }
            }
            3 => {
                tenure.transfer_ownership(&operator(), acme, bob).await.unwrap();
                tenure.transfer_ownership(&operator(), acme, ada).await.unwrap();
                tenure.remove_member(&operator(), acme, bob).await.unwrap();
            }
            4 => drop(tenure.set_operator(&operator(), runs, false).await.unwrap()),
            _ => drop(tenure.close_account(&operator(), acme).await.unwrap()),
        }
        // What comes after is not given, however fast it comes.
        if case != 5 {
            tenure.create_source(&operator(), acme, Some(ada), &secret(case), None).await.unwrap();
        }
        loop {
            match reader.next().await {
                Got::Event(event) => assert!(!event.to_string().contains("secret-"), "case {case}: {event}"),
                Got::End(reason) => {
                    assert_eq!(reason, "forbidden", "case {case}");
                    break;
                }
                Got::Over => panic!("case {case}: no reason"),
            }
        }
        assert_eq!(reader.next().await, Got::Over);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_credential_of_its_reader_expires() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let token = server.token(ada).await;
    let mut reader = Reader::open(of_account(&server, acme, &token, "")).await;
    reader.begun().await;
    server.tenure.create_source(&operator(), acme, Some(ada), "before", None).await.unwrap();
    assert_eq!(reader.event().await["event_type"], "source.created");
    clock.advance(Duration::from_secs(3_601));
    server.tenure.create_source(&operator(), acme, Some(ada), "after", None).await.unwrap();
    assert_eq!(reader.next().await, Got::End("forbidden".to_owned()));
    assert_eq!(reader.next().await, Got::Over);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_for_a_forgotten_person_is_not_shown_again() {
    let server = Server::new().await;
    let (_, token) = runs(&server).await;
    let all = |query: &str| server.get(&format!("/api/v1/events/stream{query}")).bearer_auth(&token);
    let mut reader = Reader::open(all("")).await;
    reader.begun().await;
    let before = reader.place.clone();
    let ada = server.user("ada-lovelace").await;
    assert_eq!(reader.event().await["sealed"]["username"], "ada-lovelace");
    server.tenure.forget_user(&operator(), ada).await.unwrap();
    assert_eq!(reader.event().await["event_type"], "user.forgotten");
    // The first reader is still there, so this one finds the same window.
    let mut again = Reader::open(all(&format!("?cursor={before}"))).await;
    let registered = again.event().await;
    assert_eq!(
        (&registered["event_type"], &registered["sealed"]["username"]),
        (&json!("user.registered"), &Value::Null)
    );
    assert_eq!(again.event().await["event_type"], "user.forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_places_and_wrong_readers_are_refused_before_a_stream_begins() {
    let server = Server::new().await;
    let (_, token) = runs(&server).await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let (of_ada, key) = (server.token(ada).await, server.key(acme, ada).await.1);
    let all = |query: &str| server.get(&format!("/api/v1/events/stream{query}")).bearer_auth(&token);
    let epoch = server.tenure.log().seen().get().epoch;
    for id in ["nonsense", "1", "\u{e9}", &format!("{epoch}-99999"), "-1"] {
        let refused = answer(all("").header("last-event-id", id)).await.fails(400, "invalid");
        assert_eq!(refused.json()["field"], "last-event-id");
    }
    let twice = all("").header("last-event-id", "1-1").header("last-event-id", "1-1");
    answer(twice).await.fails(400, "invalid");
    answer(all("").header("last-event-id", "7-1")).await.fails(409, "log_replaced");
    answer(all("").header("last-event-id", "")).await.is(200);
    for query in ["?cursor=nonsense", "?cursor=", "?type=Bad", "?limit=5"] {
        answer(all(query)).await.fails(400, "invalid");
    }
    answer(server.get("/api/v1/events/stream")).await.fails(401, "credential_missing");
    answer(server.get("/api/v1/events/stream").bearer_auth(&of_ada)).await.fails(403, "forbidden");
    answer(server.get("/api/v1/events/stream").bearer_auth(&key)).await.fails(403, "forbidden");
    answer(of_account(&server, acme, &key, "")).await.fails(403, "forbidden");
    let stranger = server.user("stranger").await;
    answer(of_account(&server, acme, &server.token(stranger).await, ""))
        .await
        .fails(404, "account.not_found");
    answer(server.request(Method::POST, "/api/v1/events/stream").bearer_auth(&token)).await.is(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_ends_streams_by_name_and_a_stop_ends_them_at_once() {
    let database = TestDatabase::new().await;
    let server = Server::on(&database).await;
    let (_, token) = runs(&server).await;
    let all = || server.get("/api/v1/events/stream").bearer_auth(&token);
    let mut reader = Reader::open(all()).await;
    reader.begun().await;
    let place = reader.place.clone();
    tenure::engine::new_epoch(&database.address, &tenure::entropy::OsEntropy::default()).await.unwrap();
    assert_eq!(reader.next().await, Got::End("log_replaced".to_owned()));
    answer(all().header("last-event-id", &place)).await.fails(409, "log_replaced");
    let mut reader = Reader::open(all()).await;
    reader.begun().await;
    server.user("ada").await;
    assert_eq!(reader.event().await["event_type"], "user.registered");
    server.stop.cancel();
    assert_eq!(reader.next().await, Got::Over);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_out_a_database_that_goes() {
    let server = crate::support::server::Server::primary().await;
    let mut postgres = server;
    let address = postgres.conninfo("tenure").parse().unwrap();
    let settings =
        tenure::Settings { connections: 8, ..tenure::Settings::new(address, crate::support::master_key()) };
    let server = Server::with(std::sync::Arc::new(crate::support::open_with(settings).await), |_| {}).await;
    let (_, token) = runs(&server).await;
    let mut reader = Reader::open(server.get("/api/v1/events/stream").bearer_auth(&token)).await;
    reader.begun().await;
    for round in 0..3 {
        server.user(&format!("before-{round}")).await;
        assert_eq!(reader.event().await["sealed"]["username"], format!("before-{round}"));
        postgres.kill();
        postgres.start().await;
        while server.tenure.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
        server.user(&format!("after-{round}")).await;
        assert_eq!(reader.event().await["sealed"]["username"], format!("after-{round}"));
    }
}

/// A stock client whose server is killed under it, again and again: nothing is missed, and nothing repeated.
#[tokio::test(flavor = "multi_thread")]
async fn fault_a_stock_event_source_goes_through_killed_nodes_without_a_loss() {
    use std::io::{BufRead as _, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};

    let rounds: usize =
        std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let issued = tenure.issue_bearer_token(&operator(), runs, Duration::from_secs(3_600)).await.unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&issued.answer.1.expect("a secret")).to_owned();
    let release = crate::support::node::Release::new(env!("CARGO_BIN_EXE_tenure"), &database);
    let (client, at) = (crate::support::node::client(), crate::support::node::address());
    let mut node = release.serve(at);
    node.until_ready(&client).await;

    let count = rounds * 60;
    let begin = tenure.log().seen().get();
    let begin = tenure::event_log::PositionToken { epoch: begin.epoch, position: begin.position };
    let url = format!("{}/api/v1/events/stream?cursor={begin}", node.base);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(root.join("tests/clients/event_source.mjs"), root.join("target/node/event_source.mjs"))
        .unwrap();
    let mut reading = Command::new("node")
        .arg(root.join("target/node/event_source.mjs"))
        .args([&url, &token, &count.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client: `make test` installs it");
    let lines = BufReader::new(reading.stdout.take().unwrap()).lines().map(Result::unwrap);
    let positions = lines.filter_map(|line| line.parse::<i64>().ok());
    for round in 0..rounds {
        for number in 0..60 {
            if number == 20 {
                node.child.kill().unwrap();
                node.child.wait().unwrap();
            }
            if number == 40 {
                node = release.serve(at);
                node.until_ready(&client).await;
            }
            crate::support::user(&tenure, &format!("r{round}n{number}")).await;
        }
    }
    let got: Vec<i64> = positions.collect();
    assert!(reading.wait().unwrap().success());
    assert_eq!(got, (begin.position + 1..).take(count).collect::<Vec<_>>());
}
