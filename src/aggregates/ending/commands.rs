//! The commands to an ending. The operation that sends them finds the rows that are left.

use super::events::{AccountRows, Ended, PersonRows, RevokedKeys};

/// A command to an ending.
#[derive(Clone, Debug)]
pub enum EndingCommand {
    /// Removes rows of a closed account.
    RemoveAccountRows(AccountRows),
    /// Blanks personal data in rows of a forgotten user and shows as ended what belonged to the user.
    BlankPersonRows(PersonRows),
    /// Shows API keys that ended with a membership as revoked.
    RevokeKeys(RevokedKeys),
    /// Finishes the ending, because no rows are left.
    Finish(Ended),
}
