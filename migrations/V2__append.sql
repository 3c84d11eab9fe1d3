-- Appending: one call checks, numbers and stores a batch of units under the lock of the head row.

-- Streams that were read at a version which is no longer theirs.
create function log.contested_streams(stream_unit int[], stream_type text[], stream_id text[], stream_version bigint[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select s.unit, 'version', s.stream_type || '/' || s.stream_id, coalesce(e.version, 0)::text
    from unnest(stream_unit, stream_type, stream_id, stream_version)
             as s (unit, stream_type, stream_id, version)
    left join lateral (
        select version from log.event e
        where e.stream_type = s.stream_type and e.stream_id = s.stream_id
        order by e.version desc limit 1
    ) e on true
    where coalesce(e.version, 0) <> s.version
$$;

-- Guards that were read at a version which is no longer theirs.
create function log.contested_guards(guard_unit int[], guard_name text[], guard_version bigint[])
    returns table (unit int, reason text, name text, actual text) language sql stable as
$$
    select g.unit, 'guard', g.name, coalesce(l.version, 0)::text
    from unnest(guard_unit, guard_name, guard_version) as g (unit, name, version)
    left join log.guard l on l.name = g.name
    where coalesce(l.version, 0) <> g.version
$$;

-- Confirms a decision that writes nothing: how many of its reads no longer hold, and the newest position, in one
-- snapshot.
create function log.confirm(
    stream_type text[], stream_id text[], stream_version bigint[], guard_name text[], guard_version bigint[]
) returns table (contested bigint, newest bigint) language sql stable as
$$
    select (select count(*)
            from log.contested_streams(array_fill(0, array [cardinality(stream_type)]),
                                       stream_type, stream_id, stream_version))
           + (select count(*)
              from log.contested_guards(array_fill(0, array [cardinality(guard_name)]), guard_name, guard_version)),
           coalesce((select position from log.event order by position desc limit 1), 0)
$$;

-- Stores a batch. The head row is locked by the first statement, so that every later one sees all earlier appends.
-- Raises TN001 with the losers as JSON when any version, guard or claim is contested, before anything is written;
-- TN002 when the fence has moved; TN004 when the projections have been replaced.
create function log.append(
    expected_fence bigint, expected_projection_set text, at timestamptz,
    stream_unit int[], stream_type text[], stream_id text[], stream_version bigint[],
    guard_unit int[], guard_name text[], guard_version bigint[], guard_bumped text[],
    claim_unit int[], claim_kind text[], claim_key bytea[], claim_holder text[],
    claim_free_after timestamptz[], claim_at timestamptz[], claim_ordinal bigint[],
    release_kind text[], release_key bytea[], release_holder text[],
    key_subject text[], key_wrapping text[], key_wrapped bytea[], key_destroyed text[],
    event_id uuid[], event_stream_type text[], event_stream_id text[], event_version_in_stream bigint[],
    event_type text[], event_type_version text[], event_account uuid[],
    event_payload bytea[], event_metadata bytea[], event_sealed bytea[],
    out base bigint, out recorded_from timestamptz
) language plpgsql as
$$
#variable_conflict use_column
declare
    head    log.head;
    moved   jsonb;
    changed jsonb;
    taken   jsonb;
    stored  bigint;
begin
    select * into head from log.head for update;
    if head.fence is distinct from expected_fence then
        raise exception using errcode = 'TN002', message = 'the fence has moved';
    end if;
    if head.projection_set is distinct from expected_projection_set then
        raise exception using errcode = 'TN004', message = 'the projections have been replaced',
            detail = head.projection_set;
    end if;

    select e.position, greatest(at, e.recorded_at + interval '1 microsecond')
    into base, recorded_from
    from log.event e order by e.position desc limit 1;
    base := coalesce(base, 0);
    recorded_from := coalesce(recorded_from, at);

    select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into moved
    from log.contested_streams(stream_unit, stream_type, stream_id, stream_version) r;
    if cardinality(guard_unit) > 0 then
        select jsonb_agg(jsonb_build_array(r.unit, r.reason, r.name, r.actual)) into changed
        from log.contested_guards(guard_unit, guard_name, guard_version) r;
    end if;
    if cardinality(claim_unit) > 0 then
        select jsonb_agg(jsonb_build_array(t.unit, 'claim', t.kind || ':' || encode(t.key, 'hex'), c.holder))
        into taken
        from unnest(claim_unit, claim_kind, claim_key, claim_holder, claim_at)
                 as t (unit, kind, key, holder, at)
        join view.unique_claims c on c.kind = t.kind and c.key = t.key
        where c.holder <> t.holder
          and (c.free_after is null or c.free_after > t.at)
          and not exists (select
                          from unnest(release_kind, release_key, release_holder) as r (kind, key, holder)
                          where r.kind = c.kind and r.key = c.key and r.holder = c.holder);
    end if;
    if coalesce(moved, changed, taken) is not null then
        raise exception using errcode = 'TN001', message = 'contested',
            detail = (coalesce(moved, '[]') || coalesce(changed, '[]') || coalesce(taken, '[]'))::text;
    end if;

    insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version,
                           account_id, recorded_at, payload, metadata, sealed)
    select base + n, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.event_version,
           e.account_id, recorded_from + (n - 1) * interval '1 microsecond', e.payload, e.metadata, e.sealed
    from unnest(event_id, event_stream_type, event_stream_id, event_version_in_stream, event_type,
                event_type_version, event_account, event_payload, event_metadata, event_sealed)
             with ordinality as e (event_id, stream_type, stream_id, version, event_type, event_version,
                                   account_id, payload, metadata, sealed, n);
    get diagnostics stored = row_count;
    if stored <> cardinality(event_id) then
        raise exception using errcode = 'TN003', message = 'not every event was stored';
    end if;

    if cardinality(guard_bumped) > 0 then
        insert into log.guard as g (name, version) select distinct unnest(guard_bumped), 1
        on conflict (name) do update set version = g.version + 1;
    end if;
    if cardinality(release_kind) > 0 then
        delete from view.unique_claims c
        using unnest(release_kind, release_key, release_holder) as r (kind, key, holder)
        where c.kind = r.kind and c.key = r.key and c.holder = r.holder;
    end if;
    if cardinality(claim_kind) > 0 then
        insert into view.unique_claims (kind, key, holder, free_after, position)
        select t.kind, t.key, t.holder, t.free_after, base + t.ordinal
        from unnest(claim_kind, claim_key, claim_holder, claim_free_after, claim_ordinal)
                 as t (kind, key, holder, free_after, ordinal)
        on conflict (kind, key) do update
            set holder = excluded.holder, free_after = excluded.free_after, position = excluded.position;
        get diagnostics stored = row_count;
        if stored <> cardinality(claim_kind) then
            raise exception using errcode = 'TN003', message = 'not every claim was stored';
        end if;
    end if;
    if cardinality(key_destroyed) > 0 then
        delete from log.data_key where subject = any (key_destroyed);
    end if;
    if cardinality(key_subject) > 0 then
        insert into log.data_key (subject, key_id, wrapped)
        select * from unnest(key_subject, key_wrapping, key_wrapped);
        get diagnostics stored = row_count;
        if stored <> cardinality(key_subject) then
            raise exception using errcode = 'TN003', message = 'not every data key was stored';
        end if;
    end if;

    perform set_config('tenure.base', base::text, true), set_config('tenure.rows', '0', true);
end
$$;

-- Counts the rows that one projection statement of this transaction has changed.
create function log.tally(changed bigint) returns void language plpgsql as
$$
begin
    perform set_config('tenure.rows', (current_setting('tenure.rows')::bigint + changed)::text, true);
end
$$;

-- The last statement before COMMIT: raises TN003 unless every statement of the batch arrived and changed what it was
-- meant to change, then wakes the followers.
create function log.finish(expected_rows bigint) returns void language plpgsql as
$$
begin
    if current_setting('tenure.rows', true) is distinct from expected_rows::text then
        raise exception using errcode = 'TN003',
            message = format('the projections changed %s rows where %s were decided',
                             coalesce(nullif(current_setting('tenure.rows', true), ''), 'no'), expected_rows);
    end if;
    perform pg_notify('tenure_log', '');
end
$$;
