//! The `homing` command as the lab runs it: cargo builds a package's programs for that package's own tests only.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    node_agent::cli::main(std::env::args_os())
}
