-- Names that could be taken for identifiers, or for words that mean something, are given up once, by the release that
-- no longer allows them.

alter table log.head add column names_checked boolean not null default false;
comment on column log.head.names_checked is
    'Whether people and accounts whose names could be taken for something else have been renamed.';
