//! The one PostgreSQL of all contestants, private and durable, with a database for each.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tempfile::TempDir;
use tenure::clock::SystemClock;
use tenure::credentials::master_key::MasterKeySource;
use tenure::entropy::OsEntropy;
use tenure::postgres::Address;
use tenure::postgres::private::{Options, PrivatePostgres};
use tenure::{Settings, Tenure};
use tokio_postgres::{Client, NoTls};

/// The most connections that a contestant with one connection a command may open.
pub const MOST_CONNECTIONS: usize = 64;

/// Makes the server one that has been in use: a new one fills each segment of its write-ahead log with zeros before it
/// writes to it, which halts whoever commits, and goes on with old segments from its first checkpoints on.
const WORN_IN: &str = "
    create table worn_in (octets bytea);
    alter table worn_in alter octets set storage external;
    insert into worn_in select convert_to(repeat(md5(n::text), 32768), 'UTF8') from generate_series(1, 1100) n;
    checkpoint;
    drop table worn_in;
    checkpoint;";

/// The server and the directory that goes with it.
pub struct Server {
    postgres: PrivatePostgres,
    admin: Client,
    directory: TempDir,
}

impl Server {
    pub async fn start() -> anyhow::Result<Self> {
        // PostgreSQL runs as an unprivileged user if this process is root, and must be able to enter.
        let directory = tempfile::Builder::new()
            .prefix("peers-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let options = Options { data_dir: directory.path().join("cluster"), bin_dir: None };
        let postgres = PrivatePostgres::start(options).await?;
        let endpoint = postgres.endpoint();
        let address = Address::socket(&endpoint.socket_dir, endpoint.user, "postgres");
        let (admin, connection) = address.config.connect(NoTls).await?;
        tokio::spawn(connection);
        let fsync: String = admin.query_one("show fsync", &[]).await?.get(0);
        anyhow::ensure!(fsync == "on", "the server does not flush what it commits");
        for statement in WORN_IN.split(';').filter(|statement| !statement.trim().is_empty()) {
            admin.batch_execute(statement).await?;
        }
        Ok(Self { postgres, admin, directory })
    }

    /// Stops the server and removes all that it has stored.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.admin);
        let stopped = self.postgres.stop().await;
        self.directory.close().context("the files of the server remain")?;
        Ok(stopped?)
    }

    /// A new, empty database.
    pub async fn create(&self, name: &str) -> anyhow::Result<Address> {
        self.admin.batch_execute(&format!("create database {name}")).await?;
        Ok(self.address(name))
    }

    /// Where a database is.
    pub fn address(&self, name: &str) -> Address {
        let endpoint = self.postgres.endpoint();
        Address::socket(&endpoint.socket_dir, endpoint.user, name)
    }

    /// Removes a database.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        Ok(self.admin.batch_execute(&format!("drop database {name} with (force)")).await?)
    }

    /// Writes out what is dirty, so that no contestant pays for another's pages.
    pub async fn settle(&self) -> anyhow::Result<()> {
        Ok(self.admin.batch_execute("checkpoint").await?)
    }

    /// Tenure on a new database.
    pub async fn tenure(&self, name: &str) -> anyhow::Result<Tenure> {
        let default_file = self.directory.path().join("master.key");
        let master_key = MasterKeySource { default_file, ..MasterKeySource::default() };
        let settings = Settings { connections: 12, ..Settings::new(self.create(name).await?, master_key) };
        Ok(Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await?)
    }
}

/// Connections for so many callers, at most [`MOST_CONNECTIONS`].
pub async fn connect(address: &Address, callers: usize) -> anyhow::Result<Pool> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(address.config.clone(), NoTls, config);
    let size = callers.min(MOST_CONNECTIONS);
    let pool = Pool::builder(manager).max_size(size).build()?;
    futures::future::try_join_all((0..size).map(|_| pool.get())).await?;
    Ok(pool)
}

/// Ends what is left of a contestant's connections and waits until the server has let go of them, so that the next
/// may have them. A pool that is closed can leave some behind.
pub async fn disconnected(address: &Address) -> anyhow::Result<()> {
    let (client, connection) = address.config.connect(NoTls).await?;
    tokio::spawn(connection);
    let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid() and application_name = ''
                        and backend_type = 'client backend'";
    while client.query_one(others, &[]).await?.get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
