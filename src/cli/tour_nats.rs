//! The part of the tour at NATS: a tenant publishes to a pipe, and is cut off when its key is revoked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{AuthError, Client, ConnectOptions};

use crate::Tenure;
use crate::aggregates::source::Retention;
use crate::clock::Stopwatch;
use crate::context::{Actor, Context};
use crate::ids::{AccountId, UserId};
use crate::nats::private::{PrivateNats, PrivateNatsError};
use crate::nats::streams::pipe_subject;
use crate::nats::{Exchanged, IssuedFor, Nats, NatsSettings};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen.
pub(super) struct Seen {
    /// The sequence of the message in the pipe's stream.
    pub(super) sequence: u64,
    /// How long after the revocation the connection ended.
    pub(super) cut_off_after: Duration,
}

/// Lets a key of an account be exchanged, publish, and be revoked. None if there is no nats-server to use, with the reason.
pub(super) async fn show(
    tenure: &Tenure,
    data_dir: &Path,
    account: AccountId,
    owner: UserId,
) -> anyhow::Result<Result<Seen, String>> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = match PrivateNats::start(tenure, data_dir, Some(any)).await {
        Ok(server) => server,
        Err(error @ PrivateNatsError::NotFound { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let nats = Nats::start(tenure.clone(), NatsSettings::new(server.url()));
    let seen = walk(tenure, &nats, account, owner).await;
    nats.close().await;
    server.stop().await;
    seen.map(Ok)
}

async fn walk(tenure: &Tenure, nats: &Nats, account: AccountId, owner: UserId) -> anyhow::Result<Seen> {
    let as_owner = Context::of(Actor::User(owner));
    let key = tenure.mint_api_key(&as_owner, account, "robot", None, None).await?.answer.id;
    tenure.create_source(&as_owner, account, None, "robot", None).await?;
    tenure.create_pipe(&as_owner, account, None, "robot", "logs", Retention::default()).await?;
    let waited = Stopwatch::start();
    while !nats.provision(account, "robot", "logs").await {
        anyhow::ensure!(waited.elapsed() < PATIENCE, "the stream of the pipe is not made");
    }
    let exchanged = nats.exchange(account, IssuedFor::ApiKey(key, owner), None).await?;
    let exchanged = exchanged.ok_or_else(|| anyhow::anyhow!("a good key was not exchanged"))?;
    let client = connect(&nats.settings().public_url, &exchanged).await?;
    let jetstream = async_nats::jetstream::new(client.clone());
    let sent = jetstream.publish(pipe_subject(account, "robot", "logs"), "hello".into()).await?;
    let sequence = sent.await?.sequence;
    tenure.revoke_api_key(&as_owner, Some(account), key).await?;
    let revoked = Stopwatch::start();
    while client.connection_state() == State::Connected {
        anyhow::ensure!(revoked.elapsed() < PATIENCE, "a revoked key was not cut off");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let cut_off_after = revoked.elapsed();
    let again = connect(&nats.settings().public_url, &exchanged).await;
    anyhow::ensure!(again.is_err(), "a revoked key got in again");
    Ok(Seen { sequence, cut_off_after })
}

async fn connect(url: &str, exchanged: &Exchanged) -> anyhow::Result<Client> {
    let user = Arc::new(nkeys::KeyPair::from_seed(&exchanged.seed)?);
    let options = ConnectOptions::with_jwt(exchanged.token.clone(), move |nonce| {
        let user = user.clone();
        async move { user.sign(&nonce).map_err(AuthError::new) }
    });
    Ok(async_nats::connect_with_options(url, options.max_reconnects(Some(1))).await?)
}
