-- The next release appends by a function of another name. That of this release stays for nodes that still run.
do $$ begin
    execute replace(
        (select pg_get_functiondef(oid) from pg_proc where pronamespace = 'log'::regnamespace and proname = 'append'
           and pronargs = 19),
        'FUNCTION log.append(', 'FUNCTION log.append_next('
    );
end $$;
