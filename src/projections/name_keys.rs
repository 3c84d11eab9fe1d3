//! `view.name_keys`: the keys that seal invited names that no user had yet, and the users who have since taken them.

use uuid::Uuid;

use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::invite::{InviteEvent, InviteeKey};
use crate::aggregates::user::UserEvent;
use crate::event_log::rows::ColumnType::{Position, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};

/// The table definition. `user_id` is null until a user takes the name.
pub static TABLE: Table = Table {
    name: "name_keys",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::optional("user_id", UuidType).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 80,
    // The name keys of a forgotten user, to clear them.
    indexes: &["(user_id) where user_id is not null"],
};

/// The row of a key that an invite has begun.
pub(crate) fn begun(key: Uuid) -> RowChange {
    RowChange::insert(&TABLE, vec![key.into(), Value::Null, Value::Position])
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    match event {
        AnyEvent::Invite(
            InviteEvent::Created { invitee_key: Some(InviteeKey::Name { id, begins: true }), .. }
            | InviteEvent::InviteeResealed { invitee_key: InviteeKey::Name { id, begins: true }, .. },
        ) => vec![begun(id.as_uuid())],
        AnyEvent::User(UserEvent::InvitedNameTaken { key, .. }) => {
            vec![RowChange::patch(&TABLE, vec![key.as_uuid().into()], [("user_id", stream.into())])]
        }
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            rows.name_keys.iter().map(|key| RowChange::delete(&TABLE, vec![key.as_uuid().into()])).collect()
        }
        _ => Vec::new(),
    }
}
