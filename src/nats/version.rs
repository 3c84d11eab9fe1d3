//! Which versions of nats-server keep tenants apart.

/// The version of a server, as far as it matters here.
fn parse(text: &str) -> Option<[u64; 3]> {
    let text = text.trim_start_matches('v');
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse::<u64>);
    let version = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    parts.next().is_none().then_some(version)
}

/// Whether a server of this version may hold the accounts of tenants: older ones let a tenant reach another one's streams.
#[must_use]
pub fn is_safe(version: &str) -> bool {
    match parse(version) {
        Some([2, 11, patch]) => patch >= 16,
        Some(version) => version >= [2, 12, 7],
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn only_servers_that_keep_tenants_apart_are_used() {
        for safe in ["2.12.7", "2.11.16", "2.11.99", "2.15.1", "3.0.0", "v2.15.1", "2.16.0-RC.1"] {
            assert!(is_safe(safe), "{safe}");
        }
        for unsafe_ in
            ["2.9.10", "2.11.15", "2.12.6", "2.12.0", "2.10.29", "1.99.99", "", "2.15", "next", "2.15.1.1"]
        {
            assert!(!is_safe(unsafe_), "{unsafe_}");
        }
    }
}
