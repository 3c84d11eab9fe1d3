//! The examples that `--help` shows below the flags of a command.

pub(super) const SERVE: &str = "\
Examples:
  tenure serve
  tenure serve --listen :8080 --public-url https://tenure.example.org";
pub(super) const USER: &str = "\
Examples:
  tenure user add ada --email ada@example.org --operator
  tenure user sign-in-link ada
  tenure user forget ada";
pub(super) const ACCOUNT: &str = "\
Examples:
  tenure account open acme --owner ada
  tenure account add-member acme bob
  tenure account members acme --json";
pub(super) const INVITE: &str = "\
Examples:
  tenure invite send --account acme --to bob
  tenure invite list --account acme";
pub(super) const KEY: &str = "\
Examples:
  tenure key mint --account acme --label ci
  tenure key verify <secret.txt";
pub(super) const TOKEN: &str = "\
Examples:
  tenure token issue --user ada
  tenure token list --user ada";
pub(super) const SOURCE: &str = "\
Examples:
  tenure source create robot --account acme
  tenure source list --account acme";
pub(super) const PIPE: &str = "\
Examples:
  tenure pipe create events --source robot --account acme
  tenure pipe retention events --source robot --account acme --ttl 3600";
pub(super) const LOGIN: &str = "\
Examples:
  tenure login --server https://tenure.example.org";
pub(super) const EVENTS: &str = "\
Examples:
  tenure events tail
  tenure events show --account acme --type account.member_added --json";
pub(super) const LOG: &str = "\
Examples:
  tenure log new-epoch --yes";
pub(super) const KEYS: &str = "\
Examples:
  tenure keys rotate
  tenure keys rotate --new-key-file /run/secrets/tenure.key --wait 1h";
pub(super) const NATS: &str = "\
Examples:
  tenure nats bootstrap --dir nats --listen 0.0.0.0:4222
  tenure nats status --json
  tenure nats user --subscribe --name billing --out billing.creds
  tenure nats relay --from 1";
pub(super) const BENCH: &str = "\
Examples:
  tenure bench seed --events 1000000";

pub(super) const PROJECTIONS: &str = "\
Examples:
  tenure projections list
  tenure projections rebuild
  tenure projections rebuild users api_keys --swap-wait 30s";

pub(super) const AUDIT: &str = "\
Examples:
  tenure audit diff
  tenure audit diff --account acme --json
  tenure audit diff --from 2026-01-30T18:00:00+01:00 --account acme
  tenure audit as-of 2026-01-31T12:00:00Z --schema friday --keep 2h
  tenure audit explain account acme
  tenure audit explain event 1200";

pub(super) const SUBSCRIPTIONS: &str = "\
Examples:
  tenure subscriptions list
  tenure subscriptions show mailer
  tenure subscriptions unpark mailer user/0198c0de-0000-7000-8000-000000000001 --reason fixed-in-1.4
  tenure subscriptions skip mailer 412-1077 --reason dead-address
  tenure subscriptions rewind mailer --to 412-1000 --reason not-sent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_command_that_is_understood() {
        let all = [
            SERVE,
            USER,
            ACCOUNT,
            INVITE,
            KEY,
            TOKEN,
            SOURCE,
            PIPE,
            LOGIN,
            EVENTS,
            LOG,
            NATS,
            BENCH,
            PROJECTIONS,
            AUDIT,
            SUBSCRIPTIONS,
        ];
        for example in all.iter().flat_map(|examples| examples.lines().skip(1)) {
            let words = example.split_whitespace().filter(|word| !word.starts_with('<'));
            if let Err(error) = crate::cli::command().try_get_matches_from(words) {
                panic!("{example}: {error}");
            }
        }
    }

    #[test]
    fn a_command_shows_its_own_flags_first_and_those_of_the_http_server_only_under_serve() {
        let mut command = crate::cli::command();
        let mut help = |words: &[&str]| command.try_get_matches_from_mut(words).unwrap_err().to_string();
        let add = help(&["tenure", "user", "add", "--help"]);
        assert!(add.find("--email").unwrap() < add.find("--data-dir").unwrap(), "{add}");
        assert!(!add.contains("--public-url") && !add.contains("--listen"), "{add}");
        let serve = help(&["tenure", "serve", "--help"]);
        assert!(serve.contains("--public-url") && serve.contains("--listen"), "{serve}");
    }
}
