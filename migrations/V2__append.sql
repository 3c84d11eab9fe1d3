-- Appending: one call checks, numbers and stores a batch of units under the lock of the head row.

-- What a batch reads and writes comes as arrays of rows, one row a thing, each with the number of its unit in the batch
-- or the ordinal of its event.
create type log.stream_read as (unit int, stream_type text, stream_id text, version bigint);
create type log.guard_read as (unit int, name text, version bigint);
create type log.account_read as (unit int, account uuid, "position" bigint);
create type log.claim as (
    unit int, kind text, key bytea, holder text, free_after timestamptz, succeeds text, at timestamptz, ordinal bigint
);
create type log.request as (unit int, request bytea, body bytea, answer bytea, ordinal bigint);

-- Streams that were read at a version which is no longer theirs.
create function log.contested_streams(streams log.stream_read[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select s.unit, 'version', s.stream_type || '/' || s.stream_id, coalesce(e.version, 0)::text
    from unnest(streams) as s
    left join lateral (
        select version from log.event e
        where e.stream_type = s.stream_type and e.stream_id = s.stream_id
        order by e.version desc limit 1
    ) e on true
    where coalesce(e.version, 0) <> s.version
$$;

-- Guards that were read at a version which is no longer theirs.
create function log.contested_guards(guards log.guard_read[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select g.unit, 'guard', g.name, coalesce(l.version, 0)::text
    from unnest(guards) as g
    left join log.guard l on l.name = g.name
    where coalesce(l.version, 0) <> g.version
$$;

-- Accounts that have had an event after the position which the reading of their things saw.
create function log.contested_accounts(accounts log.account_read[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select r.unit, 'account', r.account::text, ''
    from unnest(accounts) as r
    where exists (select from log.event e where e.account_id = r.account and e.position > r.position)
$$;

-- Confirms a decision that writes nothing: how many of its reads no longer hold, and the newest position, in one
-- snapshot.
create function log.confirm(streams log.stream_read[], guards log.guard_read[], accounts log.account_read[])
    returns table (contested bigint, newest bigint) language sql stable as
$$
    select (select count(*) from log.contested_streams(streams))
           + (select count(*) from log.contested_guards(guards))
           + (select count(*) from log.contested_accounts(accounts)),
           coalesce((select position from log.event order by position desc limit 1), 0)
$$;

-- The version of a guard that a decision is about to read. A guard has a row from its first reader on, and only then
-- do appends count it up: made under the head lock, so that whoever changed the set without counting has committed
-- before the reader looks at the set.
create function log.read_guard(wanted text) returns bigint language plpgsql as
$$
declare
    found bigint;
begin
    select version into found from log.guard where name = wanted;
    if found is null then
        -- A guard that a crash takes away costs its reader another decision, so nobody waits for the disk under the lock.
        perform set_config('synchronous_commit', 'off', true);
        perform from log.head for update;
        -- Begins at the time, so that a guard that was lost and made again is never taken for the one that was read.
        insert into log.guard (name, version)
        values (wanted, (extract(epoch from clock_timestamp()) * 1000000)::bigint)
        on conflict (name) do nothing;
        select version into found from log.guard where name = wanted;
    end if;
    return found;
end
$$;

-- What an append gives: the position before its first event, and when that event was recorded.
create type log.appended as (base bigint, recorded_from timestamptz);

-- Stores a batch. The head row is locked by the first statement, so that every later one sees all earlier appends.
-- Raises TN001 with the losers as JSON when any version, guard, account or claim is contested; TN002 when the fence has
-- moved; TN004 when the projections have been replaced. Whatever is raised, nothing is stored.
--
-- The streams that were only read come first those that must be looked up (`unknown` of them), then those that need
-- be looked up only if the newest event is not `expected_newest` at `expected_base`. Streams that are written need not be among them: the
-- unique key refuses a version that exists. Nor are claims looked at unless `careful`: their unique key refuses what is
-- held, dead or alive. An array without a row is null; the position of an event is its ordinal.
create function log.append(
    expected_fence bigint, expected_projection_set text, at timestamptz, notifies boolean, careful boolean,
    expected_newest uuid, expected_base bigint, unknown int,
    streams log.stream_read[], guards log.guard_read[], accounts log.account_read[],
    bumped text[], claims log.claim[], released log.claim[], new_keys log.data_key[], destroyed text[],
    events log.event[], requests log.request[]
) returns log.appended language plpgsql as
$$
#variable_conflict use_column
declare
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
    select h.fence, h.projection_set into fence_now, projection_set_now from log.head h for update;
    if fence_now is distinct from expected_fence then
        raise exception using errcode = 'TN002', message = 'the fence has moved';
    end if;
    if projection_set_now is distinct from expected_projection_set then
        raise exception using errcode = 'TN004', message = 'the projections have been replaced',
            detail = projection_set_now;
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
        delete from log.idempotency where recorded_at <= at - interval '1 day';
        select jsonb_agg(jsonb_build_array(t.unit, 'repeated', '', '')) into repeated
        from unnest(requests) as t join log.idempotency i on i.request = t.request;
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
        select t.request, t.body, t.answer, base + t.ordinal, at from unnest(requests) as t;
    end if;
    if notifies then
        perform pg_notify('tenure_log', '');
    end if;
    return (base, recorded_from);
end
$$;

-- Takes over the claims that have died by the clock (where the claimant says whose: only theirs) or are the claimant's
-- own already; gives the others as losers, with nobody as the holder of what is dead.
create function log.succeed_claims(base bigint, claims log.claim[]) returns jsonb language plpgsql as
$$
declare
    taken jsonb;
begin
    select jsonb_agg(jsonb_build_array(t.unit, 'claim', t.kind || ':' || encode(t.key, 'hex'),
                                       case when c.free_after <= t.at then '' else c.holder end))
    into taken
    from unnest(claims) as t
    join view.unique_claims c on c.kind = t.kind and c.key = t.key
    where c.holder <> t.holder
      and (c.free_after is null or c.free_after > t.at or c.holder <> coalesce(t.succeeds, c.holder));
    if taken is null then
        delete from view.unique_claims c using unnest(claims) as t
        where c.kind = t.kind and c.key = t.key and c.position <= base;
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal from unnest(claims) as t
        on conflict do nothing;
    end if;
    return taken;
end
$$;
