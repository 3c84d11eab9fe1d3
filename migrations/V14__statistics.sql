-- The planner's statistics keep values of a column long after their rows are gone: none of keys that have been destroyed, nor of what
-- is deleted after a while. The same type again removes those that exist, and rewrites nothing.

alter table log.data_key
    alter column wrapped type bytea,
    alter column wrapped set statistics 0;
alter table log.key_ring
    alter column lookup_key type bytea,
    alter column lookup_key set statistics 0,
    alter column nats_keys type bytea,
    alter column nats_keys set statistics 0;
alter table coarse.device_origin
    alter column network type text,
    alter column network set statistics 0,
    alter column address type text,
    alter column address set statistics 0;
alter table coarse.attempt
    alter column bucket type text,
    alter column bucket set statistics 0;
alter table coarse.last_broadcast
    alter column payload type text,
    alter column payload set statistics 0;
-- What handlers and operators write can name somebody.
alter table log.subscription_slice
    alter column failure type text,
    alter column failure set statistics 0;
alter table log.parked_stream
    alter column failure type text,
    alter column failure set statistics 0;
