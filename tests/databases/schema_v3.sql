--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: coarse; Type: SCHEMA; Schema: -; Owner: tenure_owner
--

CREATE SCHEMA coarse;


ALTER SCHEMA coarse OWNER TO tenure_owner;

--
-- Name: log; Type: SCHEMA; Schema: -; Owner: tenure_owner
--

CREATE SCHEMA log;


ALTER SCHEMA log OWNER TO tenure_owner;

--
-- Name: view; Type: SCHEMA; Schema: -; Owner: tenure_owner
--

CREATE SCHEMA view;


ALTER SCHEMA view OWNER TO tenure_owner;

--
-- Name: account_read; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.account_read AS (
	unit integer,
	account uuid,
	"position" bigint
);


ALTER TYPE log.account_read OWNER TO tenure_owner;

--
-- Name: appended; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.appended AS (
	base bigint,
	recorded_from timestamp with time zone
);


ALTER TYPE log.appended OWNER TO tenure_owner;

--
-- Name: claim; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.claim AS (
	unit integer,
	kind text,
	key bytea,
	holder text,
	free_after timestamp with time zone,
	succeeds text,
	at timestamp with time zone,
	ordinal bigint
);


ALTER TYPE log.claim OWNER TO tenure_owner;

--
-- Name: guard_read; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.guard_read AS (
	unit integer,
	name text,
	version bigint
);


ALTER TYPE log.guard_read OWNER TO tenure_owner;

--
-- Name: request; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.request AS (
	unit integer,
	request bytea,
	body bytea,
	answer bytea,
	ordinal bigint
);


ALTER TYPE log.request OWNER TO tenure_owner;

--
-- Name: stream_read; Type: TYPE; Schema: log; Owner: tenure_owner
--

CREATE TYPE log.stream_read AS (
	unit integer,
	stream_type text,
	stream_id text,
	version bigint
);


ALTER TYPE log.stream_read OWNER TO tenure_owner;

--
-- Name: admit_device_code(uuid, text, text, timestamp with time zone, timestamp with time zone, bigint, bigint); Type: FUNCTION; Schema: coarse; Owner: tenure_owner
--

CREATE FUNCTION coarse.admit_device_code(id uuid, network text, address text, at timestamp with time zone, expires_at timestamp with time zone, per_network bigint, in_all bigint) RETURNS text
    LANGUAGE plpgsql
    AS $_$
begin
    perform pg_advisory_xact_lock(hashtext('coarse.device_origin'));
    delete from coarse.last_poll p using coarse.device_origin o
    where p.device_code_id = o.device_code_id and o.expires_at <= $4;
    delete from coarse.device_origin o where o.expires_at <= $4;
    if (select count(*) from coarse.device_origin o where o.network = $2) >= $6 then
        return 'network';
    end if;
    if (select count(*) from coarse.device_origin) >= $7 then
        return 'all';
    end if;
    insert into coarse.device_origin values ($1, $2, $3, $5);
    return null;
end $_$;


ALTER FUNCTION coarse.admit_device_code(id uuid, network text, address text, at timestamp with time zone, expires_at timestamp with time zone, per_network bigint, in_all bigint) OWNER TO tenure_owner;

--
-- Name: attempt(text[], bigint[], timestamp with time zone, interval); Type: FUNCTION; Schema: coarse; Owner: tenure_owner
--

CREATE FUNCTION coarse.attempt(buckets text[], mosts bigint[], at timestamp with time zone, within interval) RETURNS boolean
    LANGUAGE plpgsql
    AS $_$
declare
    counted bigint;
begin
    for place in 1 .. cardinality($1) loop
        insert into coarse.attempt as a (bucket, since, count) values ($1[place], $3, 1)
        on conflict (bucket) do update set
            since = case when a.since <= $3 - $4 then excluded.since else a.since end,
            count = case when a.since <= $3 - $4 then 1 else a.count + 1 end
        returning a.count into counted;
        if counted > $2[place] then
            for taken in 1 .. place loop
                update coarse.attempt a set count = a.count - 1 where a.bucket = $1[taken];
            end loop;
            return false;
        end if;
    end loop;
    return true;
end $_$;


ALTER FUNCTION coarse.attempt(buckets text[], mosts bigint[], at timestamp with time zone, within interval) OWNER TO tenure_owner;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: data_key; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.data_key (
    subject text NOT NULL COLLATE pg_catalog."C",
    key_id text NOT NULL COLLATE pg_catalog."C",
    wrapped bytea NOT NULL
);


ALTER TABLE log.data_key OWNER TO tenure_owner;

--
-- Name: COLUMN data_key.key_id; Type: COMMENT; Schema: log; Owner: tenure_owner
--

COMMENT ON COLUMN log.data_key.key_id IS 'A key of log.key_ring; no foreign key, whose check would lock that one row for every new subject.';


--
-- Name: event; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.event (
    "position" bigint NOT NULL,
    event_id uuid NOT NULL,
    stream_type text NOT NULL COLLATE pg_catalog."C",
    stream_id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    event_type text NOT NULL COLLATE pg_catalog."C",
    event_version text NOT NULL COLLATE pg_catalog."C",
    account_id uuid,
    recorded_at timestamp with time zone NOT NULL,
    payload bytea NOT NULL,
    metadata bytea NOT NULL,
    sealed bytea
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='1000000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='1000000');
ALTER TABLE ONLY log.event ALTER COLUMN sealed SET STORAGE EXTERNAL;


ALTER TABLE log.event OWNER TO tenure_owner;

--
-- Name: append(bigint, text, timestamp with time zone, boolean, boolean, uuid, bigint, integer, log.stream_read[], log.guard_read[], log.account_read[], text[], log.claim[], log.claim[], log.data_key[], text[], log.event[], log.request[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.append(expected_fence bigint, expected_projection_set text, at timestamp with time zone, notifies boolean, careful boolean, expected_newest uuid, expected_base bigint, unknown integer, streams log.stream_read[], guards log.guard_read[], accounts log.account_read[], bumped text[], claims log.claim[], released log.claim[], new_keys log.data_key[], destroyed text[], events log.event[], requests log.request[]) RETURNS log.appended
    LANGUAGE plpgsql
    AS $$
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


ALTER FUNCTION log.append(expected_fence bigint, expected_projection_set text, at timestamp with time zone, notifies boolean, careful boolean, expected_newest uuid, expected_base bigint, unknown integer, streams log.stream_read[], guards log.guard_read[], accounts log.account_read[], bumped text[], claims log.claim[], released log.claim[], new_keys log.data_key[], destroyed text[], events log.event[], requests log.request[]) OWNER TO tenure_owner;

--
-- Name: confirm(log.stream_read[], log.guard_read[], log.account_read[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.confirm(streams log.stream_read[], guards log.guard_read[], accounts log.account_read[]) RETURNS TABLE(contested bigint, newest bigint)
    LANGUAGE sql STABLE
    AS $$
    select (select count(*) from log.contested_streams(streams))
           + (select count(*) from log.contested_guards(guards))
           + (select count(*) from log.contested_accounts(accounts)),
           coalesce((select position from log.event order by position desc limit 1), 0)
$$;


ALTER FUNCTION log.confirm(streams log.stream_read[], guards log.guard_read[], accounts log.account_read[]) OWNER TO tenure_owner;

--
-- Name: contested_accounts(log.account_read[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.contested_accounts(accounts log.account_read[]) RETURNS TABLE(unit integer, reason text, name text, actual text)
    LANGUAGE sql STABLE
    AS $$
    select r.unit, 'account', r.account::text, ''
    from unnest(accounts) as r
    where exists (select from log.event e where e.account_id = r.account and e.position > r.position)
$$;


ALTER FUNCTION log.contested_accounts(accounts log.account_read[]) OWNER TO tenure_owner;

--
-- Name: contested_guards(log.guard_read[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.contested_guards(guards log.guard_read[]) RETURNS TABLE(unit integer, reason text, name text, actual text)
    LANGUAGE sql STABLE
    AS $$
    select g.unit, 'guard', g.name, coalesce(l.version, 0)::text
    from unnest(guards) as g
    left join log.guard l on l.name = g.name
    where coalesce(l.version, 0) <> g.version
$$;


ALTER FUNCTION log.contested_guards(guards log.guard_read[]) OWNER TO tenure_owner;

--
-- Name: contested_streams(log.stream_read[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.contested_streams(streams log.stream_read[]) RETURNS TABLE(unit integer, reason text, name text, actual text)
    LANGUAGE sql STABLE
    AS $$
    select s.unit, 'version', s.stream_type || '/' || s.stream_id, coalesce(e.version, 0)::text
    from unnest(streams) as s
    left join lateral (
        select version from log.event e
        where e.stream_type = s.stream_type and e.stream_id = s.stream_id
        order by e.version desc limit 1
    ) e on true
    where coalesce(e.version, 0) <> s.version
$$;


ALTER FUNCTION log.contested_streams(streams log.stream_read[]) OWNER TO tenure_owner;

--
-- Name: read_guard(text); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.read_guard(wanted text) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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


ALTER FUNCTION log.read_guard(wanted text) OWNER TO tenure_owner;

--
-- Name: refuse_change(); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception using
        errcode = 'TN010',
        message = format('%s on %I.%I is refused: the event log only grows', tg_op, tg_table_schema, tg_table_name);
end
$$;


ALTER FUNCTION log.refuse_change() OWNER TO tenure_owner;

--
-- Name: succeed_claims(bigint, log.claim[]); Type: FUNCTION; Schema: log; Owner: tenure_owner
--

CREATE FUNCTION log.succeed_claims(base bigint, claims log.claim[]) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
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


ALTER FUNCTION log.succeed_claims(base bigint, claims log.claim[]) OWNER TO tenure_owner;

--
-- Name: accounts; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.accounts (
    id uuid NOT NULL,
    name text COLLATE pg_catalog."C",
    owner_user_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    nats_account_pub text COLLATE pg_catalog."C",
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.accounts OWNER TO tenure_owner;

--
-- Name: accounts_apply(bigint, view.accounts[], view.accounts[], view.accounts[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.accounts_apply(base bigint, ended view.accounts[], begun view.accounts[], changed view.accounts[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.accounts r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.accounts (id, name, owner_user_id, created_at, nats_account_pub, position) select t.id, t.name, t.owner_user_id, t.created_at, t.nats_account_pub, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.accounts r set name = case when t.mask & 2 <> 0 then t.name else r.name end, owner_user_id = case when t.mask & 4 <> 0 then t.owner_user_id else r.owner_user_id end, created_at = case when t.mask & 8 <> 0 then t.created_at else r.created_at end, nats_account_pub = case when t.mask & 16 <> 0 then t.nats_account_pub else r.nats_account_pub end, position = case when t.mask & 32 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, name, owner_user_id, created_at, nats_account_pub, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.accounts_apply(base bigint, ended view.accounts[], begun view.accounts[], changed view.accounts[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: api_keys; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.api_keys (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    created_by_user_id uuid NOT NULL,
    key_hash text COLLATE pg_catalog."C",
    key_prefix text NOT NULL COLLATE pg_catalog."C",
    label text COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    former_hash text COLLATE pg_catalog."C",
    former_prefix text COLLATE pg_catalog."C",
    former_until timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.api_keys OWNER TO tenure_owner;

--
-- Name: api_keys_apply(bigint, view.api_keys[], view.api_keys[], view.api_keys[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.api_keys_apply(base bigint, ended view.api_keys[], begun view.api_keys[], changed view.api_keys[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.api_keys r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.api_keys (id, account_id, created_by_user_id, key_hash, key_prefix, label, created_at, expires_at, revoked_at, former_hash, former_prefix, former_until, position) select t.id, t.account_id, t.created_by_user_id, t.key_hash, t.key_prefix, t.label, t.created_at, t.expires_at, t.revoked_at, t.former_hash, t.former_prefix, t.former_until, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.api_keys r set account_id = case when t.mask & 2 <> 0 then t.account_id else r.account_id end, created_by_user_id = case when t.mask & 4 <> 0 then t.created_by_user_id else r.created_by_user_id end, key_hash = case when t.mask & 8 <> 0 then t.key_hash else r.key_hash end, key_prefix = case when t.mask & 16 <> 0 then t.key_prefix else r.key_prefix end, label = case when t.mask & 32 <> 0 then t.label else r.label end, created_at = case when t.mask & 64 <> 0 then t.created_at else r.created_at end, expires_at = case when t.mask & 128 <> 0 then t.expires_at else r.expires_at end, revoked_at = case when t.mask & 256 <> 0 then t.revoked_at else r.revoked_at end, former_hash = case when t.mask & 512 <> 0 then t.former_hash else r.former_hash end, former_prefix = case when t.mask & 1024 <> 0 then t.former_prefix else r.former_prefix end, former_until = case when t.mask & 2048 <> 0 then t.former_until else r.former_until end, position = case when t.mask & 4096 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, account_id, created_by_user_id, key_hash, key_prefix, label, created_at, expires_at, revoked_at, former_hash, former_prefix, former_until, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.api_keys_apply(base bigint, ended view.api_keys[], begun view.api_keys[], changed view.api_keys[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: bearer_tokens; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.bearer_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    digest bytea,
    prefix text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.bearer_tokens OWNER TO tenure_owner;

--
-- Name: bearer_tokens_apply(bigint, view.bearer_tokens[], view.bearer_tokens[], view.bearer_tokens[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.bearer_tokens_apply(base bigint, ended view.bearer_tokens[], begun view.bearer_tokens[], changed view.bearer_tokens[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.bearer_tokens r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.bearer_tokens (id, user_id, digest, prefix, created_at, expires_at, revoked_at, position) select t.id, t.user_id, t.digest, t.prefix, t.created_at, t.expires_at, t.revoked_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.bearer_tokens r set user_id = case when t.mask & 2 <> 0 then t.user_id else r.user_id end, digest = case when t.mask & 4 <> 0 then t.digest else r.digest end, prefix = case when t.mask & 8 <> 0 then t.prefix else r.prefix end, created_at = case when t.mask & 16 <> 0 then t.created_at else r.created_at end, expires_at = case when t.mask & 32 <> 0 then t.expires_at else r.expires_at end, revoked_at = case when t.mask & 64 <> 0 then t.revoked_at else r.revoked_at end, position = case when t.mask & 128 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, user_id, digest, prefix, created_at, expires_at, revoked_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.bearer_tokens_apply(base bigint, ended view.bearer_tokens[], begun view.bearer_tokens[], changed view.bearer_tokens[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: device_codes; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.device_codes (
    id uuid NOT NULL,
    digest bytea,
    user_code text COLLATE pg_catalog."C",
    client_name text COLLATE pg_catalog."C",
    user_id uuid,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    verified_at timestamp with time zone,
    denied_at timestamp with time zone,
    consumed_at timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.device_codes OWNER TO tenure_owner;

--
-- Name: device_codes_apply(bigint, view.device_codes[], view.device_codes[], view.device_codes[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.device_codes_apply(base bigint, ended view.device_codes[], begun view.device_codes[], changed view.device_codes[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.device_codes r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.device_codes (id, digest, user_code, client_name, user_id, created_at, expires_at, verified_at, denied_at, consumed_at, position) select t.id, t.digest, t.user_code, t.client_name, t.user_id, t.created_at, t.expires_at, t.verified_at, t.denied_at, t.consumed_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.device_codes r set digest = case when t.mask & 2 <> 0 then t.digest else r.digest end, user_code = case when t.mask & 4 <> 0 then t.user_code else r.user_code end, client_name = case when t.mask & 8 <> 0 then t.client_name else r.client_name end, user_id = case when t.mask & 16 <> 0 then t.user_id else r.user_id end, created_at = case when t.mask & 32 <> 0 then t.created_at else r.created_at end, expires_at = case when t.mask & 64 <> 0 then t.expires_at else r.expires_at end, verified_at = case when t.mask & 128 <> 0 then t.verified_at else r.verified_at end, denied_at = case when t.mask & 256 <> 0 then t.denied_at else r.denied_at end, consumed_at = case when t.mask & 512 <> 0 then t.consumed_at else r.consumed_at end, position = case when t.mask & 1024 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, digest, user_code, client_name, user_id, created_at, expires_at, verified_at, denied_at, consumed_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.device_codes_apply(base bigint, ended view.device_codes[], begun view.device_codes[], changed view.device_codes[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: invites; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.invites (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    invitee_username text COLLATE pg_catalog."C",
    invitee_user_id uuid,
    inviter_user_id uuid NOT NULL,
    mode text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.invites OWNER TO tenure_owner;

--
-- Name: invites_apply(bigint, view.invites[], view.invites[], view.invites[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.invites_apply(base bigint, ended view.invites[], begun view.invites[], changed view.invites[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.invites r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.invites (id, account_id, invitee_username, invitee_user_id, inviter_user_id, mode, status, created_at, decided_at, expires_at, position) select t.id, t.account_id, t.invitee_username, t.invitee_user_id, t.inviter_user_id, t.mode, t.status, t.created_at, t.decided_at, t.expires_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.invites r set account_id = case when t.mask & 2 <> 0 then t.account_id else r.account_id end, invitee_username = case when t.mask & 4 <> 0 then t.invitee_username else r.invitee_username end, invitee_user_id = case when t.mask & 8 <> 0 then t.invitee_user_id else r.invitee_user_id end, inviter_user_id = case when t.mask & 16 <> 0 then t.inviter_user_id else r.inviter_user_id end, mode = case when t.mask & 32 <> 0 then t.mode else r.mode end, status = case when t.mask & 64 <> 0 then t.status else r.status end, created_at = case when t.mask & 128 <> 0 then t.created_at else r.created_at end, decided_at = case when t.mask & 256 <> 0 then t.decided_at else r.decided_at end, expires_at = case when t.mask & 512 <> 0 then t.expires_at else r.expires_at end, position = case when t.mask & 1024 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, account_id, invitee_username, invitee_user_id, inviter_user_id, mode, status, created_at, decided_at, expires_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.invites_apply(base bigint, ended view.invites[], begun view.invites[], changed view.invites[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: members; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.members (
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    added_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.members OWNER TO tenure_owner;

--
-- Name: members_apply(bigint, view.members[], view.members[], view.members[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.members_apply(base bigint, ended view.members[], begun view.members[], changed view.members[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.members r using unnest(ended) as t where r.account_id = t.account_id and r.user_id = t.user_id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.members (account_id, user_id, added_at, position) select t.account_id, t.user_id, t.added_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.members r set added_at = case when t.mask & 4 <> 0 then t.added_at else r.added_at end, position = case when t.mask & 8 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (account_id, user_id, added_at, position, mask) where r.account_id = t.account_id and r.user_id = t.user_id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.members_apply(base bigint, ended view.members[], begun view.members[], changed view.members[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: pipes; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.pipes (
    id uuid NOT NULL,
    source_id uuid NOT NULL,
    created_by_user_id uuid NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    ttl_seconds bigint,
    max_msgs bigint,
    max_bytes bigint,
    created_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.pipes OWNER TO tenure_owner;

--
-- Name: pipes_apply(bigint, view.pipes[], view.pipes[], view.pipes[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.pipes_apply(base bigint, ended view.pipes[], begun view.pipes[], changed view.pipes[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.pipes r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.pipes (id, source_id, created_by_user_id, name, ttl_seconds, max_msgs, max_bytes, created_at, position) select t.id, t.source_id, t.created_by_user_id, t.name, t.ttl_seconds, t.max_msgs, t.max_bytes, t.created_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.pipes r set source_id = case when t.mask & 2 <> 0 then t.source_id else r.source_id end, created_by_user_id = case when t.mask & 4 <> 0 then t.created_by_user_id else r.created_by_user_id end, name = case when t.mask & 8 <> 0 then t.name else r.name end, ttl_seconds = case when t.mask & 16 <> 0 then t.ttl_seconds else r.ttl_seconds end, max_msgs = case when t.mask & 32 <> 0 then t.max_msgs else r.max_msgs end, max_bytes = case when t.mask & 64 <> 0 then t.max_bytes else r.max_bytes end, created_at = case when t.mask & 128 <> 0 then t.created_at else r.created_at end, position = case when t.mask & 256 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, source_id, created_by_user_id, name, ttl_seconds, max_msgs, max_bytes, created_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.pipes_apply(base bigint, ended view.pipes[], begun view.pipes[], changed view.pipes[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: sessions; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    digest bytea,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.sessions OWNER TO tenure_owner;

--
-- Name: sessions_apply(bigint, view.sessions[], view.sessions[], view.sessions[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.sessions_apply(base bigint, ended view.sessions[], begun view.sessions[], changed view.sessions[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.sessions r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.sessions (id, user_id, digest, created_at, expires_at, ended_at, position) select t.id, t.user_id, t.digest, t.created_at, t.expires_at, t.ended_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.sessions r set user_id = case when t.mask & 2 <> 0 then t.user_id else r.user_id end, digest = case when t.mask & 4 <> 0 then t.digest else r.digest end, created_at = case when t.mask & 8 <> 0 then t.created_at else r.created_at end, expires_at = case when t.mask & 16 <> 0 then t.expires_at else r.expires_at end, ended_at = case when t.mask & 32 <> 0 then t.ended_at else r.ended_at end, position = case when t.mask & 64 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, user_id, digest, created_at, expires_at, ended_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.sessions_apply(base bigint, ended view.sessions[], begun view.sessions[], changed view.sessions[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: sign_in_links; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.sign_in_links (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    digest bytea,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.sign_in_links OWNER TO tenure_owner;

--
-- Name: sign_in_links_apply(bigint, view.sign_in_links[], view.sign_in_links[], view.sign_in_links[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.sign_in_links_apply(base bigint, ended view.sign_in_links[], begun view.sign_in_links[], changed view.sign_in_links[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.sign_in_links r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.sign_in_links (id, user_id, digest, created_at, expires_at, used_at, position) select t.id, t.user_id, t.digest, t.created_at, t.expires_at, t.used_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.sign_in_links r set user_id = case when t.mask & 2 <> 0 then t.user_id else r.user_id end, digest = case when t.mask & 4 <> 0 then t.digest else r.digest end, created_at = case when t.mask & 8 <> 0 then t.created_at else r.created_at end, expires_at = case when t.mask & 16 <> 0 then t.expires_at else r.expires_at end, used_at = case when t.mask & 32 <> 0 then t.used_at else r.used_at end, position = case when t.mask & 64 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, user_id, digest, created_at, expires_at, used_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.sign_in_links_apply(base bigint, ended view.sign_in_links[], begun view.sign_in_links[], changed view.sign_in_links[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: sources; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.sources (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    created_by_user_id uuid NOT NULL,
    handle text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.sources OWNER TO tenure_owner;

--
-- Name: sources_apply(bigint, view.sources[], view.sources[], view.sources[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.sources_apply(base bigint, ended view.sources[], begun view.sources[], changed view.sources[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.sources r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.sources (id, account_id, created_by_user_id, handle, kind, created_at, position) select t.id, t.account_id, t.created_by_user_id, t.handle, t.kind, t.created_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.sources r set account_id = case when t.mask & 2 <> 0 then t.account_id else r.account_id end, created_by_user_id = case when t.mask & 4 <> 0 then t.created_by_user_id else r.created_by_user_id end, handle = case when t.mask & 8 <> 0 then t.handle else r.handle end, kind = case when t.mask & 16 <> 0 then t.kind else r.kind end, created_at = case when t.mask & 32 <> 0 then t.created_at else r.created_at end, position = case when t.mask & 64 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, account_id, created_by_user_id, handle, kind, created_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.sources_apply(base bigint, ended view.sources[], begun view.sources[], changed view.sources[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: unique_claims; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.unique_claims (
    key bytea NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL COLLATE pg_catalog."C",
    free_after timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.unique_claims OWNER TO tenure_owner;

--
-- Name: unique_claims_apply(bigint, view.unique_claims[], view.unique_claims[], view.unique_claims[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.unique_claims_apply(base bigint, ended view.unique_claims[], begun view.unique_claims[], changed view.unique_claims[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.unique_claims r using unnest(ended) as t where r.key = t.key and r.kind = t.kind;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.unique_claims (key, kind, holder, free_after, position) select t.key, t.kind, t.holder, t.free_after, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.unique_claims r set holder = case when t.mask & 4 <> 0 then t.holder else r.holder end, free_after = case when t.mask & 8 <> 0 then t.free_after else r.free_after end, position = case when t.mask & 16 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (key, kind, holder, free_after, position, mask) where r.key = t.key and r.kind = t.kind;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.unique_claims_apply(base bigint, ended view.unique_claims[], begun view.unique_claims[], changed view.unique_claims[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: users; Type: TABLE; Schema: view; Owner: tenure_owner
--

CREATE TABLE view.users (
    id uuid NOT NULL,
    username text COLLATE pg_catalog."C",
    email text COLLATE pg_catalog."C",
    mode text NOT NULL COLLATE pg_catalog."C",
    github_id bigint,
    github_login text COLLATE pg_catalog."C",
    avatar_url text COLLATE pg_catalog."C",
    operator boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    forgotten_at timestamp with time zone,
    "position" bigint NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');


ALTER TABLE view.users OWNER TO tenure_owner;

--
-- Name: users_apply(bigint, view.users[], view.users[], view.users[], bigint[]); Type: FUNCTION; Schema: view; Owner: tenure_owner
--

CREATE FUNCTION view.users_apply(base bigint, ended view.users[], begun view.users[], changed view.users[], masks bigint[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
         #variable_conflict use_column
         declare met bigint;
         begin
         if ended is not null then
             delete from view.users r using unnest(ended) as t where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(ended) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if begun is not null then
             insert into view.users (id, username, email, mode, github_id, github_login, avatar_url, operator, created_at, forgotten_at, position) select t.id, t.username, t.email, t.mode, t.github_id, t.github_login, t.avatar_url, t.operator, t.created_at, t.forgotten_at, base + t.position from unnest(begun) as t;
             get diagnostics met = row_count;
             if met <> cardinality(begun) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         if changed is not null then
             update view.users r set username = case when t.mask & 2 <> 0 then t.username else r.username end, email = case when t.mask & 4 <> 0 then t.email else r.email end, mode = case when t.mask & 8 <> 0 then t.mode else r.mode end, github_id = case when t.mask & 16 <> 0 then t.github_id else r.github_id end, github_login = case when t.mask & 32 <> 0 then t.github_login else r.github_login end, avatar_url = case when t.mask & 64 <> 0 then t.avatar_url else r.avatar_url end, operator = case when t.mask & 128 <> 0 then t.operator else r.operator end, created_at = case when t.mask & 256 <> 0 then t.created_at else r.created_at end, forgotten_at = case when t.mask & 512 <> 0 then t.forgotten_at else r.forgotten_at end, position = case when t.mask & 1024 <> 0 then base + t.position else r.position end from rows from (unnest(changed), unnest(masks)) as t (id, username, email, mode, github_id, github_login, avatar_url, operator, created_at, forgotten_at, position, mask) where r.id = t.id;
             get diagnostics met = row_count;
             if met <> cardinality(changed) then
                 raise exception using errcode = 'TN003', message = 'not every row was there to be changed';
             end if;
         end if;
         
         end $$;


ALTER FUNCTION view.users_apply(base bigint, ended view.users[], begun view.users[], changed view.users[], masks bigint[]) OWNER TO tenure_owner;

--
-- Name: attempt; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.attempt (
    bucket text NOT NULL,
    since timestamp with time zone NOT NULL,
    count bigint NOT NULL
)
WITH (fillfactor='80');


ALTER TABLE coarse.attempt OWNER TO tenure_owner;

--
-- Name: TABLE attempt; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.attempt IS 'How often something that must not be guessed was tried within a window of time, by who or where.';


--
-- Name: device_origin; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.device_origin (
    device_code_id uuid NOT NULL,
    network text NOT NULL,
    address text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


ALTER TABLE coarse.device_origin OWNER TO tenure_owner;

--
-- Name: TABLE device_origin; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.device_origin IS 'From where a living device code was asked for: shown to who approves it, and counted, so that strangers cannot flood the log.';


--
-- Name: last_broadcast; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.last_broadcast (
    source_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    payload text NOT NULL
)
WITH (fillfactor='80');


ALTER TABLE coarse.last_broadcast OWNER TO tenure_owner;

--
-- Name: last_poll; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.last_poll (
    device_code_id uuid NOT NULL,
    at timestamp with time zone NOT NULL
)
WITH (fillfactor='80');


ALTER TABLE coarse.last_poll OWNER TO tenure_owner;

--
-- Name: TABLE last_poll; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.last_poll IS 'The last poll of a device that came in time; one that came too soon moves nothing.';


--
-- Name: last_used; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.last_used (
    id uuid NOT NULL,
    at timestamp with time zone NOT NULL
)
WITH (fillfactor='80');


ALTER TABLE coarse.last_used OWNER TO tenure_owner;

--
-- Name: TABLE last_used; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.last_used IS 'When an API key or a bearer token was last good for something; at most one write a minute.';


--
-- Name: served_at; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.served_at (
    only_row boolean DEFAULT true NOT NULL,
    public_url text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT served_at_only_row_check CHECK (only_row)
);


ALTER TABLE coarse.served_at OWNER TO tenure_owner;

--
-- Name: TABLE served_at; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.served_at IS 'Where people reach the node that was started last: for links that are made beside it.';


--
-- Name: used_once; Type: TABLE; Schema: coarse; Owner: tenure_owner
--

CREATE TABLE coarse.used_once (
    digest bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


ALTER TABLE coarse.used_once OWNER TO tenure_owner;

--
-- Name: TABLE used_once; Type: COMMENT; Schema: coarse; Owner: tenure_owner
--

COMMENT ON TABLE coarse.used_once IS 'States of sign-ins that have come back: none comes twice.';


--
-- Name: events; Type: VIEW; Schema: log; Owner: tenure_owner
--

CREATE VIEW log.events AS
 SELECT event.stream_type AS aggregate_type,
    event.stream_id AS aggregate_id,
    event.version AS sequence,
    event.event_type,
    event.event_version,
    (convert_from(event.payload, 'UTF8'::name))::json AS payload,
    (convert_from(event.metadata, 'UTF8'::name))::json AS metadata
   FROM log.event;


ALTER TABLE log.events OWNER TO tenure_owner;

--
-- Name: VIEW events; Type: COMMENT; Schema: log; Owner: tenure_owner
--

COMMENT ON VIEW log.events IS 'The history in the columns and types that postgres-es reads.';


--
-- Name: guard; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.guard (
    name text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');


ALTER TABLE log.guard OWNER TO tenure_owner;

--
-- Name: head; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.head (
    only_row boolean DEFAULT true NOT NULL,
    log_id uuid NOT NULL,
    epoch bigint DEFAULT 1 NOT NULL,
    fence bigint DEFAULT 1 NOT NULL,
    projection_set text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT head_only_row_check CHECK (only_row)
);


ALTER TABLE log.head OWNER TO tenure_owner;

--
-- Name: TABLE head; Type: COMMENT; Schema: log; Owner: tenure_owner
--

COMMENT ON TABLE log.head IS 'Locked by every append and updated by none: the newest position is the newest event''s.';


--
-- Name: idempotency; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.idempotency (
    request bytea NOT NULL,
    body bytea NOT NULL,
    answer bytea NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);


ALTER TABLE log.idempotency OWNER TO tenure_owner;

--
-- Name: TABLE idempotency; Type: COMMENT; Schema: log; Owner: tenure_owner
--

COMMENT ON TABLE log.idempotency IS 'Requests with an idempotency key that were carried out, good for a day: HMACs of the request and of its body, and identifiers as the answer.';


--
-- Name: key_ring; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.key_ring (
    key_id text NOT NULL COLLATE pg_catalog."C",
    check_value bytea NOT NULL,
    lookup_key bytea NOT NULL
);


ALTER TABLE log.key_ring OWNER TO tenure_owner;

--
-- Name: TABLE key_ring; Type: COMMENT; Schema: log; Owner: tenure_owner
--

COMMENT ON TABLE log.key_ring IS 'Which master key wraps the data keys of this log, and the lookup key that it wraps; never the master key.';


--
-- Name: schema_history; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.schema_history (
    version integer NOT NULL,
    name character varying(255),
    applied_on character varying(255),
    checksum character varying(255)
);


ALTER TABLE log.schema_history OWNER TO tenure_owner;

--
-- Name: snapshot; Type: TABLE; Schema: log; Owner: tenure_owner
--

CREATE TABLE log.snapshot (
    stream_type text NOT NULL COLLATE pg_catalog."C",
    stream_id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    state_version integer NOT NULL,
    payload bytea NOT NULL,
    sealed bytea
);


ALTER TABLE log.snapshot OWNER TO tenure_owner;

--
-- Data for Name: attempt; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.attempt (bucket, since, count) FROM stdin;
\.


--
-- Data for Name: device_origin; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.device_origin (device_code_id, network, address, expires_at) FROM stdin;
01a21563-f9d5-7712-8cbb-a37e4a1f7724	127.0.0.1	127.0.0.1	2026-11-26 01:16:43.285386+00
\.


--
-- Data for Name: last_broadcast; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.last_broadcast (source_id, at, payload) FROM stdin;
\.


--
-- Data for Name: last_poll; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.last_poll (device_code_id, at) FROM stdin;
\.


--
-- Data for Name: last_used; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.last_used (id, at) FROM stdin;
01a21563-f702-7e8c-9e88-b0897bcc25d9	2026-11-26 01:06:43.349294+00
\.


--
-- Data for Name: served_at; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.served_at (only_row, public_url, at) FROM stdin;
t	http://127.0.0.1:18080	2026-11-26 01:06:28.65012+00
\.


--
-- Data for Name: used_once; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.used_once (digest, expires_at) FROM stdin;
\.


--
-- Data for Name: data_key; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.data_key (subject, key_id, wrapped) FROM stdin;
user:00000000-0000-0000-0000-000000000001	mk-8245ac415da9f9cd	\\xe42ac46590e6fccdc0798b49d2897fd00b4cce417dec475d3f1117577ac3e82db12e789883435fd141f70936df445ba8d4c9cc58297bb9fe6a7d034cd09b3f2afe84463eafc500bc
user:01a21563-c0b1-7d0d-83f2-c280975509a3	mk-8245ac415da9f9cd	\\x072b58986345cf4bf1057202e0a10b1f9514fdcb58121d9338632852fd45626b30d83a47f425afbc7cf02d70a69d9471f874bf60c963e4d4e821457251b4e6e15e0825997dfe1728
user:01a21563-c151-7bad-a9ae-f3391b3bd63a	mk-8245ac415da9f9cd	\\x7c017a576d631fa345d011a4f7b2aae36ecec5d1d300bffc6801ba67f92642c632e869bfdd7e14a476478b826b93a0d28f313113303b8a0d82d90d51970dfda3b086d13811d51614
user:01a21563-c1cd-784b-9e38-d797cae8fb6d	mk-8245ac415da9f9cd	\\x6a30c752a1dd1cd5616cccd4719375ee786a06d0902ba5ed19c55b5d44a95c2ac76e395036fc6b7b7f30c6981dc01a484419a3823c1d56e1b7a79a6effb9e4e80e0fa24d63e73ef9
user:01a21563-c22c-779b-93e1-48a4e2a3add1	mk-8245ac415da9f9cd	\\x391743b5b33d7bf71fea42263cd3469c6a54846fab13fb1fd755aaa545179d6186eebf78f4c73b921a8ca5750f7016dd6426a58493ae753cb1144e324beecd5668c7acf851af3dab
account:01a21563-c2a5-76a1-8eec-cea4acba67cb	mk-8245ac415da9f9cd	\\x66e06788a2ec1edfcb5af0f8f5f0afb21566a9cdbd42b0b7ce4245136ab3b93531657c82efa57f61f24e5ad02951203a732abbef1377d1f2e1354bd3b7f045ad15985b75a33a3646
account:01a21563-c301-7d93-bd0f-b2ad6776d335	mk-8245ac415da9f9cd	\\x0faf21cafe74b3a2c8a36fda69deff0c191244e89b2176834b6e48db296e6afe06fd8d5447624933b7e66e4b8d606beafb2ceb4c06b5b5c97be9829c2daf56659ee1a2d1d7361a40
device_code:01a21563-f9d5-7712-8cbb-a37e4a1f7724	mk-8245ac415da9f9cd	\\xadcb1df1302b85f1728ebad3fac9ca46faddcbe4ea8069b19d91059397d16439980a42d5638dc16732061d10edab0ed1f5b12b8cf6d9204a3311984d8cd402d71e7740bcf13f3d33
account:01a21563-fa51-7d2e-a707-5be10c1d68ce	mk-8245ac415da9f9cd	\\x9cc7adaeefec5b7766ecd50f43337d5e358dc55d627f999fb5c6775be372c32b3c4132532bbc4d7f300b130816472a0de601e808a2e9067d7c6bcae9c3a10f111e84d42f235f9636
invite:01a21564-1af0-7a03-a099-d04d826aabf1	mk-8245ac415da9f9cd	\\x83f8cd238257d4815b01a3847bfabe230c1b264c1ac11bf387b35de1502b4b43d58e46798b28f359e6cbab79e705757cc7c61f9e6a6e74bfdfafc6c50d868f958b6d5e4a3f355e45
invite:01a21564-1c54-75f5-a2ea-a35e68f4f581	mk-8245ac415da9f9cd	\\xec3e6f2cd82041142077d5f5c7fdc08f56e86315603b8fdc319c3f3a757d8c2c5ec84928105b39b1ded89d0081b871b764116c1c8ac9f84d2a11fb10fb886aa7be5ff97f80569e20
invite:01a21564-1d26-7d28-832f-d8d63131a8e1	mk-8245ac415da9f9cd	\\x29195aa20cb1cfd72a9f9399b7387286526b55c8a45628a245470a25bc61d4859c57981e2185ab07d5730fd0d25f14e49913286f1b0d530f381dd7811d2dd7f1b76fd87c139ce857
\.


--
-- Data for Name: event; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.event ("position", event_id, stream_type, stream_id, version, event_type, event_version, account_id, recorded_at, payload, metadata, sealed) FROM stdin;
1	00000000-0000-0000-0000-000000000001	user	00000000-0000-0000-0000-000000000001	1	user.registered	1	\N	2026-11-26 01:06:28.638929+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32382e3631353837315a227d7d	\\x7b226163746f72223a2273797374656d227d	\\x010208757365726e616d65047573657200000000000000000000000000000001e6d16b079e19f31ae62397811c3efb9bedc50aa05ad1b551000000211c4b3439373cb40d0af072118c1829ae71d28bd04534ec05f78161b379005d12a205656d61696c047573657200000000000000000000000000000001c7aa468c780ead80d78b9516780eaab50f727787ad074d7600000027b6af672bb68c88ec64a38c17e7632b0da0739e626d4e301cc21ac24842492e07d911de13b97fcd
2	01a21563-c0b1-7d7b-abd7-96c6a1124bb2	user	01a21563-c0b1-7d0d-83f2-c280975509a3	1	user.registered	1	\N	2026-11-26 01:06:28.657209+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32382e3635373032315a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010208757365726e616d65047573657201a21563c0b17d0d83f2c280975509a309e0886e9bfdca5e507ece937af535def0c61dd4b998280f0000001a7e3e8a25d6df65dedd0d04e9e59bf043d3440af3eebd459e6d0a05656d61696c047573657201a21563c0b17d0d83f2c280975509a30d2466c2933d4a052168fa1e43dc941fe3f0e52cb223a3d700000020514566da899440a14867a8b519b0bd2dde2fecb3939096f311a46de4fc83a906
3	01a21563-c0b1-7827-ba7d-917fdcce4c9f	user	01a21563-c0b1-7d0d-83f2-c280975509a3	2	user.operator_granted	1	\N	2026-11-26 01:06:28.65721+00	\\x7b226f70657261746f725f6772616e746564223a7b226174223a22323032362d31312d32365430313a30363a32382e3635373032315a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
4	01a21563-c0b6-7b4b-9107-b24b42d4bc26	sign_in_link	01a21563-c0b6-738b-a031-4c1f8872f1a4	1	sign_in_link.issued	1	\N	2026-11-26 01:06:28.662614+00	\\x7b22697373756564223a7b2275736572223a2230316132313536332d633062312d376430642d383366322d633238303937353530396133222c226174223a22323032362d31312d32365430313a30363a32382e3636323134395a222c22657870697265735f6174223a22323032362d31312d32365430313a31363a32382e3636323134395a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010106646967657374047573657201a21563c0b17d0d83f2c280975509a3c52317e96da8aecd912ba09ef5894e7f2bcc3b46c343474300000052650b49f2a17b012d06be26641d002352ad0de90744b2fd922a598df3b16fbdf20220355ab0e2b5f31583b254df423d2f2956fb03d11240c99250242d59c81a9d6f9698643c4ad14a6f104d0cc3979999fe94
5	01a21563-c151-7bdf-b046-b3cac2a176b6	user	01a21563-c151-7bad-a9ae-f3391b3bd63a	1	user.registered	1	\N	2026-11-26 01:06:28.84414+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32382e3831373836335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010208757365726e616d65047573657201a21563c1517bada9aef3391b3bd63a1e0ed96e6ba37aec0c142468b98c59d9cc47f85d8d6f7ced00000015358fdbbb4c170abaddeb3a0a1d53e400bbd1bb0fb305656d61696c047573657201a21563c1517bada9aef3391b3bd63a9eeb62995df8b5eaf05f6713bfe9cdfcfc2019910d5b885b00000021aac5470ebe90ee342aa6004259cf0318a7a488deee7a2715f7a6bc641e724919bc
6	01a21563-c151-7b3c-ae7f-ecfda8631dc8	user	01a21563-c151-7bad-a9ae-f3391b3bd63a	2	user.operator_granted	1	\N	2026-11-26 01:06:28.844141+00	\\x7b226f70657261746f725f6772616e746564223a7b226174223a22323032362d31312d32365430313a30363a32382e3831373836335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
7	01a21563-c1cd-7e14-b211-e82c7042e46f	user	01a21563-c1cd-784b-9e38-d797cae8fb6d	1	user.registered	1	\N	2026-11-26 01:06:28.950123+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32382e3934313631385a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010208757365726e616d65047573657201a21563c1cd784b9e38d797cae8fb6d6cf27039e2e7051e06db08c7f3e2c4a794505821e7fad0ea0000001575a90362692fdf0c421fcb3dbd2e31ee10bef156b505656d61696c047573657201a21563c1cd784b9e38d797cae8fb6d04bfed3b6e975f4dd41bfece5c0c99e462298878639bb36c00000021bdf5833263bf6bc898f9bab89aa6814742e59c6839343baa237d28e28a7f99fcca
8	01a21563-c22c-73a6-8fdf-1740391fbfbd	user	01a21563-c22c-779b-93e1-48a4e2a3add1	1	user.registered	1	\N	2026-11-26 01:06:29.046423+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32392e3033363535395a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010208757365726e616d65047573657201a21563c22c779b93e148a4e2a3add159f7cc46e150f81a129e2ed9d6285a399997e8044e58b2cc0000001721905b1380f0a98ad32a85e885a5a98c67e2bb4df6181805656d61696c047573657201a21563c22c779b93e148a4e2a3add14e8e3f864b59a1d6cd7bc1c6cd129bc4f6f3caf8728bd8b500000023cae5838f5daf2a75acceb6c0bb59bfbca0ad3af2dced0713063a40e91a54ea14c94b3f
9	01a21563-c279-711c-b076-9447757f99ee	user	01a21563-c279-7013-918b-b208f2a5db79	1	user.registered	1	\N	2026-11-26 01:06:29.126056+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a30363a32392e3131333934395a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010208757365726e616d65047573657201a21563c2797013918bb208f2a5db79a2b2493def347aeb872045267f533d602f6ca363a24ae791000000169f14988c4aba1292c7d0e2cdf216ff8a6190f952c06105656d61696c047573657201a21563c2797013918bb208f2a5db797c06d34851b6107d2f3f5453ec77d55ec4bf39a4869bb64e00000022afc1e84b258b436a86e12e2ce0324a057512691d92bb17d039af9ad27417a9e700d9
10	01a21563-c2a5-788d-9da2-14fcc8fe5ddc	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	1	account.opened	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:29.174085+00	\\x7b226f70656e6564223a7b226f776e6572223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c226174223a22323032362d31312d32365430313a30363a32392e3135373835305a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x0101046e616d65076163636f756e7401a21563c2a576a18eeccea4acba67cb9f1f76cf7882ff705e530aa2ec153527a067b959a3101c07000000168a82d1e4912eed6ecc777875da0f2b782b973768a00a
11	01a21563-c301-78e8-aac4-9d6059eef7f7	account	01a21563-c301-7d93-bd0f-b2ad6776d335	1	account.opened	1	01a21563-c301-7d93-bd0f-b2ad6776d335	2026-11-26 01:06:29.263191+00	\\x7b226f70656e6564223a7b226f776e6572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c226174223a22323032362d31312d32365430313a30363a32392e3234393634335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x0101046e616d65076163636f756e7401a21563c3017d93bd0fb2ad6776d335a9318b76ec0d4961196b9fba49c5368d88ec07639f67651200000016e065f35ed434b7c536dfca16e85edb93c1a777d8f4f8
12	01a21563-c356-7687-ae9c-9d015cf1222b	account	01a21563-c356-757f-a7e8-e1ac7aba6100	1	account.opened	1	01a21563-c356-757f-a7e8-e1ac7aba6100	2026-11-26 01:06:29.338852+00	\\x7b226f70656e6564223a7b226f776e6572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c226174223a22323032362d31312d32365430313a30363a32392e3333343534355a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x0101046e616d65076163636f756e7401a21563c356757fa7e8e1ac7aba610056579820c93a3952570b6d5b7eea2be90f311b2e033fb52600000016eeba9dbb87dac1b758232ad2f411aa9320a82ffde16a
13	01a21563-f27d-7202-b5ab-0376044bff61	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	2	account.member_added	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:41.414734+00	\\x7b226d656d6265725f6164646564223a7b2275736572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c226174223a22323032362d31312d32365430313a30363a34312e3430353134325a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
14	01a21563-f2c6-7564-b836-f27846965461	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	3	account.member_added	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:41.502698+00	\\x7b226d656d6265725f6164646564223a7b2275736572223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431222c226174223a22323032362d31312d32365430313a30363a34312e3437383536345a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
15	01a21563-f373-74c9-8f12-5a7226b698ba	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	4	account.member_added	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:41.678457+00	\\x7b226d656d6265725f6164646564223a7b2275736572223a2230316132313536332d633237392d373031332d393138622d623230386632613564623739222c226174223a22323032362d31312d32365430313a30363a34312e3635313630335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
16	01a21563-f702-7adc-a488-32d0c4720d2f	bearer_token	01a21563-f702-7e8c-9e88-b0897bcc25d9	1	bearer_token.issued	1	\N	2026-11-26 01:06:42.574821+00	\\x7b22697373756564223a7b2275736572223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c22707265666978223a22586737775041742d222c226174223a22323032362d31312d32365430313a30363a34322e3536323035325a222c22657870697265735f6174223a22323032362d31322d32365430313a30363a34322e3536323035325a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\\x010106646967657374047573657201a21563c1517bada9aef3391b3bd63a248cc7ac603a5d4d2ff4ffe7718713126d0de094ab1ca49d0000005299d4480d1fe8e018f75fcaeae844bdb2894696d968f46efd04531c7efe5dfa6f8b4b67da79afb838e4cdbf746c0f6877c7842780636ada997a62ee780cd6510beaed438e1acc15bdb63698f7056b88c25a1f
17	01a21563-f895-7162-9568-e008db906bdb	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	5	account.ownership_transferred	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:42.988245+00	\\x7b226f776e6572736869705f7472616e73666572726564223a7b2266726f6d223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c22746f223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431222c226174223a22323032362d31312d32365430313a30363a34322e3936353533355a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
18	01a21563-f90d-700a-a07f-28e0f7b18146	account	01a21563-c356-757f-a7e8-e1ac7aba6100	2	account.closed	1	01a21563-c356-757f-a7e8-e1ac7aba6100	2026-11-26 01:06:43.112112+00	\\x7b22636c6f736564223a7b226d656d62657273223a5b5d2c226170695f6b657973223a5b5d2c226174223a22323032362d31312d32365430313a30363a34332e3038353935365a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x0101046e616d65076163636f756e7401a21563c356757fa7e8e1ac7aba6100656af3fed10d047ce3ee4e2afe125749a35f96ecd9d26d59000000167767a15305c4ff308e267b066d4fb1c060e3394ee355
19	01a21563-f975-7ff6-9f07-acf4da71fe96	account	01a21563-c2a5-76a1-8eec-cea4acba67cb	6	account.member_removed	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:43.231122+00	\\x7b226d656d6265725f72656d6f766564223a7b2275736572223a2230316132313536332d633237392d373031332d393138622d623230386632613564623739222c226174223a22323032362d31312d32365430313a30363a34332e3138393331335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\N
20	01a21563-f975-7c8c-bd8c-ba37492dd71f	user	01a21563-c279-7013-918b-b208f2a5db79	2	user.forgotten	1	\N	2026-11-26 01:06:43.231123+00	\\x7b22666f72676f7474656e223a7b226174223a22323032362d31312d32365430313a30363a34332e3138393331335a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010108757365726e616d65047573657201a21563c2797013918bb208f2a5db798a55a5c6967a9c73d594b23825eaa347f78bff599c99b6c100000016c5249f09de99f883aa91b1bd18619155eaa3707aae6f
21	01a21563-f9d9-7544-9aa5-2b92d8886ad0	device_code	01a21563-f9d5-7712-8cbb-a37e4a1f7724	1	device_code.created	1	\N	2026-11-26 01:06:43.289388+00	\\x7b2263726561746564223a7b226174223a22323032362d31312d32365430313a30363a34332e3238393235365a222c22657870697265735f6174223a22323032362d31312d32365430313a31363a34332e3238393235365a227d7d	\\x7b226163746f72223a2273797374656d227d	\\x0103066469676573740b6465766963655f636f646501a21563f9d577128cbba37e4a1f77247137eebe1f2262a8525eed254c80be7476db909654e5112800000052bc0667da69b42359b5970f5286b4f57761f0c6592bd606c60247e8fc8c7234eb232f7d5339242bd34333a2c4fb152dd15c325f36bb4f4312e803b9798e1bb578e0500bbb3858d8124816c958df92fdac65ef09757365725f636f64650b6465766963655f636f646501a21563f9d577128cbba37e4a1f7724fddee994f75ab20dddb3a3b6f66105f4336ebfd54207832e0000001a40edeb08e33321c90697f41be44c1b0b2ec3009be947661d4c190b636c69656e745f6e616d650b6465766963655f636f646501a21563f9d577128cbba37e4a1f7724ace0d3dcd1ace97d6a9674b865d05347070eaa1b9d10d0cf0000001974d001777b751369b84898f085618d014c78bb6bd8caa70fc4
22	01a21563-fa51-7da0-a337-2181ec65b69e	account	01a21563-fa51-7d2e-a707-5be10c1d68ce	1	account.opened	1	01a21563-fa51-7d2e-a707-5be10c1d68ce	2026-11-26 01:06:43.423952+00	\\x7b226f70656e6564223a7b226f776e6572223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c226174223a22323032362d31312d32365430313a30363a34332e3430393236385a227d7d	\\x7b226163746f72223a22746f6b656e222c226163746f725f6964223a2230316132313536332d663730322d376538632d396538382d623038393762636332356439222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c22636f7272656c6174696f6e223a2230316132313536332d666134642d376265312d396535302d396438663561396264366437227d	\\x0101046e616d65076163636f756e7401a21563fa517d2ea7075be10c1d68ce2bd365e29cfbae92818da381a077460db3e3bd995b928366000000170712f024fb98d0beb499058daaf346fa7eb6343b9c3461
23	01a21564-1674-7f3f-b3a2-a335bcb07db3	api_key	01a21564-1674-71f8-86e2-7174b1c44a85	1	api_key.minted	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:50.627372+00	\\x7b226d696e746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c226d696e746572223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c22707265666978223a223066383035333430222c226174223a22323032362d31312d32365430313a30363a35302e3631323736325a222c22657870697265735f6174223a6e756c6c7d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\\x01020468617368076163636f756e7401a21563c2a576a18eeccea4acba67cb749fbb43da4dfe35dcb6188d1b96df8c9d006691782c9a440000007352745d8baca94ac4add3136db2d37c25d990c8f88faf8da4c7f7fa06978ee1c9c1f3c01feb9645169afdb156b2c4e2ff68b5e15d604e41ac44a0b7c9149bce5aa99647da7f9cfbfa489364a48171865ed225a0742dc65d41706e0966e03e6b061fd522cf013d3371828ca7581a076ecae50780056c6162656c076163636f756e7401a21563c2a576a18eeccea4acba67cb38118558a94e82f5269385317a3a143e492ccbfb8ebd3bba00000014b8e2f0e07ff8f7e7ca9492c3c65a5fcdfd3aece9
24	01a21564-1922-776a-ba89-2bde9ea77291	api_key	01a21564-1922-7dcb-9af6-7d2ba2b71001	1	api_key.minted	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:51.306185+00	\\x7b226d696e746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c226d696e746572223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431222c22707265666978223a223964636532356230222c226174223a22323032362d31312d32365430313a30363a35312e3239383534385a222c22657870697265735f6174223a6e756c6c7d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431227d	\\x01020468617368076163636f756e7401a21563c2a576a18eeccea4acba67cb782c229cecd5e93e778e79f819fd4529a8833fc89265db43000000739240822b0287edabee21869ead44ae7a3af8ff66e34a212c900ad5772c6b192c92fa5b3a12e819ffedf4210caf9efbde344917cb0e0767cd83103e3a58d37afb91a8ea867ce5de9f2c1a6073b6468f78a3d4ecce67686b0aa71f28af5825fd99e70a7b5f5b181f0249a8ef18b603fd3329ec81056c6162656c076163636f756e7401a21563c2a576a18eeccea4acba67cb9d71b8f5ac136d5784029ccc3d945a76ba6fcbcd20ad30fe00000012873d49a611a5ba22e9a5e2b6a128668e2b87
25	01a21564-1a36-793f-98e2-32f1074ce816	api_key	01a21564-1a36-7acf-9e33-3c5162efcd9a	1	api_key.minted	1	01a21563-c301-7d93-bd0f-b2ad6776d335	2026-11-26 01:06:51.600387+00	\\x7b226d696e746564223a7b226163636f756e74223a2230316132313536332d633330312d376439332d626430662d623261643637373664333335222c226d696e746572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c22707265666978223a226663386237303464222c226174223a22323032362d31312d32365430313a30363a35312e3537343137375a222c22657870697265735f6174223a6e756c6c7d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664227d	\\x01020468617368076163636f756e7401a21563c3017d93bd0fb2ad6776d335f4b0e8ba1985db8d7774b77a7193172d0a8f8a8afd4c1ac400000073ed3b143342e23f4ac5dd63ae386e02583d9900cc07d1a2377c8d8085136cefbc7d4327f9c218a321856113706905083891d3b5be810a177d60f0ad3e6c9314969f6ffd43068f82d6c3f052e76205557b033f81181b0c469c224fcfaa42425aeb3b22e8b280663190da80bd9d730432a36090ee056c6162656c076163636f756e7401a21563c3017d93bd0fb2ad6776d3357a319aa9c06501e3a2be02506fee08dcd8701caef4de0d8100000012e65e81dd30cdbfed79ab9ccd114c0a011195
26	01a21564-1af0-7a66-a7fd-84310a3123bd	invite	01a21564-1af0-7a03-a099-d04d826aabf1	1	invite.created	1	01a21563-c301-7d93-bd0f-b2ad6776d335	2026-11-26 01:06:51.76468+00	\\x7b2263726561746564223a7b226163636f756e74223a2230316132313536332d633330312d376439332d626430662d623261643637373664333335222c22696e7669746572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c22626f756e64223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c226d6f6465223a22676974687562222c226174223a22323032362d31312d32365430313a30363a35312e3736303534395a222c22657870697265735f6174223a22323032362d31322d31305430313a30363a35312e3736303534395a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664227d	\\x010107696e766974656506696e7669746501a215641af07a03a099d04d826aabf15eb784cd2329e1326e87cae461b65098ff372b897eb15c89000000156035c35b326985d2a5168401fb7f8d245860cd14f8
27	01a21564-1c54-7677-b5d6-7eeb25343da0	invite	01a21564-1c54-75f5-a2ea-a35e68f4f581	1	invite.created	1	01a21563-c301-7d93-bd0f-b2ad6776d335	2026-11-26 01:06:52.126024+00	\\x7b2263726561746564223a7b226163636f756e74223a2230316132313536332d633330312d376439332d626430662d623261643637373664333335222c22696e7669746572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c22626f756e64223a6e756c6c2c226d6f6465223a22676974687562222c226174223a22323032362d31312d32365430313a30363a35322e3131363436315a222c22657870697265735f6174223a22323032362d31322d31305430313a30363a35322e3131363436315a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664227d	\\x010107696e766974656506696e7669746501a215641c5475f5a2eaa35e68f4f58196788e5a3cbe3c7613fa69881f6490b1ea2e29e545f7a5970000001a4fdae2385935ac7358619970215c06aaf2d3b9a30d10a7ac7482
28	01a21564-1d26-7cc8-b7ae-bd984b763a87	invite	01a21564-1d26-7d28-832f-d8d63131a8e1	1	invite.created	1	01a21563-c301-7d93-bd0f-b2ad6776d335	2026-11-26 01:06:52.336482+00	\\x7b2263726561746564223a7b226163636f756e74223a2230316132313536332d633330312d376439332d626430662d623261643637373664333335222c22696e7669746572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c22626f756e64223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431222c226d6f6465223a22676974687562222c226174223a22323032362d31312d32365430313a30363a35322e3332363038355a222c22657870697265735f6174223a22323032362d31322d31305430313a30363a35322e3332363038355a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664227d	\\x010107696e766974656506696e7669746501a215641d267d28832fd8d63131a8e1ce892f6ea9f4b10d87cf6fa454978dbd4b3281cda625f5aa0000001770bdd9e9bba9a69234f78402b011d52f680e1ef0cae06f
29	01a21564-1e23-7783-95a6-66a564c0dca5	source	01a21564-1e23-7276-a1ce-df75cdf31eea	1	source.created	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:52.602079+00	\\x7b2263726561746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c22637265617465645f6279223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c2268616e646c65223a22726f626f74222c226b696e64223a226d657373616765222c226174223a22323032362d31312d32365430313a30363a35322e3537393231305a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\N
30	01a21564-1e92-7417-b977-f3d1a6f43176	source	01a21564-1e92-7d8f-91c6-1d9b2388e3e9	1	source.created	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:52.718659+00	\\x7b2263726561746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c22637265617465645f6279223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c2268616e646c65223a227368656c6c222c226b696e64223a22707479222c226174223a22323032362d31312d32365430313a30363a35322e3639303936325a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\N
31	01a21564-1f03-7753-8a3e-17713b5404d4	source	01a21564-1e23-7276-a1ce-df75cdf31eea	2	pipe.created	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:06:52.819205+00	\\x7b22706970655f63726561746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c2270697065223a2230316132313536342d316630332d373033352d623930652d633630653262643635316563222c22637265617465645f6279223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c226e616d65223a226c6f6773222c22726574656e74696f6e223a7b2274746c5f7365636f6e6473223a6e756c6c2c226d61785f6d736773223a6e756c6c2c226d61785f6279746573223a6e756c6c7d2c226174223a22323032362d31312d32365430313a30363a35322e3830333437355a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\N
32	01a21564-426d-72f0-9edc-d7d43738a742	api_key	01a21564-426d-7630-bfc6-d35a15233310	1	api_key.minted	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:07:01.88026+00	\\x7b226d696e746564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c226d696e746572223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361222c22707265666978223a226530646630386435222c226174223a22323032362d31312d32365430313a30373a30312e3836393039365a222c22657870697265735f6174223a6e756c6c7d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633135312d376261642d613961652d663333393162336264363361227d	\\x01020468617368076163636f756e7401a21563c2a576a18eeccea4acba67cb86184bfa19b27b95a2f5af8d0f646f36ee94c0b224bd1f9c000000730fb9ebbabd1dc1b4338e5c16eaa58fd91e06914ce9f56fbfcdc2ecfc448e608be9e6d02be8fb34634f772a13f77d530a0f6992084a2ff160b190eccc3bf1334b7d08a92e0254a9ef32383f20e9479c83aaca02ebfda033145c80dda8bff23b78acbab11d4fea768020500a292fb2687c6a0314056c6162656c076163636f756e7401a21563c2a576a18eeccea4acba67cb56e85a10f54aebf27e6741d7e4614c46a1a41654ac592726000000159f5cbf2cefed79939f4fb788c1d3ad2297904f434e
33	01a21564-4322-78d7-82d9-9b153682f930	sign_in_link	01a21564-4322-773c-a9b1-f29c558a1aa4	1	sign_in_link.issued	1	\N	2026-11-26 01:07:02.060644+00	\\x7b22697373756564223a7b2275736572223a2230316132313536332d633163642d373834622d396533382d643739376361653866623664222c226174223a22323032362d31312d32365430313a30373a30322e3035303732345a222c22657870697265735f6174223a22323032362d31312d32365430313a31373a30322e3035303732345a227d7d	\\x7b226163746f72223a226f70657261746f72227d	\\x010106646967657374047573657201a21563c1cd784b9e38d797cae8fb6dcece81d166bba47864c827ed7fbb06ca9942e819eacd38bc000000522ed7a46d074f0a34861798b42e4443b64fafbbbc8f1f2d20a77b168eab2ab975b97459af2aee48bc474d3cfd5acd4f248f445b2159d088d32858609c5e570fe05e656e792648272700d822601d6988a10297
34	01a21590-9384-7299-9b26-efe2edefaf20	api_key	01a21564-426d-7630-bfc6-d35a15233310	2	api_key.revoked	1	01a21563-c2a5-76a1-8eec-cea4acba67cb	2026-11-26 01:55:26.218255+00	\\x7b227265766f6b6564223a7b226163636f756e74223a2230316132313536332d633261352d373661312d386565632d636561346163626136376362222c226174223a22323032362d31312d32365430313a35353a32362e3231323233395a227d7d	\\x7b226163746f72223a226f70657261746f72222c226f6e5f626568616c665f6f66223a2230316132313536332d633232632d373739622d393365312d343861346532613361646431227d	\N
\.


--
-- Data for Name: guard; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.guard (name, version) FROM stdin;
credentials_of:01a21563-c279-7013-918b-b208f2a5db79	1795655203202303
invites_to:01a21563-c279-7013-918b-b208f2a5db79	1795655203203550
accounts_of:01a21563-c279-7013-918b-b208f2a5db79	1795655203191986
accounts_of:01a21563-c151-7bad-a9ae-f3391b3bd63a	1795655203423695
\.


--
-- Data for Name: head; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.head (only_row, log_id, epoch, fence, projection_set) FROM stdin;
t	01a21563-c021-7829-b227-8840c1fbd49d	1	1	users:1,accounts:1,members:1,invites:1,api_keys:1,device_codes:1,bearer_tokens:1,sessions:1,sign_in_links:1,sources:1,pipes:1,unique_claims:1
\.


--
-- Data for Name: idempotency; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.idempotency (request, body, answer, "position", recorded_at) FROM stdin;
\\x83bab6cd8f4d0cdc2cb4428a97ead3e1746b023b35a5ca25ac9acb5155247dcf	\\x5c03d7d368ac358caf96076a0495820078394f3b6c36a99e473f5f2b1ad88a9c	\\x2230316132313536332d666135312d376432652d613730372d35626531306331643638636522	22	2026-11-26 01:06:43.423952+00
\.


--
-- Data for Name: key_ring; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.key_ring (key_id, check_value, lookup_key) FROM stdin;
mk-8245ac415da9f9cd	\\x1c1766cf6a34bb9ed9481ac7911ecb3020b3a09ad776fe26efb73137a26e3485391c92baf035ee91cd136092842fa435ff46cf7cbd0312417ff2ed368e	\\xf60e1d71ba1980a17d2ef8cc36ba714a7cc0520fbb4d32f5ea3d98906e6a0f1a4bc59034ac542e860bd005de83406eb3c23c77a8bee17fa46e4629ad3b253a7fea2757754e095006
\.


--
-- Data for Name: schema_history; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.schema_history (version, name, applied_on, checksum) FROM stdin;
1	log	2026-11-26T01:06:28.52689797Z	4096293090845512390
2	append	2026-11-26T01:06:28.544213746Z	12650513155714046582
3	coarse	2026-11-26T01:06:28.547130096Z	7298257056871354333
\.


--
-- Data for Name: snapshot; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.snapshot (stream_type, stream_id, version, state_version, payload, sealed) FROM stdin;
\.


--
-- Data for Name: accounts; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.accounts (id, name, owner_user_id, created_at, nats_account_pub, "position") FROM stdin;
01a21563-c301-7d93-bd0f-b2ad6776d335	beta	01a21563-c1cd-784b-9e38-d797cae8fb6d	2026-11-26 01:06:29.249643+00	\N	11
01a21563-c2a5-76a1-8eec-cea4acba67cb	acme	01a21563-c22c-779b-93e1-48a4e2a3add1	2026-11-26 01:06:29.15785+00	\N	10
01a21563-fa51-7d2e-a707-5be10c1d68ce	keyed	01a21563-c151-7bad-a9ae-f3391b3bd63a	2026-11-26 01:06:43.409268+00	\N	22
\.


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.api_keys (id, account_id, created_by_user_id, key_hash, key_prefix, label, created_at, expires_at, revoked_at, former_hash, former_prefix, former_until, "position") FROM stdin;
01a21564-1674-71f8-86e2-7174b1c44a85	01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c151-7bad-a9ae-f3391b3bd63a	$argon2id$v=19$m=65536,t=1,p=4$BCN6j3oo9lnLcduvp0UEtQ$MqfunMBbKEPpt8jJFC/T+NPrJrnDUutLLa7Jd7dPtnQ	0f805340	ci	2026-11-26 01:06:50.612762+00	\N	\N	\N	\N	\N	23
01a21564-1922-7dcb-9af6-7d2ba2b71001	01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c22c-779b-93e1-48a4e2a3add1	$argon2id$v=19$m=65536,t=1,p=4$gNqxbI/KC43KJx1TIofxQg$h/v/XG0oVY68Mb7LT07B5x+WXhRf0DG4jLT6Y90DNV4	9dce25b0		2026-11-26 01:06:51.298548+00	\N	\N	\N	\N	\N	24
01a21564-1a36-7acf-9e33-3c5162efcd9a	01a21563-c301-7d93-bd0f-b2ad6776d335	01a21563-c1cd-784b-9e38-d797cae8fb6d	$argon2id$v=19$m=65536,t=1,p=4$q4NZf4yspgH9Q/dyHjNy4w$FWuN2K7pMjZo0KpW3eFDkFY5nKGWE2i8eIIXmhQk9Gk	fc8b704d		2026-11-26 01:06:51.574177+00	\N	\N	\N	\N	\N	25
01a21564-426d-7630-bfc6-d35a15233310	01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c151-7bad-a9ae-f3391b3bd63a	$argon2id$v=19$m=65536,t=1,p=4$R2LWIrJ/th2f+mJ1UtwKfQ$FygZSUyTOIb/TKzlxCAM8Qpgj43y7p4CRD2lDzC0GMM	e0df08d5	old	2026-11-26 01:07:01.869096+00	\N	2026-11-26 01:55:26.212239+00	\N	\N	\N	32
\.


--
-- Data for Name: bearer_tokens; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.bearer_tokens (id, user_id, digest, prefix, created_at, expires_at, revoked_at, "position") FROM stdin;
01a21563-f702-7e8c-9e88-b0897bcc25d9	01a21563-c151-7bad-a9ae-f3391b3bd63a	\\xf7bef6285216bace48737ca7dffd195f8ca833a1c371f9fbb53a5bc0d36ff049	Xg7wPAt-	2026-11-26 01:06:42.562052+00	2026-12-26 01:06:42.562052+00	\N	16
\.


--
-- Data for Name: device_codes; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.device_codes (id, digest, user_code, client_name, user_id, created_at, expires_at, verified_at, denied_at, consumed_at, "position") FROM stdin;
01a21563-f9d5-7712-8cbb-a37e4a1f7724	\\x1c268745f44ef428940e9d4591b2aafb56d6319aa041bbf18fb788d71d82e243	NTLB-SMZB	fixture	\N	2026-11-26 01:06:43.289256+00	2026-11-26 01:16:43.289256+00	\N	\N	\N	21
\.


--
-- Data for Name: invites; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.invites (id, account_id, invitee_username, invitee_user_id, inviter_user_id, mode, status, created_at, decided_at, expires_at, "position") FROM stdin;
01a21564-1af0-7a03-a099-d04d826aabf1	01a21563-c301-7d93-bd0f-b2ad6776d335	ada	01a21563-c151-7bad-a9ae-f3391b3bd63a	01a21563-c1cd-784b-9e38-d797cae8fb6d	github	pending	2026-11-26 01:06:51.760549+00	\N	2026-12-10 01:06:51.760549+00	26
01a21564-1c54-75f5-a2ea-a35e68f4f581	01a21563-c301-7d93-bd0f-b2ad6776d335	stranger	\N	01a21563-c1cd-784b-9e38-d797cae8fb6d	github	pending	2026-11-26 01:06:52.116461+00	\N	2026-12-10 01:06:52.116461+00	27
01a21564-1d26-7d28-832f-d8d63131a8e1	01a21563-c301-7d93-bd0f-b2ad6776d335	carol	01a21563-c22c-779b-93e1-48a4e2a3add1	01a21563-c1cd-784b-9e38-d797cae8fb6d	github	pending	2026-11-26 01:06:52.326085+00	\N	2026-12-10 01:06:52.326085+00	28
\.


--
-- Data for Name: members; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.members (account_id, user_id, added_at, "position") FROM stdin;
01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c1cd-784b-9e38-d797cae8fb6d	2026-11-26 01:06:41.405142+00	13
01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c151-7bad-a9ae-f3391b3bd63a	2026-11-26 01:06:42.965535+00	17
\.


--
-- Data for Name: pipes; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.pipes (id, source_id, created_by_user_id, name, ttl_seconds, max_msgs, max_bytes, created_at, "position") FROM stdin;
01a21564-1f03-7035-b90e-c60e2bd651ec	01a21564-1e23-7276-a1ce-df75cdf31eea	01a21563-c151-7bad-a9ae-f3391b3bd63a	logs	\N	\N	\N	2026-11-26 01:06:52.803475+00	31
\.


--
-- Data for Name: sessions; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.sessions (id, user_id, digest, created_at, expires_at, ended_at, "position") FROM stdin;
\.


--
-- Data for Name: sign_in_links; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.sign_in_links (id, user_id, digest, created_at, expires_at, used_at, "position") FROM stdin;
01a21563-c0b6-738b-a031-4c1f8872f1a4	01a21563-c0b1-7d0d-83f2-c280975509a3	\\x5413caa0e929951defce4ee6b3d1f724dc1f24da7f24f8c9c63e6637f8cf470d	2026-11-26 01:06:28.662149+00	2026-11-26 01:16:28.662149+00	\N	4
01a21564-4322-773c-a9b1-f29c558a1aa4	01a21563-c1cd-784b-9e38-d797cae8fb6d	\\xbe7d517de656cf707777a24d29a40a5d7eb1fb1ca9c5795aee75c2bbedc3c1a7	2026-11-26 01:07:02.050724+00	2026-11-26 01:17:02.050724+00	\N	33
\.


--
-- Data for Name: sources; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.sources (id, account_id, created_by_user_id, handle, kind, created_at, "position") FROM stdin;
01a21564-1e23-7276-a1ce-df75cdf31eea	01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c151-7bad-a9ae-f3391b3bd63a	robot	message	2026-11-26 01:06:52.57921+00	29
01a21564-1e92-7d8f-91c6-1d9b2388e3e9	01a21563-c2a5-76a1-8eec-cea4acba67cb	01a21563-c151-7bad-a9ae-f3391b3bd63a	shell	pty	2026-11-26 01:06:52.690962+00	30
\.


--
-- Data for Name: unique_claims; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.unique_claims (key, kind, holder, free_after, "position") FROM stdin;
\\x9ec0333668d37c6c92febad9fe7b61de57880b9bfa3fed73bbc523fcf04b0630	username	00000000-0000-0000-0000-000000000001	\N	1
\\xbc7119751a4e22696cb5b58adad83ad45364bda96cb4dcf2930dd1ad87f73ad9	username	01a21563-c0b1-7d0d-83f2-c280975509a3	\N	2
\\x0e871fa4872b3ff43a9ec9dd69160aa3f00610f09c86acbe3398c3c1d74e4fef	username	01a21563-c151-7bad-a9ae-f3391b3bd63a	\N	5
\\x4c84c26ae7b71ebd9fb4f562cfc92f2ab296dd0056c93746105cb9359fd02757	username	01a21563-c1cd-784b-9e38-d797cae8fb6d	\N	7
\\xaee3d4d4aaf73bfbf7ce43632c9ee030435b5b82f63f1c09866590be6ac20e59	username	01a21563-c22c-779b-93e1-48a4e2a3add1	\N	8
\\x63fdf1de33f87fce83afd6a944a4acc9186f5a726a6f8e33feacf1f953610caf	account_name	01a21563-c2a5-76a1-8eec-cea4acba67cb	\N	10
\\x02b866f697ca8b66092448212cadf39246e302701a2e2e73f04925cd16c45111	account_name	01a21563-c301-7d93-bd0f-b2ad6776d335	\N	11
\\x0730e3ff2b014046353dfa8a5dd1767dd189e7a06f6a94de642570982ace6ab9	username	01a21563-c279-7013-918b-b208f2a5db79	1970-01-01 00:00:00+00	20
\\x4c1d38bdd6c193dbca6ba3f23655e06ab5d9c9e1314418e5cdd045d95a98f104	user_code	01a21563-f9d5-7712-8cbb-a37e4a1f7724	2026-11-26 01:16:43.289256+00	21
\\x8e3b74fcb976629f0547fa2c54d9440b623222c9224c390ac06cd8c62590c00a	account_name	01a21563-fa51-7d2e-a707-5be10c1d68ce	\N	22
\\x37345563133760ff1a4e4e765c1b0b476e517e06d76ba2ce6550d4981a1bdd74	pending_invite	01a21564-1af0-7a03-a099-d04d826aabf1	2026-12-10 01:06:51.760549+00	26
\\x0e27067d5af0870ce3ffb974fc0f8aebb46d30f51c1dc2df33564bd9b0a24646	pending_invite	01a21564-1c54-75f5-a2ea-a35e68f4f581	2026-12-10 01:06:52.116461+00	27
\\xde222903474225a394df8a7b31d0afb10b471624ee015f2a0715ccfefb008744	username	01a21564-1c54-75f5-a2ea-a35e68f4f581	1970-01-01 00:00:00+00	27
\\xeae9b7af84656e72321fa87a50f3df1dbca56ac850ac6a736615f05c6f3c4807	pending_invite	01a21564-1d26-7d28-832f-d8d63131a8e1	2026-12-10 01:06:52.326085+00	28
\\x43b8a067e1180bc29669fbc6504a314d7e3aa7a16a0e91002cb07d611caecc69	source_handle	01a21564-1e23-7276-a1ce-df75cdf31eea	\N	29
\\x8d2a6f32639374149b2c585c26851a03854d9296599fbf4135f2c6c7f5ca5d15	source_handle	01a21564-1e92-7d8f-91c6-1d9b2388e3e9	\N	30
\.


--
-- Data for Name: users; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.users (id, username, email, mode, github_id, github_login, avatar_url, operator, created_at, forgotten_at, "position") FROM stdin;
00000000-0000-0000-0000-000000000001	unauthenticated	unauthenticated@local	internal	\N	\N	\N	f	2026-11-26 01:06:28.615871+00	\N	1
01a21563-c0b1-7d0d-83f2-c280975509a3	operator	operator@local	internal	\N	\N	\N	t	2026-11-26 01:06:28.657021+00	\N	2
01a21563-c151-7bad-a9ae-f3391b3bd63a	ada	ada@example.org	internal	\N	\N	\N	t	2026-11-26 01:06:28.817863+00	\N	5
01a21563-c1cd-784b-9e38-d797cae8fb6d	bob	bob@example.org	internal	\N	\N	\N	f	2026-11-26 01:06:28.941618+00	\N	7
01a21563-c22c-779b-93e1-48a4e2a3add1	carol	carol@example.org	internal	\N	\N	\N	f	2026-11-26 01:06:29.036559+00	\N	8
01a21563-c279-7013-918b-b208f2a5db79	forgotten-f2a5db79	\N	internal	\N	\N	\N	f	2026-11-26 01:06:29.113949+00	2026-11-26 01:06:43.189313+00	9
\.


--
-- Name: attempt attempt_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (bucket);


--
-- Name: device_origin device_origin_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.device_origin
    ADD CONSTRAINT device_origin_pkey PRIMARY KEY (device_code_id);


--
-- Name: last_broadcast last_broadcast_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.last_broadcast
    ADD CONSTRAINT last_broadcast_pkey PRIMARY KEY (source_id);


--
-- Name: last_poll last_poll_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.last_poll
    ADD CONSTRAINT last_poll_pkey PRIMARY KEY (device_code_id);


--
-- Name: last_used last_used_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.last_used
    ADD CONSTRAINT last_used_pkey PRIMARY KEY (id);


--
-- Name: served_at served_at_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.served_at
    ADD CONSTRAINT served_at_pkey PRIMARY KEY (only_row);


--
-- Name: used_once used_once_pkey; Type: CONSTRAINT; Schema: coarse; Owner: tenure_owner
--

ALTER TABLE ONLY coarse.used_once
    ADD CONSTRAINT used_once_pkey PRIMARY KEY (digest);


--
-- Name: data_key data_key_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.data_key
    ADD CONSTRAINT data_key_pkey PRIMARY KEY (subject);


--
-- Name: event event_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.event
    ADD CONSTRAINT event_pkey PRIMARY KEY ("position");


--
-- Name: event event_stream_version; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.event
    ADD CONSTRAINT event_stream_version UNIQUE (stream_id, stream_type, version);


--
-- Name: guard guard_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.guard
    ADD CONSTRAINT guard_pkey PRIMARY KEY (name);


--
-- Name: head head_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (only_row);


--
-- Name: idempotency idempotency_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (request);


--
-- Name: key_ring key_ring_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.key_ring
    ADD CONSTRAINT key_ring_pkey PRIMARY KEY (key_id);


--
-- Name: schema_history schema_history_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.schema_history
    ADD CONSTRAINT schema_history_pkey PRIMARY KEY (version);


--
-- Name: snapshot snapshot_pkey; Type: CONSTRAINT; Schema: log; Owner: tenure_owner
--

ALTER TABLE ONLY log.snapshot
    ADD CONSTRAINT snapshot_pkey PRIMARY KEY (stream_type, stream_id);


--
-- Name: accounts accounts_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);


--
-- Name: api_keys api_keys_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);


--
-- Name: bearer_tokens bearer_tokens_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.bearer_tokens
    ADD CONSTRAINT bearer_tokens_pkey PRIMARY KEY (id);


--
-- Name: device_codes device_codes_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.device_codes
    ADD CONSTRAINT device_codes_pkey PRIMARY KEY (id);


--
-- Name: invites invites_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.invites
    ADD CONSTRAINT invites_pkey PRIMARY KEY (id);


--
-- Name: members members_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (account_id, user_id);


--
-- Name: pipes pipes_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.pipes
    ADD CONSTRAINT pipes_pkey PRIMARY KEY (id);


--
-- Name: sessions sessions_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);


--
-- Name: sign_in_links sign_in_links_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.sign_in_links
    ADD CONSTRAINT sign_in_links_pkey PRIMARY KEY (id);


--
-- Name: sources sources_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (id);


--
-- Name: unique_claims unique_claims_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.unique_claims
    ADD CONSTRAINT unique_claims_pkey PRIMARY KEY (key, kind);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: view; Owner: tenure_owner
--

ALTER TABLE ONLY view.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: attempt_since; Type: INDEX; Schema: coarse; Owner: tenure_owner
--

CREATE INDEX attempt_since ON coarse.attempt USING btree (since);


--
-- Name: device_origin_expires_at; Type: INDEX; Schema: coarse; Owner: tenure_owner
--

CREATE INDEX device_origin_expires_at ON coarse.device_origin USING btree (expires_at);


--
-- Name: device_origin_network; Type: INDEX; Schema: coarse; Owner: tenure_owner
--

CREATE INDEX device_origin_network ON coarse.device_origin USING btree (network);


--
-- Name: used_once_expires_at; Type: INDEX; Schema: coarse; Owner: tenure_owner
--

CREATE INDEX used_once_expires_at ON coarse.used_once USING btree (expires_at);


--
-- Name: event_account_position; Type: INDEX; Schema: log; Owner: tenure_owner
--

CREATE INDEX event_account_position ON log.event USING btree (account_id, "position") WHERE (account_id IS NOT NULL);


--
-- Name: idempotency_recorded_at; Type: INDEX; Schema: log; Owner: tenure_owner
--

CREATE INDEX idempotency_recorded_at ON log.idempotency USING btree (recorded_at);


--
-- Name: accounts_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX accounts_1 ON view.accounts USING btree (owner_user_id);


--
-- Name: api_keys_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX api_keys_1 ON view.api_keys USING btree (account_id);


--
-- Name: api_keys_2; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX api_keys_2 ON view.api_keys USING btree (key_prefix);


--
-- Name: api_keys_3; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX api_keys_3 ON view.api_keys USING btree (former_prefix) WHERE (former_prefix IS NOT NULL);


--
-- Name: bearer_tokens_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX bearer_tokens_1 ON view.bearer_tokens USING btree (digest);


--
-- Name: bearer_tokens_2; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX bearer_tokens_2 ON view.bearer_tokens USING btree (user_id);


--
-- Name: device_codes_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX device_codes_1 ON view.device_codes USING btree (digest);


--
-- Name: invites_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX invites_1 ON view.invites USING btree (account_id);


--
-- Name: invites_2; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX invites_2 ON view.invites USING btree (invitee_user_id);


--
-- Name: invites_3; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX invites_3 ON view.invites USING btree (lower(invitee_username)) WHERE (invitee_user_id IS NULL);


--
-- Name: members_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX members_1 ON view.members USING btree (user_id);


--
-- Name: pipes_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX pipes_1 ON view.pipes USING btree (source_id, name);


--
-- Name: sessions_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX sessions_1 ON view.sessions USING btree (digest);


--
-- Name: sessions_2; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX sessions_2 ON view.sessions USING btree (user_id);


--
-- Name: sign_in_links_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX sign_in_links_1 ON view.sign_in_links USING btree (digest);


--
-- Name: sources_1; Type: INDEX; Schema: view; Owner: tenure_owner
--

CREATE INDEX sources_1 ON view.sources USING btree (account_id, handle);


--
-- Name: event refuse_change; Type: TRIGGER; Schema: log; Owner: tenure_owner
--

CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE OR TRUNCATE ON log.event FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();


--
-- Name: SCHEMA coarse; Type: ACL; Schema: -; Owner: tenure_owner
--

GRANT USAGE ON SCHEMA coarse TO tenure_app;


--
-- Name: SCHEMA log; Type: ACL; Schema: -; Owner: tenure_owner
--

GRANT USAGE ON SCHEMA log TO tenure_app;


--
-- Name: SCHEMA view; Type: ACL; Schema: -; Owner: tenure_owner
--

GRANT USAGE ON SCHEMA view TO tenure_app;


--
-- Name: FUNCTION admit_device_code(id uuid, network text, address text, at timestamp with time zone, expires_at timestamp with time zone, per_network bigint, in_all bigint); Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT ALL ON FUNCTION coarse.admit_device_code(id uuid, network text, address text, at timestamp with time zone, expires_at timestamp with time zone, per_network bigint, in_all bigint) TO tenure_app;


--
-- Name: FUNCTION attempt(buckets text[], mosts bigint[], at timestamp with time zone, within interval); Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT ALL ON FUNCTION coarse.attempt(buckets text[], mosts bigint[], at timestamp with time zone, within interval) TO tenure_app;


--
-- Name: TABLE data_key; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE ON TABLE log.data_key TO tenure_app;


--
-- Name: TABLE event; Type: ACL; Schema: log; Owner: tenure_owner
--

REVOKE ALL ON TABLE log.event FROM tenure_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER ON TABLE log.event TO tenure_owner;
GRANT SELECT,INSERT ON TABLE log.event TO tenure_app;


--
-- Name: TABLE accounts; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.accounts TO tenure_app;


--
-- Name: TABLE api_keys; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.api_keys TO tenure_app;


--
-- Name: TABLE bearer_tokens; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.bearer_tokens TO tenure_app;


--
-- Name: TABLE device_codes; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.device_codes TO tenure_app;


--
-- Name: TABLE invites; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.invites TO tenure_app;


--
-- Name: TABLE members; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.members TO tenure_app;


--
-- Name: TABLE pipes; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.pipes TO tenure_app;


--
-- Name: TABLE sessions; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.sessions TO tenure_app;


--
-- Name: TABLE sign_in_links; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.sign_in_links TO tenure_app;


--
-- Name: TABLE sources; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.sources TO tenure_app;


--
-- Name: TABLE unique_claims; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.unique_claims TO tenure_app;


--
-- Name: TABLE users; Type: ACL; Schema: view; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE view.users TO tenure_app;


--
-- Name: TABLE attempt; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.attempt TO tenure_app;


--
-- Name: TABLE device_origin; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.device_origin TO tenure_app;


--
-- Name: TABLE last_broadcast; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.last_broadcast TO tenure_app;


--
-- Name: TABLE last_poll; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.last_poll TO tenure_app;


--
-- Name: TABLE last_used; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.last_used TO tenure_app;


--
-- Name: TABLE served_at; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.served_at TO tenure_app;


--
-- Name: TABLE used_once; Type: ACL; Schema: coarse; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE coarse.used_once TO tenure_app;


--
-- Name: TABLE events; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT ON TABLE log.events TO tenure_app;


--
-- Name: TABLE guard; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT,INSERT,UPDATE ON TABLE log.guard TO tenure_app;


--
-- Name: TABLE head; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT ON TABLE log.head TO tenure_app;


--
-- Name: COLUMN head.fence; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT UPDATE(fence) ON TABLE log.head TO tenure_app;


--
-- Name: TABLE idempotency; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT,INSERT,DELETE ON TABLE log.idempotency TO tenure_app;


--
-- Name: TABLE key_ring; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT ON TABLE log.key_ring TO tenure_app;


--
-- Name: TABLE schema_history; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT ON TABLE log.schema_history TO tenure_app;


--
-- Name: TABLE snapshot; Type: ACL; Schema: log; Owner: tenure_owner
--

GRANT SELECT,INSERT,UPDATE ON TABLE log.snapshot TO tenure_app;


--
-- PostgreSQL database dump complete
--


