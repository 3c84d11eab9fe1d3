//! The binary `tenure`: runs the command line of the library.

/// mimalloc, because commands make many small allocations on one thread and free them on another
/// (`docs/benchmarks.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<std::process::ExitCode> {
    tenure::cli::main()
}
