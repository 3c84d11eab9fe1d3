-- The planner's statistics keep values of a column long after their rows are gone: none of keys that have been destroyed, of what is
-- deleted after a while, and of what handlers write, which can name somebody. A start removes those that exist.
alter table log.data_key alter column wrapped set statistics 0;
alter table log.key_ring alter column lookup_key set statistics 0, alter column nats_keys set statistics 0;
alter table log.subscription_slice alter column failure set statistics 0;
alter table log.parked_stream alter column failure set statistics 0;
alter table coarse.device_origin alter column network set statistics 0, alter column address set statistics 0;
alter table coarse.attempt alter column bucket set statistics 0;
alter table coarse.last_broadcast alter column payload set statistics 0;

-- A node whose connection outlives it is no node that cannot be asked to stop.
alter table log.node add column listens_as text collate "C" not null default 'tenure follower';
comment on column log.node.listens_as is 'The application name of the connection on which the node listens.';

-- As before, and: never trusts an OID of another database, looks at schemas that are still being made, too, and ends in time.
create or replace function log.sweep_as_of_schemas() returns table (schema_name text, reason text) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms' as
$$
#variable_conflict use_column
declare
    made    record;
    why     text;
    called  name;
    problem text;
    people  uuid[];
    closed  uuid[];
    holds   boolean;
    up_to   bigint;
    since   timestamptz;
    because text;
    head    bigint  := (select coalesce((select position from log.event order by position desc limit 1), 0));
    present bigint  := (select epoch from log.head);
    -- The lock that the making of such a schema holds; "tenureao" in ASCII.
    is_idle boolean := pg_try_advisory_xact_lock(8387231331756892527);
begin
    delete from log.as_of_schema where ended_at < clock_timestamp() - interval '30 days';
    for made in select * from log.as_of_schema where ended_at is null order by name for update skip locked loop
        why := made.ends_because;
        -- In a restored database it has another OID, and its former one can be that of anything.
        select n.nspname into called from pg_namespace n
        where (n.oid = made.schema_oid
               and (made.epoch = present
                    or n.nspowner = current_user::regrole
                       and exists (select from pg_class c where c.relnamespace = n.oid and c.relname = 'as_of'))
               or made.epoch <> present and n.nspname = made.name and n.nspowner = current_user::regrole)
          and n.nspname <> all ('{log,view,coarse,public,information_schema}') and n.nspname !~ '^pg_'
        order by n.oid = made.schema_oid desc limit 1;
        if not found then
            called := null;
        end if;
        if called is null then
            update log.as_of_schema set ended_at = clock_timestamp(), ends_because = coalesce(why, 'dropped by hand')
            where name = made.name;
            continue;
        end if;
        if why is null and made.epoch <> present then
            why := 'the log has a new epoch';
        elsif why is null and made.is_ready and made.expires_at <= clock_timestamp() then
            why := 'expired';
        elsif why is null and not made.is_ready and is_idle then
            why := 'never finished';
        elsif why is null and made.checked < head then
            -- In steps, so that each call ends in time. One that is still being made has to be looked at whole, again and again.
            up_to := case when made.is_ready then least(head, made.checked + 500000) else head end;
            because := 'what is in it was forgotten';
            select coalesce(array_agg(stream_id::uuid) filter (where event_type = 'user.forgotten'), '{}'),
                   coalesce(array_agg(stream_id::uuid) filter (where event_type = 'account.closed'), '{}'),
                   min(recorded_at)
            into people, closed, since
            from log.event
            where position > made.checked and position <= up_to
              and (stream_type, event_type) in (('user', 'user.forgotten'), ('account', 'account.closed'));
            holds := false;
            if cardinality(people) + cardinality(closed) > 0 then
                begin
                    execute format(
                        'select exists (select from %1$I.users where id = any ($1) and forgotten_at is null)
                             or exists (select from %1$I.accounts where id = any ($2))
                             or exists (select from %1$I.invites i
                                        where i.invitee_username is not null
                                          and (i.invitee_user_id = any ($1)
                                               or i.name_key is not null
                                                  and not exists (select from log.data_key k
                                                                  where k.subject = ''name:'' || i.name_key)))',
                        called
                    ) into holds using people, closed;
                exception
                    -- Somebody is changing its tables: looked at again.
                    when lock_not_available or deadlock_detected then continue;
                    -- Too large to be searched in time: it goes, unless somebody with more time has searched it soon.
                    when query_canceled then
                        if not made.is_ready or since > clock_timestamp() - interval '30 seconds' then
                            continue;
                        end if;
                        because := 'it could not be searched for what was forgotten';
                        holds := true;
                    -- Somebody has changed its tables: what they hold cannot be told.
                    when others then holds := true;
                end;
            end if;
            if holds then
                why := because;
            -- One that is still being made can get it yet: it is looked at again.
            elsif made.is_ready then
                update log.as_of_schema set checked = up_to where name = made.name;
            end if;
        end if;
        if why is not null then
            begin
                execute format('drop schema %I cascade', called);
                update log.as_of_schema set ended_at = clock_timestamp(), ends_because = why where name = made.name;
            exception
                -- Somebody still reads it, or has made it undroppable: the others go all the same.
                when query_canceled or others then
                    problem := sqlerrm;
                    update log.as_of_schema set ends_because = why where name = made.name;
                    return query select made.name::text, why || ' (' || problem || ')';
            end;
        end if;
    end loop;
end
$$;
