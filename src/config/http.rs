//! The settings of the HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;

use super::error::ConfigError;
use super::file::File;
use super::heading::HTTP;
use crate::http::{GithubSettings, HttpSettings, loopback_port};

/// The flags of the HTTP interface.
#[derive(Args, Clone)]
#[allow(clippy::doc_markdown)] // these are the words of `--help`
pub(super) struct HttpFlags {
    /// The URL at which users and programs reach this instance, for example https://tenure.example.org [default:
    /// http://LISTEN]
    #[arg(long, global = true, env = "TENURE_PUBLIC_URL", value_name = "URL", help_heading = HTTP, hide = true)]
    public_url: Option<String>,
    /// Let anyone sign in as any user; for development, only on a loopback address
    #[arg(long, global = true, env = "TENURE_DEV_SIGN_IN", help_heading = HTTP, hide = true, value_parser = BoolishValueParser::new())]
    dev_sign_in: bool,
    /// A proxy whose X-Forwarded-For or Forwarded header is trusted, as an address or a network, for example 10.0.0.0/8; repeatable
    /// or comma-separated
    #[arg(
        long = "trusted-proxy",
        global = true,
        env = "TENURE_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ',',
        help_heading = HTTP, hide = true
    )]
    trusted_proxies: Vec<String>,
    /// The client id of the OAuth application at GitHub
    #[arg(long, global = true, env = "TENURE_GITHUB_CLIENT_ID", value_name = "ID", help_heading = HTTP, hide = true)]
    github_client_id: Option<String>,
    /// A file with the client secret of that application; TENURE_GITHUB_CLIENT_SECRET, the secret itself, takes
    /// precedence
    #[arg(
        long,
        global = true,
        env = "TENURE_GITHUB_CLIENT_SECRET_FILE",
        value_name = "FILE",
        help_heading = HTTP, hide = true
    )]
    github_client_secret_file: Option<PathBuf>,
    /// The URL of GitHub or of a GitHub Enterprise server [default: https://github.com]
    #[arg(long, global = true, env = "TENURE_GITHUB_URL", value_name = "URL", help_heading = HTTP, hide = true)]
    github_url: Option<String>,
    /// The URL of the GitHub API [default: https://api.github.com]
    #[arg(long, global = true, env = "TENURE_GITHUB_API_URL", value_name = "URL", help_heading = HTTP, hide = true)]
    github_api_url: Option<String>,
    /// The lifetime of a device code in seconds, at most 86400 [default: 600]
    #[arg(
        long,
        global = true,
        env = "TENURE_DEVICE_CODE_TTL",
        value_name = "SECONDS",
        help_heading = HTTP, hide = true
    )]
    device_code_ttl: Option<u64>,
    /// The interval in seconds after which a device may poll again [default: 5]
    #[arg(
        long,
        global = true,
        env = "TENURE_DEVICE_INTERVAL",
        value_name = "SECONDS",
        help_heading = HTTP, hide = true
    )]
    device_interval: Option<u64>,
    /// The lifetime of an access token from the device flow in seconds [default: 2592000]
    #[arg(long, global = true, env = "TENURE_TOKEN_TTL", value_name = "SECONDS", help_heading = HTTP, hide = true)]
    token_ttl: Option<u64>,
    /// The lifetime of a browser session in seconds [default: 604800]
    #[arg(long, global = true, env = "TENURE_SESSION_TTL", value_name = "SECONDS", help_heading = HTTP, hide = true)]
    session_ttl: Option<u64>,
}

/// The upper bound of the settings in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;

impl HttpFlags {
    /// Merges the flags, which include the environment, with the settings file; flags win.
    pub(super) fn resolve(self, file: &File, listen: SocketAddr) -> Result<HttpSettings, ConfigError> {
        let mut settings = HttpSettings::new(listen);
        if let Some(url) = self.public_url.or(file.public_url.clone()) {
            settings.public_url = origin(&url)?;
            settings.public_url_is_set = true;
        }
        for (seconds, setting, ttl) in [
            (self.device_code_ttl.or(file.device_code_ttl), "device_code_ttl", &mut settings.device_code_ttl),
            (self.device_interval.or(file.device_interval), "device_interval", &mut settings.poll_interval),
            (self.token_ttl.or(file.token_ttl), "token_ttl", &mut settings.token_ttl),
            (self.session_ttl.or(file.session_ttl), "session_ttl", &mut settings.session_ttl),
        ] {
            let Some(seconds) = seconds else { continue };
            let most = if setting == "device_code_ttl" { 86_400 } else { MAX_SECONDS };
            if !(1..=most).contains(&seconds) {
                return Err(ConfigError::Http {
                    setting,
                    rule: "must be 1 second to ten years, for device codes at most 24 hours",
                });
            }
            *ttl = Duration::from_secs(seconds);
        }
        let proxies = if self.trusted_proxies.is_empty() {
            file.trusted_proxies.clone().unwrap_or_default()
        } else {
            self.trusted_proxies
        };
        settings.trusted_proxies = proxies.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        settings.rates = file.limits.rates();
        settings.dev_sign_in = self.dev_sign_in || file.dev_sign_in == Some(true);
        // Behind a proxy or another public URL, users of other machines could sign in.
        let at_home = listen.ip().is_loopback()
            && settings.trusted_proxies.is_empty()
            && loopback_port(&settings.public_url).is_some();
        if settings.dev_sign_in && !at_home {
            let rule = "lets anyone sign in as any user; allowed only on a loopback address without a proxy";
            return Err(ConfigError::Http { setting: "dev_sign_in", rule });
        }
        if let Some(client_id) =
            // An empty environment variable counts as unset.
            self.github_client_id.or(file.github_client_id.clone()).filter(|id| !id.is_empty())
        {
            let secret_file = self.github_client_secret_file.or(file.github_client_secret_file.clone());
            settings.github = Some(GithubSettings {
                client_id,
                client_secret: secret(secret_file)?.into(),
                url: self
                    .github_url
                    .or(file.github_url.clone())
                    .unwrap_or_else(|| "https://github.com".to_owned()),
                api_url: self
                    .github_api_url
                    .or(file.github_api_url.clone())
                    .unwrap_or_else(|| "https://api.github.com".to_owned()),
            });
        }
        Ok(settings)
    }
}

fn secret(file: Option<PathBuf>) -> Result<String, ConfigError> {
    if let Some(secret) =
        std::env::var("TENURE_GITHUB_CLIENT_SECRET").ok().filter(|secret| !secret.is_empty())
    {
        return Ok(secret);
    }
    let rule = "set TENURE_GITHUB_CLIENT_SECRET, or set github_client_secret_file to a file that contains the secret";
    let missing = ConfigError::Http { setting: "github_client_secret", rule };
    let Some(path) = file else { return Err(missing) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError::File { path, reason: error.to_string() })?;
    let secret = text.trim();
    if secret.is_empty() { Err(missing) } else { Ok(secret.to_owned()) }
}

/// Parses an address or a network; an address is a network with one member.
fn network(text: &str) -> Result<IpNet, ConfigError> {
    let text = text.trim();
    text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
        ConfigError::Http {
            setting: "trusted_proxies",
            rule: "must be an address or a network, for example 10.0.0.0/8",
        }
    })
}

/// Checks that a URL is only an origin, and removes trailing slashes and the default port.
fn origin(url: &str) -> Result<String, ConfigError> {
    let rule = "must be http:// or https:// with a lower-case host and no path, for example https://tenure.example.org";
    let malformed = || ConfigError::Http { setting: "public_url", rule };
    let url = url.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(malformed)?;
    let plain =
        |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(plain) || host.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Err(malformed());
    }
    // Browsers omit the default port from the Origin header, which is compared with this value.
    let usual = if url.starts_with("https://") { ":443" } else { ":80" };
    Ok(url.strip_suffix(usual).unwrap_or(url).to_owned())
}
