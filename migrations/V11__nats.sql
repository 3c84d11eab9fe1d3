-- NATS: the operator's keys, and what is known of the accounts and users that were made there.

alter table log.key_ring add column nats_keys bytea;
comment on column log.key_ring.nats_keys is
    'The signing keys of the NATS operator and of its system account, wrapped by the master key; null before they are made.';

create table coarse.nats_account (
    account_id     uuid   primary key,
    public_key     text   collate "C" not null,
    signing_key    text   collate "C" not null,
    epoch          bigint not null,
    revision       bigint not null default 1,
    pushed         bigint not null default 0,
    revoked_before bigint not null,
    changed_at     timestamptz not null default clock_timestamp(),
    failure        text,
    retired_at     timestamptz
) with (fillfactor = 50);
create unique index nats_account_public_key on coarse.nats_account (public_key);
create index nats_account_unpushed on coarse.nats_account (account_id) where pushed < revision and retired_at is null;
create index nats_account_in_use on coarse.nats_account (account_id) where retired_at is null;
create index nats_account_changed_at on coarse.nats_account (changed_at) where retired_at is null;
create index nats_account_failure on coarse.nats_account (changed_at) where failure is not null and retired_at is null;
comment on column coarse.nats_account.epoch is
    'The epoch of the log in which its revocations are complete: in another one, all its users are revoked once.';
comment on column coarse.nats_account.revision is 'Counts what its token should say; the token carries it.';
comment on column coarse.nats_account.pushed is
    'The revision that the servers were last seen to have; 0 while they have none with its keys.';
comment on column coarse.nats_account.revoked_before is
    'Users whose tokens were issued at this second or before are revoked; seconds since the Unix epoch.';
comment on column coarse.nats_account.retired_at is
    'When the closed account was removed from the servers. The row stays: a server that was away may bring the account back.';

create table coarse.nats_lease (
    account_id uuid not null,
    part       text not null,
    holder     uuid not null,
    until      timestamptz not null,
    primary key (account_id, part)
) with (fillfactor = 50);
comment on table coarse.nats_lease is 'The node that changes the token or the streams of an account at NATS, until its lease ends.';

create table coarse.nats_user (
    public_key      text    collate "C" primary key,
    account_id      uuid    not null,
    user_id         uuid    not null,
    api_key_id      uuid,
    bearer_token_id uuid,
    position        bigint  not null,
    issued          bigint  not null,
    expires         bigint  not null,
    revoked         boolean not null default false
) with (fillfactor = 80);
create index nats_user_account on coarse.nats_user (account_id, expires) where not revoked;
create index nats_user_revoked on coarse.nats_user (account_id, issued) where revoked;
create index nats_user_user on coarse.nats_user (user_id, expires) where not revoked;
create index nats_user_bearer_token on coarse.nats_user (bearer_token_id) where bearer_token_id is not null;
create index nats_user_expires on coarse.nats_user (expires);
comment on table coarse.nats_user is
    'The NATS users that were issued and have not expired: stored before the credential is checked, so that whoever ends it finds them.';
create index nats_user_api_key on coarse.nats_user (api_key_id) where api_key_id is not null;
comment on column coarse.nats_user.position is
    'The newest position of the log when it was stored: a membership that began later is not the one that it was issued for.';
comment on column coarse.nats_user.issued is 'Seconds since the Unix epoch, as in its token.';

create table coarse.nats_stream (
    account_id uuid not null,
    name       text collate "C" not null,
    reason     text not null,
    failed_at  timestamptz not null default clock_timestamp(),
    primary key (account_id, name)
);
create index nats_stream_failed_at on coarse.nats_stream (failed_at);
comment on table coarse.nats_stream is 'Streams that could not be made, changed or deleted, and why; tried again until they are.';

create table coarse.nats_reconciler (
    only_row boolean primary key default true check (only_row),
    node     uuid        not null,
    until    timestamptz not null
);
comment on table coarse.nats_reconciler is 'The node that keeps NATS in step with the log, until its lease ends.';

create table coarse.nats_private (
    only_row  boolean primary key default true check (only_row),
    directory uuid        not null,
    url       text        not null,
    seen_at   timestamptz not null
);
comment on table coarse.nats_private is
    'The private NATS of this database: nodes with other data directories use it, and start none of their own.';
