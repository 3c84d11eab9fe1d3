//! Turns a sealed field of an event into the value of a column.

use crate::event_log::rows::Value;
use crate::sealing::Sealed;

/// The value of an open field, or [`Value::Unreadable`].
pub(super) fn sealed<'a, T, V: Into<Value>>(field: &'a Sealed<T>, value: impl FnOnce(&'a T) -> V) -> Value {
    match field {
        Sealed::Open(open) => value(open).into(),
        Sealed::Unreadable => Value::Unreadable,
    }
}
