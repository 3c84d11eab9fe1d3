//! Frozen events: what was stored once can be read for ever, public part and sealed part.
//!
//! A fixture is written once, when its event is new (`TENURE_WRITE_FIXTURES=1 cargo test --test tenure fixtures`), and
//! never changed: an event whose shape changes gets a new version, an upcaster, and a fixture of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenure::aggregates::account::{AccountEvent, AccountName, ListedAtClosing, NatsPublicKey, NatsSeed};
use tenure::aggregates::api_key::{ApiKeyEvent, KeyHash, KeyPrefix, Label};
use tenure::aggregates::bearer_token::BearerTokenEvent;
use tenure::aggregates::device_code::{ClientName, DeviceCodeEvent, UserCode};
use tenure::aggregates::ending::{AccountRows, Ended, EndingEvent, PersonRows, RevokedKeys, SourceLeft};
use tenure::aggregates::invite::{InviteEnd, InviteEvent, InviteeKey};
use tenure::aggregates::secret::SecretDigest;
use tenure::aggregates::session::SessionEvent;
use tenure::aggregates::sign_in_link::SignInLinkEvent;
use tenure::aggregates::source::{Handle, PipeName, Retention, SourceEvent, SourceKind};
use tenure::aggregates::user::{AvatarUrl, Email, GithubId, GithubLogin, UserEvent, UserMode, Username};
use tenure::aggregates::{AnyEvent, catalogue};
use tenure::clock::Timestamp;
use tenure::entropy::SeededEntropy;
use tenure::ids::{
    AccountId, ApiKeyId, BearerTokenId, InviteId, NameKeyId, PipeId, SessionId, SignInLinkId, SourceId,
    UserId,
};
use tenure::sealing::{self, DataKey, FieldVisitor, SealError, SealedField, SealedFields as _, Subject};
use uuid::Uuid;

const STREAM: Uuid = Uuid::from_u128(0xa1);
const EVENT: Uuid = Uuid::from_u128(0xe1);

#[derive(Serialize, Deserialize)]
struct Fixture {
    stream_type: String,
    event_type: String,
    event_version: String,
    /// As stored, byte for byte.
    payload: String,
    /// The block of ciphertexts in hexadecimal digits, under a key of 32 octets 07.
    sealed: Option<String>,
    /// What the ciphertexts hold.
    opened: Value,
}

fn key() -> DataKey {
    DataKey::from_bytes([7; 32])
}

fn file(event_type: &str, version: &str) -> PathBuf {
    let name = format!("{event_type}.v{version}.json");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn samples() -> Vec<AnyEvent> {
    let at = Timestamp::parse("2026-01-31T12:00:00.000001Z").unwrap();
    let (ada, bob) = (UserId::from_uuid(Uuid::from_u128(0xada)), UserId::from_uuid(Uuid::from_u128(0xb0b)));
    let email = || Some(Email::parse("ada@example.org").unwrap());
    let login = || GithubLogin::parse("ada").unwrap();
    let avatar = || Some(AvatarUrl::parse("https://avatars.example/ada").unwrap());
    let name = || AccountName::parse("acme").unwrap();
    let public_key = || NatsPublicKey::parse(&format!("A{}", "B".repeat(55))).unwrap();
    let seed = || NatsSeed::parse(&format!("SA{}", "C".repeat(56))).unwrap();
    let hash = || KeyHash::parse("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let user_code = || UserCode::parse("BCDF-GHJK").unwrap();
    let pipe_name = || PipeName::parse("events").unwrap();
    let (acme, key_id) = (AccountId::from_uuid(STREAM), ApiKeyId::from_uuid(Uuid::from_u128(0x4e7)));
    let pipe = PipeId::from_uuid(Uuid::from_u128(0x919e));
    let minted = |removals| ApiKeyEvent::Minted {
        account: acme,
        minter: ada,
        removals,
        prefix: KeyPrefix::of("0123456789"),
        at,
        expires_at: Some(at),
        hash: hash().into(),
        label: Label::parse("ci").unwrap().into(),
    };
    let name_key = NameKeyId::from_uuid(Uuid::from_u128(0x4a3e));
    let bound = |invitee_key| InviteEvent::Bound {
        account: acme,
        user: bob,
        at,
        expires_at: at,
        invitee_key,
        invitee: Username::parse("bob").unwrap().into(),
    };
    let invite_end = |invitee_key| InviteEnd {
        account: acme,
        user: Some(bob),
        at,
        was_pending: true,
        was_bound: true,
        invitee_key,
        invitee: Username::parse("bob").unwrap().into(),
    };
    vec![
        UserEvent::Registered {
            mode: UserMode::Github,
            at,
            username: Username::parse("Ada").unwrap().into(),
            email: email().into(),
            github_id: Some(GithubId::new(42).unwrap()).into(),
            github_login: Some(login()).into(),
            avatar_url: avatar().into(),
        }
        .into(),
        UserEvent::ProfileRefreshed {
            at,
            github_login: login().into(),
            email: email().into(),
            avatar_url: None.into(),
            username: Some(Username::parse("countess").unwrap()).into(),
            former_username: Some(Username::parse("Ada").unwrap()).into(),
        }
        .into(),
        UserEvent::Renamed {
            at,
            username: Username::parse("Ada~2").unwrap().into(),
            former_username: Username::parse("Ada").unwrap().into(),
        }
        .into(),
        UserEvent::OperatorGranted { at }.into(),
        UserEvent::OperatorRevoked { at }.into(),
        AccountEvent::Opened { owner: ada, at, name: name().into() }.into(),
        AccountEvent::MemberAdded { user: bob, at }.into(),
        AccountEvent::MemberRemoved { user: bob, at, removal: None }.into(),
        AccountEvent::MemberRemoved { user: bob, at, removal: Some(1) }.into(),
        AccountEvent::OwnershipTransferred { from: ada, to: bob, at }.into(),
        AccountEvent::NatsAccountSet { public_key: public_key(), at, signing_seed: seed().into() }.into(),
        AccountEvent::NatsSigningSeedReissued { public_key: public_key(), at, signing_seed: seed().into() }
            .into(),
        AccountEvent::Renamed {
            at,
            name: AccountName::parse("acme-2").unwrap().into(),
            former_name: name().into(),
        }
        .into(),
        AccountEvent::Closed {
            listed: Some(ListedAtClosing { members: vec![ada], api_keys: vec![key_id] }),
            at,
            name: name().into(),
        }
        .into(),
        AccountEvent::Closed { listed: None, at, name: name().into() }.into(),
        UserEvent::InvitedNameTaken { at, key: name_key, username: Username::parse("bob").unwrap().into() }
            .into(),
        UserEvent::Forgotten {
            at,
            name_keys: vec![name_key],
            username: Username::parse("Ada").unwrap().into(),
            github_id: Some(GithubId::new(42).unwrap()).into(),
        }
        .into(),
        UserEvent::Forgotten {
            at,
            name_keys: vec![],
            username: Username::parse("Ada").unwrap().into(),
            github_id: Some(GithubId::new(42).unwrap()).into(),
        }
        .into(),
        InviteEvent::Created {
            account: acme,
            inviter: ada,
            bound: None,
            mode: UserMode::Github,
            at,
            expires_at: at,
            invitee_key: None,
            invitee: Username::parse("bob").unwrap().into(),
        }
        .into(),
        InviteEvent::Created {
            account: acme,
            inviter: ada,
            bound: None,
            mode: UserMode::Github,
            at,
            expires_at: at,
            invitee_key: Some(InviteeKey::Name { id: name_key, begins: true }),
            invitee: Username::parse("bob").unwrap().into(),
        }
        .into(),
        bound(None).into(),
        bound(Some(InviteeKey::Name { id: name_key, begins: false })).into(),
        InviteEvent::Accepted(invite_end(None)).into(),
        InviteEvent::Accepted(invite_end(Some(InviteeKey::User(bob)))).into(),
        InviteEvent::Declined(invite_end(None)).into(),
        InviteEvent::Declined(invite_end(Some(InviteeKey::User(bob)))).into(),
        InviteEvent::Revoked(invite_end(None)).into(),
        InviteEvent::Revoked(invite_end(Some(InviteeKey::Name { id: name_key, begins: false }))).into(),
        InviteEvent::InviteeForgotten(invite_end(None)).into(),
        InviteEvent::InviteeResealed {
            account: acme,
            user: Some(bob),
            at,
            pending_until: Some(at),
            was_bound: false,
            invitee_key: InviteeKey::User(bob),
            invitee: Username::parse("bob").unwrap().into(),
        }
        .into(),
        minted(0).into(),
        minted(1).into(),
        ApiKeyEvent::Rotated {
            account: acme,
            prefix: KeyPrefix::of("abcdefghij"),
            former_prefix: KeyPrefix::of("0123456789"),
            former_until: at,
            at,
            hash: hash().into(),
            former_hash: hash().into(),
        }
        .into(),
        ApiKeyEvent::Revoked { account: acme, at }.into(),
        DeviceCodeEvent::Created {
            at,
            expires_at: at,
            digest: SecretDigest::of("device code").into(),
            user_code: user_code().into(),
            client_name: ClientName::parse("a terminal").unwrap().into(),
        }
        .into(),
        DeviceCodeEvent::Approved { user: ada, at }.into(),
        DeviceCodeEvent::Denied { user: ada, at, user_code: user_code().into() }.into(),
        DeviceCodeEvent::Consumed { user: ada, at, user_code: user_code().into() }.into(),
        BearerTokenEvent::Issued {
            user: ada,
            prefix: KeyPrefix::of("0123456789"),
            at,
            expires_at: at,
            digest: SecretDigest::of("token").into(),
        }
        .into(),
        BearerTokenEvent::Revoked { user: ada, at }.into(),
        SessionEvent::Started { user: ada, at, expires_at: at, digest: SecretDigest::of("session").into() }
            .into(),
        SessionEvent::Ended { user: ada, at }.into(),
        SignInLinkEvent::Issued { user: ada, at, expires_at: at, digest: SecretDigest::of("link").into() }
            .into(),
        SignInLinkEvent::Used { user: ada, at }.into(),
        SourceEvent::Created {
            account: acme,
            created_by: ada,
            handle: Handle::parse("robot").unwrap(),
            kind: SourceKind::Pty,
            at,
        }
        .into(),
        SourceEvent::PipeCreated {
            account: acme,
            pipe,
            created_by: ada,
            name: pipe_name(),
            retention: Retention::new(Some(60), None, Some(1)).unwrap(),
            at,
        }
        .into(),
        SourceEvent::PipeRetentionChanged { account: acme, pipe, retention: Retention::default(), at }.into(),
        SourceEvent::PipeDeleted { account: acme, pipe, name: pipe_name(), at }.into(),
        SourceEvent::Deleted { account: acme, handle: Handle::parse("robot").unwrap(), at }.into(),
        EndingEvent::AccountRowsRemoved(AccountRows {
            account: acme,
            members: vec![bob],
            api_keys: vec![key_id],
            invites: vec![InviteId::from_uuid(STREAM)],
            pipes: vec![pipe],
            sources: vec![SourceLeft {
                id: SourceId::from_uuid(STREAM),
                handle: Handle::parse("robot").unwrap(),
            }],
        })
        .into(),
        EndingEvent::PersonRowsBlanked(PersonRows {
            user: bob,
            at,
            pending_invites: vec![InviteId::from_uuid(STREAM)],
            decided_invites: vec![InviteId::from_uuid(EVENT)],
            bearer_tokens: vec![BearerTokenId::from_uuid(STREAM)],
            sessions: vec![SessionId::from_uuid(STREAM)],
            sign_in_links: vec![SignInLinkId::from_uuid(STREAM)],
            name_keys: vec![name_key],
        })
        .into(),
        EndingEvent::ApiKeysRevoked(RevokedKeys { account: acme, at, position: 77, api_keys: vec![key_id] })
            .into(),
        EndingEvent::Finished { of: Ended::Membership { account: acme, user: bob, removal: 1 } }.into(),
    ]
}

/// The open fields of an event by name; empty ones are left out, as in the block.
fn opened(event: &mut AnyEvent) -> Value {
    struct Collector(serde_json::Map<String, Value>);

    impl FieldVisitor for Collector {
        fn field(
            &mut self,
            name: &'static str,
            _: Subject,
            field: &mut dyn SealedField,
        ) -> Result<(), SealError> {
            let json = field.to_json().ok_or(SealError::Missing(name))?;
            if json != b"null" {
                self.0.insert(name.to_owned(), serde_json::from_slice(&json).unwrap());
            }
            Ok(())
        }
    }

    let mut collector = Collector(serde_json::Map::new());
    let owner = event.subject(STREAM);
    event.visit_sealed(owner, &mut collector).expect("every field is open");
    Value::Object(collector.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn write(mut event: AnyEvent) {
    let (event_type, event_version) = event.kind();
    let path = file(event_type, event_version);
    if path.exists() {
        return;
    }
    let owner = event.subject(STREAM);
    let key = key();
    let sealed =
        sealing::seal(&mut event, owner, EVENT, &mut |_| Some(&key), &SeededEntropy::new(1)).unwrap();
    let fixture = Fixture {
        stream_type: owner.kind.to_owned(),
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: String::from_utf8(event.payload().unwrap()).unwrap(),
        sealed: sealed.map(|block| hex(&block)),
        opened: opened(&mut event),
    };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{:#}\n", json!(fixture))).unwrap();
}

#[test]
fn every_event_that_was_ever_stored_still_decodes() {
    if std::env::var_os("TENURE_WRITE_FIXTURES").is_some() {
        samples().into_iter().for_each(write);
    }
    for (stream_type, event_type, version) in catalogue() {
        let path = file(event_type, version);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let fixture: Fixture = serde_json::from_str(&text).unwrap();
        assert_eq!((fixture.stream_type.as_str(), fixture.event_type.as_str()), (stream_type, event_type));
        let mut event =
            AnyEvent::from_payload(stream_type, event_type, version, fixture.payload.as_bytes()).unwrap();
        let block = fixture.sealed.as_deref().map(unhex);
        let key = key();
        let owner = event.subject(STREAM);
        sealing::open(&mut event, owner, EVENT, block.as_deref(), &mut |_, _| Some(&key)).unwrap();
        assert_eq!(opened(&mut event), fixture.opened, "{event_type}");
        assert_eq!(event.payload().unwrap(), fixture.payload.as_bytes(), "{event_type}: the stored bytes");
        assert!(samples().contains(&event), "{event_type}: another meaning");
    }
}

/// The catalogue of events, as a page.
fn catalogue_page() -> String {
    let mut page = String::from(
        "# The events\n\n\
         Every event that Tenure stores, made from the registry in `src/aggregates/mod.rs` and the frozen examples in\n\
         `tests/fixtures/`; a test fails when this page is not what they give\n\
         (`TENURE_WRITE_FIXTURES=1 cargo test --test tenure fixtures` writes it).\n\n\
         The payload is public JSON, relayed and shown as it is. Sealed fields are not part of it: each is encrypted \
         under\nthe key of the subject that it belongs to, and absent for readers without the key.\n",
    );
    let mut of = "";
    for (stream_type, event_type, version) in catalogue() {
        if of != stream_type {
            page.push_str(&format!("\n## `{stream_type}`\n"));
            of = stream_type;
        }
        let sample =
            samples().into_iter().find(|event| event.kind() == (event_type, version)).expect("a sample");
        let mut fields = SealedNames(Vec::new());
        let owner = sample.subject(STREAM);
        let mut event = sample.clone();
        event.visit_sealed(owner, &mut fields).unwrap();
        let payload: Value = serde_json::from_slice(&sample.payload().unwrap()).unwrap();
        page.push_str(&format!("\n### `{event_type}`, version {version}\n\n```json\n{payload:#}\n```\n"));
        if fields.0.is_empty() {
            page.push_str("\nNothing in it is sealed.\n");
        } else {
            page.push_str(&format!("\nSealed: {}.\n", fields.0.join(", ")));
        }
        if let Some(subject) = sample.begins_subject(STREAM) {
            page.push_str(&format!("The key of the {} begins with it.\n", subject.kind));
        }
        let mut ended: Vec<&str> = sample.ends_subjects(STREAM).iter().map(|subject| subject.kind).collect();
        ended.dedup();
        for kind in ended {
            page.push_str(&format!("The key of the {kind} is destroyed with it.\n"));
        }
    }
    page
}

/// The names of the sealed fields, each with whose key seals it.
struct SealedNames(Vec<String>);

impl FieldVisitor for SealedNames {
    fn field(
        &mut self,
        name: &'static str,
        subject: Subject,
        _: &mut dyn SealedField,
    ) -> Result<(), SealError> {
        self.0.push(format!("`{name}` (of the {})", subject.kind.replace('_', " ")));
        Ok(())
    }
}

#[test]
fn the_page_of_events_is_what_the_registry_gives() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let page = catalogue_page();
    if std::env::var_os("TENURE_WRITE_FIXTURES").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "write docs/events.md anew");
}

#[test]
fn every_fixture_belongs_to_an_event_that_this_release_reads() {
    let kinds = catalogue();
    for entry in std::fs::read_dir(file("x", "1").parent().unwrap()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let known =
            kinds.iter().any(|(_, event_type, version)| name == format!("{event_type}.v{version}.json"));
        assert!(known, "{name}: stored events must stay readable");
    }
}
