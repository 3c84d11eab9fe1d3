//! The pages, in a real browser.

use std::process::Stdio;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Server;
use crate::support::operator;

/// A browser without a window; it ends with the driver.
struct Browser {
    client: Client,
    _driver: Child,
}

impl Browser {
    async fn new() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver: `make test` installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
            if let Some(port) = line.strip_prefix("ChromeDriver was started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let options = json!({
            "goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let capabilities: Capabilities = options.as_object().unwrap().clone();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Self { client, _driver: driver }
    }

    async fn text(&self) -> String {
        self.client.find(Locator::Css("body")).await.unwrap().text().await.unwrap()
    }

    async fn click(&self, css: &str) {
        self.client.wait().for_element(Locator::Css(css)).await.expect(css).click().await.unwrap();
    }

    /// Waits until the page says this.
    async fn says(&self, words: &str) {
        let here = format!("//body[contains(., '{words}')]");
        self.client.wait().for_element(Locator::XPath(&here)).await.unwrap_or_else(|_| panic!("{words}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_a_link_lets_a_device_act_and_signs_out() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let link = server.tenure.issue_sign_in_link(&operator(), ada).await.unwrap().answer;
    let codes =
        server.form("/oauth/device/code", &[("client_name", "<b>A television</b>")]).await.is(200).json();
    let browser = Browser::new().await;
    let client = &browser.client;

    client.goto(codes["verification_uri"].as_str().unwrap()).await.unwrap();
    browser.says("Sign in").await;
    client.goto(&tenure::http::sign_in_link_url(&server.base, link.expose_secret())).await.unwrap();
    browser.click("form button").await;
    browser.says("Signed in as ada").await;

    client.goto(codes["verification_uri"].as_str().unwrap()).await.unwrap();
    let typed = codes["user_code"].as_str().unwrap().to_lowercase().replace('-', "");
    let field = client.wait().for_element(Locator::Css("input[name=user_code]")).await.unwrap();
    field.send_keys(&typed).await.unwrap();
    browser.click("form button").await;
    browser.says("Let a device act for you?").await;
    let page = browser.text().await;
    assert!(page.contains("<b>A television</b>") && page.contains("127.0.0.1"), "{page}");
    browser.click("button[value=approve]").await;
    browser.says("The device may act for you").await;
    let device_code = codes["device_code"].as_str().unwrap();
    server.form("/oauth/device/token", &[("device_code", device_code)]).await.is(200);

    client.goto(&server.base).await.unwrap();
    browser.click("form[action='/sign-out'] button").await;
    browser.says("Sign in").await;
    client.clone().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_shows_every_operation_without_a_network() {
    let server = Server::new().await;
    let browser = Browser::new().await;
    browser.client.goto(&format!("{}/docs/", server.base)).await.unwrap();
    browser.says("/api/v1/accounts/{account}/keys").await;
    let shown = browser.client.find_all(Locator::Css(".opblock")).await.unwrap().len();
    let description = tenure::http::description();
    let operations = description["paths"].as_object().unwrap().values();
    assert_eq!(shown, operations.map(|item| item.as_object().unwrap().len()).sum::<usize>());
    browser.client.clone().close().await.unwrap();
}
