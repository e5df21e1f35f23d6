//! The `schema` program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    schema::cli::main(std::env::args_os())
}
