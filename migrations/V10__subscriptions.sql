-- Durable subscriptions: who follows the log, how far it has come, and which streams wait because an event fails.

create table log.subscription (
    name       text    collate "C" primary key,
    format     int     not null default 1,
    version    int     not null,
    definition text    collate "C" not null,
    slices     int     not null,
    epoch      bigint  not null,
    handled    jsonb   not null default '[]',
    changes    bigint  not null default 0,
    paused_at  timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    version_at timestamptz not null default clock_timestamp()
);
comment on column log.subscription.format is
    'How these tables are to be read. A release refuses a subscription whose format it does not know.';
comment on column log.subscription.definition is
    'The filter and the number of slices; they may change only together with the version.';
comment on column log.subscription.epoch is 'The epoch of its positions.';
comment on column log.subscription.handled is
    'The checkpoints of earlier versions, an array a version: an event is handled if its position is not beyond the element for its slice of as many.';
comment on column log.subscription.changes is 'Counts the acts of operators, so that its subscribers notice them.';

-- A slice belongs to one holder at a time. Every change that a holder makes compares the lease's epoch, so that one whose
-- lease has been taken over changes nothing.
create table log.subscription_slice (
    subscription text   collate "C" not null references log.subscription on delete cascade,
    slice        int    not null,
    position     bigint not null,
    event_id     uuid   not null,
    in_doubt     boolean not null default false,
    deliveries   int    not null default 0,
    failure      text,
    lease_epoch  bigint not null default 0,
    holder       uuid,
    expires_at   timestamptz,
    primary key (subscription, slice)
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on column log.subscription_slice.in_doubt is
    'Deliveries after the position may be under way. If the holder dies, the events are handed out one at a time.';
comment on column log.subscription_slice.deliveries is
    'How often the event after the position was handed out alone; stored before its handler is called.';
comment on column log.subscription_slice.failure is 'Why the event after the position is not handled yet.';

-- The processes that take part in a subscription, so that each takes its share of the slices.
create table log.subscriber (
    subscription text collate "C" not null references log.subscription on delete cascade,
    id           uuid not null,
    expires_at   timestamptz not null,
    primary key (subscription, id)
) with (fillfactor = 50);

-- Streams whose events wait: one could not be handled, and those after it must not overtake it.
create table log.parked_stream (
    subscription text   collate "C" not null references log.subscription on delete cascade,
    stream_type  text   collate "C" not null,
    stream_id    text   collate "C" not null,
    stream_hash  bigint not null,
    slice        int    not null,
    after        bigint not null,
    deliveries   int    not null default 0,
    failure      text   not null,
    parked_at    timestamptz not null default clock_timestamp(),
    released_at  timestamptz,
    primary key (subscription, stream_type, stream_id)
);
create index parked_stream_slice on log.parked_stream (subscription, slice, stream_type, stream_id);
comment on column log.parked_stream.stream_hash is 'The slice is this modulo the number of slices.';
comment on column log.parked_stream.after is 'The events of the stream after this position wait.';
comment on column log.parked_stream.released_at is 'When an operator unparked the stream; its events are then handled in order.';

create table log.subscription_act (
    number       bigint generated always as identity primary key,
    subscription text   collate "C" not null,
    act          text   collate "C" not null,
    actor        text   not null,
    reason       text   not null,
    stream       text   collate "C",
    position     bigint,
    acted_at     timestamptz not null default clock_timestamp()
);
create index subscription_act_subscription on log.subscription_act (subscription, number);
comment on table log.subscription_act is 'What operators did to subscriptions, and why.';
create trigger refuse_change
    before update or delete or truncate on log.subscription_act
    for each statement execute function log.refuse_change();

-- The identifier of the event at a position; nil before the first.
create function log.event_id_at(wanted bigint) returns uuid language sql stable as
$$
    select coalesce((select event_id from log.event where position = wanted), '00000000-0000-0000-0000-000000000000')
$$;

-- Registers a version of a subscription. A version that is new takes the place of its predecessor: the leases of the
-- predecessor end, and the events that it has handled are not handled again, unless the whole log is wanted.
--
-- Returns what was found or done: new, same, upgraded; or refused: superseded, changed, epoch, format.
create function log.register_subscription(
    wanted text, wanted_version int, wanted_definition text, wanted_slices int, start bigint, wants_all boolean,
    out outcome text, out found_version int, out found_definition text
) language plpgsql as
$$
declare
    found_row log.subscription;
    of_log    bigint;
    base      bigint;
    lease     bigint;
    splits    jsonb;
begin
    select h.epoch into of_log from log.head h;
    insert into log.subscription (name, version, definition, slices, epoch)
    values (wanted, wanted_version, wanted_definition, wanted_slices, of_log)
    on conflict (name) do nothing;
    if found then
        insert into log.subscription_slice (subscription, slice, position, event_id)
        select wanted, s, start, log.event_id_at(start) from generate_series(0, wanted_slices - 1) s;
        outcome := 'new';
        return;
    end if;
    -- Not `for update`: a foreign key that refers to the row must not wait for this, while this waits for a slice.
    select * into found_row from log.subscription s where s.name = wanted for no key update;
    found_version := found_row.version;
    found_definition := found_row.definition;
    outcome := case
        when found_row.format > 1 then 'format'
        when found_row.version > wanted_version then 'superseded'
        when found_row.version = wanted_version and found_row.definition <> wanted_definition then 'changed'
        when found_row.version = wanted_version then 'same'
        when found_row.epoch <> of_log and not wants_all then 'epoch'
        else 'upgraded'
    end;
    if outcome <> 'upgraded' then
        return;
    end if;
    -- What holders are about to store is stored, or refused, before the positions are read.
    perform from log.subscription_slice s where s.subscription = wanted order by s.slice for update;
    select min(s.position), max(s.lease_epoch) + 1, jsonb_build_array(jsonb_agg(s.position order by s.slice))
    into base, lease, splits
    from log.subscription_slice s where s.subscription = wanted;
    splits := found_row.handled || splits;
    if wants_all then
        base := 0;
        splits := '[]';
        delete from log.parked_stream p where p.subscription = wanted;
    end if;
    update log.parked_stream p set slice = p.stream_hash % wanted_slices where p.subscription = wanted;
    delete from log.subscription_slice s where s.subscription = wanted;
    insert into log.subscription_slice (subscription, slice, position, event_id, lease_epoch)
    select wanted, s, base, log.event_id_at(base), lease from generate_series(0, wanted_slices - 1) s;
    update log.subscription s
    set version = wanted_version, definition = wanted_definition, slices = wanted_slices, handled = splits,
        epoch = of_log, changes = changes + 1, version_at = clock_timestamp()
    where s.name = wanted;
end
$$;

-- Takes a subscription back to a position: the events after it are handled again. Returns how many slices were beyond it;
-- null if there is no such subscription. The present holders lose their leases, so that none of them stores a later position.
create function log.rewind_subscription(wanted text, target bigint, who text, why text)
    returns bigint language plpgsql as
$$
declare
    moved bigint;
begin
    perform from log.subscription s where s.name = wanted for no key update;
    if not found then
        return null;
    end if;
    perform from log.subscription_slice s where s.subscription = wanted order by s.slice for update;
    select count(*) into moved from log.subscription_slice s where s.subscription = wanted and s.position > target;
    -- All of them, also those that are not beyond the target: what their holders remember of earlier versions is wrong now.
    update log.subscription_slice s
    set position = least(s.position, target),
        event_id = case when s.position > target then log.event_id_at(target) else s.event_id end,
        in_doubt = false, deliveries = 0, failure = null,
        lease_epoch = lease_epoch + 1, holder = null, expires_at = null
    where s.subscription = wanted;
    -- Their events are handled again with all others.
    delete from log.parked_stream p where p.subscription = wanted and p.after >= target;
    update log.subscription s
    set epoch = (select epoch from log.head), changes = changes + 1,
        handled = coalesce((select jsonb_agg((select jsonb_agg(least(p.value::bigint, target) order by p.ordinality)
                                              from jsonb_array_elements_text(v.value) with ordinality p)
                                             order by v.ordinality)
                            from jsonb_array_elements(s.handled) with ordinality v), '[]')
    where s.name = wanted;
    insert into log.subscription_act (subscription, act, actor, reason, position)
    values (wanted, 'rewind', who, why, target);
    return moved;
end
$$;
