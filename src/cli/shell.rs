//! `tenure completions` and `tenure man`: print shell completions and the manual page.

use std::io::Write as _;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::output;

/// Prints the completion script of a shell.
pub(super) fn completions(shell: Shell, mut command: Command) -> anyhow::Result<()> {
    // Into memory first: the generator panics when it cannot write, as to a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tenure", &mut script);
    output::bytes(&script)
}

/// Prints the manual page: the command with its flags, then the description and synopsis of every subcommand.
pub(super) fn manual(mut command: Command) -> anyhow::Result<()> {
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render(&mut page)?;
    for noun in command.get_subcommands().filter(|noun| noun.get_name() != "help") {
        for verb in std::iter::once(noun).chain(noun.get_subcommands()) {
            if verb.get_name() == "help" {
                continue;
            }
            let name = verb.get_bin_name().unwrap_or_default().to_uppercase();
            writeln!(page, ".SH \"{name}\"")?;
            let man = Man::new(verb.clone());
            man.render_description_section(&mut page)?;
            man.render_synopsis_section(&mut page)?;
        }
    }
    output::bytes(&page)
}
