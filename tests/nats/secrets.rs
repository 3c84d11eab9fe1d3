//! What NATS is told: no secret and nobody's name.

use futures::StreamExt as _;
use secrecy::ExposeSecret as _;
use tenure::aggregates::source::Retention;

use crate::support::nats::{Node, RawServer};
use crate::support::{TestDatabase, operator};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_personal_field_reaches_nats() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let dir = tempfile::tempdir().unwrap();
    let server = RawServer::start(&tenure, dir.path(), "").await;
    let node = Node::on(tenure.clone(), &server.url, |_| {}).await;
    let context = operator();
    let (name, email, company) = ("ada-lovelace-x", "ada-lovelace@people.example", "analytical-engines");
    let ada = tenure.insert_user(&context, name, email, "internal").await.unwrap().answer;
    let account = node.server.account(company, ada).await;
    let (_, key) = node.server.key(account, ada).await;
    let token = node.server.token(ada).await;
    tenure.create_source(&context, account, Some(ada), "robot", Some("pty")).await.unwrap();
    tenure.create_pipe(&context, account, Some(ada), "robot", "logs", Retention::default()).await.unwrap();
    node.until_converged(5).await;
    let exchanged = [node.exchange(&key, 200).await, node.exchange(&token, 200).await];
    tenure.revoke_api_key(&context, Some(account), node.server.key(account, ada).await.0).await.unwrap();
    let keys = tenure
        .ensure_nats_account(
            &context,
            account,
            &nkeys::KeyPair::new_account().public_key(),
            &nkeys::KeyPair::new_account().seed().unwrap().into(),
        )
        .await
        .unwrap();
    let seed = keys.signing_seed.unwrap().expose_secret().to_owned();
    let identity = std::fs::read_to_string(dir.path().join("operator.nk")).unwrap().trim().to_owned();

    // All that is on the server's disk (tokens, streams, their configuration and metadata, its log), the tokens opened, and what a
    // client sees of streams.
    let mut seen = String::new();
    let mut directories = vec![dir.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
                continue;
            }
            seen.push_str(&entry.path().display().to_string());
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
            if entry.file_name() != "operator.nk" {
                seen.push_str(&text);
                seen.push_str(&opened(&text));
            }
        }
    }
    for exchanged in &exchanged {
        seen.push_str(&opened(exchanged["nats_user_jwt"].as_str().unwrap()));
    }
    let jetstream = async_nats::jetstream::new(node.client(&key).await);
    let mut streams = jetstream.streams();
    while let Some(stream) = streams.next().await {
        seen.push_str(&format!("{:?}", stream.unwrap()));
    }
    assert!(
        seen.contains(&account.to_string()) && seen.contains("tenure_pipe"),
        "the search finds what is there"
    );
    let prefix = &key[..12];
    for secret in [name, email, company, "lovelace", "analytical", &key, prefix, &token, &seed, &identity] {
        assert!(!seen.contains(secret), "{secret} reached NATS");
    }
    // Nor does what the log keeps of them, in clear.
    for event in crate::support::history(&tenure).await {
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        for secret in [&seed, &identity, &key] {
            assert!(!text.contains(secret.as_str()));
        }
    }
}

/// The bodies of the tokens in a text.
fn opened(text: &str) -> String {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    words
        .filter_map(|word| data_encoding::BASE64URL_NOPAD.decode(word.split('.').nth(1)?.as_bytes()).ok())
        .map(|body| String::from_utf8_lossy(&body).into_owned())
        .collect()
}

/// Everything that was sealed in any event, opened: the log is scanned for it, message by message.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sealed_is_relayed() {
    use async_nats::jetstream;
    use async_nats::jetstream::consumer::{AckPolicy, pull};
    use tenure::nats::RelayFrom;

    let relayed = crate::support::relay::Relayed::new().await;
    tenure::seed::generate(&relayed.tenure, 1_000, 1, |_| ()).await.unwrap();
    let (name, email) = ("grace-hopper-x", "grace-hopper@people.example");
    let grace = relayed.tenure.insert_user(&operator(), name, email, "internal").await.unwrap().answer;
    relayed.tenure.forget_user(&operator(), grace).await.unwrap();
    let secrets = crate::support::sealed_texts(&relayed.tenure).await;
    assert!(secrets.len() > 400, "{} texts", secrets.len());
    let node = relayed.node(Some(RelayFrom::Position(1))).await;
    relayed.check(&node, 1).await;
    let context = jetstream::new(relayed.reader().await);
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut seen = String::new();
    for _ in 0..stream.cached_info().state.messages {
        let message = messages.next().await.unwrap().unwrap();
        seen.push_str(&format!("{} {:?}\n", message.subject, message.headers));
        seen.push_str(&String::from_utf8_lossy(&message.payload));
        seen.push('\n');
    }
    assert!(seen.contains("user.registered") && seen.contains("api_key.minted"));
    for secret in secrets.iter().map(String::as_str).chain([name, email]) {
        assert!(!seen.contains(secret), "{secret} was relayed");
    }
}
