//! The `homing` command.

fn main() -> std::process::ExitCode {
    node_agent::cli::main(std::env::args_os())
}
