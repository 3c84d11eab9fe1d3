-- Rebuilding the projections while nodes run: which build of schema `view` the log expects, and who cleans up.

alter table log.head add column view_build bigint not null default 1;
comment on column log.head.view_build is
    'The build of schema view. view.view_build holds it too, unless a dump was taken while a rebuild swapped the schema.';

-- Its name comes after those of all tables in `view`: pg_dump reads tables in the order of their names, so that a dump that
-- misses the rows of any table, because a swap replaced it in between, misses this row too.
create table view.view_build (
    build bigint not null
);
insert into view.view_build (build) values (1);

-- Drops the schemas that rebuilds have left: the retired ones, once nobody reads them, and, unless a rebuild is running, the
-- unfinished ones. Returns those that could not be dropped yet, and why.
create function log.drop_leftover_schemas() returns table (schema_name text, reason text) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as
$$
#variable_conflict use_column
declare
    leftover  record;
    statement text;
    -- The lock that a running rebuild holds; "tenurerb" in ASCII.
    is_idle   boolean := pg_try_advisory_xact_lock(8387231331756896866);
begin
    for leftover in
        select n.oid, n.nspname from pg_namespace n
        where n.nspowner = current_user::regrole
          and (n.nspname like 'view\_retired\_%' or is_idle and n.nspname like 'view\_next\_%')
        order by n.nspname
    loop
        begin
            for statement in
                select format('drop function %s', p.oid::regprocedure) from pg_proc p where p.pronamespace = leftover.oid
            loop
                execute statement;
            end loop;
            select format('drop table %s', string_agg(c.oid::regclass::text, ', ')) into statement
            from pg_class c where c.relnamespace = leftover.oid and c.relkind = 'r';
            if statement is not null then
                execute statement;
            end if;
            execute format('drop schema %I', leftover.nspname);
        exception
            -- Somebody still reads a table, or has made an object that depends on one.
            when lock_not_available or dependent_objects_still_exist or deadlock_detected then
                return query select leftover.nspname::text, sqlerrm;
        end;
    end loop;
end
$$;
revoke all on function log.drop_leftover_schemas() from public;

-- The nodes that maintain the projections, so that a release with other projections can wait until those of the release
-- before have stopped writing (`is_drained`). A node renews its row; that of a dead one expires.
create table log.node (
    id             uuid        primary key,
    projection_set text        collate "C" not null,
    is_drained     boolean     not null default false,
    started_at     timestamptz not null default clock_timestamp(),
    expires_at     timestamptz not null
);
alter table log.head
    add column next_projection_set text collate "C",
    add column serves_from         bigint not null default 9;
comment on column log.head.next_projection_set is
    'Set while a release with these projections is about to replace the present ones: other nodes stop writing.';
comment on column log.head.serves_from is
    'The oldest schema version whose release may serve a database with this schema.';
