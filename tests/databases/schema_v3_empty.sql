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
\.


--
-- Data for Name: served_at; Type: TABLE DATA; Schema: coarse; Owner: tenure_owner
--

COPY coarse.served_at (only_row, public_url, at) FROM stdin;
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
user:00000000-0000-0000-0000-000000000001	mk-8245ac415da9f9cd	\\xd1cfd04150163cb9baf4b6b2f379080ae011fd1ead985b133d2e14f87e9b6814d5c6422c58c692c3f5a153b52cdbefac148c624cfdd770cb9e782454351aaaa917f17d7d61f15595
\.


--
-- Data for Name: event; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.event ("position", event_id, stream_type, stream_id, version, event_type, event_version, account_id, recorded_at, payload, metadata, sealed) FROM stdin;
1	00000000-0000-0000-0000-000000000001	user	00000000-0000-0000-0000-000000000001	1	user.registered	1	\N	2026-11-26 01:53:30.579679+00	\\x7b2272656769737465726564223a7b226d6f6465223a22696e7465726e616c222c226174223a22323032362d31312d32365430313a35333a33302e3532363531395a227d7d	\\x7b226163746f72223a2273797374656d227d	\\x010208757365726e616d65047573657200000000000000000000000000000001b05a0942db01563dc92bca501b0f43673e12e8a42bff237700000021279a4b6d8b0cabb6293b4e353f609cefaa15f611c083554ecf2bc637054d1bd4a305656d61696c047573657200000000000000000000000000000001d8df0306270568bd8fdfb182b22084c8567204da4005612c00000027a2a75132b95da1e7ca5604d4b5956da1e2eeb778165ebff4cc3f59439a4216f24a1910096713c7
\.


--
-- Data for Name: guard; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.guard (name, version) FROM stdin;
\.


--
-- Data for Name: head; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.head (only_row, log_id, epoch, fence, projection_set) FROM stdin;
t	01a2158e-cdb4-7aa3-8e51-9c2d0c69440c	1	1	users:1,accounts:1,members:1,invites:1,api_keys:1,device_codes:1,bearer_tokens:1,sessions:1,sign_in_links:1,sources:1,pipes:1,unique_claims:1
\.


--
-- Data for Name: idempotency; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.idempotency (request, body, answer, "position", recorded_at) FROM stdin;
\.


--
-- Data for Name: key_ring; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.key_ring (key_id, check_value, lookup_key) FROM stdin;
mk-8245ac415da9f9cd	\\x9e44c24d4a9bd79ba3e8f0454461803fdaf69b28b275b95a958c8c6f927b4ff20c5ef1cbe21f85352cb2f6f65f9ecde2123bb940a894ff9b2336264874	\\x5e7d2419a85443d2f0dcfaef6c448cd7769b120859f33a002388327e345e437c3e328d6d1fc9b9b6c246cee9a8149e07bfb0943772126de259f2a7c5d515555d5ea8ca26624aae25
\.


--
-- Data for Name: schema_history; Type: TABLE DATA; Schema: log; Owner: tenure_owner
--

COPY log.schema_history (version, name, applied_on, checksum) FROM stdin;
1	log	2026-11-26T01:53:30.180103912Z	4096293090845512390
2	append	2026-11-26T01:53:30.232266512Z	12650513155714046582
3	coarse	2026-11-26T01:53:30.238309215Z	7298257056871354333
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
\.


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.api_keys (id, account_id, created_by_user_id, key_hash, key_prefix, label, created_at, expires_at, revoked_at, former_hash, former_prefix, former_until, "position") FROM stdin;
\.


--
-- Data for Name: bearer_tokens; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.bearer_tokens (id, user_id, digest, prefix, created_at, expires_at, revoked_at, "position") FROM stdin;
\.


--
-- Data for Name: device_codes; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.device_codes (id, digest, user_code, client_name, user_id, created_at, expires_at, verified_at, denied_at, consumed_at, "position") FROM stdin;
\.


--
-- Data for Name: invites; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.invites (id, account_id, invitee_username, invitee_user_id, inviter_user_id, mode, status, created_at, decided_at, expires_at, "position") FROM stdin;
\.


--
-- Data for Name: members; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.members (account_id, user_id, added_at, "position") FROM stdin;
\.


--
-- Data for Name: pipes; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.pipes (id, source_id, created_by_user_id, name, ttl_seconds, max_msgs, max_bytes, created_at, "position") FROM stdin;
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
\.


--
-- Data for Name: sources; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.sources (id, account_id, created_by_user_id, handle, kind, created_at, "position") FROM stdin;
\.


--
-- Data for Name: unique_claims; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.unique_claims (key, kind, holder, free_after, "position") FROM stdin;
\\x431373f2c00e1b30a5674bdbb244235b6cab57d1e63ac2c7824fb1336f450233	username	00000000-0000-0000-0000-000000000001	\N	1
\.


--
-- Data for Name: users; Type: TABLE DATA; Schema: view; Owner: tenure_owner
--

COPY view.users (id, username, email, mode, github_id, github_login, avatar_url, operator, created_at, forgotten_at, "position") FROM stdin;
00000000-0000-0000-0000-000000000001	unauthenticated	unauthenticated@local	internal	\N	\N	\N	f	2026-11-26 01:53:30.526519+00	\N	1
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


