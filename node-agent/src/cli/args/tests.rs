use clap::CommandFactory;

use super::*;

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn verbs_and_flags_are_understood() {
    let parse = |line: &str| Cli::try_parse_from(line.split_whitespace());
    for good in [
        "homing init --name alpha --listen 10.0.0.1:7749",
        "homing join 10.0.0.1 HM1-a-b-c",
        "homing agent --ports 7800-7900 --allow-root --run-dir /r --state-dir /s",
        "homing run -- ls -l --color",
        "homing run ls -l --json",
        "homing ps --json -w --all",
        "homing nodes --json --socket /x",
        "homing move 71 bravo --dry-run",
        "homing migrate 71 home --no-wait --timeout 3s",
        "homing why 71",
        "homing why 71 bravo --json",
        "homing doctor --json -q",
        "homing top --color never",
        "homing dev --nodes 3 --demo --for 10s",
        "homing dev --tui",
        "homing token create --ttl 2h",
        "homing token list --json",
        "homing token revoke q7Zk4w",
        "homing events -f --json -v",
        "homing submit -- ls -l --json",
        "homing submit --name r --array 0-99%8 --priority 70 --after 1,2 --cpus 2 --mem 2G --home any ./sim",
        "homing submit --node n1,n2 --not-node n3 --time-limit 1h --retries 2 --env A=B --env C -- sim",
        "homing submit job.toml",
        "homing submit --batch lines --at-most 4",
        "homing jobs --all --json",
        "homing jobs 71 -w",
        "homing logs -f 71_3",
        "homing attach 71",
        "homing wait 71 render --timeout 3s",
        "homing kill -s STOP 71",
        "homing hold 71",
        "homing resume 71",
        "homing cancel 71 72",
    ] {
        assert!(parse(good).is_ok(), "{good}: {}", parse(good).unwrap_err());
    }
    for bad in [
        "homing",
        "homing levitate",
        "homing run",
        "homing move bravo",
        "homing submit",
        "homing submit --batch lines -- ls",
        "homing submit --batch lines --array 0-1",
        "homing submit --at-most 4 -- ls",
        "homing submit --cpus 0 -- ls",
        "homing submit --array 9-0 -- ls",
        "homing submit --priority 101 -- ls",
        "homing logs",
        "homing wait",
        "homing kill -s NONE 71",
        "homing move 71",
        "homing move x bravo",
        "homing init --listen 0.0.0.0:7749",
        "homing init --name home",
        "homing ps --timeout soon",
        "homing ps -q -v",
        "homing agent --ports 9-8",
        "homing dev --nodes 0",
        "homing dev --nodes 33",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_program_keeps_its_own_flags() {
    let cli = Cli::try_parse_from(["homing", "run", "--", "grep", "--json", "-q", "--", "x"]).unwrap();
    let Verb::Run(run) = cli.verb else { panic!("not run") };
    assert_eq!(run.command, ["grep", "--json", "-q", "--", "x"]);
}
