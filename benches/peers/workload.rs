//! The mixed commands: what each caller requests next, and what it knows of people and tenants from its earlier requests.
//!
//! Of a hundred: 25 new people, 13 new tenants, 15 new members and 5 who leave, 8 keys minted (the hash was made
//! beforehand) and 4 revoked, 8 invites sent and 7 accepted, 8 sources and 7 pipes. Each caller looks after tenants of
//! its own, so that no contestant loses time to version conflicts.

use uuid::Uuid;

/// How many people and how many tenants a caller remembers; a newcomer takes the place of any of them.
const PEOPLE: usize = 64;
const TENANTS: usize = 32;

/// Somebody who exists.
#[derive(Clone)]
pub struct Person {
    pub id: Uuid,
    pub name: String,
}

/// A tenant of the caller's, as it stands before the request.
#[derive(Clone, Copy)]
pub struct Tenancy {
    pub account: Uuid,
    pub owner: Uuid,
    /// The version of the tenant's stream.
    pub version: i64,
}

/// One command.
pub enum Request {
    /// A new person with a name of their own.
    Register { name: String },
    /// A new tenant with a name of its own, owned by a person who exists.
    Open { name: String, owner: Uuid },
    /// A person who exists becomes a member.
    Add { of: Tenancy, user: Uuid },
    /// A member leaves.
    Remove { of: Tenancy, user: Uuid },
    /// The owner mints a key.
    Mint { of: Tenancy },
    /// The owner revokes a key.
    Revoke { of: Tenancy, key: Uuid },
    /// The owner invites a person who exists and does not belong to the tenant.
    Invite { of: Tenancy, to: Person },
    /// The person accepts, and is a member.
    Accept { of: Tenancy, invite: Uuid, user: Uuid },
    /// The owner makes a source.
    Source { of: Tenancy, handle: String },
    /// The owner makes a pipe of the source.
    Pipe { of: Tenancy, source: Uuid, handle: String, name: String, version: i64 },
}

struct Tenant {
    id: Uuid,
    owner: Uuid,
    members: Vec<Uuid>,
    version: i64,
    keys: Vec<Uuid>,
    invites: Vec<(Uuid, Uuid)>,
    /// The last source: its identifier, its handle, and how many events it has.
    source: Option<(Uuid, String, i64)>,
}

impl Tenant {
    const fn tenancy(&self) -> Tenancy {
        Tenancy { account: self.id, owner: self.owner, version: self.version }
    }

    fn knows(&self, user: Uuid) -> bool {
        self.owner == user
            || self.members.contains(&user)
            || self.invites.iter().any(|(_, invited)| *invited == user)
    }
}

/// What one caller knows.
pub struct World {
    number: usize,
    requests: u64,
    random: u64,
    people: Vec<Person>,
    /// People who were there before the measurement; half of the people in requests are these, if there are any.
    elders: Vec<Person>,
    tenants: Vec<Tenant>,
}

impl World {
    /// The world of the caller with this number.
    pub fn new(number: usize, elders: Vec<Person>) -> Self {
        let random = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { number, requests: 0, random, people: Vec::new(), elders, tenants: Vec::new() }
    }

    /// The next request, one that can be carried out.
    pub fn request(&mut self) -> Request {
        self.requests += 1;
        let request = match self.below(100) {
            0..25 => None,
            25..38 => self.open(),
            38..53 => self.add(),
            53..58 => self.remove().or_else(|| self.add()),
            58..66 => self.tenant().map(|tenant| Request::Mint { of: tenant.tenancy() }),
            66..70 => self.revoke(),
            70..78 => self.invite(),
            78..85 => self.accept().or_else(|| self.invite()),
            85..93 => self.source(),
            _ => self.pipe().or_else(|| self.source()),
        };
        request.unwrap_or_else(|| Request::Register { name: self.name("p") })
    }

    /// Remembers that a request was carried out; what is new has this identifier.
    pub fn carried_out(&mut self, request: &Request, id: Uuid) {
        match request {
            Request::Register { name } => {
                let place = self.below(PEOPLE);
                replace(&mut self.people, PEOPLE, place, Person { id, name: name.clone() });
            }
            Request::Open { owner, .. } => {
                let place = self.below(TENANTS);
                let tenant = Tenant {
                    id,
                    owner: *owner,
                    members: Vec::new(),
                    version: 1,
                    keys: Vec::new(),
                    invites: Vec::new(),
                    source: None,
                };
                replace(&mut self.tenants, TENANTS, place, tenant);
            }
            Request::Add { of, user } => self.change(of, |tenant| {
                tenant.version += 1;
                tenant.members.push(*user);
            }),
            Request::Remove { of, user } => self.change(of, |tenant| {
                tenant.version += 1;
                tenant.members.retain(|member| member != user);
            }),
            Request::Mint { of } => self.change(of, |tenant| tenant.keys.push(id)),
            Request::Revoke { of, key } => self.change(of, |tenant| tenant.keys.retain(|known| known != key)),
            Request::Invite { of, to } => self.change(of, |tenant| tenant.invites.push((id, to.id))),
            Request::Accept { of, invite, user } => self.change(of, |tenant| {
                tenant.version += 1;
                tenant.members.push(*user);
                tenant.invites.retain(|(known, _)| known != invite);
            }),
            Request::Source { of, handle } => {
                self.change(of, |tenant| tenant.source = Some((id, handle.clone(), 1)));
            }
            Request::Pipe { of, .. } => self.change(of, |tenant| {
                if let Some((_, _, version)) = &mut tenant.source {
                    *version += 1;
                }
            }),
        }
    }

    fn change(&mut self, of: &Tenancy, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.tenants.iter_mut().find(|tenant| tenant.id == of.account) {
            change(tenant);
        }
    }

    fn open(&mut self) -> Option<Request> {
        let owner = self.person()?.id;
        Some(Request::Open { name: self.name("t"), owner })
    }

    fn tenant(&mut self) -> Option<&Tenant> {
        let place = self.place(self.tenants.len())?;
        self.tenants.get(place)
    }

    /// A tenant, and a person whom it does not know.
    fn stranger(&mut self) -> Option<(Tenancy, Person)> {
        let person = self.person()?;
        let tenant = self.tenant()?;
        (!tenant.knows(person.id)).then(|| (tenant.tenancy(), person))
    }

    fn add(&mut self) -> Option<Request> {
        self.stranger().map(|(of, person)| Request::Add { of, user: person.id })
    }

    fn invite(&mut self) -> Option<Request> {
        self.stranger().map(|(of, to)| Request::Invite { of, to })
    }

    /// Any tenant of which this is not empty, from a random place on.
    fn some<T: Clone>(&mut self, of: fn(&Tenant) -> Option<T>) -> Option<(Tenancy, T)> {
        let place = self.place(self.tenants.len())?;
        let mut tenants = self.tenants.iter().cycle().skip(place).take(TENANTS);
        tenants.find_map(|tenant| of(tenant).map(|found| (tenant.tenancy(), found)))
    }

    fn remove(&mut self) -> Option<Request> {
        let (of, user) = self.some(|tenant| tenant.members.first().copied())?;
        Some(Request::Remove { of, user })
    }

    fn revoke(&mut self) -> Option<Request> {
        let (of, key) = self.some(|tenant| tenant.keys.first().copied())?;
        Some(Request::Revoke { of, key })
    }

    fn accept(&mut self) -> Option<Request> {
        let (of, (invite, user)) = self.some(|tenant| tenant.invites.first().copied())?;
        Some(Request::Accept { of, invite, user })
    }

    fn source(&mut self) -> Option<Request> {
        let handle = self.name("s");
        self.tenant().map(|tenant| Request::Source { of: tenant.tenancy(), handle })
    }

    fn pipe(&mut self) -> Option<Request> {
        let name = self.name("q");
        let (of, (source, handle, version)) = self.some(|tenant| tenant.source.clone())?;
        Some(Request::Pipe { of, source, handle, name, version })
    }

    fn person(&mut self) -> Option<Person> {
        if !self.elders.is_empty() && self.below(2) == 0 {
            let place = self.below(self.elders.len());
            return Some(self.elders[place].clone());
        }
        let place = self.place(self.people.len())?;
        Some(self.people[place].clone())
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}-{}", self.number, self.requests)
    }

    fn place(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| self.below(length))
    }

    /// An xorshift number below the bound.
    #[allow(clippy::cast_possible_truncation)]
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % bound
    }
}

fn replace<T>(known: &mut Vec<T>, most: usize, place: usize, new: T) {
    if known.len() < most {
        known.push(new);
    } else {
        known[place] = new;
    }
}
