//! The rules of a device code.

use super::commands::DeviceCodeCommand;
use super::events::DeviceCodeEvent;
use super::refusal::DeviceCodeRefusal;
use super::state::{DeviceCode, Status};
use crate::aggregates::EventSourced;

impl EventSourced for DeviceCode {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: DeviceCodeCommand) -> Result<Vec<DeviceCodeEvent>, DeviceCodeRefusal> {
        let (expires_at, status, user_code) = match (self, command.clone()) {
            (Self::Unknown, DeviceCodeCommand::Create(new)) => {
                return Ok(vec![DeviceCodeEvent::Created {
                    at: new.at,
                    expires_at: new.expires_at,
                    digest: new.digest.into(),
                    user_code: new.user_code.into(),
                    client_name: new.client_name.into(),
                }]);
            }
            (Self::Created { .. } | Self::Consumed, DeviceCodeCommand::Create(_)) => {
                return Err(DeviceCodeRefusal::AlreadyCreated);
            }
            (Self::Unknown | Self::Consumed, _) => return Err(DeviceCodeRefusal::NotFound),
            (Self::Created { expires_at, status, user_code }, _) => (*expires_at, *status, user_code.clone()),
        };
        match (command, status) {
            (DeviceCodeCommand::Create(_), _) => Err(DeviceCodeRefusal::AlreadyCreated),
            // To users, an expired code is unknown; only the polling device gets `Expired` (RFC 8628 §3.5).
            (DeviceCodeCommand::Approve { at, .. } | DeviceCodeCommand::Deny { at, .. }, _)
                if at >= expires_at =>
            {
                Err(DeviceCodeRefusal::NotFound)
            }
            (DeviceCodeCommand::Approve { user, at }, Status::Pending) => {
                Ok(vec![DeviceCodeEvent::Approved { user, at }])
            }
            (DeviceCodeCommand::Approve { user, .. }, Status::Approved(by)) if by == user => Ok(vec![]),
            (DeviceCodeCommand::Deny { user, at }, Status::Pending) => {
                Ok(vec![DeviceCodeEvent::Denied { user, at, user_code }])
            }
            // The approving user may change their mind until the device has redeemed the code.
            (DeviceCodeCommand::Deny { user, at }, Status::Approved(by)) if by == user => {
                Ok(vec![DeviceCodeEvent::Denied { user, at, user_code }])
            }
            (DeviceCodeCommand::Approve { .. } | DeviceCodeCommand::Deny { .. }, _) => {
                Err(DeviceCodeRefusal::NotFound)
            }
            // The contract fixes this order: expired, denied, pending.
            (DeviceCodeCommand::Consume { at }, _) if at >= expires_at => Err(DeviceCodeRefusal::Expired),
            (DeviceCodeCommand::Consume { .. }, Status::Denied) => Err(DeviceCodeRefusal::Denied),
            (DeviceCodeCommand::Consume { .. }, Status::Pending) => Err(DeviceCodeRefusal::Pending),
            (DeviceCodeCommand::Consume { at }, Status::Approved(user)) => {
                Ok(vec![DeviceCodeEvent::Consumed { user, at, user_code }])
            }
        }
    }
}
