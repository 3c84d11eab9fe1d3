//! Wakes the followers of this node when any node commits.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;

use crate::postgres::Database;

/// The name of the connection on which a node listens.
pub(super) const LISTENS_AS: &str = "tenure node";

/// Listens for commits of all nodes until the log is closed; reconnects when the connection is lost.
pub(super) async fn listen(database: Database, wake: Weak<watch::Sender<i64>>) {
    let mut pause = Duration::from_millis(50);
    loop {
        match database.listen(LISTENS_AS, "tenure_log").await {
            Ok(mut listening) => {
                pause = Duration::from_millis(50);
                loop {
                    // Wakes after (re)connecting too: no notification arrived for commits made in between.
                    let Some(wake) = wake.upgrade() else { return };
                    wake.send_modify(|_| {});
                    drop(wake);
                    if !listening.notified().await {
                        break;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "not listening for commits; polling instead"),
        }
        if Weak::strong_count(&wake) == 0 {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
