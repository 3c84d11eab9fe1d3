//! Who may change what in the database itself.

use cqrs_es::persist::{PersistedEventRepository as _, PersistedEventStore};
use cqrs_es::{Aggregate, DomainEvent, EventStore as _};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};

use crate::support::{TestDatabase, account, operator, user};

#[tokio::test(flavor = "multi_thread")]
async fn no_role_can_change_an_event_not_even_the_owner() {
    let database = TestDatabase::new().await;
    for role in [Some("tenure_owner"), Some("tenure_app"), None] {
        let client = database.connect(role).await;
        for statement in [
            "update log.event set payload = ''",
            "update log.event set payload = '' where false",
            "delete from log.event",
            "truncate log.event",
        ] {
            let error = client.batch_execute(statement).await.expect_err(statement);
            let code = error.code().unwrap().code().to_owned();
            assert!(code == "TN010" || code == "42501", "{role:?} {statement}: {code}");
        }
        assert_eq!(client.query("select from log.event", &[]).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_serving_role_can_append_and_can_make_no_table() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let row = tenure.log().primary().row("select current_user::text", &[]).await.unwrap().unwrap();
    assert_eq!(row.get::<_, &str>(0), "tenure_app");
    let client = database.connect(Some("tenure_app")).await;
    user(&tenure, "ada").await;
    for statement in [
        "create table log.x ()",
        "create table view.x ()",
        "update log.head set log_id = gen_random_uuid()",
        "drop table log.event",
        "alter table log.event disable trigger all",
    ] {
        assert!(client.batch_execute(statement).await.is_err(), "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_lacks_any_privilege_of_a_node_is_found_out() {
    let database = TestDatabase::new().await;
    let client = database.connect(None).await;
    let needed = tenure::postgres::NEEDED;
    let allowed = async || {
        let row = client.query_one(&format!("select ({needed})"), &[]).await.unwrap();
        row.get::<_, bool>(0)
    };
    // What nodes do not use: the view for readers made for `postgres-es`, the history of the schema, and changing the build.
    let sql = "
        select format('%s on %s', p.privilege_type, c.oid::regclass)
        from pg_class c, aclexplode(c.relacl) p
        where c.relnamespace = any (array['log', 'view', 'coarse']::regnamespace[]) and p.grantee = 'tenure_app'::regrole
          and c.relname not in ('events', 'schema_history', 'view_build')
        union all
        select format('%s (%I) on %s', p.privilege_type, a.attname, a.attrelid::regclass)
        from pg_attribute a join pg_class c on c.oid = a.attrelid, aclexplode(a.attacl) p
        where c.relnamespace = any (array['log', 'view', 'coarse']::regnamespace[]) and p.grantee = 'tenure_app'::regrole
        union all
        select format('execute on function %s', f.oid::regprocedure)
        from pg_proc f, aclexplode(f.proacl) p
        where f.pronamespace = any (array['log', 'coarse']::regnamespace[]) and p.grantee = 'tenure_app'::regrole
        union all
        select format('usage on schema %s', name) from unnest(array['log', 'view', 'coarse']) name";
    let granted: Vec<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(granted.len() > 100, "{granted:?}");
    client.batch_execute("begin; set local role tenure_app").await.unwrap();
    assert!(allowed().await);
    client.batch_execute("rollback").await.unwrap();
    for privilege in granted {
        let lose = format!("begin; revoke {privilege} from tenure_app, public; set local role tenure_app");
        client.batch_execute(&lose).await.unwrap();
        let answer = client.query_one(&format!("select ({needed})"), &[]).await;
        // Without the use of a schema, its tables cannot even be named.
        let is_found_out = match answer {
            Ok(row) => !row.get::<_, bool>(0),
            Err(error) => error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
        };
        assert!(is_found_out, "{privilege}");
        client.batch_execute("rollback").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_createrole_works_with_triggers_alone() {
    let database = TestDatabase::empty().await;
    let admin = database.connect(None).await;
    let name = format!("plain_{}", database.name);
    admin
        .batch_execute(&format!(
            "create role {name} login; grant create on database {} to {name}",
            database.name
        ))
        .await
        .unwrap();
    let mut address = database.address.clone();
    address.config.user(&name);
    let tenure = crate::support::open_with(tenure::Settings { address, ..database.settings() }).await;
    user(&tenure, "ada").await;
    let mut own = database.address.config.clone();
    let (client, connection) = own.user(&name).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let error = client.batch_execute("delete from log.event").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "TN010");
    tenure.close().await;
    admin.batch_execute(&format!("drop owned by {name} cascade; drop role {name}")).await.unwrap();
}

/// As on a server that is hardened.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_not_public_are_granted_to_the_serving_role() {
    let database = TestDatabase::new().await;
    let admin = database.connect(None).await;
    admin
        .batch_execute(
            "alter default privileges for role tenure_owner revoke execute on functions from public;
             revoke execute on all functions in schema log, coarse, view from public, tenure_app",
        )
        .await
        .unwrap();
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    tenure.close().await;
    admin
        .batch_execute("alter default privileges for role tenure_owner grant execute on functions to public")
        .await
        .unwrap();
}

/// An outsider's idea of an account: it reads the public part of our events as they are.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outsider {
    members: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct AnyJson(serde_json::Value);

impl DomainEvent for AnyJson {
    fn event_type(&self) -> String {
        String::new()
    }

    fn event_version(&self) -> String {
        String::new()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Outsider {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = AnyJson;
    type Error = Never;
    type Services = ();

    async fn handle(
        &mut self,
        (): (),
        (): &(),
        _: &cqrs_es::event_sink::EventSink<Self>,
    ) -> Result<(), Never> {
        Ok(())
    }

    fn apply(&mut self, event: AnyJson) {
        self.members += usize::from(event.0.get("member_added").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_reads_the_history_of_an_account() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();

    let options = sqlx::postgres::PgConnectOptions::new()
        .host(database.socket_dir().to_str().unwrap())
        .username("tenure")
        .database(&database.name);
    let pool = sqlx::PgPool::connect_with(options).await.unwrap();
    let repository = PostgresEventRepository::new(pool).with_tables("log.events", "none");
    let events = repository.get_events::<Outsider>(&acme.to_string()).await.unwrap();
    assert_eq!(
        events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(),
        ["account.opened", "account.member_added"]
    );
    assert_eq!(events[1].sequence, 2);
    assert_eq!(events[1].metadata["actor"], "operator");
    let store = PersistedEventStore::<_, Outsider>::new_event_store(repository);
    let context = store.load_aggregate(&acme.to_string()).await.unwrap();
    assert_eq!(context.aggregate.members, 1);

    // Our own type reads it too, with its sealed fields absent.
    let own: tenure::aggregates::account::AccountEvent =
        serde_json::from_value(events[0].payload.clone()).unwrap();
    assert!(
        matches!(own, tenure::aggregates::account::AccountEvent::Opened { owner, ref name, .. } if owner == ada && name.open().is_none())
    );
}
