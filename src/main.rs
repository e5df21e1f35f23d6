//! The `schema` program: arguments in, exit code out.

/// Parsing and introspection make millions of small objects on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    schema::cli::main(std::env::args_os())
}
