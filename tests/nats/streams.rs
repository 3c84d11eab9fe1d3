//! Pipes as streams.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use serde_json::json;
use tenure::aggregates::source::Retention;
use tenure::nats::streams::stream_name;

use crate::http::answer;
use crate::support::nats::Tenancy;
use crate::support::operator;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_a_stream_that_follows_its_retention_and_goes_with_it() {
    let tenancy = Tenancy::new().await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let tenure = &server.tenure;
    tenure.create_source(&operator(), acme, Some(owner), "robot", Some("pty")).await.unwrap();
    node.until_converged(4).await;
    let made = answer(
        server
            .post("/api/v1/sources/robot/pipes", json!({"name": "logs", "ttl_seconds": 60}))
            .bearer_auth(&key),
    )
    .await
    .is(201)
    .json();
    assert_eq!(made.get("provisioned"), None, "absent once the stream is there: {made}");
    let name = made["stream_name"].as_str().unwrap();
    let context = jetstream::new(node.client(&key).await);
    let found = context.get_stream(name).await.expect("the stream is there with the answer");
    let config = &found.cached_info().config;
    assert_eq!(config.max_age, Duration::from_mins(1));
    assert_eq!((config.max_messages, config.max_bytes), (1_000, 64 << 20));
    assert_eq!(config.duplicate_window, Duration::from_mins(1));
    assert!(!config.allow_direct);
    assert_eq!(config.subjects, [format!("{acme}.robot.logs")]);
    // As clients publish: at once, without waiting.
    context.client().publish(format!("{acme}.robot.logs"), "x".into()).await.unwrap();
    context.client().flush().await.unwrap();

    let retention = Retention { ttl_seconds: Some(120), max_msgs: Some(5), max_bytes: None };
    tenure.change_pipe_retention(&operator(), acme, "robot", "logs", retention).await.unwrap();
    node.until_converged(5).await;
    let found = context.get_stream(name).await.unwrap();
    assert_eq!(found.cached_info().config.max_messages, 5, "a change applies");
    assert_eq!(found.cached_info().state.messages, 1, "and keeps what is there");

    let path = "/api/v1/sources";
    let listed = answer(server.get(path).bearer_auth(&key)).await.is(200).json();
    let infos = listed["sources"][0]["pipe_infos"].as_array().unwrap();
    let logs = infos.iter().find(|info| info["pipe"] == "logs").unwrap();
    assert_eq!((&logs["total"], &logs["unread"], &logs["provisioned"]), (&json!(1), &json!(1), &json!(true)));

    // A pipe, and a source, of the same name again start clean.
    tenure.delete_pipe(&operator(), acme, "robot", "logs").await.unwrap();
    tenure.create_pipe(&operator(), acme, Some(owner), "robot", "logs", Retention::default()).await.unwrap();
    node.until_converged(5).await;
    assert_eq!(context.get_stream(name).await.unwrap().cached_info().state.messages, 0);
    let inbox = stream_name(acme, "robot", "inbox");
    context.publish(format!("{acme}.robot.inbox"), "old".into()).await.unwrap().await.unwrap();
    tenure.delete_source(&operator(), acme, "robot").await.unwrap();
    tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    assert_eq!(context.get_stream(&inbox).await.unwrap().cached_info().state.messages, 0);
    tenure.delete_source(&operator(), acme, "robot").await.unwrap();
    node.until_converged(0).await;
    assert!(context.get_stream(&inbox).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_the_same_minute_share_names_of_streams_and_nothing_else() {
    let tenancy = Tenancy::new().await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let (one, one_owner, one_key) = tenancy.tenant("one").await;
    let (two, two_owner, two_key) = tenancy.tenant("two").await;
    assert_eq!(
        stream_name(one, "robot", "inbox"),
        stream_name(two, "robot", "inbox"),
        "they were opened in the same minute"
    );
    for (account, owner) in [(one, one_owner), (two, two_owner)] {
        server.tenure.create_source(&operator(), account, Some(owner), "robot", None).await.unwrap();
    }
    node.until_converged(2).await;
    let (first, second) =
        (jetstream::new(node.client(&one_key).await), jetstream::new(node.client(&two_key).await));
    first.publish(format!("{one}.robot.inbox"), "mine".into()).await.unwrap().await.unwrap();
    let inbox = stream_name(one, "robot", "inbox");
    assert_eq!(first.get_stream(&inbox).await.unwrap().cached_info().state.messages, 1);
    assert_eq!(second.get_stream(&inbox).await.unwrap().cached_info().state.messages, 0);
    server.tenure.delete_source(&operator(), two, "robot").await.unwrap();
    node.until_converged(1).await;
    assert_eq!(first.get_stream(&inbox).await.unwrap().cached_info().state.messages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_may_not_change_and_what_others_made_is_left_as_it_is() {
    let tenancy = Tenancy::new().await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let (acme, owner, key) = tenancy.tenant("acme").await;
    server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let context = jetstream::new(node.client(&key).await);
    let inbox = stream_name(acme, "robot", "inbox");
    let own = Config {
        name: "own".to_owned(),
        max_bytes: 1_000,
        subjects: vec!["x".to_owned()],
        ..Config::default()
    };
    assert!(context.create_stream(own.clone()).await.is_err(), "no stream is made");
    assert!(context.delete_stream(&inbox).await.is_err(), "none deleted");
    assert!(context.get_stream(&inbox).await.unwrap().purge().await.is_err(), "none purged");
}
