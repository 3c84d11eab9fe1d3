-- Invites of version 1 sealed the invited name under a key of their own. The first start after this migration seals it
-- again under the key of the person or of the name.

alter table log.head add column invites_resealed boolean not null default false;
comment on column log.head.invites_resealed is
    'Whether the names in invites of version 1 have been sealed again under the keys of their people.';
