//! The binary of a stand-in for the next release, which tests upgrade to.

fn main() -> std::io::Result<std::process::ExitCode> {
    tenure::cli::main()
}
