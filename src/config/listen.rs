//! The address to listen on, as people write it.

use std::net::{SocketAddr, ToSocketAddrs as _};

/// The address that `IP:PORT`, `NAME:PORT` or `:PORT` means; a name is looked up.
///
/// # Errors
/// What is wrong, for the command line and the settings file to show.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    const RULE: &str = "must be IP:PORT, NAME:PORT or :PORT, for example 127.0.0.1:8080";
    let port = |text: &str| text.parse::<u16>().map_err(|_| RULE.to_owned());
    if let Some(text) = text.strip_prefix(':') {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port(text)?)));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (name, text) = text.rsplit_once(':').ok_or(RULE)?;
    let found = (name, port(text)?).to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    // `localhost` is often both ::1 and 127.0.0.1; clients try both, scripts know the second one.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("{name}: there is no such host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_is_a_number_a_name_or_a_port_alone() {
        for (text, address) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            (":8080", "0.0.0.0:8080"),
            ("localhost:0", "127.0.0.1:0"),
        ] {
            assert_eq!(listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in
            ["", ":", "8080", "localhost", "localhost:", "localhost:70000", ":http", "::1:8080:x", "[::1]"]
        {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }
}
