//! The hashes of API keys against another implementation: `argon2-cffi`, from `PyPI`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use secrecy::SecretString;
use tenure::credentials::api_key::{hash, verify};
use tenure::entropy::{Entropy as _, SeededEntropy};

/// Runs a program in the Python environment of the tests; gives what it prints.
fn python(program: &str, input: &str) -> String {
    let interpreter = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python");
    let mut child = Command::new(interpreter)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Python environment that scripts/python makes");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hashes_verify_in_both_directions_with_another_implementation() {
    let secret: SecretString = "ppz_0123456789abcdef0123456789".to_owned().into();
    let ours = hash(&secret, [9; 16]).unwrap();
    let program = "
import sys, argon2
stored, secret = sys.stdin.read().split()
assert argon2.PasswordHasher().verify(stored, secret)
try:
    argon2.PasswordHasher().verify(stored, secret + 'x')
except argon2.exceptions.VerifyMismatchError:
    pass
else:
    raise SystemExit('another secret was taken for this one')
for cost in [(1, 65536, 4), (3, 1024, 2), (2, 8192, 1)]:
    print(argon2.PasswordHasher(time_cost=cost[0], memory_cost=cost[1], parallelism=cost[2]).hash(secret))
";
    let theirs = python(program, &format!("{ours} ppz_0123456789abcdef0123456789"));
    assert_eq!(theirs.lines().count(), 3);
    for stored in theirs.lines() {
        assert!(verify(&secret, stored), "{stored}");
        assert!(!verify(&"ppz_x".to_owned().into(), stored), "{stored}");
    }
}

#[test]
fn a_thousand_malformed_strings_are_false() {
    let secret: SecretString = "ppz_x".to_owned().into();
    let good = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
    let entropy = SeededEntropy::new(11);
    for _ in 0..1_000 {
        let mut random = [0; 6];
        entropy.fill(&mut random);
        let mut text = good.as_bytes().to_vec();
        for change in random.chunks(3) {
            let at = usize::from(change[0]) % text.len();
            match change[1] % 4 {
                0 => text.truncate(at),
                1 => text.insert(at, change[2]),
                2 => text.extend_from_within(at..),
                _ => text[at] = change[2],
            }
            if text.is_empty() {
                break;
            }
        }
        assert!(!verify(&secret, &String::from_utf8_lossy(&text)));
    }
}
