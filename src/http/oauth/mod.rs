//! OAuth: RFC 8628 device flow, RFC 8414 metadata, RFC 7662 introspection, RFC 7009 revocation; and GitHub as the
//! identity provider.

pub mod device_code;
pub mod device_token;
pub mod github;
pub mod introspect;
pub mod metadata;
pub mod parameters;
pub mod revoke;
