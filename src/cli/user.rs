//! `tenure user`: people.

use clap::Subcommand;
use serde_json::json;

use super::{open, output};
use crate::config::Config;
use crate::context::{Actor, Context};

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Register a person by hand
    Add {
        /// The username
        name: String,
        /// Where the person can be reached
        #[arg(long)]
        email: String,
        /// Whether the person runs the instance
        #[arg(long)]
        operator: bool,
    },
}

pub(super) async fn run(config: Config, command: UserCommand) -> anyhow::Result<()> {
    let opened = open::open(&config).await?;
    let result = carry_out(&opened.tenure, &config, command).await;
    opened.close().await?;
    result
}

async fn carry_out(tenure: &crate::Tenure, config: &Config, command: UserCommand) -> anyhow::Result<()> {
    let UserCommand::Add { name, email, operator } = command;
    let context = Context::of(Actor::Operator);
    let done = if operator {
        tenure.insert_operator(&context, &name, &email).await?
    } else {
        tenure.insert_user(&context, &name, &email, "internal").await?
    };
    if config.json {
        let answer = json!({
            "id": done.answer, "username": name, "email": email, "mode": "internal", "operator": operator,
            "position": done.position,
        });
        return output::json(&answer);
    }
    output::line(&format!("user {name} ({}): {}", done.answer, output::outcome(&done)))
}
