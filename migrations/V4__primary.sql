-- Which server a log lives on, so that a node notices when another one answers in its place; and what a release has made
-- of privileges and projections, so that the next one knows what to mend.

alter table log.head
    alter column epoch drop default,
    add column system_identifier bigint,
    add column timeline          bigint,
    add column head_oid          bigint,
    add column privileges        text collate "C" not null default '',
    add column view_definition   text collate "C" not null default '';
comment on column log.head.epoch is
    'Random. Changes when positions from before may name other events: after a restore, or a failover that lost events.';
comment on column log.head.system_identifier is
    'With timeline and head_oid: the server and the very table that this log was last served from.';
comment on column log.head.privileges is 'A digest of the privileges that were granted last.';
comment on column log.head.view_definition is
    'A digest of the functions and indexes of the projections, which may change without their set.';

-- The server that answers, as log.head remembers it. Only a primary can say.
create function log.server_identity()
    returns table (system_identifier bigint, timeline bigint, head_oid bigint) language sql stable as
$$
    select s.system_identifier,
           -- The control file learns of a promotion only with the next checkpoint; the name of the WAL at once.
           ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint,
           'log.head'::regclass::oid::bigint
    from pg_control_system() s
$$;

-- The position of the first event that was recorded at a time or later; one beyond the newest if there is none. Recorded
-- times grow with positions, so that no index is needed to find one.
create function log.position_at(wanted timestamptz) returns bigint language plpgsql stable as
$$
declare
    low    bigint := 1;
    high   bigint;
    middle bigint;
begin
    select coalesce(max(position), 0) + 1 into high from log.event;
    while low < high loop
        middle := (low + high) / 2;
        if (select recorded_at from log.event where position = middle) >= wanted then
            high := middle;
        else
            low := middle + 1;
        end if;
    end loop;
    return low;
end
$$;

-- The function of the same name with fewer parameters stays: nodes of the release before call it until they are replaced.

-- Stores a batch. The head row is locked by the first statement, so that every later one sees all earlier appends.
-- Raises TN001 with the losers as JSON when any version, guard, account or claim is contested; TN002 when the fence has
-- moved; TN004 when the projections have been replaced; TN005 when positions have another epoch; TN006 with the offset
-- in seconds when `at` is further than `clock_bound` seconds from the server's clock (null: no bound). Whatever is raised,
-- nothing is stored.
--
-- Of the streams that were only read, those that must be looked up come first (`unknown` of them), then those that need
-- be looked up only if the newest event is not `expected_newest` at `expected_base`. Streams that are written need not be
-- among them: the unique key refuses a version that exists. Nor are claims looked at unless `careful`: their unique key
-- refuses what is held, dead or alive. An array without a row is null; the position of an event is its ordinal.
create function log.append(
    expected_epoch bigint, expected_fence bigint, expected_projection_set text, at timestamptz, clock_bound double precision,
    notifies boolean, careful boolean,
    expected_newest uuid, expected_base bigint, unknown int,
    streams log.stream_read[], guards log.guard_read[], accounts log.account_read[],
    bumped text[], claims log.claim[], released log.claim[], new_keys log.data_key[], destroyed text[],
    events log.event[], requests log.request[]
) returns log.appended language plpgsql as
$$
#variable_conflict use_column
declare
    epoch_now          bigint;
    fence_now          bigint;
    projection_set_now text;
    base               bigint;
    newest             uuid;
    recorded_from      timestamptz;
    moved              jsonb;
    changed            jsonb;
    written            jsonb;
    repeated           jsonb;
    taken              jsonb;
    stored             bigint;
begin
    select h.epoch, h.fence, h.projection_set into epoch_now, fence_now, projection_set_now
    from log.head h for update;
    if epoch_now is distinct from expected_epoch then
        raise exception using errcode = 'TN005', message = 'positions have another epoch';
    end if;
    if fence_now is distinct from expected_fence then
        raise exception using errcode = 'TN002', message = 'the fence has moved';
    end if;
    if projection_set_now is distinct from expected_projection_set then
        raise exception using errcode = 'TN004', message = 'the projections have been replaced',
            detail = projection_set_now;
    end if;
    -- When the statement arrived, not when it got the lock: waiting is no offset.
    if abs(extract(epoch from at - statement_timestamp())) > clock_bound then
        raise exception using errcode = 'TN006', message = 'the clocks differ',
            detail = extract(epoch from at - statement_timestamp())::text;
    end if;

    select e.position, e.event_id, greatest(at, e.recorded_at + interval '1 microsecond')
    into base, newest, recorded_from
    from log.event e order by e.position desc limit 1;
    if base is null then
        base := 0;
        recorded_from := at;
    end if;

    if expected_newest is null or newest is distinct from expected_newest or base is distinct from expected_base then
        unknown := cardinality(streams);
    end if;
    if unknown > 0 then
        select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into moved
        from log.contested_streams(streams[:unknown]) r;
    end if;
    if guards is not null then
        select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into changed
        from log.contested_guards(guards) r;
    end if;
    if accounts is not null then
        select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into written
        from log.contested_accounts(accounts) r;
    end if;
    if released is not null then
        delete from view.unique_claims c using unnest(released) as r
        where c.kind = r.kind and c.key = r.key and c.holder = r.holder;
    end if;
    if claims is not null and not careful then
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t;
    elsif claims is not null then
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t
        on conflict do nothing;
        get diagnostics stored = row_count;
        if stored < cardinality(claims) then
            taken := log.succeed_claims(base, claims);
        end if;
    end if;
    if requests is not null then
        select jsonb_agg(jsonb_build_array(t.unit, 'repeated', '', '')) into repeated
        from unnest(requests) as t join log.idempotency i on i.request = t.request
        where i.recorded_at > at - interval '1 day';
    end if;
    if moved is not null or changed is not null or written is not null or taken is not null or repeated is not null
    then
        raise exception using errcode = 'TN001', message = 'contested',
            detail = (coalesce(moved, '[]') || coalesce(changed, '[]') || coalesce(written, '[]')
                      || coalesce(taken, '[]') || coalesce(repeated, '[]'))::text;
    end if;

    insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version,
                           account_id, recorded_at, payload, metadata, sealed)
    select base + e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.event_version,
           e.account_id, recorded_from + (e.position - 1) * interval '1 microsecond', e.payload, e.metadata, e.sealed
    from unnest(events) as e;
    if bumped is not null then
        update log.guard set version = version + 1 where name = any (bumped);
    end if;
    if destroyed is not null then
        delete from log.data_key where subject = any (destroyed);
    end if;
    if new_keys is not null then
        insert into log.data_key (subject, key_id, wrapped)
        select k.subject, k.key_id, k.wrapped from unnest(new_keys) as k;
    end if;
    if requests is not null then
        insert into log.idempotency (request, body, answer, position, recorded_at)
        select t.request, t.body, t.answer, base + t.ordinal, at from unnest(requests) as t
        -- One that is over and has not been swept yet.
        on conflict (request) do update
            set body = excluded.body, answer = excluded.answer, position = excluded.position,
                recorded_at = excluded.recorded_at;
    end if;
    if notifies then
        perform pg_notify('tenure_log', '');
    end if;
    return (base, recorded_from);
end
$$;
