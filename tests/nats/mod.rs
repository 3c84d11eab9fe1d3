//! NATS tenancy: the exchange, accounts that are apart, and pipes that are streams.

mod clients;
mod cluster;
mod exchange;
mod faults;
mod guide;
mod private;
mod revocations;
mod scale;
mod secrets;
mod streams;
