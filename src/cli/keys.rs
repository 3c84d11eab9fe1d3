//! `tenure keys`: the master key of the log.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::{open, output};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::config::duration::duration;
use crate::rotate_keys::{Rotated, RotationStep};

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Change the master key while nodes serve; a rotation that was interrupted goes on where it was
    ///
    /// Makes a new key beside the present one (master.key.next), or takes the one that is there. Waits until every node has it: give
    /// it to nodes on other machines as the same file. Then wraps every data key with it. At the end the files change places, and
    /// nothing needs the former key (master.key.former) any more but older backups.
    Rotate {
        /// The file of the new key, if it is elsewhere; put it in the place of the former one yourself afterwards
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// How long to wait for nodes to have the new key
        #[arg(long, value_parser = duration, default_value = "10m", value_name = "DURATION")]
        wait: Duration,
        /// Take the announcement of a new key back, as long as no node uses it: when the new key is lost, or nodes cannot get it
        #[arg(long, conflicts_with = "new_key_file")]
        abandon: bool,
    },
}

pub(super) async fn run(mut config: Config, command: KeysCommand) -> anyhow::Result<()> {
    let KeysCommand::Rotate { new_key_file, wait, abandon } = command;
    if new_key_file.is_some() {
        config.master_key.next_file = new_key_file;
        config.master_key.next_value = None;
    }
    let opened = open::open(&config).await?;
    if abandon {
        let abandoned = opened.tenure.abandon_rotation().await;
        opened.close().await?;
        abandoned?;
        return output::line("the announcement of a new master key was taken back");
    }
    let watch = Stopwatch::start();
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let rotated = opened.tenure.rotate_master_key(wait, &|step| tell(&bar, step)).await;
    bar.finish_and_clear();
    // Closed before an error can return, so that a private server is stopped.
    opened.close().await?;
    let rotated = rotated?;
    let seconds = watch.elapsed().as_secs_f64();
    if config.json {
        let mut value = serde_json::to_value(&rotated)?;
        value["seconds"] = seconds.into();
        return output::json(&value);
    }
    let Rotated { from, to, data_keys, files_changed } = rotated;
    output::line(&format!("{to} is the master key of this log: {data_keys} data keys in {seconds:.1} s"))?;
    if files_changed {
        let former = from.map_or_else(String::new, |from| {
            let file = config.master_key.file_of_former(&from);
            format!(
                " The former one is in {}: keep it with backups from before, then destroy it.",
                file.display()
            )
        });
        output::line(&format!(
            "it is in {}; back it up.{former} On other machines, put the new file in the place of the former one",
            config.master_key.present_file().unwrap_or(&config.master_key.default_file).display(),
        ))
    } else {
        output::line(&format!(
            "let the settings of every node name {to} before it starts again, and back it up; it was read from {}",
            config.master_key.file_of_next().display(),
        ))
    }
}

fn tell(bar: &ProgressBar, step: RotationStep) {
    let style = |template: &str| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
    };
    if let RotationStep::Wrapping(done, all) = step {
        bar.set_style(style("wrapping data keys {bar:30} {human_pos}/{human_len}  {per_sec}  {eta} left"));
        bar.set_length(all);
        bar.set_position(done);
        return;
    }
    bar.set_style(style("{spinner} {msg}  {elapsed}"));
    bar.set_message(match step {
        RotationStep::WaitingForKey(left) => format!("waiting for {left} nodes to have the new key"),
        RotationStep::WaitingForUse(left) => format!("waiting for {left} nodes to use the new key"),
        _ => "waiting for what is on its way".to_owned(),
    });
}
