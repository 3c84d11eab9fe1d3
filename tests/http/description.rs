//! The API's description: committed, served, and complete.

use super::{Server, answer};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let mut made = serde_json::to_string_pretty(&tenure::http::description()).unwrap();
    made.push('\n');
    if std::env::var_os("TENURE_WRITE_FIXTURES").is_some() {
        std::fs::write(COMMITTED, &made).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(made == committed, "docs/openapi.json is out of date: TENURE_WRITE_FIXTURES=1 writes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_and_its_page_are_served_and_load_nothing_from_elsewhere() {
    let server = Server::new().await;
    let served = answer(server.get("/openapi.json")).await.is(200).json();
    assert_eq!(served["openapi"], "3.1.0");
    let mut made = tenure::http::description();
    made["servers"] = serde_json::json!([{"url": server.base}]);
    assert_eq!(served, made);
    let page = answer(server.get("/docs/")).await.is(200);
    assert!(page.text.contains("swagger-ui"));
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert!(page.text.contains(asset), "{}", page.text);
        answer(server.get(&format!("/docs/{asset}"))).await.is(200);
    }
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "{}", page.text);
}
