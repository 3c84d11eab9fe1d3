//! What can be asked of an ending. What is left is found by whoever dispatches it.

use super::events::{AccountRows, Ended, PersonRows, RevokedKeys};

/// A command to an ending.
#[derive(Clone, Debug)]
pub enum EndingCommand {
    /// Rows of a closed account go.
    RemoveAccountRows(AccountRows),
    /// What rows say of a forgotten person goes.
    BlankPersonRows(PersonRows),
    /// Keys that ended with a membership are shown as revoked by themselves.
    RevokeKeys(RevokedKeys),
    /// Nothing is left.
    Finish(Ended),
}
