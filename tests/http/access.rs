//! Who may do what: every operation of the API × every kind of caller, pinned in `docs/access.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};
use tenure::aggregates::api_key::KeyPrefix;
use tenure::credentials::api_key::key_prefix;
use tenure::ids::UserId;
use tenure::nats::{Nats, NatsSettings};

use super::{Server, answer};
use crate::support::operator;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access.md");

const EXCHANGE: &str = "/api/v1/auth/exchange";

const PAST: &str = "?as_of=";

const CALLERS: [&str; 7] =
    ["anonymous", "key of the account", "key of another", "stranger", "member", "owner", "operator"];

/// Every operation of the description: (method, path).
fn operations(description: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone()));
            let parameters = operation["parameters"].as_array();
            // What may be asked of the past is a question of its own.
            if parameters.into_iter().flatten().any(|parameter| parameter["name"] == "as_of") {
                all.push((method.to_uppercase(), format!("{path}{PAST}")));
            }
        }
    }
    all.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    all
}

/// The body of a request: the properties that the description requires, with values that fit the world.
fn body(description: &Value, method: &str, path: &str, world: &World) -> Option<Value> {
    let operation = &description["paths"][path.trim_end_matches(PAST)][method.to_lowercase()];
    let mut schema = &operation.get("requestBody")?["content"]["application/json"]["schema"];
    if let Some(name) = schema["$ref"].as_str() {
        schema = &description["components"]["schemas"][name.rsplit('/').next().unwrap()];
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let values = required.iter().map(|property| {
        let property = property.as_str().unwrap();
        let value = match property {
            "ids" => json!([world.member]),
            "to" => json!(world.member),
            "key" => json!(world.key),
            "email" => json!("new@example.org"),
            "handle" | "name" | "username" => json!(world.fresh("new")),
            _ => json!("unknown"),
        };
        (property.to_owned(), value)
    });
    Some(values.collect())
}

/// One of everything, for one request.
struct World {
    number: usize,
    /// The newest position, and that of the event that opened the account.
    position: i64,
    opened: i64,
    account: String,
    member: UserId,
    member_token: String,
    invite: String,
    key_id: String,
    key: String,
    token_id: String,
    session_id: String,
    credentials: BTreeMap<&'static str, String>,
}

impl World {
    fn fresh(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    /// A key that costs little to check.
    async fn cheap_key(
        server: &Server,
        account: tenure::ids::AccountId,
        by: UserId,
        number: usize,
    ) -> (String, String) {
        let plaintext = format!("ppz_{number:026x}");
        let prefix: KeyPrefix = key_prefix(&plaintext);
        let hash = {
            use base64::Engine as _;
            let encode = |octets: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(octets);
            let params = argon2::Params::new(8, 1, 1, Some(32)).unwrap();
            let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            let (salt, mut tag) = (b"0123456789abcdef", [0; 32]);
            argon2.hash_password_into(plaintext.as_bytes(), salt, &mut tag).unwrap();
            format!("$argon2id$v=19$m=8,t=1,p=1${}${}", encode(salt), encode(&tag))
        };
        let id =
            server.tenure.import_api_key(&operator(), account, prefix, &hash, "a key", by).await.unwrap();
        (id.answer.to_string(), plaintext)
    }

    async fn new(server: &Server, number: usize) -> Self {
        let (tenure, context) = (&server.tenure, operator());
        let mut people = Vec::new();
        for name in ["owner", "member", "stranger", "elsewhere"] {
            people.push(server.user(&format!("{name}-{number}")).await);
        }
        let [owner, member, stranger, elsewhere] = people[..] else { unreachable!() };
        let runs = format!("operator-{number}");
        let runs = tenure.insert_operator(&context, &runs, "o@example.org").await.unwrap().answer;
        let account = server.account(&format!("acme-{number}"), owner).await;
        let opened = tenure.log().newest().await.unwrap();
        let other = server.account(&format!("other-{number}"), elsewhere).await;
        tenure.add_member(&context, account, member).await.unwrap();
        let invitee = format!("stranger-{number}");
        let invite = tenure.create_invite(&context, account, &invitee, Some(owner)).await.unwrap().answer;
        tenure.create_source(&context, account, Some(owner), "robot", None).await.unwrap();
        let keeps = tenure::aggregates::source::Retention::default();
        tenure.create_pipe(&context, account, Some(owner), "robot", "logs", keeps).await.unwrap();
        let (key_id, key) = Self::cheap_key(server, account, owner, number * 2).await;
        let (_, other_key) = Self::cheap_key(server, other, elsewhere, number * 2 + 1).await;
        let ttl = std::time::Duration::from_secs(600);
        let token = tenure.issue_bearer_token(&context, member, ttl).await.unwrap().answer.0;
        let session = tenure.start_session(&context, member, ttl).await.unwrap().answer.0;
        let member_token = server.token(member).await;
        let credentials = BTreeMap::from([
            ("key of the account", key.clone()),
            ("key of another", other_key),
            ("stranger", server.token(stranger).await),
            ("member", member_token.clone()),
            ("owner", server.token(owner).await),
            ("operator", server.token(runs).await),
        ]);
        Self {
            number,
            position: tenure.log().newest().await.unwrap(),
            opened,
            account: account.to_string(),
            member,
            member_token,
            invite: invite.to_string(),
            key_id,
            key,
            token_id: token.to_string(),
            session_id: session.to_string(),
            credentials,
        }
    }

    /// A path with things of this world in it. People are the member, but for whom to add.
    fn path(&self, method: &str, template: &str) -> String {
        let user = match (method, template) {
            ("PUT", "/api/v1/accounts/{account}/members/{user}") => format!("elsewhere-{}", self.number),
            ("POST", "/api/v1/users/{user}/sign-in-links") => format!("member-{}", self.number),
            _ => self.member.to_string(),
        };
        let id = if template.contains("/invites") {
            &self.invite
        } else if template.contains("/tokens/") {
            &self.token_id
        } else if template.contains("/sessions/") {
            &self.session_id
        } else {
            &self.key_id
        };
        template
            .replace(PAST, &format!("{PAST}{}", self.position))
            .replace("{position}", &self.opened.to_string())
            .replace("{account}", &self.account)
            .replace("{slug}", &self.account)
            .replace("{user}", &user)
            .replace("{id}", id)
            .replace("{handle}", "robot")
            .replace("{name}", "logs")
    }
}

const HEAD: &str = "# Who may do what

Every operation of the API × every kind of caller → the HTTP status, for things that are there: the account's own, and
people's own where `{user}` is the **member**. Invites are addressed to the **stranger**. A test walks all of it
(`tests/http/access.rs`); `TENURE_WRITE_FIXTURES=1 cargo test --test tenure http::access` writes this page anew, to be
read before it is committed. An operation without a row fails the test.
`?as_of=` is the same operation, asked of the past.

401: a credential is needed. 403: the caller may not do this. 404: not found, also for what belongs to another tenant.

";

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_every_kind_of_caller_as_the_table_says() {
    let tenure = std::sync::Arc::new(crate::support::TestDatabase::new().await.open().await);
    let server = Server::with(tenure.clone(), |settings| settings.rates.anonymous.burst = 100_000).await;
    let dir = tempfile::tempdir().unwrap();
    let private = crate::support::nats::private(&tenure, dir.path()).await;
    let nats = Nats::look((*tenure).clone(), NatsSettings::new(private.url()));
    let with_nats = Server::with_nats(tenure, Some(nats), |_| {}).await;
    let description = tenure::http::description();
    let mut table = String::from(HEAD);
    writeln!(table, "| operation | {} |", CALLERS.join(" | ")).unwrap();
    writeln!(table, "| --- |{}", " --- |".repeat(CALLERS.len())).unwrap();
    let mut number = 0;
    for (method, template) in operations(&description) {
        let mut row = format!("| {method} {template} |");
        for caller in CALLERS {
            number += 1;
            let world = World::new(&server, number).await;
            let mut request = if template == EXCHANGE { &with_nats } else { &server }
                .request(Method::from_bytes(method.as_bytes()).unwrap(), &world.path(&method, &template));
            if let Some(credential) = world.credentials.get(caller) {
                request = request.bearer_auth(credential);
            }
            if template == EXCHANGE {
                // Its credential is in the body.
                let credential = world.credentials.get(caller);
                request = request.json(&json!({"api_key": credential, "account_id": world.account}));
            } else if let Some(body) = body(&description, &method, &template, &world) {
                request = request.json(&body);
            }
            let answer = answer(request).await;
            assert!(answer.status.as_u16() < 500, "{method} {template} by {caller}: {answer:?}");
            assert!(!answer.text.contains(&world.member_token), "{method} {template}: echoes a secret");
            write!(row, " {} |", answer.status.as_u16()).unwrap();
        }
        writeln!(table, "{row}").unwrap();
    }
    if std::env::var_os("TENURE_WRITE_FIXTURES").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let pinned = std::fs::read_to_string(TABLE).unwrap_or_default();
    for (made, pinned) in table.lines().zip(pinned.lines()) {
        assert_eq!(made, pinned);
    }
    assert_eq!(
        table.lines().count(),
        pinned.lines().count(),
        "operations without a row, or rows without one"
    );
}
