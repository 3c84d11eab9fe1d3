//! Which events a subscription wants.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregates::{STREAM_TYPES, catalogue};
use crate::event_log::RecordedEvent;
use crate::ids::AccountId;

/// The most names that a filter can have.
const MAX_NAMES: usize = 100;

/// Selects events; an event must match every part that is set. By default all events are selected.
///
/// A filter is part of the definition of a subscription: it changes only together with the version.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventFilter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Uuid>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    aggregates: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    foreign_aggregates: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    event_types: BTreeSet<String>,
}

/// A filter names something that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidFilter {
    /// No aggregate of Tenure has this name.
    #[error("there is no aggregate {0:?}: use one of {known}, or `foreign_aggregate` for one of your own", known = STREAM_TYPES.join(", "))]
    UnknownAggregate(String),
    /// An aggregate of Tenure was named as a foreign one.
    #[error("{0:?} is an aggregate of Tenure: use `aggregate`")]
    NotForeign(String),
    /// No event of the selected aggregates has this name.
    #[error("there is no event {0:?} in the selected aggregates: docs/events.md lists the names")]
    UnknownEventType(String),
    /// There is no account with this identifier.
    #[error("there is no account {0}")]
    UnknownAccount(Uuid),
    /// The filter has too many names.
    #[error("a filter can have at most {MAX_NAMES} names")]
    TooManyNames,
}

impl EventFilter {
    /// Only events that concern this account.
    #[must_use]
    pub const fn account(mut self, account: AccountId) -> Self {
        self.account = Some(account.as_uuid());
        self
    }

    /// Only events of this aggregate of Tenure, for example `account`; call it again to add more.
    #[must_use]
    pub fn aggregate(mut self, name: &str) -> Self {
        self.aggregates.insert(name.to_owned());
        self
    }

    /// Only events of this aggregate, which is not one of Tenure's; call it again to add more.
    #[must_use]
    pub fn foreign_aggregate(mut self, name: &str) -> Self {
        self.foreign_aggregates.insert(name.to_owned());
        self
    }

    /// Only events with this stored name, for example `account.opened`; call it again to add more.
    #[must_use]
    pub fn event_type(mut self, name: &str) -> Self {
        self.event_types.insert(name.to_owned());
        self
    }

    /// Whether an event is selected.
    #[must_use]
    pub fn selects(&self, event: &RecordedEvent) -> bool {
        let names_aggregates = !self.aggregates.is_empty() || !self.foreign_aggregates.is_empty();
        let is_named = |name: &str| self.aggregates.contains(name) || self.foreign_aggregates.contains(name);
        self.account.is_none_or(|account| event.account_id == Some(account))
            && (!names_aggregates || is_named(&event.stream.stream_type))
            && (self.event_types.is_empty() || self.event_types.contains(&event.event_type))
    }

    /// The account that events must concern, if the filter names one.
    pub(super) const fn wanted_account(&self) -> Option<Uuid> {
        self.account
    }

    /// Refuses names that do not exist. Names of events can be checked only for Tenure's own aggregates.
    pub(super) fn check(&self) -> Result<(), InvalidFilter> {
        if self.aggregates.len() + self.foreign_aggregates.len() + self.event_types.len() > MAX_NAMES {
            return Err(InvalidFilter::TooManyNames);
        }
        let is_ours = |name: &String| STREAM_TYPES.contains(&name.as_str());
        if let Some(name) = self.aggregates.iter().find(|name| !is_ours(name)) {
            return Err(InvalidFilter::UnknownAggregate(name.clone()));
        }
        if let Some(name) = self.foreign_aggregates.iter().find(|name| is_ours(name)) {
            return Err(InvalidFilter::NotForeign(name.clone()));
        }
        if !self.foreign_aggregates.is_empty() {
            return Ok(());
        }
        let exists = |name: &String| {
            let wanted = |aggregate: &str| self.aggregates.is_empty() || self.aggregates.contains(aggregate);
            catalogue().iter().any(|(aggregate, event_type, _)| event_type == name && wanted(aggregate))
        };
        match self.event_types.iter().find(|name| !exists(name)) {
            Some(name) => Err(InvalidFilter::UnknownEventType(name.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_names_what_does_not_exist_is_refused() {
        let filter = EventFilter::default;
        for good in [
            filter(),
            filter().aggregate("account"),
            filter().event_type("account.opened"),
            filter().aggregate("account").event_type("account.opened"),
            filter().foreign_aggregate("visits").event_type("visits.entered"),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, reason) in [
            (filter().aggregate("acount"), "there is no aggregate \"acount\""),
            (filter().foreign_aggregate("account"), "\"account\" is an aggregate of Tenure"),
            (filter().event_type("account.openned"), "there is no event \"account.openned\""),
            (filter().aggregate("user").event_type("account.opened"), "there is no event \"account.opened\""),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
