//! The binary `tenure`.

/// Commands are many small allocations, made by one thread and freed by another (`docs/benchmarks.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::cli::main().await
}
