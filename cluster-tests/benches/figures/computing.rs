//! What a body costs at a guest, and a program before its first move and after its return.

use cluster_tests::programs::BenchProgram;

use crate::ground::{Bench, Result};
use crate::sample::Sample;
use crate::table::{Goal, Row, Section, Unit};

/// Native, in homing's care, away, and home again: each in a fresh process per repetition. Within one they take turns
/// of a hundredth of a second, in another order each time, and of each one's turns the cheapest counts: whatever else
/// runs on the machine can only make a turn dearer, and nothing makes all of them so but the state of the process
/// itself.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    let mut used = [Used::default(), Used::default(), Used::default(), Used::default()];
    for repetition in 0..bench.pick(5, 25) {
        let native = bench.start(BenchProgram::Work, &[])?;
        let before = bench.start_in_care(BenchProgram::Work, &[])?;
        let away = bench.start_in_care(BenchProgram::Work, &[])?;
        let after = bench.start_in_care(BenchProgram::Work, &[])?;
        bench.carry(&away, "n2")?;
        bench.carry(&after, "n2")?;
        bench.carry(&after, "home")?;
        let mut programs = [native, before, away, after];
        for program in &mut programs {
            program.ask(WARM_UP)?;
        }
        let mut least = [[f64::INFINITY; 2]; 4];
        let count = programs.len();
        for turn in 0..bench.pick(TURNS_QUICK, TURNS) * count {
            // Who comes after whom changes too, so that nobody always finds the same caches.
            let round = turn / count;
            let which = (turn * if round.is_multiple_of(2) { 1 } else { 3 } + round + repetition) % count;
            let [_, cpu, wall, _] = programs[which].ask(ROUNDS)?[..] else {
                return Err("four numbers".into());
            };
            least[which] = [least[which][0].min(cpu / 1e6), least[which][1].min(wall / 1e6)];
        }
        for (used, [cpu, wall]) in used.iter_mut().zip(least) {
            used.cpu.push(cpu);
            used.wall.push(wall);
        }
    }
    let [native, before, away, after] = used;
    let share = |name: &str, used: &Used, native: &Used| {
        // Of the same work: the native time over the other one is the speed that is left.
        Row::new(name, Unit::Millis, native.cpu.clone()).against("at the guest", &used.cpu)
    };
    let rows = vec![
        share("speed at the guest, by CPU time: native", &away, &native).goal(Goal::AtLeast(0.98)),
        Row::new("the same by the clock: native", Unit::Millis, native.wall.clone())
            .against("at the guest", &away.wall),
        Row::new("CPU time before the first move", Unit::Millis, before.cpu.clone())
            .against("native", &native.cpu)
            .goal(SAME),
        Row::new("CPU time after the return", Unit::Millis, after.cpu.clone())
            .against("native", &native.cpu)
            .goal(SAME),
    ];
    Ok(Section { name: "Computing: the same work in turn", rows })
}

#[derive(Default)]
struct Used {
    cpu: Sample,
    wall: Sample,
}

const SAME: Goal = Goal::IntervalWithin(0.97, 1.03);

/// About 20 ms: first touches and the processor's clock.
const WARM_UP: &str = "600";
/// About 8 ms, so that some turns fall between what else runs here. The program works in user mode only, and its CPU
/// time is counted in nanoseconds, which the kernel's division into user and system time is not: that is by sampled
/// ticks.
const ROUNDS: &str = "300";
/// Of each program, per repetition.
const TURNS_QUICK: usize = 20;
const TURNS: usize = 48;
