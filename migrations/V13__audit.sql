-- The tables as they were, in schemas of their own, and the change of the master key.

-- Schemas that hold the tables as they were at a position. What was in them stays known for 30 days.
create table log.as_of_schema (
    name         text        collate "C" primary key,
    schema_oid   oid         not null,
    account_id   uuid,
    epoch        bigint      not null,
    position     bigint      not null,
    as_of        timestamptz not null,
    made_at      timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    is_ready     boolean     not null default false,
    checked      bigint      not null,
    ends_because text        collate "C",
    ended_at     timestamptz
);
comment on column log.as_of_schema.schema_oid is
    'The schema, whatever it is called by now; one that has taken its name is somebody else''s.';
comment on column log.as_of_schema.checked is
    'What was forgotten up to this position is not in the schema.';

-- Drops schemas that have expired, that were never finished, or that hold what was forgotten since. Returns those that somebody
-- still reads, and why they go.
create function log.sweep_as_of_schemas() returns table (schema_name text, reason text) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as
$$
#variable_conflict use_column
declare
    made    record;
    why     text;
    called  name;
    problem text;
    people  uuid[];
    closed  uuid[];
    holds   boolean;
    head    bigint  := (select coalesce((select position from log.event order by position desc limit 1), 0));
    present bigint  := (select epoch from log.head);
    -- The lock that the making of such a schema holds; "tenureao" in ASCII.
    is_idle boolean := pg_try_advisory_xact_lock(8387231331756892527);
begin
    delete from log.as_of_schema where ended_at < clock_timestamp() - interval '30 days';
    for made in select * from log.as_of_schema where ended_at is null order by name for update skip locked loop
        why := made.ends_because;
        -- In a restored database it has another OID.
        select n.nspname into called from pg_namespace n
        where n.oid = made.schema_oid
           or made.epoch <> present and n.nspname = made.name and n.nspowner = current_user::regrole
        limit 1;
        if not found then
            called := null;
        end if;
        if called is null then
            update log.as_of_schema set ended_at = clock_timestamp(), ends_because = coalesce(why, 'dropped by hand')
            where name = made.name;
            continue;
        end if;
        if why is null and made.epoch <> present then
            why := 'the log has a new epoch';
        elsif why is null and made.is_ready and made.expires_at <= clock_timestamp() then
            why := 'expired';
        elsif why is null and not made.is_ready and is_idle then
            why := 'never finished';
        elsif why is null and made.is_ready and made.checked < head then
            select coalesce(array_agg(stream_id::uuid) filter (where event_type = 'user.forgotten'), '{}'),
                   coalesce(array_agg(stream_id::uuid) filter (where event_type = 'account.closed'), '{}')
            into people, closed
            from log.event
            where position > made.checked and position <= head
              and (stream_type, event_type) in (('user', 'user.forgotten'), ('account', 'account.closed'));
            holds := false;
            if cardinality(people) + cardinality(closed) > 0 then
                begin
                    execute format(
                        'select exists (select from %1$I.users where id = any ($1) and forgotten_at is null)
                             or exists (select from %1$I.accounts where id = any ($2))
                             or exists (select from %1$I.invites i
                                        where i.invitee_username is not null
                                          and (i.invitee_user_id = any ($1)
                                               or i.name_key is not null
                                                  and not exists (select from log.data_key k
                                                                  where k.subject = ''name:'' || i.name_key)))',
                        called
                    ) into holds using people, closed;
                exception
                    -- Somebody is changing its tables: looked at again.
                    when lock_not_available or deadlock_detected or query_canceled then continue;
                    -- Somebody has changed its tables: what they hold cannot be told.
                    when others then holds := true;
                end;
            end if;
            if holds then
                why := 'what is in it was forgotten';
            else
                update log.as_of_schema set checked = head where name = made.name;
            end if;
        end if;
        if why is not null then
            begin
                execute format('drop schema %I cascade', called);
                update log.as_of_schema set ended_at = clock_timestamp(), ends_because = why where name = made.name;
            exception
                -- Somebody still reads it, or has made it undroppable: the others go all the same.
                when others then
                    problem := sqlerrm;
                    update log.as_of_schema set ends_because = why where name = made.name;
                    return query select made.name::text, why || ' (' || problem || ')';
            end;
        end if;
    end loop;
end
$$;
revoke all on function log.sweep_as_of_schemas() from public;

-- While the master key is changed there are two: `announced` is known to nodes and not used yet; then it is `current`, and the one
-- before it `former`, which nodes may still use, then `retired`, which nothing may be wrapped with any more, and then gone.
alter table log.key_ring
    add column state text collate "C" not null default 'current'
        check (state in ('announced', 'current', 'former', 'retired'));
create unique index key_ring_one_current on log.key_ring (state);

alter table log.node
    add column knows_key  text collate "C",
    add column wraps_with text collate "C";
comment on column log.node.knows_key is 'The newest master key of log.key_ring that the node has.';
comment on column log.node.wraps_with is 'The master key that the node wraps new data keys with.';

-- A data key that is wrapped with a retired master key would be lost with it. A foreign key would lock the row of the key ring for
-- every new subject.
create function log.refuse_retired_key() returns trigger language plpgsql as
$$
begin
    if exists (select from added a
               where not exists (select from log.key_ring k where k.key_id = a.key_id and k.state <> 'retired')) then
        raise exception using
            errcode = 'TN007',
            message = 'a data key is wrapped with a master key that is no longer used';
    end if;
    return null;
end
$$;
create trigger refuse_retired_key
    after insert on log.data_key
    referencing new table as added
    for each statement execute function log.refuse_retired_key();

-- As it was, but for another node that drops the same schema at the same time, which is no failure.
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
          and (n.nspname like 'view\_retired\_%' or is_idle and n.nspname like 'view\_next\_%')
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

-- The version of the newest event of a stream up to a position; 0 if there is none. Versions grow with positions, so that no index
-- is needed to find one.
create function log.version_at(wanted_type text, wanted_id text, up_to bigint) returns bigint language plpgsql stable as
$$
declare
    low    bigint := 0;
    high   bigint;
    middle bigint;
begin
    if up_to <= 0 then
        return 0;
    end if;
    select e.version into high from log.event e
    where e.stream_id = wanted_id and e.stream_type = wanted_type
    order by e.stream_id desc, e.stream_type desc, e.version desc limit 1;
    while low < high loop
        -- The newest first: it is what is asked for most.
        middle := case when middle is null then high else (low + high + 1) / 2 end;
        if (select e.position from log.event e
            where e.stream_id = wanted_id and e.stream_type = wanted_type and e.version = middle) <= up_to then
            low := middle;
        else
            high := middle - 1;
        end if;
    end loop;
    return low;
end
$$;
