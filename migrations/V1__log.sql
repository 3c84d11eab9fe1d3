-- The log: the truth that everything else is made from.

create table log.head (
    only_row       boolean primary key default true check (only_row),
    log_id         uuid    not null,
    epoch          bigint  not null default 1,
    fence          bigint  not null default 1,
    projection_set text    collate "C" not null default ''
);
comment on table log.head is
    'Locked by every append and updated by none: the newest position is the newest event''s.';

create table log.event (
    position      bigint      primary key,
    event_id      uuid        not null,
    stream_type   text        collate "C" not null,
    stream_id     text        collate "C" not null,
    version       bigint      not null,
    event_type    text        collate "C" not null,
    event_version text        collate "C" not null,
    account_id    uuid,
    recorded_at   timestamptz not null,
    payload       bytea       not null,
    metadata      bytea       not null,
    sealed        bytea,
    constraint event_stream_version unique (stream_id, stream_type, version)
);
create index event_account_position on log.event (account_id, position) where account_id is not null;
alter table log.event
    alter column sealed set storage external,
    set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
         autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);

create table log.guard (
    name    text   collate "C" primary key,
    version bigint not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create table log.snapshot (
    stream_type   text   collate "C" not null,
    stream_id     text   collate "C" not null,
    version       bigint not null,
    state_version int    not null,
    payload       bytea  not null,
    sealed        bytea,
    primary key (stream_type, stream_id)
);

create table log.key_ring (
    key_id      text  collate "C" primary key,
    check_value bytea not null,
    lookup_key  bytea not null
);
comment on table log.key_ring is
    'Which master key wraps the data keys of this log, and the lookup key that it wraps; never the master key.';

create table log.data_key (
    subject text  collate "C" primary key,
    key_id  text  collate "C" not null,
    wrapped bytea not null
);
comment on column log.data_key.key_id is 'A key of log.key_ring; no foreign key, whose check would lock that one row for every new subject.';

create view log.events as
select stream_type                          as aggregate_type,
       stream_id                            as aggregate_id,
       version                              as sequence,
       event_type,
       event_version,
       convert_from(payload, 'UTF8')::json  as payload,
       convert_from(metadata, 'UTF8')::json as metadata
from log.event;
comment on view log.events is 'The history in the columns and types that postgres-es reads.';

create function log.refuse_change() returns trigger language plpgsql as
$$
begin
    raise exception using
        errcode = 'TN010',
        message = format('%s on %I.%I is refused: the event log only grows', tg_op, tg_table_schema, tg_table_name);
end
$$;

create trigger refuse_change
    before update or delete or truncate on log.event
    for each statement execute function log.refuse_change();
