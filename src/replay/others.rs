//! What others have put on and into schema `view`: found before a rebuild, and put on the fresh tables in the swap.

use tokio_postgres::GenericClient;
use tokio_postgres::types::ToSql;

use super::error::ReplayError;
use crate::event_log::rows::Table;
use crate::postgres::migrate::is_index_of_ours;

/// Objects that are not Tenure's.
#[derive(Default)]
pub(super) struct Others {
    /// Statements to run once the fresh tables have their place, in order.
    pub(super) statements: Vec<String>,
    /// The names of their indexes, and the statements that build them, which name the tables in schema `view`.
    pub(super) indexes: Vec<(String, String)>,
    /// Descriptions of the objects that no statement can put on the fresh tables.
    pub(super) refused: Vec<String>,
}

/// Selects what stands on the tables `$2` of schema `view` and has a statement that makes it again.
///
/// `$1` is whether the whole schema is replaced; then what is in the schema moves with it, and `$3` is the name that the
/// present schema gets. `$4` are all tables of ours in it, those of another release included.
const STATEMENTS: &str = "
    select 1, format('grant %s on schema view to %s%s', a.privilege_type,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from pg_namespace n cross join aclexplode(n.nspacl) a
    where $1::boolean and n.nspname = 'view' and a.grantee <> n.nspowner
    union all
    select 1, format('alter default privileges for role %s in schema view grant %s on %s to %s%s',
                  d.defaclrole::regrole, a.privilege_type,
                  case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
                                       else 'types' end,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from pg_default_acl d cross join aclexplode(d.defaclacl) a
    where $1::boolean and d.defaclnamespace = 'view'::regnamespace
      -- Those of other roles touch no table of ours; only a superuser can set them for them.
      and (d.defaclrole = current_user::regrole or (select rolsuper from pg_roles where rolname = session_user))
    union all
    select 2, format('grant %s on view.%I to %s%s', a.privilege_type, c.relname,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from pg_class c cross join aclexplode(c.relacl) a
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[] || '{view_build}'::text[]) and a.grantee <> c.relowner
    union all
    -- A table that the release adds was made where default privileges of schema view do not apply.
    select 2, format('grant %s on view.%I to %s%s', a.privilege_type, t,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from unnest($2::text[]) as t, pg_default_acl d cross join aclexplode(d.defaclacl) a
    where $1::boolean and d.defaclnamespace = 'view'::regnamespace and d.defaclobjtype = 'r' and d.defaclrole = current_user::regrole
      and a.grantee <> d.defaclrole and to_regclass('view.' || quote_ident(t)) is null
    union all
    select 2, format('grant %s (%I) on view.%I to %s%s', a.privilege_type, t.attname, c.relname,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from pg_class c join pg_attribute t on t.attrelid = c.oid cross join aclexplode(t.attacl) a
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[])
    union all
    -- By its name alone: it may have other parameters in the new release.
    select 1, format('revoke execute on function view.%I from public', p.proname)
    from pg_proc p
    where p.pronamespace = 'view'::regnamespace and p.proacl is not null
      and p.proname = any (select t || '_apply' from unnest($2::text[]) as t)
      and not exists (select from aclexplode(p.proacl) a where a.grantee = 0)
    union all
    select 2, format('grant execute on function view.%I to %s%s', p.proname,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' else '' end)
    from pg_proc p cross join aclexplode(p.proacl) a
    where p.pronamespace = 'view'::regnamespace and a.grantee <> p.proowner
      and p.proname = any (select t || '_apply' from unnest($2::text[]) as t)
    union all
    select 3, format('comment on %s view.%s is %L', case d.objsubid when 0 then 'table' else 'column' end,
                  c.relname || case d.objsubid when 0 then '' else '.' || quote_ident(t.attname) end, d.description)
    from pg_description d join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
    left join pg_attribute t on t.attrelid = c.oid and t.attnum = d.objsubid and d.objsubid > 0
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[])
    union all
    -- One in another schema stays there, and so does one in this schema if only some tables are replaced.
    select 3, case when $1::boolean and s.stxnamespace = 'view'::regnamespace then ''
                  else format('drop statistics %I.%I; ', s.stxnamespace::regnamespace, s.stxname) end
              || pg_get_statisticsobjdef(s.oid)
    from pg_statistic_ext s join pg_class c on c.oid = s.stxrelid
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[])
    union all
    -- Those of tables of others do not move with them.
    select 5, format('alter statistics %I.%I set schema view', $3::text, s.stxname)
    from pg_statistic_ext s join pg_class c on c.oid = s.stxrelid
    where $1::boolean and s.stxnamespace = 'view'::regnamespace
      and not (c.relnamespace = 'view'::regnamespace and c.relname = any ($4::text[]))
    union all
    select 3, format('alter table view.%I replica identity %s', c.relname,
                  case c.relreplident when 'f' then 'full' when 'n' then 'nothing'
                                      else 'using index ' || quote_ident(i.relname) end)
    from pg_class c
    left join pg_index x on x.indrelid = c.oid and x.indisreplident left join pg_class i on i.oid = x.indexrelid
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[])
      and (c.relreplident in ('f', 'n') or c.relreplident = 'i' and i.oid is not null)
    union all
    -- What others have made in the schema itself goes to the new schema of that name.
    select 4, format('alter %s %I.%I set schema view',
                  case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                                 when 'f' then 'foreign table' else 'table' end, $3::text, c.relname)
    from pg_class c
    where $1::boolean and c.relnamespace = 'view'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
      and c.relname <> all ($4::text[]) and c.relname <> 'view_build'
      -- The sequence of a column goes with its table; a partition does not.
      and not (c.relkind = 'S' and exists (
          select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass
          and d.deptype in ('a', 'i') and d.refclassid = 'pg_class'::regclass))
    union all
    select 4, format('alter type %I.%I set schema view', $3::text, t.typname)
    from pg_type t left join pg_class c on c.oid = t.typrelid
    where $1::boolean and t.typnamespace = 'view'::regnamespace
      and (t.typtype in ('e', 'd') or t.typtype = 'c' and c.relkind = 'c')
    union all
    -- After the types and tables that are its arguments.
    select 5, format('alter routine %I.%I(%s) set schema view', $3::text, p.proname, pg_get_function_identity_arguments(p.oid))
    from pg_proc p
    where $1::boolean and p.pronamespace = 'view'::regnamespace
      and p.proname <> all (select t || '_apply' from unnest($4::text[]) as t)
    union all
    -- After the functions, which they may call.
    select 6, pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[]) and not t.tgisinternal
    union all
    select 7, format('alter table view.%I %s trigger %I', c.relname,
                  case t.tgenabled when 'D' then 'disable' when 'A' then 'enable always' else 'enable replica' end, t.tgname)
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[]) and not t.tgisinternal
      and t.tgenabled <> 'O'
    union all
    select 3, format('alter table view.%I %s row level security', c.relname, f.flag)
    from pg_class c,
         lateral (values (c.relrowsecurity, 'enable'), (c.relforcerowsecurity, 'force')) as f (is_set, flag)
    where c.relnamespace = 'view'::regnamespace and c.relname = any ($2::text[]) and f.is_set
    union all
    -- A view keeps its owner and its privileges when it is replaced.
    select 8, format('create or replace view %s %s as %s', v.oid::regclass,
                  coalesce('with (' || array_to_string(v.reloptions, ', ') || ')', ''), pg_get_viewdef(v.oid))
    from (select distinct r.ev_class as oid from pg_depend d
          join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
          join pg_class t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
          where t.relnamespace = 'view'::regnamespace and t.relname = any ($2::text[] || '{view_build}'::text[])
            and t.relkind = 'r' and r.rulename = '_RETURN') found
    join pg_class v on v.oid = found.oid and v.relkind = 'v' and v.relpersistence <> 't'
    order by 1, 2";

/// Selects what depends on the tables `$1` of schema `view` and cannot be made again: everything but Tenure's own objects
/// and those of the statements above. `$2` are those of the tables that have a successor, and `$3` is whether the whole schema
/// is replaced.
const REFUSED: &str = "
    with ours as (
        select c.oid, c.reltype, t.typarray from pg_class c join pg_type t on t.oid = c.reltype
        where c.relnamespace = 'view'::regnamespace and c.relname = any ($1::text[] || '{view_build}'::text[]) and c.relkind = 'r'
    )
    select distinct pg_describe_object(d.classid, d.objid, 0)
    from pg_depend d
    where (d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from ours)
           or d.refclassid = 'pg_type'::regclass and d.refobjid in (select reltype from ours union select typarray from ours))
      and d.classid not in ('pg_attrdef'::regclass, 'pg_trigger'::regclass, 'pg_statistic_ext'::regclass)
      and not (d.classid = 'pg_type'::regclass and d.objid in (select reltype from ours union select typarray from ours))
      and not (d.classid = 'pg_class'::regclass
               and exists (select from pg_class c where c.oid = d.objid and c.relkind in ('i', 't')))
      and not (d.classid = 'pg_constraint'::regclass
               and exists (select from pg_constraint k where k.oid = d.objid and k.conrelid = d.refobjid
                           and k.contype in ('p', 'n')))
      and not (d.classid = 'pg_proc'::regclass
               and exists (select from pg_proc p where p.oid = d.objid and p.pronamespace = 'view'::regnamespace
                           and p.proname = any (select t || '_apply' from unnest($1::text[]) as t)))
      and not (d.classid = 'pg_rewrite'::regclass
               and exists (select from pg_rewrite r join pg_class v on v.oid = r.ev_class
                           where r.oid = d.objid and r.rulename = '_RETURN' and v.relkind = 'v' and v.relpersistence <> 't')
               and not exists (select from pg_class t
                               where d.refclassid = 'pg_class'::regclass and t.oid = d.refobjid
                                 and t.relname <> all ($2::text[] || '{view_build}'::text[])))
    union
    -- What is in the schema and does not move with it.
    select pg_describe_object(d.classid, d.objid, 0)
    from pg_depend d
    where $3::boolean and d.refclassid = 'pg_namespace'::regclass and d.refobjid = 'view'::regnamespace
      and d.classid not in ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass,
                            'pg_statistic_ext'::regclass, 'pg_default_acl'::regclass,
                            'pg_publication_namespace'::regclass)
    union
    -- Its multirange and its functions would stay behind.
    select pg_describe_object('pg_type'::regclass, t.oid, 0)
    from pg_type t
    where $3::boolean and t.typnamespace = 'view'::regnamespace
      and (t.typtype = 'r' or t.typtype = 'b' and not exists (select from pg_type e where e.typarray = t.oid))
    union
    -- A table of theirs that shows the rows of ours.
    select format('table %s, of which %s is a part', i.inhparent::regclass, i.inhrelid::regclass)
    from pg_inherits i where i.inhrelid in (select oid from ours)
    union
    select pg_describe_object('pg_attrdef'::regclass, a.oid, 0)
    from pg_attrdef a where a.adrelid in (select oid from ours)
    union
    -- On a table of theirs, and goes with ours.
    select pg_describe_object('pg_trigger'::regclass, t.oid, 0)
    from pg_trigger t
    where t.tgconstrrelid in (select oid from ours) and t.tgrelid not in (select oid from ours) and not t.tgisinternal
    union
    -- The labels of its tables, such as rules for masking, would be gone.
    select format('security label of %s on %s', l.provider, pg_describe_object(l.classoid, l.objoid, l.objsubid))
    from pg_seclabel l
    where l.classoid = 'pg_class'::regclass and l.objoid in (select oid from ours)
       or $3::boolean and l.classoid = 'pg_namespace'::regclass and l.objoid = 'view'::regnamespace
       or l.classoid = 'pg_proc'::regclass and l.objoid in (
              select p.oid from pg_proc p join pg_class c on c.oid in (select oid from ours) and p.proname = c.relname || '_apply'
              where p.pronamespace = 'view'::regnamespace)
    union
    -- Only they themselves can set them again.
    select format('default privileges of role %s in schema view', d.defaclrole::regrole)
    from pg_default_acl d
    where $3::boolean and d.defaclnamespace = 'view'::regnamespace and d.defaclrole <> current_user::regrole
      and not (select rolsuper from pg_roles where rolname = session_user)
    union
    -- It would publish the fresh tables under names that the subscriber does not have.
    select format('publication %I for all tables', p.pubname)
    from pg_publication p where p.puballtables and current_setting('wal_level') = 'logical'
    union
    select format('publication %I of all tables in schema view', p.pubname)
    from pg_publication_namespace n join pg_publication p on p.oid = n.pnpubid
    where n.pnnspid = 'view'::regnamespace";

impl Others {
    /// Looks for what others have put on these tables. `retired` is the name that the present schema gets, if the whole
    /// schema is replaced.
    pub(super) async fn find(
        client: &impl GenericClient,
        tables: &[&'static Table],
        retired: Option<&str>,
    ) -> Result<Self, ReplayError> {
        // So that every name in a definition is written with its schema.
        client.batch_execute("set search_path = pg_catalog").await?;
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let mut others = Self::default();
        let is_whole = retired.is_some();
        let former: String =
            client.query_one("select projection_set from log.head", &[]).await?.try_get(0)?;
        let former = former.split(',').filter_map(|table| table.split(':').next());
        let all: Vec<&str> = names.iter().copied().chain(former).collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [&is_whole, &names, &retired.unwrap_or_default(), &all];
        for row in client.query(STATEMENTS, &parameters).await? {
            others.statements.push(row.try_get(1)?);
        }
        others.indexes = Self::indexes(client, tables).await?;
        let at_stake = if is_whole { &all } else { &names };
        for row in client.query(REFUSED, &[at_stake, &names, &is_whole]).await? {
            others.refused.push(row.try_get(0)?);
        }
        Ok(others)
    }

    /// The names of the indexes that others have on these tables, and the statements that build them.
    pub(super) async fn indexes(
        client: &impl GenericClient,
        tables: &[&'static Table],
    ) -> Result<Vec<(String, String)>, ReplayError> {
        // So that every name in a definition is written with its schema.
        client.batch_execute("set search_path = pg_catalog").await?;
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let sql = "select t.relname::text, c.relname::text, pg_get_indexdef(i.indexrelid)
                   from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
                   where t.relnamespace = 'view'::regnamespace and t.relname = any ($1) and not i.indisprimary
                     -- An invalid one was never finished, and can often not be built at all.
                     and i.indisvalid";
        let mut indexes = Vec::new();
        for row in client.query(sql, &[&names]).await? {
            let (table, index): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            let is_ours = tables.iter().any(|ours| ours.name == table && is_index_of_ours(index, ours));
            if !is_ours {
                indexes.push((index.to_owned(), row.try_get(2)?));
            }
        }
        Ok(indexes)
    }
}

/// Others' objects belong to their owners, so putting them on the new tables needs the login's own rights, if those are a
/// superuser's: what to say before and after.
pub(super) async fn role_of_others(
    client: &impl GenericClient,
) -> Result<(&'static str, String), ReplayError> {
    let sql = "select rolsuper and session_user <> current_user, quote_ident(current_user)
               from pg_roles where rolname = session_user";
    let row = client.query_one(sql, &[]).await?;
    let (is_superuser, role): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(if is_superuser { ("reset role;", format!("set role {role};")) } else { ("", String::new()) })
}
