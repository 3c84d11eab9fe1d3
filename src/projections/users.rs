//! `view.users`: one row per user, including forgotten ones.

use std::collections::HashMap;

use tokio_postgres::Row;
use uuid::Uuid;

use super::query::{QueryError, Reader};
use super::sealed_value::sealed;
use super::unique_claims::HOLDER_FOR_GOOD;
use crate::aggregates::AnyEvent;
use crate::aggregates::user::{
    AvatarUrl, Email, GithubId, GithubLogin, UserEvent, UserMode, Username, username_claim,
};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{BigInt, Bool, Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::UserId;
use crate::sealing::Sealed;

/// The table definition. The row of a forgotten user stays, without personal data.
pub static TABLE: Table = Table {
    name: "users",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::optional("username", Text).changing().without_statistics(),
        Column::optional("email", Text).changing().without_statistics(),
        Column::required("mode", Text),
        Column::optional("github_id", BigInt).changing().without_statistics(),
        Column::optional("github_login", Text).changing().without_statistics(),
        Column::optional("avatar_url", Text).changing().without_statistics(),
        Column::required("operator", Bool).changing(),
        Column::required("created_at", Timestamptz),
        Column::optional("forgotten_at", Timestamptz).changing(),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 90,
    // Forgotten users in the order of registration, to compare them with the list outside the database.
    indexes: &["(position) where forgotten_at is not null"],
};

const COLUMNS: &str = "id, username, email, mode, github_id, github_login, avatar_url, operator, created_at, forgotten_at, position";

/// A user, registered or forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The identifier of the user.
    pub id: UserId,
    /// The unique name, in the case it was given; empty if it cannot be decrypted. See [`forgotten_name`].
    pub username: String,
    /// The email address; none if unknown.
    pub email: Option<String>,
    /// How the user signs in.
    pub mode: UserMode,
    /// The numeric ID at GitHub; none for internal users.
    pub github_id: Option<i64>,
    /// The login at GitHub; none for internal users.
    pub github_login: Option<String>,
    /// The URL of the user's picture; none if unknown.
    pub avatar_url: Option<String>,
    /// Whether the user is an operator.
    pub operator: bool,
    /// When the user was registered.
    pub created_at: Timestamp,
    /// When the user was forgotten; none while registered. Personal data of a forgotten user is removed.
    pub forgotten_at: Option<Timestamp>,
    /// The position of the event that registered the user.
    pub position: i64,
}

impl User {
    /// The user that this event registers; none for any other event.
    #[must_use]
    pub fn registered(position: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::User(UserEvent::Registered {
            mode,
            at,
            username,
            email,
            github_id,
            github_login,
            avatar_url,
        }) = event
        else {
            return None;
        };
        let text = |text: Option<&str>| text.map(str::to_owned);
        Some(Self {
            id: UserId::from_uuid(stream),
            username: text(username.open().map(Username::as_str)).unwrap_or_default(),
            email: text(opened(email, Email::as_str)),
            mode: *mode,
            github_id: github_id.open().and_then(|id| id.map(GithubId::as_i64)),
            github_login: text(opened(github_login, GithubLogin::as_str)),
            avatar_url: text(opened(avatar_url, AvatarUrl::as_str)),
            operator: false,
            created_at: *at,
            forgotten_at: None,
            position,
        })
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let AnyEvent::User(event) = event else {
        return Vec::new();
    };
    let key = vec![Value::Uuid(stream)];
    let change = match event {
        UserEvent::InvitedNameTaken { .. } => return Vec::new(),
        UserEvent::Registered { mode, at, username, email, github_id, github_login, avatar_url } => {
            RowChange::insert(
                &TABLE,
                vec![
                    stream.into(),
                    sealed(username, Username::as_str),
                    sealed(email, |email| email.as_ref().map(Email::as_str)),
                    mode.as_str().into(),
                    sealed(github_id, |id| id.map(GithubId::as_i64)),
                    sealed(github_login, |github_login| github_login.as_ref().map(GithubLogin::as_str)),
                    sealed(avatar_url, |avatar_url| avatar_url.as_ref().map(AvatarUrl::as_str)),
                    false.into(),
                    (*at).into(),
                    Value::Null,
                    Value::Position,
                ],
            )
        }
        UserEvent::ProfileRefreshed { github_login, email, avatar_url, username, .. } => {
            let mut patch = RowChange::patch(
                &TABLE,
                key,
                [
                    ("email", sealed(email, |email| email.as_ref().map(Email::as_str))),
                    ("github_login", sealed(github_login, GithubLogin::as_str)),
                    (
                        "avatar_url",
                        sealed(avatar_url, |avatar_url| avatar_url.as_ref().map(AvatarUrl::as_str)),
                    ),
                ],
            );
            match username {
                Sealed::Open(Some(name)) => patch.also("username", name.as_str().into()),
                Sealed::Open(None) => {}
                // Whether it changed cannot be read either.
                Sealed::Unreadable => patch.also("username", Value::Unreadable),
            }
            patch
        }
        UserEvent::Renamed { username, .. } => {
            RowChange::patch(&TABLE, key, [("username", sealed(username, Username::as_str))])
        }
        UserEvent::Forgotten { at, .. } => RowChange::patch(
            &TABLE,
            key,
            [
                ("username", forgotten_name(stream).into()),
                ("email", Value::Null),
                ("github_id", Value::Null),
                ("github_login", Value::Null),
                ("avatar_url", Value::Null),
                ("operator", false.into()),
                ("forgotten_at", (*at).into()),
            ],
        ),
        UserEvent::OperatorGranted { .. } => RowChange::patch(&TABLE, key, [("operator", true.into())]),
        UserEvent::OperatorRevoked { .. } => RowChange::patch(&TABLE, key, [("operator", false.into())]),
    };
    vec![change]
}

/// The display name of a forgotten user. It is not claimed, so the user cannot be found or invited by it or sign in.
#[must_use]
pub fn forgotten_name(user: Uuid) -> String {
    // The end of the identifier: its beginning is a time, which several users can share.
    let id = user.simple().to_string();
    format!("forgotten-{}", &id[id.len() - 8..])
}

fn opened<'a, T>(field: &'a Sealed<Option<T>>, text: fn(&'a T) -> &'a str) -> Option<&'a str> {
    field.open().and_then(Option::as_ref).map(text)
}

pub(super) fn read(row: &Row) -> Result<User, tokio_postgres::Error> {
    Ok(User {
        id: row.try_get(0)?,
        username: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
        email: row.try_get(2)?,
        mode: row.try_get::<_, &str>(3)?.parse().unwrap_or_default(),
        github_id: row.try_get(4)?,
        github_login: row.try_get(5)?,
        avatar_url: row.try_get(6)?,
        operator: row.try_get(7)?,
        created_at: row.try_get(8)?,
        forgotten_at: row.try_get(9)?,
        position: row.try_get(10)?,
    })
}

/// The columns that [`read`] expects, of the table with this alias.
pub(super) fn columns_of(alias: &str) -> String {
    COLUMNS.split(", ").map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ")
}

impl Reader {
    /// The user with this identifier, forgotten or not.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn user(&self, id: UserId) -> Result<User, QueryError> {
        self.one(&format!("select {COLUMNS} from view.users where id = $1"), &[&id], read).await
    }

    /// The user with this name, regardless of case.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn user_by_username(&self, username: &str) -> Result<User, QueryError> {
        let Ok(username) = Username::parse(username) else {
            return Err(QueryError::NotFound);
        };
        // Found through the claim, which is unique and ignores case.
        let claim = username_claim(&username, self.hasher());
        let sql = format!("select {COLUMNS} from view.users where id = {HOLDER_FOR_GOOD}");
        self.one(&sql, &[&claim.kind, &claim.key.as_slice()], read).await
    }

    /// The names of these users, in one query; unknown users are absent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usernames_by_ids(&self, ids: &[UserId]) -> Result<HashMap<UserId, String>, QueryError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let sql = "select id, coalesce(username, '') from view.users where id = any ($1)";
        let rows = self.rows(sql, &[&ids]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The streams of what a user has, as type and identifier, newest first, at most so many: credentials, sign-in links, invites,
    /// the accounts that they own or are a member of and, if former ones are wanted, those that they were invited to.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn streams_of_user(
        &self,
        user: UserId,
        with_former: bool,
        limit: i64,
    ) -> Result<Vec<(&'static str, Uuid)>, QueryError> {
        // Each part by its index, in a bounded number.
        const KINDS: [(&str, &str); 7] = [
            ("bearer_token", "view.bearer_tokens where user_id = $1 order by created_at desc, position desc"),
            ("session", "view.sessions where user_id = $1 order by created_at desc, position desc"),
            ("sign_in_link", "view.sign_in_links where user_id = $1 order by position desc"),
            ("invite", "view.invites where invitee_user_id = $1 order by position desc"),
            ("account", "view.accounts where owner_user_id = $1 order by position desc"),
            ("account", "view.members where user_id = $1 order by position desc"),
            ("account", "view.invites where invitee_user_id = $1 order by position desc"),
        ];
        let kinds = if with_former { &KINDS[..] } else { &KINDS[..6] };
        let parts = kinds.iter().enumerate().map(|(number, (kind, from))| {
            let id =
                if *kind == "account" && !from.starts_with("view.accounts") { "account_id" } else { "id" };
            format!("(select {number}::bigint as kind, {id} as id, position from {from} limit $2)")
        });
        let sql = format!(
            "select kind, id from ({}) s order by position desc limit $2",
            parts.collect::<Vec<_>>().join(" union all ")
        );
        let rows = self.rows(&sql, &[&user, &limit]).await?;
        rows.iter()
            .map(|row| {
                let kind = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default();
                Ok((KINDS.get(kind).map_or("", |(kind, _)| kind), row.try_get(1)?))
            })
            .collect()
    }

    /// How many users have been forgotten.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_forgotten_users(&self) -> Result<u32, QueryError> {
        self.count("select count(*) from view.users where forgotten_at is not null", &[]).await
    }

    /// How many of these users have been forgotten.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_forgotten_among(&self, users: &[UserId]) -> Result<u32, QueryError> {
        // Looked up one by one: the index of forgotten users has all that a count needs, and may be walked while few are known.
        let sql = "select count(*) from (select distinct id from unnest($1::uuid[]) as named (id)) named
                   where (select u.forgotten_at from view.users u where u.id = named.id) is not null";
        self.count(sql, &[&users]).await
    }

    /// Forgotten users who were registered after this position, each with the position of the registration, in that
    /// order, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn forgotten_users_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(UserId, i64)>, QueryError> {
        let sql = "select id, position from view.users where forgotten_at is not null and position > $1
                   order by position limit $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.list(sql, &[&after, &limit], |row| Ok((row.try_get(0)?, row.try_get(1)?))).await
    }

    /// Those of these users who are registered and not forgotten.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn still_known(&self, users: &[UserId]) -> Result<Vec<UserId>, QueryError> {
        let sql = "select id from view.users where id = any ($1) and forgotten_at is null";
        self.list(sql, &[&users], |row| row.try_get(0)).await
    }

    /// The users whose identifiers come after this one, by identifier, which is the order of creation, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn users_after(&self, after: UserId, limit: usize) -> Result<Vec<User>, QueryError> {
        let sql =
            format!("select {} from view.users u where u.id > $1 order by u.id limit $2", columns_of("u"));
        self.list(&sql, &[&after, &i64::try_from(limit).unwrap_or(i64::MAX)], read).await
    }
}
