//! NATS: the exchange, accounts that are apart, pipes that are streams, and the relay.

mod clients;
mod cluster;
mod exchange;
mod faults;
mod guide;
mod private;
mod relay;
mod relay_faults;
mod relay_kills;
mod revocations;
mod scale;
mod secrets;
mod streams;
