//! The guide on NATS, followed as it stands.

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
