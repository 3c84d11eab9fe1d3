//! An invite: an offer of membership, pending until it is accepted, declined or revoked, or expires.

mod claims;
mod commands;
mod decide;
mod events;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use claims::{claim_on_name, pending_invite_claim};
pub use commands::{InviteCommand, NewInvite};
pub use events::{InviteEnd, InviteEvent, InviteeKey};
pub use refusal::InviteRefusal;
pub use state::{Invite, Offer, Status};
