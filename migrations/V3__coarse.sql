-- What is written often and means little: no events, never rebuilt, keyed by the identifier of what it is about.

create schema coarse;

create table coarse.last_used (
    id uuid        primary key,
    at timestamptz not null
) with (fillfactor = 80);
comment on table coarse.last_used is 'When an API key or a bearer token was last good for something; at most one write a minute.';

create table coarse.last_broadcast (
    source_id uuid        primary key,
    at        timestamptz not null,
    payload   text        not null
) with (fillfactor = 80);

create table coarse.last_poll (
    device_code_id uuid        primary key,
    at             timestamptz not null
) with (fillfactor = 80);
comment on table coarse.last_poll is 'The last poll of a device that came in time; one that came too soon moves nothing.';

create table coarse.device_origin (
    device_code_id uuid        primary key,
    network        text        not null,
    address        text        not null,
    expires_at     timestamptz not null
);
create index device_origin_network on coarse.device_origin (network);
create index device_origin_expires_at on coarse.device_origin (expires_at);
comment on table coarse.device_origin is 'From where a living device code was asked for: shown to who approves it, and counted, so that strangers cannot flood the log.';

-- Makes room for a device code, or names the bound that is reached: `network` or `all`. One at a time, so that the
-- bounds hold however many ask at once.
create function coarse.admit_device_code(
    id uuid, network text, address text, at timestamptz, expires_at timestamptz, per_network bigint, in_all bigint
) returns text language plpgsql as $$
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
end $$;

create table coarse.served_at (
    only_row   boolean     primary key default true check (only_row),
    public_url text        not null,
    at         timestamptz not null
);
comment on table coarse.served_at is 'Where people reach the node that was started last: for links that are made beside it.';

create table coarse.attempt (
    bucket text        primary key,
    since  timestamptz not null,
    count  bigint      not null
) with (fillfactor = 80);
create index attempt_since on coarse.attempt (since);
comment on table coarse.attempt is 'How often something that must not be guessed was tried within a window of time, by who or where.';

-- Counts a try in each bucket; false, and nothing counted, if one of them is full within the window. The buckets are
-- locked in the order in which they are given: from the narrow ones to those of all, by everybody alike.
create function coarse.attempt(buckets text[], mosts bigint[], at timestamptz, within interval)
returns boolean language plpgsql as $$
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
end $$;

create table coarse.used_once (
    digest     bytea       primary key,
    expires_at timestamptz not null
);
create index used_once_expires_at on coarse.used_once (expires_at);
comment on table coarse.used_once is 'States of sign-ins that have come back: none comes twice.';

create table log.idempotency (
    request     bytea       primary key,
    body        bytea       not null,
    answer      bytea       not null,
    position    bigint      not null,
    recorded_at timestamptz not null
);
create index idempotency_recorded_at on log.idempotency (recorded_at);
comment on table log.idempotency is 'Requests with an idempotency key that were carried out, good for a day: HMACs of the request and of its body, and identifiers as the answer.';
