//! Sources, their pipes, and what they last sent to all.

use futures::TryStreamExt as _;
use std::time::Duration;

use tenure::aggregates::source::{Retention, SourceKind};
use tenure::ids::{AccountId, SourceId};
use tenure::operations::{MAX_BROADCAST_BYTES, Refusal, Resource};
use tenure::projections::QueryError;

use super::{acme, nothing};
use crate::refused;
use crate::support::{TestDatabase, account, as_user, history, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_a_handle_of_its_own_in_its_account() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let other = account(&tenure, "other", acme.stranger).await;
    let create =
        |context: tenure::context::Context, account, handle: &'static str, kind: Option<&'static str>| {
            let tenure = &tenure;
            async move { tenure.create_source(&context, account, None, handle, kind).await }
        };
    let member = || as_user(acme.member);
    create(member(), acme.account, "robot", None).await.unwrap();
    create(as_user(acme.stranger), other, "robot", Some("pty")).await.unwrap();
    let before = history(&tenure).await.len();
    refused!(create(member(), acme.account, "robot", None).await, Refusal::HandleTaken);
    refused!(create(member(), acme.account, "Robot", None).await, Refusal::Invalid(_));
    refused!(create(member(), acme.account, "inbox", None).await, Refusal::Invalid(_));
    refused!(create(member(), acme.account, "r2", Some("robot")).await, Refusal::Invalid(_));
    refused!(
        create(as_user(acme.stranger), acme.account, "r2", None).await,
        Refusal::NotFound(Resource::Account)
    );
    refused!(create(operator(), acme.account, "r2", None).await, Refusal::Invalid(_));
    refused!(
        create(member(), AccountId::from_uuid(nothing()), "r2", None).await,
        Refusal::NotFound(Resource::Account)
    );
    assert_eq!(history(&tenure).await.len(), before);
    let robot = tenure.reader().source_by_handle(acme.account, "robot").await.unwrap();
    assert_eq!((robot.kind, robot.created_by_user_id), (SourceKind::Message, acme.member));
    for handle in ["zeta", "alpha", "a-1"] {
        create(member(), acme.account, handle, None).await.unwrap();
    }
    let listed = tenure.reader().sources_for_account(acme.account).try_collect::<Vec<_>>().await.unwrap();
    let handles: Vec<_> = listed.iter().map(|source| source.handle.as_str()).collect();
    assert_eq!(handles, ["a-1", "alpha", "robot", "zeta"]);
    assert!(
        tenure
            .reader()
            .sources_for_account(AccountId::from_uuid(nothing()))
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .is_empty()
    );
    let absent = tenure.reader().source_by_handle(other, "alpha").await;
    assert!(matches!(absent, Err(QueryError::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_ends_with_its_pipes_and_its_handle_begins_anew() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    let first = tenure.create_source(&owner, acme.account, None, "robot", None).await.unwrap().answer;
    for name in ["b", "a"] {
        tenure.create_pipe(&owner, acme.account, None, "robot", name, Retention::default()).await.unwrap();
    }
    tenure.update_last_broadcast(&owner, acme.account, "robot", tenure.clock().now(), "hello").await.unwrap();
    let done = tenure.delete_source(&owner, acme.account, "robot").await.unwrap();
    let names: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind().0).collect();
    assert_eq!(names, ["pipe.deleted", "pipe.deleted", "source.deleted"]);
    refused!(tenure.delete_source(&owner, acme.account, "robot").await, Refusal::NotFound(Resource::Source));
    let second = tenure.create_source(&owner, acme.account, None, "robot", None).await.unwrap().answer;
    assert_ne!(first, second);
    let again = tenure.reader().source_by_handle(acme.account, "robot").await.unwrap();
    assert_eq!(again.last_broadcast_payload, None);
    assert!(tenure.reader().pipes_for_source(second).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_broadcast_is_kept() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    tenure.create_source(&owner, acme.account, None, "robot", None).await.unwrap();
    let now = tenure.clock().now();
    let later = now.after(Duration::from_secs(1));
    let before = history(&tenure).await.len();
    for (at, payload, kept) in [(now, "a", "a"), (now, "b", "a"), (later, "c", "c"), (now, "d", "c")] {
        tenure.update_last_broadcast(&owner, acme.account, "robot", at, payload).await.unwrap();
        let source = tenure.reader().source_by_handle(acme.account, "robot").await.unwrap();
        assert_eq!(source.last_broadcast_payload.as_deref(), Some(kept));
    }
    let largest = "x".repeat(MAX_BROADCAST_BYTES);
    let latest = later.after(Duration::from_secs(1));
    tenure.update_last_broadcast(&owner, acme.account, "robot", latest, &largest).await.unwrap();
    let too_large = format!("{largest}x");
    let update = |handle: &'static str, payload: String| {
        let (tenure, owner, account) = (&tenure, &owner, acme.account);
        async move { tenure.update_last_broadcast(owner, account, handle, latest, &payload).await }
    };
    refused!(update("robot", too_large).await, Refusal::Invalid(_));
    refused!(update("robot", "a\0b".to_owned()).await, Refusal::Invalid(_));
    refused!(update("nobody", "x".to_owned()).await, Refusal::NotFound(Resource::Source));
    assert_eq!(history(&tenure).await.len(), before, "a broadcast is no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_are_made_changed_and_deleted_by_name() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    let source = tenure.create_source(&owner, acme.account, None, "robot", Some("pty")).await.unwrap().answer;
    let create = |name: &'static str, retention| {
        let (tenure, owner, account) = (&tenure, &owner, acme.account);
        async move { tenure.create_pipe(owner, account, None, "robot", name, retention).await }
    };
    let hour = Retention { ttl_seconds: Some(3_600), ..Retention::default() };
    create("events", hour).await.unwrap();
    refused!(create("events", hour).await, Refusal::PipeNameTaken);
    for name in ["Events", "system", "db"] {
        refused!(create(name, hour).await, Refusal::Invalid(_));
    }
    for automatic in ["inbox", "stdin", "stdout", "stdctrl"] {
        refused!(create(automatic, hour).await, Refusal::PipeNameTaken);
    }
    tenure.create_source(&owner, acme.account, None, "box", None).await.unwrap();
    let on_box = async |name| tenure.create_pipe(&owner, acme.account, None, "box", name, hour).await;
    refused!(on_box("inbox").await, Refusal::PipeNameTaken);
    for free in ["stdin", "stdout", "stdctrl", "broadcast"] {
        on_box(free).await.unwrap();
    }
    for bad in [0, -1, Retention::MAX_TTL_SECONDS + 1] {
        refused!(create("x", Retention { ttl_seconds: Some(bad), ..hour }).await, Refusal::Invalid(_));
    }
    let pipe = tenure.reader().pipe_by_name(source, "events").await.unwrap();
    assert_eq!((pipe.retention, pipe.created_by_user_id), (hour, acme.owner));
    let resolved = pipe.retention.resolved(&tenure.rules().retention);
    assert_eq!((resolved.max_msgs, resolved.max_bytes), (Some(1_000), Some(64 << 20)));
    create("alpha", Retention::default()).await.unwrap();
    let listed = tenure.reader().pipes_for_source(source).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(listed.iter().map(|pipe| pipe.name.as_str()).collect::<Vec<_>>(), ["alpha", "events"]);
    assert!(
        tenure
            .reader()
            .pipes_for_source(SourceId::from_uuid(nothing()))
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .is_empty()
    );

    let change = |name: &'static str, retention| {
        let (tenure, owner, account) = (&tenure, &owner, acme.account);
        async move { tenure.change_pipe_retention(owner, account, "robot", name, retention).await }
    };
    assert_eq!(change("events", hour).await.unwrap().events.len(), 0);
    assert_eq!(change("events", Retention::default()).await.unwrap().events.len(), 1);
    assert_eq!(tenure.reader().pipe_by_name(source, "events").await.unwrap().retention, Retention::default());
    for absent in ["stdin", "nothing"] {
        refused!(change(absent, hour).await, Refusal::NotFound(Resource::Pipe));
        refused!(
            tenure.delete_pipe(&owner, acme.account, "robot", absent).await,
            Refusal::NotFound(Resource::Pipe)
        );
        assert!(matches!(tenure.reader().pipe_by_name(source, absent).await, Err(QueryError::NotFound)));
    }
    tenure.delete_pipe(&owner, acme.account, "robot", "events").await.unwrap();
    refused!(
        tenure.delete_pipe(&owner, acme.account, "robot", "events").await,
        Refusal::NotFound(Resource::Pipe)
    );
    create("events", hour).await.unwrap();
}
