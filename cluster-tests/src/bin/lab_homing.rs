//! The `homing` command as the lab runs it: cargo builds a package's programs for that package's own tests only.
#![forbid(unsafe_code)]

use node_agent::dev::init;
use node_agent::dev::spec::NODE_INIT_VERB;

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(verb), Some(spec)) if verb == NODE_INIT_VERB => exit(init::main(&spec)),
        _ => {
            eprintln!("lab-homing: expected: {NODE_INIT_VERB} SPECIFICATION");
            exit(2)
        }
    }
}

fn exit(code: i32) -> std::process::ExitCode {
    u8::try_from(code).unwrap_or(u8::MAX).into()
}
