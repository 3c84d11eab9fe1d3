-- The sets of projections that upgrades have replaced: a node of such a release that restarts is refused instead of taking its tables
-- back.
create table log.replaced_projection_set (
    number         bigint generated always as identity primary key,
    projection_set text not null unique,
    replaced_at    timestamptz not null default clock_timestamp()
);
comment on table log.replaced_projection_set is
    'Sets of projections that upgrades have replaced, oldest first. Going back to one removes it and those after it.';

-- As it was, but leaves schemas alone whose names only begin like those of a rebuild.
create or replace function log.drop_leftover_schemas() returns table (schema_name text, reason text) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as
$$
#variable_conflict use_column
declare
    leftover  record;
    statement text;
    -- The lock that a running rebuild holds; "tenurerb" in ASCII.
    is_idle   boolean := pg_try_advisory_xact_lock(8387231331756896866);
begin
    if is_idle then
        -- Of a rebuild that was killed. Nodes would take it for one of the next rebuild, and drain.
        update log.head set next_projection_set = null where next_projection_set is not null;
    end if;
    for leftover in
        select n.oid, n.nspname from pg_namespace n
        where n.nspowner = current_user::regrole
          and (n.nspname ~ '^view_retired_[0-9a-f]+$' or is_idle and n.nspname ~ '^view_next_[0-9a-f]+$')
        order by n.nspname
    loop
        begin
            for statement in
                select format('drop function %s', p.oid::regprocedure) from pg_proc p where p.pronamespace = leftover.oid
            loop
                execute statement;
            end loop;
            select 'drop table ' || string_agg(c.oid::regclass::text, ', ') into statement
            from pg_class c where c.relnamespace = leftover.oid and c.relkind = 'r';
            if statement is not null then
                execute statement;
            end if;
            -- What else is in it keeps the schema, and not the tables.
            if not exists (select from pg_depend d
                           where d.refclassid = 'pg_namespace'::regclass and d.refobjid = leftover.oid
                             -- Others, such as default privileges, go with the schema.
                             and d.deptype = 'n') then
                execute format('drop schema %I', leftover.nspname);
            else
                return query select leftover.nspname::text, 'others have objects in it';
            end if;
        exception
            -- Another node was faster.
            when invalid_schema_name or undefined_function or undefined_table or undefined_object then null;
            -- Somebody still reads a table, or has made an object that depends on one, or another node is dropping it.
            when others then return query select leftover.nspname::text, sqlerrm;
        end;
    end loop;
end
$$;
