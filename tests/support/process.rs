//! Second processes: the test executable itself, started again to play one part.

use std::process::{Child, Command, Stdio};

/// Tells a started process which part to play.
const PART: &str = "TENURE_TEST_PART";

/// The argument of the part.
const ARGUMENT: &str = "TENURE_TEST_ARGUMENT";

/// Starts this test executable again to run one test (by its full name) with a part to play.
pub fn play(test: &str, part: &str, argument: &str) -> Child {
    Command::new(std::env::current_exe().expect("this executable"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(ARGUMENT, argument)
        .env(super::CLUSTER_DIR, super::cluster_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a second process")
}

/// The argument, if this process was started to play this part.
pub fn part(name: &str) -> Option<String> {
    (std::env::var(PART).ok()? == name).then(|| std::env::var(ARGUMENT).unwrap_or_default())
}
