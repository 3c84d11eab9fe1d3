//! The mixed commands: what each caller wishes next, and what it knows of people and tenants from its earlier wishes.
//!
//! 40 % new people, 20 % new tenants, 30 % new members, 10 % members who leave. Each caller looks after tenants of its
//! own, so that no contestant loses time to version conflicts.

use uuid::Uuid;

/// How many people and how many tenants a caller remembers; a newcomer takes the place of any of them.
const PEOPLE: usize = 64;
const TENANTS: usize = 32;

/// One command.
pub enum Wish {
    /// A new person with a name of their own.
    Register { name: String },
    /// A new tenant with a name of its own, owned by a person who exists.
    Open { name: String, owner: Uuid },
    /// A person who exists becomes a member; `version` is the tenant's before that.
    Add { account: Uuid, user: Uuid, version: i64 },
    /// A member leaves.
    Remove { account: Uuid, user: Uuid, version: i64 },
}

struct Tenant {
    id: Uuid,
    owner: Uuid,
    members: Vec<Uuid>,
    version: i64,
}

/// What one caller knows.
pub struct World {
    number: usize,
    wishes: u64,
    random: u64,
    people: Vec<Uuid>,
    /// People who were there before the measurement; half of the people in wishes are these, if there are any.
    elders: Vec<Uuid>,
    tenants: Vec<Tenant>,
}

impl World {
    /// The world of the caller with this number.
    pub fn new(number: usize, elders: Vec<Uuid>) -> Self {
        let random = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { number, wishes: 0, random, people: Vec::new(), elders, tenants: Vec::new() }
    }

    /// The next wish; it can be granted.
    pub fn wish(&mut self) -> Wish {
        self.wishes += 1;
        let wish = match self.below(10) {
            0..4 => None,
            4..6 => self.open(),
            6..9 => self.add(),
            _ => self.remove().or_else(|| self.add()),
        };
        wish.unwrap_or_else(|| Wish::Register { name: self.name("p") })
    }

    /// Remembers that a wish was granted; new people and tenants have this identifier.
    pub fn granted(&mut self, wish: &Wish, id: Uuid) {
        match wish {
            Wish::Register { .. } => {
                let place = self.below(PEOPLE);
                replace(&mut self.people, PEOPLE, place, id);
            }
            Wish::Open { owner, .. } => {
                let place = self.below(TENANTS);
                let tenant = Tenant { id, owner: *owner, members: Vec::new(), version: 1 };
                replace(&mut self.tenants, TENANTS, place, tenant);
            }
            Wish::Add { account, user, .. } => self.change(*account, |members| members.push(*user)),
            Wish::Remove { account, user, .. } => {
                self.change(*account, |members| members.retain(|member| member != user));
            }
        }
    }

    fn change(&mut self, account: Uuid, change: impl FnOnce(&mut Vec<Uuid>)) {
        if let Some(tenant) = self.tenants.iter_mut().find(|tenant| tenant.id == account) {
            tenant.version += 1;
            change(&mut tenant.members);
        }
    }

    fn open(&mut self) -> Option<Wish> {
        let owner = self.person()?;
        Some(Wish::Open { name: self.name("t"), owner })
    }

    fn add(&mut self) -> Option<Wish> {
        let place = self.place(self.tenants.len())?;
        let user = self.person()?;
        let Tenant { id, owner, members, version } = &self.tenants[place];
        let stranger = *owner != user && !members.contains(&user);
        stranger.then_some(Wish::Add { account: *id, user, version: *version })
    }

    fn remove(&mut self) -> Option<Wish> {
        let place = self.place(self.tenants.len())?;
        let with_members = self.tenants.iter().cycle().skip(place).take(TENANTS);
        let tenant = with_members.into_iter().find(|tenant| !tenant.members.is_empty())?;
        Some(Wish::Remove { account: tenant.id, user: tenant.members[0], version: tenant.version })
    }

    fn person(&mut self) -> Option<Uuid> {
        if !self.elders.is_empty() && self.below(2) == 0 {
            let place = self.below(self.elders.len());
            return Some(self.elders[place]);
        }
        let place = self.place(self.people.len())?;
        Some(self.people[place])
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}-{}", self.number, self.wishes)
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
