//! The binary `tenure`: runs the command line of the library.

/// jemalloc, because commands make many small allocations on one thread and free them on another, and because it gives freed memory
/// back after some seconds and not at once ([decision 30](../docs/adr/0030-freed-memory-is-kept-for-a-while.md)).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::io::Result<std::process::ExitCode> {
    tenure::cli::main()
}
