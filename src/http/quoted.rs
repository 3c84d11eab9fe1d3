//! Names in messages, as they were given.

/// The longest name that is repeated, in characters: a path may hold anything.
const LONGEST: usize = 64;

/// The name in quotes, shortened, and without characters that would disturb a terminal.
pub fn quoted(name: &str) -> String {
    let shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let more = if name.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("'{shown}{more}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_shortened_and_harmless() {
        assert_eq!(quoted("robot"), "'robot'");
        assert_eq!(quoted("\u{1b}[31m\u{202e}"), "'\\u{1b}[31m\\u{202e}'");
        assert_eq!(quoted(&"a".repeat(70)).chars().count(), LONGEST + 3);
    }
}
