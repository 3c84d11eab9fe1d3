//! The two database roles: creates them, grants their privileges, and checks that the serving role can serve.

use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use super::migrate_error::MigrateError;

/// The role that owns the schemas and everything in them.
pub const OWNER_ROLE: &str = "tenure_owner";

/// The role that nodes serve under: it can append to the log but never change it.
pub const APP_ROLE: &str = "tenure_app";

/// The complete privileges of the serving role.
///
/// Covers only objects that `tenure_owner` owns: other users may keep objects in the same schemas.
const PRIVILEGES: &str = "
    revoke all on schema log, view, coarse from public;
    grant usage on schema log, view, coarse to tenure_app;
    do $$
    declare
        relation record;
    begin
        for relation in
            select c.oid::regclass::text as name, n.nspname as schema
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in ('log', 'view', 'coarse') and c.relkind in ('r', 'v') and c.relowner = 'tenure_owner'::regrole
            order by c.oid
        loop
            execute format('grant select on %s to tenure_app', relation.name);
            if relation.schema in ('view', 'coarse') then
                execute format('grant insert, update, delete on %s to tenure_app', relation.name);
            end if;
        end loop;
        for relation in
            select p.oid::regprocedure::text as name from pg_proc p
            where (p.pronamespace in ('log'::regnamespace, 'coarse'::regnamespace)
                   or p.pronamespace = 'view'::regnamespace and p.proname like '%\\_apply')
              and p.proowner = 'tenure_owner'::regrole order by p.oid
        loop
            execute format('grant execute on function %s to tenure_app', relation.name);
        end loop;
    end $$;
    grant insert on log.event to tenure_app;
    grant update (fence, epoch, system_identifier, timeline, head_oid, names_checked, invites_resealed) on log.head to tenure_app;
    grant insert, update on log.guard, log.snapshot to tenure_app;
    grant insert, update, delete on log.idempotency to tenure_app;
    grant insert, update, delete on log.node to tenure_app;
    grant insert, delete on log.data_key to tenure_app;
    grant update (nats_keys) on log.key_ring to tenure_app;
    grant insert, update, delete on log.subscription, log.subscription_slice, log.subscriber, log.parked_stream to tenure_app;
    grant insert on log.subscription_act to tenure_app;
    revoke update, delete, truncate on log.event from tenure_owner;";

/// The privileges that serving needs, as a condition on the current role: those that [`PRIVILEGES`] grants on what this release uses.
/// Names that lead nowhere for a moment, while tables are replaced, count as allowed; so do objects that others keep in the schemas.
pub const NEEDED: &str = "
    select coalesce(bool_and(allowed), true) from (
        select has_schema_privilege(current_user, to_regnamespace(name), 'usage')
        from unnest(array['log', 'view', 'coarse']) name
        union all
        select has_table_privilege(current_user, to_regclass('log.' || name), privilege)
        from (values
            ('event', 'select,insert'), ('head', 'select'), ('guard', 'select,insert,update'),
            ('snapshot', 'select,insert,update'), ('idempotency', 'select,insert,update,delete'),
            ('node', 'select,insert,update,delete'), ('data_key', 'select,insert,delete'), ('key_ring', 'select'),
            ('subscription', 'select,insert,update,delete'), ('subscription_slice', 'select,insert,update,delete'),
            ('subscriber', 'select,insert,update,delete'), ('parked_stream', 'select,insert,update,delete'),
            ('subscription_act', 'select,insert'), ('as_of_schema', 'select'), ('replaced_projection_set', 'select')
        ) of_log (name, privileges), unnest(string_to_array(privileges, ',')) privilege
        union all
        select has_column_privilege(current_user, to_regclass('log.' || name), of_column, 'update')
        from (values
            ('head', 'fence'), ('head', 'epoch'), ('head', 'system_identifier'), ('head', 'timeline'),
            ('head', 'head_oid'), ('head', 'names_checked'), ('head', 'invites_resealed'), ('key_ring', 'nats_keys')
        ) of_log (name, of_column)
        union all
        select has_table_privilege(current_user, to_regclass(name), privilege)
        from (select 'view.' || split_part(named, ':', 1)
              from log.head, unnest(string_to_array(projection_set, ',')) named
              union all
              select 'coarse.' || named from unnest(array[
                  'attempt', 'clearing', 'device_origin', 'last_broadcast', 'last_poll', 'last_used', 'nats_account',
                  'nats_lease', 'nats_private', 'nats_reconciler', 'nats_relay', 'nats_relay_user', 'nats_stream',
                  'nats_user', 'served_at', 'used_once']) named) of_ours (name),
             unnest(array['select', 'insert', 'update', 'delete']) privilege
        union all
        select has_function_privilege(current_user, p.oid, 'execute')
        from pg_proc p
        where (p.pronamespace in (to_regnamespace('log'), to_regnamespace('coarse'))
               or p.pronamespace = to_regnamespace('view') and p.proname like '%\\_apply')
          and p.proowner = (select relowner from pg_class where oid = to_regclass('log.head'))
    ) as needed (allowed)";

/// A digest of the current privileges on Tenure's schemas and their objects.
const STANDING: &str = "
    select md5(coalesce(string_agg(name || ' ' || acl, E'\n' order by name collate \"C\"), '')) from (
        select 'schema ' || nspname, coalesce(nspacl::text, '') from pg_namespace
        where nspname in ('log', 'view', 'coarse')
        union all
        select 'relation ' || c.oid::regclass, coalesce(c.relacl::text, '') from pg_class c
        where c.relnamespace = any (array['log', 'view', 'coarse']::regnamespace[]) and c.relkind in ('r', 'v')
          and c.relowner = 'tenure_owner'::regrole
        union all
        select 'column ' || a.attrelid::regclass || '.' || a.attname, a.attacl::text
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = any (array['log', 'view', 'coarse']::regnamespace[]) and a.attacl is not null
          and c.relowner = 'tenure_owner'::regrole
        union all
        select 'function ' || p.oid::regprocedure, coalesce(p.proacl::text, '') from pg_proc p
        where p.pronamespace = any (array['log', 'view', 'coarse']::regnamespace[])
          and p.proowner = 'tenure_owner'::regrole
    ) as standing (name, acl)";

/// Whether the login may switch to a role; no row if the role does not exist. Only PostgreSQL 16 and newer tell `SET`
/// from `MEMBER`.
const ACTS_AS: &str = "
    select pg_has_role(oid, case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
    from pg_roles where rolname = $1";

/// Creates the two roles if the login may, and switches to the owner. Returns the serving role; none if the login must
/// serve itself.
pub(super) async fn prepare(client: &Client) -> Result<Option<&'static str>, tokio_postgres::Error> {
    let row = client
        .query_one(
            "select r.rolsuper, r.rolsuper or r.rolcreaterole,
                    (select r.rolsuper or pg_has_role(d.datdba, 'member') from pg_database d
                     where d.datname = current_database())
             from pg_roles r where r.rolname = current_user",
            &[],
        )
        .await?;
    let (superuser, creates, owns): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    for role in [OWNER_ROLE, APP_ROLE] {
        if creates {
            // Roles belong to the whole cluster, so the migration of another database may create them at the same
            // moment.
            client
                .batch_execute(&format!(
                    "do $$ begin
                         if not exists (select from pg_roles where rolname = '{role}') then
                             create role {role} nologin;
                         end if;
                     exception when duplicate_object or unique_violation then null;
                     end $$"
                ))
                .await?;
        }
        let acts = client.query_opt(ACTS_AS, &[&role]).await?;
        let Some(acts) = acts else { return Ok(None) };
        let acts: bool = acts.try_get(0)?;
        if superuser || acts {
            continue;
        }
        // Since PostgreSQL 16, the creator of a role cannot switch to it, but may grant it, also to itself.
        match client.batch_execute(&format!("grant {role} to current_user")).await {
            Ok(()) => {}
            // Another login created the roles of this server and did not grant them: this login serves without them.
            Err(error) if error.code().is_some_and(|code| code.code() == "42501") => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    // `tenure_owner` creates the schemas, which only the owner of the database can allow.
    if owns {
        client
            .batch_execute(
                "do $$ begin
                     if not has_database_privilege('tenure_owner', current_database(), 'create') then
                         execute format('grant create on database %I to tenure_owner', current_database());
                     end if;
                 end $$",
            )
            .await?;
    }
    let may_create: bool = client
        .query_one(
            "select has_database_privilege('tenure_owner', current_database(), 'create')
                    and (select coalesce(bool_and(nspowner = 'tenure_owner'::regrole), true)
                         from pg_namespace where nspname in ('log', 'view'))",
            &[],
        )
        .await?
        .try_get(0)?;
    // `tenure_owner` could not migrate schemas that belong to another role, so the login keeps its own rights.
    if !may_create {
        return Ok(None);
    }
    client.batch_execute(&format!("set role {OWNER_ROLE}")).await?;
    Ok(Some(APP_ROLE))
}

/// Grants the privileges if anything has changed since the last grant: this release's list, the objects, or privileges
/// that were revoked by hand. Not at every start, because each grant makes every node plan its statements again.
pub(super) async fn grant(client: &Client) -> Result<(), tokio_postgres::Error> {
    let wanted = super::hex(&Sha256::digest(PRIVILEGES)[..8]);
    let standing = async || -> Result<String, tokio_postgres::Error> {
        let acl: String = client.query_one(STANDING, &[]).await?.try_get(0)?;
        Ok(format!("{wanted}:{acl}"))
    };
    let granted: String = client.query_one("select privileges from log.head", &[]).await?.try_get(0)?;
    if granted == standing().await? {
        return Ok(());
    }
    client.batch_execute(PRIVILEGES).await?;
    client.execute("update log.head set privileges = $1", &[&standing().await?]).await?;
    Ok(())
}

/// Refuses a role that cannot serve; otherwise its first write would fail.
pub(super) async fn check(client: &Client) -> Result<(), MigrateError> {
    let row = client.query_one(&format!("select current_user::text, ({NEEDED})"), &[]).await?;
    let (role, may_serve): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    if may_serve { Ok(()) } else { Err(MigrateError::MayNotWrite { role }) }
}
