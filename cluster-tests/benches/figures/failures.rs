//! What moved programs notice when something around them fails, and how soon that is over.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{LabNode, Program, Running, User, kill, programs};
use cluster_tests::programs::BenchProgram;

use crate::ground::{Bench, PATIENCE, Result};
use crate::sample::Sample;
use crate::table::{Goal, Row, Section, Unit};

/// Agents and wardens that are killed, and a link that is cut for a while.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    let mut rows = agents(bench)?;
    rows.push(roll_back(bench)?);
    rows.push(lost_guest(bench)?);
    rows.extend(healed_link(bench)?);
    Ok(Section { name: "Failures", rows })
}

/// A program that computes at a guest while agents are killed beside it.
fn agents(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.start_in_care(BenchProgram::Ticks, &["16", "0"])?;
    bench.carry(&program, "n2")?;
    let (mut before, mut home, mut guest) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..bench.pick(3, 15) {
        for (number, sample) in [(1, &mut home), (2, &mut guest)] {
            let node = bench.lab.node(number);
            before.push(program.undisturbed().longest_ms);
            sample.push(program.gaps_while(|| end_agent(node))?.longest_ms);
            node.start_agent()?;
            bench.lab.wait_for_members()?;
        }
    }
    let row = |what: &str, sample| Row::new(what, Unit::Millis, sample);
    Ok(vec![
        row("longest gap of a body in 0.3 s", before),
        row("  its home's agent is killed", home),
        row("  its guest's agent is killed", guest),
    ])
}

/// The next guest dies when the family counts there and has not run yet: it goes on where it was.
fn roll_back(bench: &Bench) -> Result<Row> {
    let program = bench.start_in_care(BenchProgram::Ticks, &["16", "0"])?;
    bench.carry(&program, "n2")?;
    let node = bench.lab.node(3);
    end_agent(node)?;
    node.start_agent_with(&[], &[("HOMING_FAIL", "guest.start:kill")])?;
    bench.lab.wait_for_members()?;
    let mut gap = Sample::default();
    for _ in 0..bench.pick(3, 15) {
        let hop = || match bench.carry(&program, "n3") {
            Ok(_) => Err("a warden that was to die has not died".into()),
            Err(_) => Ok(()),
        };
        gap.push(program.gaps_while(hop)?.longest_ms);
    }
    end_agent(node)?;
    node.start_agent()?;
    bench.lab.wait_for_members()?;
    Ok(Row::new("a move taken back after its commit: gap", Unit::Millis, gap).goal(Goal::AtMost(2000.0)))
}

/// From the death of the warden that keeps the body to the end of the job.
fn lost_guest(bench: &Bench) -> Result<Row> {
    let mut told = Sample::default();
    for _ in 0..bench.pick(3, 15) {
        let job = start(bench, &Program::new("sleep").args(&["1000"]))?;
        kill(bench.lab.node(2).guest_wardens().into_iter().min().ok_or("nobody keeps the body")?);
        let killed = Instant::now();
        let ended = job.finish(PATIENCE)?;
        told.push(killed.elapsed().as_secs_f64() * 1e3);
        if ended.code != JOB_LOST {
            return Err(format!("the job ended with {}", ended.code).into());
        }
    }
    Ok(Row::new("a body that is lost: until its job ends", Unit::Millis, told).goal(Goal::AtMost(5000.0)))
}

/// From the order that ends a cut of a second to the first call of a program that makes them all the time.
fn healed_link(bench: &Bench) -> Result<Vec<Row>> {
    if std::process::Command::new("nft").arg("--version").output().is_err() {
        return Ok(Vec::new());
    }
    let (home, guest) = (bench.lab.node(1), bench.lab.node(2));
    home.install(&programs()?.join("ledger"), "/tmp/ledger")?;
    let job = start(bench, &Program::new("/tmp/ledger").args(&["/tmp/records", "100000000"]))?;
    let written = || job.output_so_far().len();
    let mut first = Sample::default();
    for _ in 0..bench.pick(5, 50) {
        nft(guest, CUT)?;
        thread::sleep(CUT_TIME);
        let before = written();
        let healed = Instant::now();
        nft(guest, HEAL)?;
        while written() == before {
            if healed.elapsed() > PATIENCE {
                return Err("the program does not go on after a cut".into());
            }
            thread::sleep(LOOK_INTERVAL);
        }
        first.push(healed.elapsed().as_secs_f64() * 1e3);
        thread::sleep(LULL);
    }
    let slow = [first.upper(0.99)].into_iter().collect();
    Ok(vec![
        Row::new("a link heals: until the first call", Unit::Millis, first),
        Row::new("  99 of 100", Unit::Millis, slow).goal(Goal::AtMost(500.0)),
    ])
}

/// Starts a program at home and moves it to `n2`.
fn start(bench: &Bench, program: &Program) -> Result<Running> {
    let job = bench.lab.node(1).exec(&program.clone().user(User::Worker))?;
    let moved = bench.lab.node(1).homing(&["move", &job.pid().to_string(), "n2"])?;
    match moved.code {
        0 => Ok(job),
        _ => Err(String::from_utf8_lossy(&moved.errors).into_owned().into()),
    }
}

fn end_agent(node: &LabNode) -> Result<()> {
    kill(node.agent_pid().ok_or("no agent")?);
    let killed = Instant::now();
    while node.agent_pid().is_some() {
        if killed.elapsed() > PATIENCE {
            return Err("an agent does not end".into());
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

fn nft(node: &LabNode, rules: &str) -> Result<()> {
    let done = node.exec(&Program::new("nft").args(&[rules]).user(User::Root))?.finish(PATIENCE)?;
    match done.code {
        0 => Ok(()),
        _ => Err(format!("nft {rules}: {}", String::from_utf8_lossy(&done.errors)).into()),
    }
}

/// No datagram comes to the node, or leaves it.
const CUT: &str = "table inet cut {
chain input { type filter hook input priority 0; meta l4proto udp drop; }
chain output { type filter hook output priority 0; meta l4proto udp drop; }
}";
const HEAL: &str = "delete table inet cut";

/// Exit code of a job whose body is gone.
const JOB_LOST: i32 = 75;
const CUT_TIME: Duration = Duration::from_secs(1);

/// Between two cuts, for what was lost in the former one.
const LULL: Duration = Duration::from_millis(300);
const LOOK_INTERVAL: Duration = Duration::from_micros(200);
