//! NATS: tenants' accounts there, credentials for their users, and pipes as streams.
//!
//! ```text
//! operator ── signs ──► account of a tenant ── its signing key signs ──► user of a tenant, for minutes
//!    │ keys.rs             │ publisher.rs                                     │ exchange.rs
//!    │                     │ token on every server, with the revoked users    │ row first, then the check, then the token
//!    ├ log.key_ring        └ streams.rs: one stream for each pipe             └ coarse.nats_user
//!    │
//!    └─ signs ──► account `tenure`, platform.rs ──► relay/: every event of the log, for the platform's own services
//! ```
//!
//! The log says what should be there. `reconcile.rs` makes it so, on the node that holds the lease; `revoke.rs` revokes on every node.
//! A failure at NATS never undoes or delays a command.

mod bootstrap;
mod claims;
mod converge;
mod error;
mod exchange;
mod handle;
mod keys;
mod lease;
mod link;
mod pipes;
mod platform;
pub mod private;
mod publisher;
mod reconcile;
mod relay;
mod revoke;
mod rights;
mod server_config;
mod settings;
mod status;
mod store;
pub mod streams;
mod system;
mod users;
mod version;

pub use bootstrap::{Bootstrapped, bootstrap};
pub use error::NatsError;
pub use exchange::Exchanged;
pub use handle::Nats;
pub use keys::OperatorKeys;
pub use pipes::{PipeState, PipeStates};
pub use platform::{
    IssuedPlatformUser, NewPlatformUser, PlatformRights, PlatformUser, issue_platform_user, platform_users,
    revoke_platform_user,
};
pub use relay::{
    MalformedFrom, RelayFrom, RelayRefusal, RelaySettings, SUBJECTS, relay_stream_name, tell_relay,
};
pub use server_config::ServerFiles;
pub use settings::{NatsSettings, Pause, Pauses};
pub use status::{AccountFailure, RelayRepair, RelayStatus, ServerStatus, Status, StreamStatus};
pub use system::system_client;
pub use users::IssuedFor;
pub use version::is_safe;
