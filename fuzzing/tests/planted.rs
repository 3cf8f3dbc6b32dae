//! The search finds what it is for: each of these decoders has a flaw behind some structure.

use std::process::Command;
use std::thread;
use std::time::Duration;

use fuzzing::{Budget, Finding, Flaw, Outcome, Ran, target};

fn budget(seed: u64) -> Budget {
    Budget {
        seed,
        time: Duration::from_secs(60),
        inputs: 2_000_000,
        input_time_max: Duration::from_millis(500),
        allocated_max: 1 << 20,
        trace: None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Sleepy,
    Greedy,
    Wrong,
}

/// Like homing's messages: a variant, a length, so many bytes, and a number.
fn parse(input: &[u8]) -> Result<(Kind, &[u8], u32), &'static str> {
    let (variant, rest) = input.split_first().ok_or("nothing")?;
    let kinds = [Kind::Plain, Kind::Sleepy, Kind::Greedy, Kind::Wrong];
    let kind = *kinds.get(usize::from(*variant)).ok_or("no such variant")?;
    let (length, rest) = rest.split_first_chunk().ok_or("no length")?;
    let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or("cut short")?;
    let number = rest.try_into().map(u32::from_le_bytes).map_err(|_| "no number")?;
    Ok((kind, name, number))
}

/// What is found with each of some seeds, and after how many inputs.
fn found(decoder: impl Fn(&[u8]) -> Outcome) -> Vec<Finding> {
    let search = |seed| target!("planted").within(&budget(seed), &decoder);
    (1..=5).map(|seed| search(seed).expect_err("a finding")).collect()
}

#[test]
fn a_panic_behind_a_variant_and_a_number_is_found() {
    let findings = found(|input| {
        let parsed = parse(input);
        if let Ok((Kind::Wrong, name, number)) = parsed {
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let end = number.checked_add(length).expect("a planted overflow");
            return Outcome::accepted(&end);
        }
        Outcome::of(&parsed)
    });
    for finding in findings {
        assert_eq!(finding.flaw, Flaw::Panic("a planted overflow".into()));
        assert_eq!(parse(&finding.input).unwrap().0, Kind::Wrong);
        println!("after {} inputs", finding.inputs);
        assert!(finding.inputs < 500_000, "{}", finding.inputs);
    }
}

#[test]
fn an_allocation_that_a_length_asks_for_is_found() {
    let findings = found(|input| {
        let parsed = parse(input);
        if let Ok((Kind::Greedy, _, number)) = parsed {
            let room = Vec::<u8>::with_capacity(number.min(64 << 20) as usize);
            return Outcome::accepted(&room.capacity().min(1));
        }
        Outcome::of(&parsed)
    });
    for finding in findings {
        assert!(matches!(finding.flaw, Flaw::Allocated(bytes) if bytes > 1 << 20), "{:?}", finding.flaw);
        println!("after {} inputs", finding.inputs);
        assert!(finding.inputs < 500_000, "{}", finding.inputs);
    }
}

#[test]
fn an_input_that_takes_too_long_is_found() {
    let search = target!("planted").within(&budget(1), |input| {
        if parse(input).is_ok_and(|(kind, ..)| kind == Kind::Sleepy) {
            thread::sleep(Duration::from_millis(600));
        }
        Outcome::of(&parse(input))
    });
    let finding = search.expect_err("a finding");
    assert!(
        matches!(finding.flaw, Flaw::Slow(time) if time > Duration::from_millis(500)),
        "{:?}",
        finding.flaw
    );
    assert_eq!(parse(&finding.input).unwrap().0, Kind::Sleepy);
}

#[test]
fn a_corpus_that_is_valid_no_more_is_noticed() {
    let refuses = |_: &[u8]| Outcome::refused(&"everything");
    let finding = target!("planted").within(&budget(1), refuses).expect_err("a finding");
    assert!(matches!(finding.flaw, Flaw::Refused(_)));
}

#[test]
fn nothing_is_found_where_nothing_is_wrong_and_a_seed_says_what_ran() {
    let ran = |seed| -> Ran {
        let budget = Budget { inputs: 20_000, ..budget(seed) };
        target!("planted").within(&budget, |input| Outcome::of(&parse(input))).expect("no finding")
    };
    let (first, second, other) = (ran(1), ran(1), ran(2));
    assert_eq!(first.inputs, 20_000);
    assert_eq!((first.accepted, first.allocated), (second.accepted, second.allocated));
    assert_ne!(first.accepted, other.accepted);
    assert!(first.accepted > 100 && first.outcomes >= 5, "{first:?}");
}

/// The body of the test below.
#[test]
#[ignore = "it ends its process"]
fn takes_the_machines_memory() {
    target!("planted").run(|input| {
        let parsed = parse(input);
        if let Ok((Kind::Greedy, ..)) = parsed {
            return Outcome::accepted(&Vec::<u8>::with_capacity(1 << 40).capacity());
        }
        Outcome::of(&parsed)
    });
}

#[test]
fn an_allocation_of_more_than_there_is_ends_the_process_and_its_input_is_traced() {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(&own);
    command.args(["--exact", "takes_the_machines_memory", "--ignored", "--nocapture"]);
    let ended = command.env("HOMING_FUZZ_S", "20").env("HOMING_FUZZ_TRACE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("memory allocation of 1099511627776 bytes"), "{said}");
    let trace = own.ancestors().nth(2).unwrap().join("fuzz/planted-trace");
    assert_eq!(parse(&std::fs::read(trace).unwrap()).unwrap().0, Kind::Greedy);
}
