//! Invites: made, bound, taken, turned down, taken back, dead by the clock.

use std::time::Duration;

use futures::TryStreamExt as _;

use tenure::Tenure;
use tenure::aggregates::user::UserMode;
use tenure::clock::Clock as _;
use tenure::context::{Actor, Context};
use tenure::ids::{InviteId, UserId};
use tenure::operations::{Refusal, Resource};
use tenure::projections::QueryError;
use tenure::projections::invites::InviteStatus;

use super::{acme, nothing};
use crate::refused;
use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, account, as_user, history, operator, user};

const LIFE: Duration = Duration::from_hours(14 * 24);

async fn github(tenure: &Tenure, number: i64, login: &str) -> UserId {
    let system = Context::of(Actor::System);
    tenure.upsert_user_by_github_id(&system, number, login, None, None).await.unwrap().answer.user
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_accepted_with_the_membership_by_its_person_alone() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let bob = user(&tenure, "bob").await;
    let invite = tenure.create_invite(&as_user(acme.owner), acme.account, "BOB", None).await.unwrap().answer;
    let accept = |user: UserId, invite| {
        let tenure = &tenure;
        async move { tenure.accept_invite(&as_user(user), invite, user).await }
    };
    refused!(accept(bob, InviteId::from_uuid(nothing())).await, Refusal::NotFound(Resource::Invite));
    refused!(accept(acme.stranger, invite).await, Refusal::Forbidden);
    refused!(tenure.accept_invite(&as_user(acme.stranger), invite, bob).await, Refusal::Forbidden);
    let done = accept(bob, invite).await.unwrap();
    let names: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind().0).collect();
    assert_eq!((done.answer, names), (acme.account, vec!["invite.accepted", "account.member_added"]));
    assert!(tenure.reader().is_member_or_owner(acme.account, bob).await);
    refused!(accept(bob, invite).await, Refusal::InviteNotPending);
    refused!(accept(acme.stranger, invite).await, Refusal::Forbidden);
    let record = tenure.reader().invite(invite).await.unwrap();
    assert_eq!((record.status, record.invitee_username.as_str()), (InviteStatus::Accepted, "BOB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_refused_to_oneself_to_members_and_twice() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let invite = |context: Context, name: &'static str| {
        let (tenure, account) = (&tenure, acme.account);
        async move { tenure.create_invite(&context, account, name, None).await }
    };
    let owner = || as_user(acme.owner);
    let before = history(&tenure).await.len();
    refused!(invite(owner(), "OWNER").await, Refusal::Invalid(_));
    refused!(invite(owner(), "member").await, Refusal::AlreadyMember);
    refused!(invite(owner(), "bob~2").await, Refusal::Invalid(_));
    refused!(invite(owner(), "").await, Refusal::Invalid(_));
    refused!(invite(as_user(acme.member), "bob").await, Refusal::Forbidden);
    refused!(invite(as_user(acme.stranger), "bob").await, Refusal::NotFound(Resource::Account));
    refused!(invite(operator(), "bob").await, Refusal::Invalid(_));
    assert_eq!(history(&tenure).await.len(), before);
    tenure.create_invite(&operator(), acme.account, "bob", Some(acme.owner)).await.unwrap();
    refused!(invite(owner(), "BOB").await, Refusal::DuplicatePendingInvite);
    invite(owner(), "stranger").await.unwrap();
    refused!(invite(owner(), "Stranger").await, Refusal::DuplicatePendingInvite);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_invite_never_blocks_a_new_one() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let (owner, bob) = (as_user(acme.owner), user(&tenure, "bob").await);
    for name in ["bob", "new-user"] {
        let invite = || tenure.create_invite(&owner, acme.account, name, None);
        let first = invite().await.unwrap().answer;
        tenure.revoke_invite(&owner, Some(acme.account), first).await.unwrap();
        refused!(tenure.revoke_invite(&owner, None, first).await, Refusal::InviteNotPending);
        let second = invite().await.unwrap().answer;
        refused!(invite().await, Refusal::DuplicatePendingInvite);
        clock.advance(LIFE);
        assert_eq!(
            tenure.reader().invite(second).await.unwrap().status_at(clock.now()),
            InviteStatus::Expired
        );
        refused!(tenure.revoke_invite(&owner, None, second).await, Refusal::InviteNotPending);
        invite().await.unwrap();
    }
    let pending = tenure
        .reader()
        .pending_invites_for_username("bob", clock.now())
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert!(pending.is_empty(), "the last one to bob has died meanwhile");
    let again = tenure.create_invite(&owner, acme.account, "bob", None).await.unwrap().answer;
    tenure.decline_invite(&as_user(bob), again, bob).await.unwrap();
    refused!(tenure.decline_invite(&as_user(bob), again, bob).await, Refusal::InviteNotPending);
    tenure.create_invite(&owner, acme.account, "bob", None).await.unwrap();
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invite_is_pending_for_no_user() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let bob = user(&tenure, "bob").await;
    let invite = tenure.create_invite(&as_user(acme.owner), acme.account, "bob", None).await.unwrap().answer;
    clock.advance(LIFE);
    refused!(tenure.accept_invite(&as_user(bob), invite, bob).await, Refusal::InviteNotPending);
    assert!(!tenure.reader().is_member_or_owner(acme.account, bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_binds_the_invites_that_waited_for_the_name() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let acme = acme(&tenure).await;
    let other = account(&tenure, "other", acme.stranger).await;
    let owner = as_user(acme.owner);
    let invite = tenure.create_invite(&owner, acme.account, "Octocat", None).await.unwrap().answer;
    let second = tenure.create_invite(&as_user(acme.stranger), other, "octocat", None).await.unwrap().answer;
    let waiting = tenure
        .reader()
        .pending_invites_for_username("octocat", clock.now())
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    let waiting: Vec<_> =
        waiting.iter().map(|known| (known.invite.id, known.account_name.as_str())).collect();
    assert_eq!(waiting, [(invite, "acme"), (second, "other")]);
    let done =
        tenure.sign_in_with_github(&Context::of(Actor::System), 7, "OctoCat", None, None).await.unwrap();
    let names: Vec<_> = done.events.iter().map(|(_, _, event)| event.kind().0).collect();
    assert_eq!(
        names,
        ["user.registered", "invite.bound", "invite.bound", "user.invited_name_taken", "account.opened"]
    );
    let octocat = done.answer.user;
    refused!(
        tenure.create_invite(&owner, acme.account, "octocat", None).await,
        Refusal::DuplicatePendingInvite
    );
    // The claim is the person's now: a rename follows, and the old name is anybody's.
    github(&tenure, 7, "hubot").await;
    refused!(
        tenure.create_invite(&owner, acme.account, "hubot", None).await,
        Refusal::DuplicatePendingInvite
    );
    tenure.create_invite(&owner, acme.account, "octocat", None).await.unwrap();
    tenure.accept_invite(&as_user(octocat), invite, octocat).await.unwrap();
    tenure.accept_invite(&as_user(octocat), second, octocat).await.unwrap();
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_matched_only_for_the_way_of_signing_in_that_the_invite_names() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    let invite = tenure.create_invite(&owner, acme.account, "bob", None).await.unwrap().answer;
    let bob = user(&tenure, "bob").await;
    refused!(tenure.accept_invite(&as_user(bob), invite, bob).await, Refusal::Forbidden);
    let clash = github(&tenure, 7, "bob").await;
    assert_eq!(tenure.reader().user(clash).await.unwrap().username, "bob~2");
    refused!(tenure.accept_invite(&as_user(clash), invite, clash).await, Refusal::Forbidden);
    let named = UserMode::Internal;
    let internal =
        tenure.create_invite_for_mode(&owner, acme.account, "carol", None, named).await.unwrap().answer;
    let carol = user(&tenure, "carol").await;
    tenure.accept_invite(&as_user(carol), internal, carol).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_accepts_has_one_membership() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let owner = as_user(acme.owner);
    let invite = tenure.create_invite(&owner, acme.account, "stranger", None).await.unwrap().answer;
    tenure.add_member(&owner, acme.account, acme.stranger).await.unwrap();
    let done = tenure.accept_invite(&as_user(acme.stranger), invite, acme.stranger).await.unwrap();
    assert_eq!(done.events.len(), 1);
    assert_eq!(tenure.reader().members(acme.account).try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_listed_newest_first_for_the_account_and_scoped_to_it() {
    let tenure = TestDatabase::new().await.open().await;
    let acme = acme(&tenure).await;
    let other = account(&tenure, "other", acme.stranger).await;
    let owner = as_user(acme.owner);
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(tenure.create_invite(&owner, acme.account, name, None).await.unwrap().answer);
    }
    let listed = tenure.reader().invites_for_account(acme.account).try_collect::<Vec<_>>().await.unwrap();
    made.reverse();
    assert_eq!(listed.iter().map(|invite| invite.id).collect::<Vec<_>>(), made);
    let foreign = tenure.revoke_invite(&as_user(acme.stranger), Some(other), made[0]).await;
    refused!(foreign, Refusal::NotFound(Resource::Invite));
    refused!(tenure.revoke_invite(&as_user(acme.member), None, made[0]).await, Refusal::Forbidden);
    assert!(matches!(
        tenure.reader().invite(InviteId::from_uuid(nothing())).await,
        Err(QueryError::NotFound)
    ));
}
