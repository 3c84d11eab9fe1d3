//! The guides on NATS, followed as they stand.

use std::path::Path;

use crate::support::nats::Tenancy;

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_on_pipes_runs_as_it_stands() {
    let page = include_str!("../../docs/guides/nats.md");
    let block = |language: &str| {
        let start = format!("```{language}\n");
        page.split(&start).nth(1).and_then(|rest| rest.split("```").next()).expect("a block").to_owned()
    };
    let example = include_str!("../../examples/nats_tenant.py");
    assert!(example.ends_with(&block("python")), "the example is what the guide shows");
    let tenancy = Tenancy::new().await;
    let (_, _, key) = tenancy.tenant("acme").await;
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tenant.py"), example).unwrap();
    let script = format!("{}\n{}/python tenant.py", block("sh"), environment.display());
    let output = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(directory.path())
        .env("SERVER", &tenancy.node.server.base)
        .env("KEY", &key)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("robot.logs hello\n") && page.contains("It prints `robot.logs hello`."), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_on_the_relay_runs_as_it_stands() {
    use crate::support::relay::{Relayed, until};

    let page = include_str!("../../docs/guides/relay.md");
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let relayed = Relayed::new().await;
    let node = relayed.node(Some(tenure::nats::RelayFrom::Position(1))).await;
    relayed.write(0..6).await;
    relayed.check(&node, 1).await;
    // It says no more than what the library does.
    until(&node, "relayed", |relay| relay.lag == Some(0)).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside the packages of Node.js, where it finds them.
    let directory = tempfile::Builder::new().prefix("relay").tempdir_in(root.join("target/node")).unwrap();
    for name in ["relay_consumer.py", "relay_consumer.mjs"] {
        std::fs::copy(root.join("examples").join(name), directory.path().join(name)).unwrap();
    }
    let programs =
        [root.join("target/python/bin"), Path::new(env!("CARGO_BIN_EXE_tenure")).parent().unwrap().into()];
    let path = std::env::join_paths(
        programs.into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory.path())
        .env("PATH", path.unwrap())
        .env("NATS", &relayed.server.url)
        .env("DATABASE_URL", relayed.database.url())
        .env("TENURE_MASTER_KEY_FILE", crate::support::master_key().default_file)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(crate::support::nats::PATIENCE, output).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let example = page.split("```text\n").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" user.registered ")).collect();
    assert_eq!(lines[0], example);
    let positions: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(positions, ["1", "2", "3", "4", "5"], "{text}");
    let place = std::fs::read_to_string(directory.path().join("place.json")).unwrap();
    assert!(place.contains(&relayed.stream()));
}
