-- The relay: who publishes the events of the log to JetStream, from where, and who may read them there.

create table coarse.nats_relay (
    only_row       boolean primary key default true check (only_row),
    node           uuid,
    until          timestamptz,
    epoch          bigint,
    first_position bigint,
    is_made        boolean not null default false,
    relayed        bigint  not null default 0,
    told           bigint,
    consumers      text,
    refusal        text,
    failure        text,
    repairs        bigint  not null default 0,
    repaired_from  bigint,
    repaired_to    bigint,
    repaired_at    timestamptz,
    remade_at      timestamptz,
    users_epoch    bigint,
    revoked_before bigint  not null default 0
) with (fillfactor = 50);
comment on table coarse.nats_relay is
    'The node that relays the log to JetStream, until its lease ends, and what is known of the stream.';
comment on column coarse.nats_relay.epoch is 'The epoch of the log whose stream this is: each epoch has a stream of its own.';
comment on column coarse.nats_relay.first_position is 'The first position that the stream carries.';
comment on column coarse.nats_relay.is_made is
    'Whether the stream was made: if it is gone later, events were lost, and the relay waits until it is told from where to go on.';
comment on column coarse.nats_relay.relayed is 'The newest position that was seen in the stream. The stream itself is what counts.';
comment on column coarse.nats_relay.told is 'From which position on an operator wants a stream, if the present one cannot go on.';
comment on column coarse.nats_relay.consumers is
    'The durable consumers that a stream which is being made anew gets back, with their places, as JSON.';
comment on column coarse.nats_relay.refusal is 'Why the relay has stopped until it is told from where to go on.';
comment on column coarse.nats_relay.failure is 'Why the relay does not get on at the moment; it tries again.';
comment on column coarse.nats_relay.repairs is 'How often JetStream had lost events that were published again.';
comment on column coarse.nats_relay.users_epoch is
    'The epoch of the log in which it is known which credentials were revoked: in another one, all are revoked once.';
comment on column coarse.nats_relay.revoked_before is
    'Credentials that were issued at this second or before are revoked; seconds since the Unix epoch.';
comment on column coarse.nats_relay.remade_at is 'When the stream was last made anew because events within it were lost.';

create table coarse.nats_relay_user (
    public_key text   collate "C" primary key,
    name       text   not null,
    may_manage boolean not null,
    issued     bigint not null,
    expires    bigint not null,
    issued_by  text   not null,
    revoked_at timestamptz,
    revoked_by text
);
create index nats_relay_user_issued on coarse.nats_relay_user (issued, public_key);
create index nats_relay_user_revoked on coarse.nats_relay_user (expires) where revoked_at is not null;
comment on table coarse.nats_relay_user is
    'Who was given a credential for the events at NATS. Rows are kept, so that it stays known who could read them.';
comment on column coarse.nats_relay_user.issued is 'Seconds since the Unix epoch, as in its token.';
