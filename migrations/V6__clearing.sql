-- What endings leave behind is cleared away by one node at a time. Not fenced: two at once only decide again.

create table coarse.clearing (
    only_row boolean     primary key default true check (only_row),
    node     uuid        not null,
    until    timestamptz not null
);
comment on table coarse.clearing is 'Which node clears away what ended accounts, people and memberships have left behind, and until when it said so.';
