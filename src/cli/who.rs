//! Who runs a command.

/// Who runs a command, as it is recorded: this name, or that of the user of the shell.
pub(super) fn login(by: Option<String>) -> String {
    by.unwrap_or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        user.map_or_else(|| format!("uid {}", nix::unistd::geteuid()), |user| user.name)
    })
}
