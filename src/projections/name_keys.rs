//! `view.name_keys`: the keys of what is said of names that nobody had, and who has taken the name since.

use uuid::Uuid;

use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::invite::{InviteEvent, InviteeKey};
use crate::aggregates::user::UserEvent;
use crate::event_log::rows::ColumnType::{Position, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};

/// The table.
pub static TABLE: Table = Table {
    name: "name_keys",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::optional("user_id", UuidType),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 80,
    indexes: &["(user_id) where user_id is not null"],
};

/// What an event does to the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    match event {
        AnyEvent::Invite(
            InviteEvent::Created { invitee_key: Some(InviteeKey::Name { id, begins: true }), .. }
            | InviteEvent::InviteeResealed { invitee_key: InviteeKey::Name { id, begins: true }, .. },
        ) => vec![RowChange::insert(&TABLE, vec![id.as_uuid().into(), Value::Null, Value::Position])],
        AnyEvent::User(UserEvent::InvitedNameTaken { key, .. }) => {
            vec![RowChange::patch(&TABLE, vec![key.as_uuid().into()], [("user_id", stream.into())])]
        }
        AnyEvent::Ending(EndingEvent::PersonRowsBlanked(rows)) => {
            rows.name_keys.iter().map(|key| RowChange::delete(&TABLE, vec![key.as_uuid().into()])).collect()
        }
        _ => Vec::new(),
    }
}
