//! Second processes: the binary, and the test executable itself, started again to play one part.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The binary, in an environment of its own.
pub fn tenure() -> Command {
    isolated(env!("CARGO_BIN_EXE_tenure"))
}

/// A program that is given no setting, login or data of the user who runs the tests, and that writes none of theirs: its
/// home and working directory belong to this run.
pub fn isolated(program: &str) -> Command {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).expect("a home");
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = text.starts_with("TENURE_") && text != "TENURE_POSTGRES_BIN";
        if is_setting || text == "DATABASE_URL" || text.starts_with("XDG_") {
            command.env_remove(&name);
        }
    }
    // Most tests have no use for a server that every serving process would start.
    command.env("TENURE_NO_NATS", "1").env_remove("NATS_URL");
    command.env("HOME", &home).current_dir(&home);
    command
}

/// Makes a program of these bytes that anybody may run.
///
/// Another process writes it: a file that this one has open for writing is open for a moment in whatever another thread
/// starts just then too, and Linux runs no program that is open for writing ("Text file busy").
pub fn write_program(path: &Path, bytes: &[u8]) {
    let write = ["-c", "cat > \"$0\" && chmod 755 \"$0\""];
    let mut writer = Command::new("sh").args(write).arg(path).stdin(Stdio::piped()).spawn().expect("a shell");
    writer.stdin.take().expect("its input").write_all(bytes).expect("the program written");
    assert!(writer.wait().expect("its end").success(), "{} is not written", path.display());
}

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
