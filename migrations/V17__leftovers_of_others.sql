alter table log.head add column next_set_until timestamptz;
comment on column log.head.next_set_until is
    'When next_projection_set no longer counts, unless its release renews this; null: never by itself.';

-- As it was, but drops only what a rebuild has made.
create or replace function log.drop_leftover_schemas() returns table (schema_name text, reason text) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as
$$
#variable_conflict use_column
declare
    leftover  record;
    statement text;
    ours      oid[];
    -- The lock that a running rebuild holds; "tenurerb" in ASCII.
    is_idle   boolean := pg_try_advisory_xact_lock(8387231331756896866);
begin
    if is_idle then
        -- Of a rebuild that was killed. Nodes would take it for one of the next rebuild, and drain.
        update log.head set next_projection_set = null, next_set_until = null where next_projection_set is not null;
    end if;
    for leftover in
        select n.oid, n.nspname from pg_namespace n
        where n.nspowner = current_user::regrole
          and (n.nspname ~ '^view_retired_[0-9a-f]+$' or is_idle and n.nspname ~ '^view_next_[0-9a-f]+$')
        order by n.nspname
    loop
        begin
            -- The retired schema may also contain tables of others, created in schema `view` just before the swap and committed after it.
            -- Ours have a function of their name.
            select array_agg(c.oid) into ours from pg_class c
            where c.relnamespace = leftover.oid and c.relkind = 'r' and c.relowner = current_user::regrole
              and (leftover.nspname ~ '^view_next_' or c.relname = 'view_build'
                   or exists (select from pg_proc p where p.pronamespace = leftover.oid
                              and p.proowner = current_user::regrole and p.proname = c.relname || '_apply'));
            for statement in
                select format('drop function %s', p.oid::regprocedure) from pg_proc p
                where p.pronamespace = leftover.oid and p.proowner = current_user::regrole
                  and exists (select from pg_class c where c.oid = any (ours) and p.proname = c.relname || '_apply')
            loop
                execute statement;
            end loop;
            select 'drop table ' || string_agg(oid::regclass::text, ', ') into statement from unnest(ours) oid;
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
                return query select leftover.nspname::text, 'others have objects in it; move them to another schema';
            end if;
        exception
            -- Another node was faster.
            when invalid_schema_name or undefined_function or undefined_table or undefined_object then null;
            -- A table is still being read, an object of others depends on it, or another node is dropping it.
            when others then return query select leftover.nspname::text, sqlerrm;
        end;
    end loop;
end
$$;
