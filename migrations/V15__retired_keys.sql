-- As before, but reads the key ring once for each statement instead of once for each row.
create or replace function log.refuse_retired_key() returns trigger language plpgsql as
$$
begin
    if exists (select from added a
               where a.key_id <> all (array(select k.key_id from log.key_ring k where k.state <> 'retired'))) then
        raise exception using
            errcode = 'TN007',
            message = 'a data key is wrapped with a master key that is no longer used';
    end if;
    return null;
end
$$;
