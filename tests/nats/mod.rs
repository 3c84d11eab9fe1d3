//! NATS tenancy: the exchange, accounts that are apart, and pipes that are streams.

mod exchange;
mod streams;
