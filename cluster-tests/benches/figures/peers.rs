//! What others do with the same machine: processes that pass messages or bytes over TCP.
//!
//! They are this very program, started again with [`PEER`] as its first argument.

mod bulk;
mod ping;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) use bulk::{Carrier, bulk};
pub(crate) use ping::ping_pong;

use crate::ground::Result;

/// First argument of a process that plays a peer.
pub(crate) const PEER: &str = "peer";

/// Plays the peer that the arguments name.
pub(crate) fn play(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["echo"] => ping::echo(),
        ["ping", addr, count] => ping::ping(addr.parse()?, count.parse()?),
        ["sink", carrier, ip] => bulk::sink(Carrier::parse(carrier)?, ip.parse()?),
        ["source", carrier, addr, bytes, certificate] => {
            bulk::source(Carrier::parse(carrier)?, addr.parse()?, bytes.parse()?, certificate)
        }
        _ => Err(format!("no such peer: {args:?}").into()),
    }
}

/// A peer on this machine, ended when dropped.
struct Local {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Local {
    fn start(args: &[&str]) -> Result<Local> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(PEER).args(args).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("its output is not a pipe")?);
        Ok(Local { child, lines })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // One that has ended needs no signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
