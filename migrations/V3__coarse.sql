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

create table log.idempotency (
    request     bytea       primary key,
    body        bytea       not null,
    answer      bytea       not null,
    position    bigint      not null,
    recorded_at timestamptz not null
);
create index idempotency_recorded_at on log.idempotency (recorded_at);
comment on table log.idempotency is 'Requests with an idempotency key that were carried out, good for a day: HMACs of the request and of its body, and identifiers as the answer.';
