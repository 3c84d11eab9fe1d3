//! People who are forgotten and accounts that are closed while the tables are rebuilt or compared: their keys are gone in
//! the middle of it, and what was read before is known, and what is read after is not.

use tenure::Tenure;
use tenure::context::{Actor, Context};
use tenure::replay::{Phase, Progress, RebuildOptions, Step};

use crate::support::{TestDatabase, account, operator, user};

/// Every phase of a rebuild in which a command can come.
const PHASES: [Phase; 7] = [
    Phase::ReadingTables,
    Phase::ReadingLog,
    Phase::Loading,
    Phase::Indexing,
    Phase::CatchingUp,
    Phase::Waiting,
    Phase::Swapping,
];

/// Waits for this to be done when a phase begins.
fn when(phase: Phase, act: impl Future<Output = ()> + Send + 'static) -> Progress {
    once(move |step| matches!(step, Step::Begun(begun, _) if begun == phase), act)
}

/// Waits for this to be done at the first such step.
fn once(
    is_it: impl Fn(Step<'_>) -> bool + Send + Sync + 'static,
    act: impl Future<Output = ()> + Send + 'static,
) -> Progress {
    let (act, handle) = (std::sync::Mutex::new(Some(Box::pin(act))), tokio::runtime::Handle::current());
    Progress::new(move |step| {
        if is_it(step)
            && let Some(act) = act.lock().unwrap().take()
        {
            tokio::task::block_in_place(|| handle.block_on(act));
        }
    })
}

/// Names in use that are released later.
struct Names {
    tenure: Tenure,
    of: String,
    github_id: i64,
}

impl Names {
    const SYSTEM: Context = Context::of(Actor::System);

    /// People who have been renamed, an invite to a name that nobody has, and accounts.
    async fn take(tenure: &Tenure, number: usize) -> Self {
        let names =
            Self { tenure: tenure.clone(), of: format!("n{number}"), github_id: 1_000 + number as i64 };
        names.sign_in("login").await;
        names.sign_in("renamed").await;
        user(tenure, &names.name("plain")).await;
        let host = user(tenure, &names.name("host")).await;
        account(tenure, &names.name("account"), host).await;
        let kept = account(tenure, &names.name("kept"), host).await;
        for invited in ["nobody", "plain"] {
            tenure.create_invite(&operator(), kept, &names.name(invited), Some(host)).await.unwrap();
        }
        names
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.of)
    }

    async fn sign_in(&self, login: &str) {
        let login = self.name(login);
        self.tenure
            .upsert_user_by_github_id(&Self::SYSTEM, self.github_id, &login, None, None)
            .await
            .unwrap();
    }

    /// Renames the person once more, then forgets people and closes an account.
    async fn give_up(self) {
        self.sign_in("again").await;
        for forgotten in ["again", "plain"] {
            let id = self.tenure.reader().user_by_username(&self.name(forgotten)).await.unwrap().id;
            self.tenure.forget_user(&operator(), id).await.unwrap();
        }
        let closed = self.tenure.reader().account_by_slug(&self.name("account")).await.unwrap().id;
        self.tenure.close_account(&operator(), closed).await.unwrap();
    }

    /// Everything that was given up is free, and what was not is not.
    async fn are_free(tenure: &Tenure, number: usize) {
        let of = |what: &str| format!("n{number}-{what}");
        for free in ["login", "renamed", "later", "again", "plain", "nobody"] {
            user(tenure, &of(free)).await;
        }
        let owner = user(tenure, &of("owner")).await;
        account(tenure, &of("account"), owner).await;
        let signed_in = tenure
            .upsert_user_by_github_id(&Self::SYSTEM, 1_000 + number as i64, &of("new"), None, None)
            .await;
        assert!(signed_in.unwrap().answer.created, "a number of GitHub is free as well");
        assert!(tenure.open_account(&operator(), &of("kept"), Some(owner)).await.is_err(), "not closed");
        assert!(tenure.insert_user(&operator(), &of("host"), "h@example.org", "internal").await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_given_up_in_any_phase_of_a_rebuild_are_free_after_it() {
    let tenure = TestDatabase::new().await.open().await;
    for (number, phase) in PHASES.into_iter().enumerate() {
        let names = Names::take(&tenure, number).await;
        let progress = when(phase, names.give_up());
        let rebuilt = tenure.replay().rebuild(&RebuildOptions::default(), &progress).await;
        let rebuilt = rebuilt.unwrap_or_else(|error| panic!("{phase:?}: {error}"));
        assert_eq!(rebuilt.differences.count, 0, "{phase:?}: {:?}", rebuilt.differences);
        let diff = tenure.replay().diff(None, &Progress::none()).await.unwrap();
        assert_eq!(diff.differences.count, 0, "{phase:?}: {:?}", diff.differences);
        Names::are_free(&tenure, number).await;
    }
    crate::replay::assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_while_the_tables_are_compared_is_no_difference() {
    let tenure = TestDatabase::new().await.open().await;
    for (number, phase) in [Phase::ReadingTables, Phase::ReadingLog, Phase::Loading].into_iter().enumerate() {
        let names = Names::take(&tenure, number).await;
        let diff = tenure.replay().diff(None, &when(phase, names.give_up())).await.unwrap();
        assert_eq!(diff.differences.count, 0, "{phase:?}: {:?}", diff.differences);
        Names::are_free(&tenure, number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_read_before_its_person_is_forgotten_and_given_up_after_is_no_difference() {
    let tenure = TestDatabase::new().await.open().await;
    let names = Names::take(&tenure, 0).await;
    // As many as are decoded while the first are counted, so that the next change of name is read later.
    tenure::seed::generate(&tenure, 40_000, 1, |_| {}).await.unwrap();
    names.sign_in("later").await;
    let progress = once(|step| matches!(step, Step::Advanced(10_000)), names.give_up());
    let diff = tenure.replay().diff(None, &progress).await.unwrap();
    assert_eq!(diff.differences.count, 0, "{:?}", diff.differences);
    assert!(diff.differences.claims_left_out >= 2, "{:?}", diff.differences);
    Names::are_free(&tenure, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_invited_and_is_given_up_while_the_log_is_read_can_be_invited_again() {
    let tenure = TestDatabase::new().await.open().await;
    let host = user(&tenure, "host").await;
    let acme = account(&tenure, "acme", host).await;
    let mut invited = Vec::new();
    for (number, name) in ["zoe", "yan"].into_iter().enumerate() {
        let invite = tenure.create_invite(&operator(), acme, name, Some(host)).await.unwrap().answer;
        invited.push((1 + number as i64, name, invite));
    }
    // No later event is sealed under the key of this name.
    tenure.revoke_invite(&operator(), Some(acme), invited[1].2).await.unwrap();
    // As many as are decoded while the first are counted, so that the names are given up in events that are read later.
    tenure::seed::generate(&tenure, 40_000, 1, |_| {}).await.unwrap();
    for replay in ["rebuild", "diff"] {
        for (number, name, _) in &invited {
            let signed_in = tenure.upsert_user_by_github_id(&Names::SYSTEM, *number, name, None, None).await;
            assert!(signed_in.unwrap().answer.created);
        }
        let forgetting = {
            let tenure = tenure.clone();
            async move {
                for name in ["zoe", "yan"] {
                    let id = tenure.reader().user_by_username(name).await.unwrap().id;
                    tenure.forget_user(&operator(), id).await.unwrap();
                }
            }
        };
        let progress = once(|step| matches!(step, Step::Advanced(10_000)), forgetting);
        let found = if replay == "diff" {
            tenure.replay().diff(None, &progress).await.unwrap().differences
        } else {
            tenure.replay().rebuild(&RebuildOptions::default(), &progress).await.unwrap().differences
        };
        assert_eq!(found.count, 0, "{replay}: {found:?}");
        for (_, name, _) in &invited {
            let again = tenure.create_invite(&operator(), acme, name, Some(host)).await;
            again.unwrap_or_else(|error| panic!("{replay}: {name}: {error}"));
        }
        let diff = tenure.replay().diff(None, &Progress::none()).await.unwrap();
        assert_eq!(diff.differences.count, 0, "{replay}: {:?}", diff.differences);
    }
}
