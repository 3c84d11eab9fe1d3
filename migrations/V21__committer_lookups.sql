-- Functions of the committer look rows up whatever the statistics are, and otherwise are as before.
--
-- A connection keeps its plans. While a table is known to be nearly empty, walking all of an index that is in the order of a join's
-- key is as cheap as looking up each key, and such a plan reads the whole table, under the head lock, once it has grown. The planner
-- walks an index for an order that a join can use; a join by `= any (array[...])` can use none. Where another index has a column that
-- is compared as well, or an index has all columns that are asked for, the look-up is a scalar subquery, which is no join.

create or replace function log.contested_guards(guards log.guard_read[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select g.unit, 'guard', g.name, coalesce(l.version, 0)::text
    from unnest(guards) as g
    left join log.guard l on l.name = any (array[g.name])
    where coalesce(l.version, 0) <> g.version
$$;

create or replace function log.contested_accounts(accounts log.account_read[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select r.unit, 'account', r.account::text, ''
    from unnest(accounts) as r
    where (select e.position from log.event e where e.account_id = r.account and e.position > r.position limit 1) is not null
$$;

create or replace function log.take_over_claims(base bigint, claims log.claim[]) returns jsonb language plpgsql as
$$
declare
    taken jsonb;
begin
    select jsonb_agg(jsonb_build_array(t.unit, 'claim', t.kind || ':' || encode(t.key, 'hex'),
                                       case when c.free_after <= t.at then '' else c.holder end))
    into taken
    from unnest(claims) as t
    join view.unique_claims c on c.kind = any (array[t.kind]) and c.key = any (array[t.key])
    where c.holder <> t.holder
      and (c.free_after is null or c.free_after > t.at or c.holder <> coalesce(t.takeover, c.holder));
    if taken is null then
        delete from view.unique_claims c using unnest(claims) as t
        where c.kind = any (array[t.kind]) and c.key = any (array[t.key]) and c.position <= base;
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t
        on conflict do nothing;
    end if;
    return taken;
end
$$;

-- Appends a batch of units and returns the position before its first event, and when that event was recorded.
--
-- Raises, and stores nothing:
--   TN001  a version, guard, account or claim is contested; the detail names the losing units as JSON
--   TN002  the fence has moved
--   TN004  the projections have been replaced
--   TN005  positions have a new epoch
--   TN006  `at` is further than `clock_bound` seconds from the server's clock (null: no bound); the detail is the offset
--   TN007  a data key is wrapped with a master key that the log does not accept
--   TN008  the newest event is not `expected_newest` at `expected_base` (both null: any)
--
-- All streams and accounts that are passed are looked up. A caller that knows others to be unchanged since an event that it
-- appended itself leaves them out and names that event, which must still be the newest. Streams that are written need no
-- look-up, because the unique key refuses a version that exists; nor do claims, unless `full_checks` asks to name every loser.
-- An empty array is passed as null. The position of an event is its ordinal in the batch.
--
-- Each expression has a fixed cost per transaction, so conditions that are rarely true are tested together. The order of checks
-- and changes does not matter: a refusal rolls everything back.
create or replace function log.append(
    expected_epoch bigint, expected_fence bigint, expected_projection_set text, at timestamptz, clock_bound double precision,
    notifies boolean, full_checks boolean,
    expected_newest uuid, expected_base bigint,
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
    accepted_now       text[];
    base               bigint;
    newest             uuid;
    recorded_from      timestamptz;
    moved              jsonb;
    changed            jsonb;
    written            jsonb;
    repeated           jsonb;
    taken              jsonb;
    stored             bigint;
    notified           boolean;
begin
    select h.epoch, h.fence, h.projection_set, h.accepted_keys into epoch_now, fence_now, projection_set_now, accepted_now
    from log.head h for update;
    -- The clock is compared with the arrival of the statement: the time spent waiting for the lock is not a clock offset.
    if epoch_now is distinct from expected_epoch or fence_now is distinct from expected_fence
       or projection_set_now is distinct from expected_projection_set
       or abs(date_part('epoch', at - statement_timestamp())) > clock_bound
    then
        if epoch_now is distinct from expected_epoch then
            raise exception using errcode = 'TN005', message = 'positions have a new epoch';
        elsif fence_now is distinct from expected_fence then
            raise exception using errcode = 'TN002', message = 'the fence has moved';
        elsif projection_set_now is distinct from expected_projection_set then
            raise exception using errcode = 'TN004', message = 'the projections have been replaced',
                detail = projection_set_now;
        else
            raise exception using errcode = 'TN006', message = 'the clocks differ',
                detail = date_part('epoch', at - statement_timestamp())::text;
        end if;
    end if;

    select e.position, e.event_id, greatest(at, e.recorded_at + interval '1 microsecond')
    into base, newest, recorded_from
    from log.event e order by e.position desc limit 1;
    if base is null or base <> expected_base or newest is distinct from expected_newest then
        if expected_base is not null or expected_newest is not null then
            raise exception using errcode = 'TN008', message = 'the newest event is another';
        elsif base is null then
            base := 0;
            recorded_from := at;
        end if;
    end if;

    if released is not null then
        delete from view.unique_claims c using unnest(released) as r
        where c.kind = any (array[r.kind]) and c.key = any (array[r.key]) and c.holder = r.holder;
    end if;
    if full_checks or streams is not null or accounts is not null or guards is not null or requests is not null then
        if streams is not null then
            select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into moved
            from log.contested_streams(streams) r;
        end if;
        if guards is not null then
            select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into changed
            from log.contested_guards(guards) r;
        end if;
        if accounts is not null then
            select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into written
            from log.contested_accounts(accounts) r;
        end if;
        if full_checks and claims is not null then
            insert into view.unique_claims (kind, key, holder, free_after, position)
            select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t
            on conflict do nothing;
            get diagnostics stored = row_count;
            if stored < cardinality(claims) then
                taken := log.take_over_claims(base, claims);
            end if;
            claims := null;
        end if;
        if requests is not null then
            select jsonb_agg(jsonb_build_array(t.unit, 'repeated', '', '')) into repeated
            from unnest(requests) as t
            where (select i.recorded_at from log.idempotency i where i.request = t.request) > at - interval '1 day';
        end if;
        if moved is not null or changed is not null or written is not null or taken is not null or repeated is not null
        then
            raise exception using errcode = 'TN001', message = 'contested',
                detail = (coalesce(moved, '[]') || coalesce(changed, '[]') || coalesce(written, '[]')
                          || coalesce(taken, '[]') || coalesce(repeated, '[]'))::text;
        end if;
    end if;
    if claims is not null then
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t;
    end if;

    insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version,
                           account_id, recorded_at, payload, metadata, sealed)
    select base + e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.event_version,
           e.account_id, recorded_from + (e.position - 1) * interval '1 microsecond', e.payload, e.metadata, e.sealed
    from unnest(events) as e;
    if bumped is not null then
        update log.guard set version = version + 1 where name = any (bumped);
    end if;
    if destroyed is not null or requests is not null then
        if destroyed is not null then
            delete from log.data_key where subject = any (destroyed);
        end if;
        if requests is not null then
            insert into log.idempotency (request, body, answer, position, recorded_at)
            select t.request, t.body, t.answer, base + t.ordinal, at from unnest(requests) as t
            -- An expired request that has not been swept yet.
            on conflict (request) do update
                set body = excluded.body, answer = excluded.answer, position = excluded.position,
                    recorded_at = excluded.recorded_at;
        end if;
    end if;
    if new_keys is not null then
        insert into log.data_key (subject, key_id, wrapped)
        select k.subject, k.key_id, k.wrapped from unnest(new_keys) as k where k.key_id = any (accepted_now);
        get diagnostics stored = row_count;
        if stored < cardinality(new_keys) then
            raise exception using
                errcode = 'TN007',
                message = 'a data key is wrapped with a master key that the log does not accept';
        end if;
    end if;
    -- An expression, not `perform`, which would run a query.
    notified := notifies and pg_notify('tenure_log', '') is not null;
    return (base, recorded_from);
end
$$;
