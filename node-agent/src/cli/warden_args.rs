//! How an agent starts its wardens: the grammar of the hidden verb `warden`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use transport::NodeId;

use crate::config::{self, Ports};
use crate::members::node_id_from_hex;

/// `homing warden`.
#[derive(Clone, Debug, Args)]
pub struct WardenArgs {
    /// Which end of the family.
    #[command(subcommand)]
    pub side: WardenSide,
}

/// Which end of a family a warden keeps.
#[derive(Clone, Debug, Subcommand)]
pub enum WardenSide {
    /// Trace the deputy and grant epochs
    Home {
        /// The family's first process
        #[arg(long)]
        pid: u32,
        /// What holds for both ends.
        #[command(flatten)]
        common: WardenCommon,
    },
    /// Trace the body: reads an `Offer` frame from standard input, answers an `Accept` frame on standard output,
    /// then lives on its socket
    Guest {
        /// What holds for both ends.
        #[command(flatten)]
        common: WardenCommon,
    },
}

/// What a warden of either side is told by its agent.
#[derive(Clone, Debug, Args)]
pub struct WardenCommon {
    /// Where it listens for its agent: a file of the run directory's `wardens`
    #[arg(long, value_name = "PATH")]
    pub control: PathBuf,
    /// The address of its UDP socket
    #[arg(long)]
    pub ip: IpAddr,
    /// The UDP ports it may use
    #[arg(long, value_name = "A-B", default_value = config::WARDEN_PORTS)]
    pub ports: Ports,
    /// This node's name
    #[arg(long)]
    pub node_name: String,
    /// This node's id, 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub node_id: NodeIdArg,
    /// Let processes of uid 0 move
    #[arg(long)]
    pub allow_root: bool,
    /// The lease of this node's families, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = config::LEASE_S)]
    pub lease: u32,
    /// What a family may take of this node's memory
    #[arg(long, value_name = "BYTES")]
    pub guest_memory: Option<u64>,
}

/// A node's id in full on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIdArg(pub NodeId);

impl FromStr for NodeIdArg {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeIdArg, String> {
        let id = node_id_from_hex(text);
        id.map(NodeIdArg).ok_or_else(|| "a node id has 64 hexadecimal digits".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    #[test]
    fn a_warden_is_told_where_it_lives() {
        let id = "ab".repeat(32);
        let line = format!(
            "homing warden home --pid 7 --control /r/wardens/7.sock --ip 10.0.0.1 --ports 1-2 --node-name a --node-id {id}"
        );
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Verb::Warden(WardenArgs { side: WardenSide::Home { pid: 7, common } }) = cli.verb else {
            panic!("not a home warden")
        };
        assert_eq!(common.node_id.0.0, [0xab; 32]);
        assert!(!common.allow_root);
    }
}
