//! The binary `tenure`.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::cli::main().await
}
