//! Shows that nothing is left of a forgotten person: searches the keys, the log, the tables, the snapshots, the rows outside the log,
//! the tables as they were, the planner's statistics, and the list outside the database.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::Tenure;
use crate::aggregates::AnyEvent;
use crate::aggregates::user::UserEvent;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::credentials::key_ring::KeyLoadError;
use crate::event_log::{ReadError, StreamId, row_sql};
use crate::ids::UserId;
use crate::projections::users::forgotten_name;
use crate::projections::{self, QueryError};
use crate::replay::{ReplayError, connect_as_owner, while_server_answers};

/// How many texts can be searched for at once, and the fewest characters of one.
const MOST_TEXTS: usize = 20;
const SHORTEST_TEXT: usize = 3;

/// A place that was searched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Searched {
    /// Where, for example `view.users`.
    pub place: String,
    /// What was looked for there.
    pub looked_for: &'static str,
    /// How much was found; nothing should be.
    pub found: i64,
    /// Whether the search was not allowed there.
    pub is_denied: bool,
}

/// What is left of a forgotten person.
#[derive(Clone, Debug, Serialize)]
pub struct ForgottenReport {
    /// The person.
    pub user: UserId,
    /// When they were forgotten.
    pub forgotten_at: Timestamp,
    /// Whether rows are still being cleared away; queries show nothing of them already.
    pub is_being_cleared: bool,
    /// Every place that was searched.
    pub searched: Vec<Searched>,
}

impl ForgottenReport {
    /// Whether everything was searched, and nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.searched.iter().all(|searched| searched.found == 0 && !searched.is_denied)
    }
}

/// Why it cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum VerifyForgottenError {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// The user is not forgotten.
    #[error("the user {0} was not forgotten; `tenure user forget` does that")]
    NotForgotten(UserId),
    /// A text to search for is too short, or there are too many.
    #[error("search for 1 to {MOST_TEXTS} texts of at least {SHORTEST_TEXT} characters, one on each line")]
    Texts,
    /// The list outside the database cannot be read.
    #[error("the list of forgotten users cannot be read: {0}")]
    List(#[from] std::io::Error),
    /// The events could not be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log or the tables could not be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<tokio_postgres::Error> for VerifyForgottenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Replay(error.into())
    }
}

impl From<KeyLoadError> for VerifyForgottenError {
    fn from(error: KeyLoadError) -> Self {
        Self::Replay(error.into())
    }
}

impl From<ReadError> for VerifyForgottenError {
    fn from(error: ReadError) -> Self {
        Self::Replay(error.into())
    }
}

impl Tenure {
    /// Searches everywhere for what is left of a forgotten person, and for these texts, such as their former name and address.
    /// Upper and lower case are the same. `tell` is called with each table that is searched for them.
    ///
    /// # Errors
    /// [`VerifyForgottenError`]
    pub async fn verify_forgotten(
        &self,
        user: UserId,
        texts: &[String],
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<ForgottenReport, VerifyForgottenError> {
        while_server_answers(self.log(), Box::pin(self.verify_forgotten_while(user, texts, tell))).await
    }

    async fn verify_forgotten_while(
        &self,
        user: UserId,
        texts: &[String],
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<ForgottenReport, VerifyForgottenError> {
        if texts.len() > MOST_TEXTS || texts.iter().any(|text| text.chars().count() < SHORTEST_TEXT) {
            return Err(VerifyForgottenError::Texts);
        }
        let found = match self.reader().user(user).await {
            Ok(found) => found,
            Err(QueryError::NotFound) => return Err(VerifyForgottenError::NotFound),
            Err(QueryError::Unavailable(error)) => return Err(error.into()),
        };
        let forgotten_at = found.forgotten_at.ok_or(VerifyForgottenError::NotForgotten(user))?;
        let connection = connect_as_owner(self.log(), "tenure verify-forgotten").await?;
        let mut search = Search { client: &connection.client, searched: Vec::new() };
        let names = self.search_events(user, &mut search).await?;
        let is_being_cleared = search.tables(user, &names).await?;
        search.schemas(user, &names).await?;
        if let Some(list) = self.forgotten_list() {
            let is_listed = list.read()?.contains(&user);
            search.note("the list outside the database", "the person is not on it", i64::from(!is_listed));
        }
        if !texts.is_empty() {
            search.texts(texts, tell).await?;
        }
        Ok(ForgottenReport { user, forgotten_at, is_being_cleared, searched: search.searched })
    }

    /// Looks for keys and for fields that still open. Returns the keys of the names that the person had.
    async fn search_events(
        &self,
        user: UserId,
        search: &mut Search<'_>,
    ) -> Result<Vec<Uuid>, VerifyForgottenError> {
        let events = self.log().read_stream(&StreamId::new("user", user.as_uuid()), 0).await?;
        let mut names = Vec::new();
        for decoded in self.codec().decode_each(&events, self.log().primary()).await? {
            if let AnyEvent::User(UserEvent::Forgotten { name_keys, .. }) = decoded? {
                names.extend(name_keys.iter().map(|key| key.as_uuid()));
            }
        }
        let subjects: Vec<String> = std::iter::once(format!("user:{user}"))
            .chain(names.iter().map(|name| format!("name:{name}")))
            .collect();
        let keys = "select count(*) from log.data_key where subject = any ($1)";
        search.count("log.data_key", "keys of the person and of their names", keys, &[&subjects]).await?;
        let kept = "select count(*) from pg_stats
                    where schemaname = 'log' and tablename = 'data_key' and attname = 'wrapped'";
        search
            .count("statistics of log.data_key", "columns whose values the planner keeps", kept, &[])
            .await?;
        let records = self.describe(&events).await?;
        let opened =
            records.iter().flat_map(|record| record.sealed.values()).filter(|value| !value.is_null());
        let opened = i64::try_from(opened.count()).unwrap_or(i64::MAX);
        search.note("log.event", "sealed fields of the person's events that open", opened);
        Ok(names)
    }
}

struct Search<'c> {
    client: &'c Client,
    searched: Vec<Searched>,
}

impl Search<'_> {
    fn note(&mut self, place: &str, looked_for: &'static str, found: i64) {
        self.searched.push(Searched { place: place.to_owned(), looked_for, found, is_denied: false });
    }

    async fn count(
        &mut self,
        place: &str,
        looked_for: &'static str,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<(), tokio_postgres::Error> {
        match self.client.query_one(sql, parameters).await {
            Ok(row) => self.note(place, looked_for, row.try_get(0)?),
            Err(error) => {
                let is = |code: &SqlState| error.code() == Some(code);
                let is_gone = is(&SqlState::INVALID_SCHEMA_NAME)
                    || is(&SqlState::UNDEFINED_TABLE) && self.is_gone(place).await?;
                // A table that others have put there, or one of ours that they have changed.
                let is_denied =
                    [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN]
                        .iter()
                        .any(is);
                if !is_gone && !is_denied {
                    return Err(error);
                }
                // Dropped since it was listed, or not searched.
                if !is_gone {
                    self.searched.push(Searched { place: place.to_owned(), looked_for, found: 0, is_denied });
                }
            }
        }
        Ok(())
    }

    /// Whether the schema of a table has gone.
    async fn is_gone(&self, place: &str) -> Result<bool, tokio_postgres::Error> {
        let schema = place.trim_start_matches("statistics of ").split('.').next();
        let sql = "select to_regnamespace($1) is null";
        self.client.query_one(sql, &[&schema]).await?.try_get(0)
    }

    /// Returns whether rows of the person are still being cleared away.
    async fn tables(&mut self, user: UserId, names: &[Uuid]) -> Result<bool, tokio_postgres::Error> {
        let sql = "select exists (select from view.endings where is_person and id = $1)";
        let is_being_cleared = self.client.query_one(sql, &[&user]).await?.try_get(0)?;
        self.person_in("view", user, names).await?;
        let text = user.to_string();
        // A name that was given up leaves a claim that has ended: a keyed hash, and the identifier.
        let claims = "select count(*) from view.unique_claims
                      where holder = $1 and (free_after is null or free_after > clock_timestamp())";
        self.count("view.unique_claims", "names that the person still has", claims, &[&text]).await?;
        for (place, sql) in [
            (
                "view.bearer_tokens",
                "select count(*) from view.bearer_tokens where user_id = $1 and revoked_at is null",
            ),
            ("view.sessions", "select count(*) from view.sessions where user_id = $1 and ended_at is null"),
            (
                "view.sign_in_links",
                "select count(*) from view.sign_in_links where user_id = $1 and used_at is null",
            ),
            ("view.members", "select count(*) from view.members where user_id = $1"),
        ] {
            self.count(place, "what the person could still use", sql, &[&user]).await?;
        }
        let snapshots =
            "select count(*) from log.snapshot s where s.stream_type = 'user' and s.stream_id = $1
                         and exists (select from log.data_key k where k.subject = 'user:' || $1)";
        self.count("log.snapshot", "snapshots of the person that open", snapshots, &[&text]).await?;
        let users = "select count(*) from coarse.nats_user where user_id = $1 and exists (
                         select from log.data_key k where k.subject = 'user:' || $1::text)";
        self.count("coarse.nats_user", "NATS users of a person who still has a key", users, &[&user]).await?;
        Ok(is_being_cleared)
    }

    /// Personal data of the person in the tables of a schema.
    async fn person_in(
        &mut self,
        schema: &str,
        user: UserId,
        names: &[Uuid],
    ) -> Result<(), tokio_postgres::Error> {
        let sql = format!(
            "select count(*) from {schema}.users
             where id = $1 and (coalesce(username, $2) <> $2 or email is not null or github_id is not null
                                or github_login is not null or avatar_url is not null)"
        );
        let name = forgotten_name(user.as_uuid());
        if self.exists(schema, "users").await? {
            self.count(&format!("{schema}.users"), "personal data", &sql, &[&user, &name]).await?;
        }
        let sql = format!(
            "select count(*) from {schema}.invites
             where (invitee_user_id = $1 or name_key = any ($2)) and invitee_username is not null"
        );
        if self.exists(schema, "invites").await? {
            self.count(&format!("{schema}.invites"), "names in invites", &sql, &[&user, &names]).await?;
        }
        for table in projections::TABLES {
            if table.columns_without_statistics().next().is_some() {
                let sql = format!("select count(*) from ({}) kept", row_sql::statistics_kept(table, schema));
                let place = format!("statistics of {schema}.{}", table.name);
                self.count(&place, "columns whose values the planner keeps", &sql, &[]).await?;
            }
        }
        Ok(())
    }

    /// Whether a schema, whose name is quoted, has this table.
    async fn exists(&self, schema: &str, table: &str) -> Result<bool, tokio_postgres::Error> {
        let name = format!("{schema}.{table}");
        self.client.query_one("select to_regclass($1) is not null", &[&name]).await?.try_get(0)
    }

    /// The tables as they were that exist, and those that rebuilds have left.
    async fn schemas(&mut self, user: UserId, names: &[Uuid]) -> Result<(), tokio_postgres::Error> {
        let sql = "select quote_ident(n.nspname) from log.as_of_schema a join pg_namespace n on n.oid = a.schema_oid
                   where a.ended_at is null
                   union
                   select quote_ident(n.nspname) from pg_namespace n
                   where (n.nspname like 'view\\_next\\_%' or n.nspname like 'view\\_retired\\_%')
                     -- The rebuild of single tables has these alone.
                     and (to_regclass(format('%I.users', n.nspname)) is not null
                          or to_regclass(format('%I.invites', n.nspname)) is not null)
                   order by 1";
        for row in self.client.query(sql, &[]).await? {
            let schema: String = row.try_get(0)?;
            self.person_in(&schema, user, names).await?;
        }
        Ok(())
    }

    /// Texts, in every column of every table, and in the planner's statistics.
    async fn texts(
        &mut self,
        texts: &[String],
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<(), tokio_postgres::Error> {
        // In PostgreSQL's own collation `lower` knows ASCII alone, and in that of the database perhaps too: of those that know more,
        // the first that this server has.
        let sql = "select quote_ident(collname) from pg_collation
                   where collnamespace = 'pg_catalog'::regnamespace and collencoding in (-1, 6)
                     and collname in ('pg_c_utf8', 'und-x-icu', 'en_US.utf8', 'C.utf8', 'default')
                   order by array_position(array['pg_c_utf8', 'und-x-icu', 'en_US.utf8', 'C.utf8', 'default'], collname::text) limit 1";
        let collation: String = self.client.query_one(sql, &[]).await?.try_get(0)?;
        let matches = |text: &str| {
            format!(
                "from (select lower({text} collate {collation}) as text offset 0) s
                 where exists (select from unnest($1::text[]) wanted where strpos(s.text, wanted) > 0)"
            )
        };
        // Octets are compared in PostgreSQL's escape format, which is the text itself for plain ASCII.
        let sql = format!(
            "select lower(t.wanted collate {collation}), lower(encode(convert_to(f.form, 'UTF8'), 'escape'))
             from unnest($1::text[]) t (wanted),
                  unnest(array[t.wanted, lower(t.wanted collate {collation}), upper(t.wanted collate {collation})]) f (form)"
        );
        let mut wanted = BTreeSet::new();
        for row in self.client.query(&sql, &[&texts]).await? {
            wanted.extend([row.try_get::<_, String>(0)?, row.try_get(1)?]);
        }
        let wanted: Vec<String> = wanted.into_iter().collect();
        let in_schemas = "(n.nspname in ('log', 'view', 'coarse') or n.nspname like 'view\\_next\\_%' or n.nspname like 'view\\_retired\\_%'
                           or exists (select from log.as_of_schema s where s.schema_oid = n.oid and s.ended_at is null))";
        let sql = format!(
            "select format('%I.%I', n.nspname, c.relname),
                    string_agg(format(case when a.atttypid = 'bytea'::regtype then 'encode(t.%I, ''escape'')'
                                           else 't.%I::text' end, a.attname), ', ' order by a.attnum)
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where c.relkind in ('r', 'm') and {in_schemas}
             group by 1 order by 1"
        );
        for row in self.client.query(&sql, &[]).await? {
            let (table, columns): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            tell(&table);
            let is_match = matches(&format!("concat_ws(' ', {columns})"));
            let sql = format!("select count(*) from {table} t where exists (select {is_match})");
            self.count(&table, "the texts", &sql, &[&wanted]).await?;
        }
        for (place, columns) in [
            ("pg_stats", "t.most_common_vals, t.histogram_bounds, t.most_common_elems"),
            ("pg_stats_ext", "t.most_common_vals"),
            ("pg_stats_ext_exprs", "t.most_common_vals, t.histogram_bounds, t.most_common_elems"),
        ] {
            tell(place);
            let is_match = matches(&format!("concat_ws(' ', {columns})"));
            let sql = format!(
                "select count(*) from {place} t join pg_namespace n on n.nspname = t.schemaname
                 where {in_schemas} and exists (select {is_match})"
            );
            self.count(place, "the texts", &sql, &[&wanted]).await?;
        }
        Ok(())
    }
}
