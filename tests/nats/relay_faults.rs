//! The relay when servers, nodes and streams are lost, or others write where it does.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use tenure::Settings;
use tenure::credentials::master_key::MasterKeySource;
use tenure::entropy::OsEntropy;
use tenure::nats::{PlatformRights, RelayFrom, revoke_platform_user, tell_relay};

use crate::support::nats::{Node, PATIENCE, RawServer};
use crate::support::operator;
use crate::support::relay::{Relayed, blocks, copy, issue, until};
use crate::support::server::Server;

const FROM_FIRST: Option<RelayFrom> = Some(RelayFrom::Position(1));

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_server_that_is_killed_and_comes_back_loses_nothing() {
    let mut relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    for round in 0..3 {
        let writing = round * 150..(round + 1) * 150;
        relayed.write(writing.start..writing.start + 50).await;
        relayed.server.kill();
        // Writers do not notice.
        relayed.write(writing.start + 50..writing.end).await;
        relayed.server.run();
        relayed.check(&node, 1).await;
    }
}

/// What a server loses of its newest data while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its directory is as it was a while before.
    OlderCopy,
    /// The last file of messages is cut.
    Cut,
    /// The same, and the server wrote down before where it was: sequences of lost messages are not free any more.
    CutAfterStop,
    /// Octets in the middle of the last file are others.
    Damaged,
    /// All files of messages are gone.
    All,
}

async fn lose(loss: Loss) {
    let mut relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..200).await;
    relayed.check(&node, 1).await;
    let saved = tempfile::tempdir().unwrap();
    if loss == Loss::OlderCopy {
        relayed.server.kill();
        copy(relayed.dir.path(), saved.path());
        relayed.server.run();
    }
    // A durable consumer keeps its place.
    let context = jetstream::new(relayed.reader().await);
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    let durable = || pull::Config { durable_name: Some("billing".to_owned()), ..pull::Config::default() };
    let consumer = stream.create_consumer(durable()).await.unwrap();
    let mut read = consumer.fetch().max_messages(100).messages().await.unwrap();
    while let Some(message) = read.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
    relayed.write(200..500).await;
    relayed.check(&node, 1).await;
    if loss == Loss::CutAfterStop {
        relayed.server.stop();
    } else {
        relayed.server.kill();
    }
    let directory = relayed.dir.path().to_owned();
    let (files, index) = blocks(&directory, &relayed.stream());
    match loss {
        Loss::OlderCopy => {
            std::fs::remove_dir_all(directory.join("jetstream")).unwrap();
            copy(&saved.path().join("jetstream"), &directory.join("jetstream"));
        }
        Loss::Cut => {
            cut(files.last().unwrap());
            if let Some(index) = index {
                std::fs::remove_file(index).unwrap();
            }
        }
        Loss::CutAfterStop => {
            assert!(index.is_some(), "the server writes down where it was");
            cut(files.last().unwrap());
        }
        Loss::Damaged => {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::File::options().write(true).open(files.last().unwrap()).unwrap();
            file.write_all_at(&[0xff; 3], file.metadata().unwrap().len() / 2).unwrap();
        }
        Loss::All => files.iter().for_each(|file| std::fs::remove_file(file).unwrap()),
    }
    relayed.server.run();
    relayed.write(500..520).await;
    let status = until(&node, "a repair", |relay| relay.repairs > 0).await;
    let repair = status.last_repair.unwrap();
    assert!(repair.from <= repair.to, "{repair:?}");
    relayed.check(&node, 1).await;
    // A consumer that JetStream has lost, or set back with the stream, gets events again.
    if matches!(loss, Loss::Cut | Loss::CutAfterStop | Loss::Damaged) {
        let context = jetstream::new(relayed.reader().await);
        let stream = context.get_stream(relayed.stream()).await.unwrap();
        let consumer = stream.get_or_create_consumer("billing", durable()).await.unwrap();
        let mut read = consumer.fetch().max_messages(1).messages().await.unwrap();
        let next = tokio::time::timeout(PATIENCE, read.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.info().unwrap().stream_sequence, 101, "it goes on where it was");
    }
}

fn cut(file: &Path) {
    let length = std::fs::metadata(file).unwrap().len();
    std::fs::File::options().write(true).open(file).unwrap().set_len(length - 20_000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_events_that_an_older_copy_lacks_are_published_again() {
    Box::pin(lose(Loss::OlderCopy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_events_that_were_cut_off_are_published_again() {
    Box::pin(lose(Loss::Cut)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_stream_whose_lost_sequences_are_taken_is_made_anew() {
    Box::pin(lose(Loss::CutAfterStop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_damaged_file_of_messages_is_repaired() {
    Box::pin(lose(Loss::Damaged)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_stream_that_has_lost_every_message_is_filled_again() {
    Box::pin(lose(Loss::All)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_not_made_again_until_an_operator_says_from_where() {
    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..30).await;
    relayed.check(&node, 1).await;
    let (manager, stream) = (relayed.manager().await, relayed.stream());
    manager.delete_stream(&stream).await.unwrap();
    let head = relayed.head().await;
    let status = until(&node, "stopped", |relay| relay.stopped.is_some()).await;
    let reason = status.stopped.unwrap();
    assert!(reason.contains(&format!("the stream {stream} is gone, which held the events from position 1")));
    assert!(reason.contains("tenure nats relay --from"), "{reason}");
    // Not by a node that starts, and not by events.
    relayed.write(30..40).await;
    node.nats.close().await;
    let node = relayed.node(None).await;
    let context = jetstream::new(relayed.reader().await);
    let leader = Some(node.server.tenure.node());
    until(&node, "stopped", |relay| relay.node == leader && relay.stopped.is_some()).await;
    assert!(context.get_stream(&stream).await.is_err());
    tell_relay(&relayed.tenure, RelayFrom::Position(head)).await.unwrap();
    relayed.check(&node, head).await;
    // What was told is used up.
    manager.delete_stream(&stream).await.unwrap();
    until(&node, "stopped again", |relay| relay.stopped.is_some()).await;
    // A node that is started with it says it, too.
    let third = relayed.node(FROM_FIRST).await;
    relayed.check(&third, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_the_relay_goes_on_has_no_effect_then_or_later() {
    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..30).await;
    relayed.check(&node, 1).await;
    tell_relay(&relayed.tenure, RelayFrom::Head).await.unwrap();
    let database = relayed.database.connect(None).await;
    let used_up = async {
        while database
            .query_one("select told is not null from coarse.nats_relay", &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, used_up).await.expect("forgotten");
    relayed.write(30..40).await;
    relayed.check(&node, 1).await;
    relayed.manager().await.delete_stream(relayed.stream()).await.unwrap();
    until(&node, "stopped", |relay| relay.stopped.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_made_anew_to_begin_earlier_and_consumers_keep_their_places() {
    let relayed = Relayed::new().await;
    relayed.write(0..20).await;
    let head = relayed.head().await;
    let node = relayed.node(None).await;
    relayed.write(20..40).await;
    relayed.check(&node, head + 1).await;
    let context = jetstream::new(relayed.reader().await);
    let durable = || pull::Config { durable_name: Some("billing".to_owned()), ..pull::Config::default() };
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    stream.create_consumer(durable()).await.unwrap();
    // A later one changes nothing.
    tell_relay(&relayed.tenure, RelayFrom::Position(head + 5)).await.unwrap();
    relayed.write(40..50).await;
    relayed.check(&node, head + 1).await;
    tell_relay(&relayed.tenure, RelayFrom::Position(1)).await.unwrap();
    until(&node, "all of it", |relay| relay.first == Some(1) && relay.lag == Some(0)).await;
    relayed.check(&node, 1).await;
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    let consumer = stream.get_or_create_consumer("billing", durable()).await.unwrap();
    let mut read = consumer.fetch().max_messages(1).messages().await.unwrap();
    let next = tokio::time::timeout(PATIENCE, read.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.info().unwrap().stream_sequence, head.unsigned_abs() + 1, "not what was before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_elses_message_stops_the_relay_by_name() {
    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..10).await;
    relayed.check(&node, 1).await;
    // Servers answer wherever a request says, also on the subjects of the stream: a reader can do that.
    let reader = relayed.reader().await;
    let head = relayed.head().await;
    reader.publish_with_reply("$JS.API.INFO", "tenure.events.x.y.z", "".into()).await.unwrap();
    reader.flush().await.unwrap();
    let status = until(&node, "stopped", |relay| relay.stopped.is_some()).await;
    let other = format!("holds at sequence {} a message that is not the log's event", head + 1);
    assert!(status.stopped.as_deref().unwrap().contains(&other), "{status:?}");
    relayed.write(10..20).await;
    let status = until(&node, "still stopped", |relay| relay.head >= head + 10).await;
    assert!(status.stopped.as_deref().unwrap().contains(&other), "{status:?}");
    tell_relay(&relayed.tenure, RelayFrom::Position(1)).await.unwrap();
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_elses_message_among_those_under_way_takes_no_events_place() {
    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..10).await;
    relayed.check(&node, 1).await;
    let reader = relayed.reader().await;
    let disturbing = async {
        for _ in 0..400 {
            reader.publish_with_reply("$JS.API.INFO", "tenure.events.x.y.z", "".into()).await.unwrap();
            reader.flush().await.unwrap();
        }
    };
    tokio::join!(relayed.write(10..1_500), disturbing);
    let status = until(&node, "stopped", |relay| relay.stopped.is_some()).await;
    let reason = status.stopped.unwrap();
    assert!(reason.contains("is not the log's event of that position"), "{reason}");
    // Up to the first such message, every sequence is a position; after it there is no event.
    let context = jetstream::new(relayed.reader().await);
    let stream = context.get_stream(relayed.stream()).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut is_disturbed = false;
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let position = message.headers.get("ce-position").map(ToString::to_string);
        is_disturbed |= position.is_none();
        assert_eq!(position, (!is_disturbed).then(|| sequence.to_string()), "{sequence} of {last}");
    }
    tell_relay(&relayed.tenure, RelayFrom::Position(1)).await.unwrap();
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_elses_message_that_has_expired_is_not_taken_for_an_event() {
    let relayed = Relayed::new().await;
    let node = relayed
        .node_with(|settings| {
            settings.relay.from = FROM_FIRST;
            settings.relay.max_age = Some(Duration::from_secs(2));
        })
        .await;
    relayed.write(0..10).await;
    let head = relayed.head().await;
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    let reader = relayed.reader().await;
    reader.publish_with_reply("$JS.API.INFO", "tenure.events.x.y.z", "".into()).await.unwrap();
    reader.flush().await.unwrap();
    relayed.write(10..11).await;
    let names = |reason: &'static str| {
        move |relay: &tenure::nats::RelayStatus| {
            relay.stopped.as_deref().is_some_and(|stopped| stopped.contains(reason))
        }
    };
    until(&node, "stopped by the message", names("is not the log's event")).await;
    let status = until(&node, "stopped though it has expired", names("its messages have expired")).await;
    let told = format!("tenure nats relay --from {}", head + 1);
    assert!(status.stopped.unwrap().contains(&told));
    tell_relay(&relayed.tenure, RelayFrom::Position(head + 1)).await.unwrap();
    relayed.write(11..20).await;
    let head = relayed.head().await;
    until(&node, "all relayed", |relay| relay.tail == Some(head) && relay.stopped.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_restored_log_has_a_stream_of_its_own_and_revokes_credentials_once() {
    let postgres = Server::primary().await;
    let keys = tempfile::tempdir().unwrap();
    let open = |database: &str| {
        let key =
            MasterKeySource { default_file: keys.path().join("master.key"), ..MasterKeySource::default() };
        let address = postgres.conninfo(database).parse().unwrap();
        crate::support::open_with(Settings { connections: 4, ..Settings::new(address, key) })
    };
    let tenure = open("tenure").await;
    let nats = RawServer::start(&tenure, keys.path(), "").await;
    let node = Node::on(open("tenure").await, &nats.url, |settings| settings.relay.from = FROM_FIRST).await;
    let insert = async |tenure: &tenure::Tenure, name: &str| {
        tenure.insert_user(&operator(), name, &format!("{name}@example.org"), "internal").await.unwrap();
    };
    for number in 0..10 {
        insert(&tenure, &format!("before{number}")).await;
    }
    let issued = issue(&tenure, PlatformRights::Subscribe).await;
    let dump = keys.path().join("dump");
    let url = format!("postgres://tenure@127.0.0.1:{}/tenure", postgres.port);
    crate::restored::run("pg_dump", &["--format=custom", "--file", dump.to_str().unwrap(), "--dbname", &url]);
    // Revoked after the backup; and events that only the former log has.
    assert!(revoke_platform_user(&tenure, &issued.public_key, "test").await.unwrap());
    for number in 0..10 {
        insert(&tenure, &format!("lost{number}")).await;
    }
    let former = tenure::nats::relay_stream_name(tenure.log().seen().get().epoch);
    let head = tenure.log().newest().await.unwrap();
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    node.nats.close().await;
    tenure.close().await;

    postgres.connect_to("postgres").await.batch_execute("create database second").await.unwrap();
    let second = format!("postgres://tenure@127.0.0.1:{}/second", postgres.port);
    crate::restored::run("pg_restore", &["--exit-on-error", "--dbname", &second, dump.to_str().unwrap()]);
    let tenure = open("second").await;
    let node = Node::on(open("second").await, &nats.url, |_| {}).await;
    for number in 0..15 {
        insert(&tenure, &format!("after{number}")).await;
    }
    let head = tenure.log().newest().await.unwrap();
    let status = until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    assert_ne!(status.stream, former);
    crate::support::relay::check(&tenure, &nats.url, &status.stream, 1).await;
    let options = async_nats::ConnectOptions::with_credentials(&issued.credentials).unwrap();
    let refused = options.max_reconnects(Some(1)).connect(&nats.url).await;
    assert!(refused.is_err(), "a revocation that the backup does not have is not taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_all_takes_a_bounded_stream_over_as_it_is() {
    let relayed = Relayed::new().await;
    let node = relayed
        .node_with(|settings| {
            settings.relay.from = FROM_FIRST;
            settings.relay.max_bytes = Some(100_000);
        })
        .await;
    relayed.write(0..300).await;
    let head = relayed.head().await;
    let oldest = until(&node, "all relayed", |relay| relay.tail == Some(head)).await.oldest.unwrap();
    assert!(oldest > 1);
    node.nats.close().await;
    let node = relayed.node(None).await;
    relayed.write(300..310).await;
    let head = relayed.head().await;
    let status = until(&node, "all relayed", |relay| relay.tail == Some(head) && relay.node.is_some()).await;
    assert_eq!((status.oldest, status.repairs, status.stopped), (Some(oldest), 0, None));
    crate::support::relay::check(&relayed.tenure, &relayed.server.url, &relayed.stream(), oldest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_two_publishers_that_fight_publish_every_event_once() {
    let relayed = Relayed::new().await;
    let database = relayed.database.connect(None).await;
    // The lease is that of a node which is gone, for a while.
    let lease =
        "insert into coarse.nats_relay (node, until) values (gen_random_uuid(), now() + interval '4 s')";
    database.batch_execute(lease).await.unwrap();
    // It relays although it has no lease, as one that was suspended for long.
    let zombie = relayed
        .node_with(|settings| {
            settings.relay.from = FROM_FIRST;
            settings.pauses.outlives_leases = true;
        })
        .await;
    relayed.write(0..100).await;
    relayed.check(&zombie, 1).await;
    let one = relayed.node(None).await;
    for round in 1..8 {
        relayed.write(round * 100..(round + 1) * 100).await;
    }
    // Until it has the lease, and relays beside the other one.
    let leader = Some(one.server.tenure.node());
    until(&one, "the lease", |relay| relay.node == leader).await;
    for round in 8..12 {
        relayed.write(round * 100..(round + 1) * 100).await;
    }
    relayed.check(&one, 1).await;
    assert_eq!(until(&one, "no stop", |relay| relay.lag == Some(0)).await.stopped, None);
    drop(zombie);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_of_a_former_epoch_cannot_publish_into_the_new_stream() {
    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..10).await;
    relayed.check(&node, 1).await;
    let former = relayed.stream();
    tenure::engine::new_epoch(&relayed.database.address, &OsEntropy::default()).await.unwrap();
    relayed.write(50..51).await;
    relayed.check(&node, 1).await;
    let manager = relayed.manager().await;
    let head = relayed.head().await;
    // What it would send: the next position, after the right sequence, of the stream that it knows.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Stream", former.as_str());
    headers.insert("Nats-Expected-Last-Sequence", head.to_string());
    let sent = manager.publish_with_headers("tenure.events._.user.registered", headers, "{}".into()).await;
    assert!(sent.unwrap().await.is_err(), "refused by the name of the stream");
    relayed.write(10..20).await;
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_server_does_not_take_is_named_and_relayed_once_it_does() {
    use cqrs_es::CqrsFramework;

    use crate::foreign::example::{Visits, VisitsCommand, store};

    let mut relayed = Relayed::new().await;
    relayed.server.stop();
    relayed.server.change(|text| format!("max_payload: 65536\n{text}"));
    relayed.server.run();
    let node = relayed
        .node_with(|settings| {
            settings.relay.from = FROM_FIRST;
            settings.relay.public_foreign = vec!["visits".to_owned()];
        })
        .await;
    let cqrs = CqrsFramework::<Visits, _>::new(store(&relayed.tenure), vec![], ());
    let visitor = "x".repeat(100_000);
    cqrs.execute("museum", VisitsCommand::Enter { visitor }).await.unwrap();
    relayed.write(0..5).await;
    let named = |relay: &tenure::nats::RelayStatus| {
        relay.failure.as_deref().is_some_and(|failure| failure.contains("max_payload"))
    };
    let failure = until(&node, "failed", named).await.failure.unwrap();
    assert!(failure.contains("65536"), "{failure}");
    relayed.server.stop();
    relayed.server.change(|text| text.replace("max_payload: 65536\n", ""));
    relayed.server.run();
    relayed.check(&node, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_frozen_server_costs_a_pause_and_nothing_else() {
    use nix::sys::signal::Signal;

    let relayed = Relayed::new().await;
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..50).await;
    relayed.check(&node, 1).await;
    relayed.server.signal(Signal::SIGSTOP);
    relayed.write(50..150).await;
    // Longer than an acknowledgement may take.
    until(&node, "a reason", |relay| relay.failure.is_some()).await;
    relayed.server.signal(Signal::SIGCONT);
    relayed.check(&node, 1).await;
    let status = until(&node, "no failure", |relay| relay.failure.is_none()).await;
    assert_eq!(status.repairs, 0, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_is_named_and_the_relay_goes_on_once_there_is() {
    let mut relayed = Relayed::new().await;
    relayed.server.stop();
    relayed.server.change(|text| text.replace("max_file: 10T", "max_file: 200K"));
    relayed.server.run();
    let node = relayed.node(FROM_FIRST).await;
    relayed.write(0..400).await;
    let status = until(&node, "failed", |relay| relay.failure.is_some()).await;
    assert!(status.failure.as_deref().unwrap().contains("JetStream"), "{status:?}");
    relayed.server.stop();
    relayed.server.change(|text| text.replace("max_file: 200K", "max_file: 10T"));
    relayed.server.run();
    relayed.check(&node, 1).await;
    until(&node, "no failure", |relay| relay.failure.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_postgresql_that_is_killed_or_frozen_and_comes_back_holds_the_relay_up_for_no_longer() {
    let mut postgres = Server::primary().await;
    let keys = tempfile::tempdir().unwrap();
    let open = || {
        let key =
            MasterKeySource { default_file: keys.path().join("master.key"), ..MasterKeySource::default() };
        let address = postgres.conninfo("tenure").parse().unwrap();
        crate::support::open_with(Settings { connections: 4, ..Settings::new(address, key) })
    };
    let tenure = open().await;
    let nats = RawServer::start(&tenure, keys.path(), "").await;
    let node = Node::on(open().await, &nats.url, |settings| settings.relay.from = FROM_FIRST).await;
    let insert = async |number: usize| {
        let (name, email) = (format!("u{number}"), format!("u{number}@example.org"));
        while tenure.insert_user(&operator(), &name, &email, "internal").await.is_err() {}
    };
    for number in 0..20 {
        insert(number).await;
    }
    until(&node, "all relayed", |relay| relay.lag == Some(0)).await;
    postgres.kill();
    postgres.start().await;
    for number in 20..40 {
        insert(number).await;
    }
    let head = tenure.log().newest().await.unwrap();
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    // Frozen for as long as a command waits, which is longer than a lease.
    postgres.freeze();
    let waited = tenure.insert_user(&operator(), "frozen", "frozen@example.org", "internal").await;
    assert!(waited.is_err(), "a frozen server answers nothing");
    postgres.thaw();
    for number in 40..60 {
        insert(number).await;
    }
    let head = tenure.log().newest().await.unwrap();
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    let name = tenure::nats::relay_stream_name(tenure.log().seen().get().epoch);
    crate::support::relay::check(&tenure, &nats.url, &name, 1).await;
}
