//! Makes the operator of a log, and the configuration of the servers that trust it.

use super::error::NatsError;
use super::keys::OperatorKeys;
use super::server_config::ServerFiles;
use super::store::Store;
use crate::Tenure;

/// An operator whose configuration was written.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// Its public key.
    pub operator: String,
    /// The public key of the system account.
    pub system_account: String,
    /// Whether it was made now, so that its identity seed was written too.
    pub has_identity: bool,
}

/// Makes the operator of a log if it has none, or replaces it, and writes the configuration.
///
/// # Errors
/// [`NatsError::File`] or [`NatsError::Store`].
pub async fn bootstrap(
    tenure: &Tenure,
    files: &ServerFiles,
    rotate: bool,
) -> Result<Bootstrapped, NatsError> {
    let store = Store::new(tenure.clone());
    let (now, entropy) = (tenure.clock().now(), tenure.entropy());
    loop {
        let former = store.keys().await?;
        let (keys, identity) = match (&former, rotate) {
            (Some(keys), false) => (keys.clone(), None),
            (Some(keys), true) => {
                let mut keys = keys.clone();
                let identity = keys.rotate(now, &*entropy)?;
                (keys, Some(identity))
            }
            (None, _) => {
                let (keys, identity) = OperatorKeys::new(now, &*entropy)?;
                (keys, Some(identity))
            }
        };
        // The files first: a key that is in force has to be in a configuration that can be used.
        files.write(&keys, identity.as_deref().map(String::as_str))?;
        if identity.is_some() && !store.replace_keys(former.as_ref(), &keys).await? {
            // Another process stored an operator first: start again from that one.
            continue;
        }
        store.platform_keys(&*entropy).await?;
        let operator = keys.operators.first().map(|operator| operator.public_key.clone()).unwrap_or_default();
        let system_account = keys.system_account.clone();
        return Ok(Bootstrapped { operator, system_account, has_identity: identity.is_some() });
    }
}
