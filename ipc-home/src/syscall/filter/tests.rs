use super::bpf::{AND_K, JA, JEQ_K, JGE_K, LD_W_ABS, RET_K};
use super::*;
use crate::syscall::classify::classify;
use crate::syscall::table::calls;
use crate::syscall::vocabulary::{Row, Special};

struct Call {
    nr: u32,
    arch: u32,
    args: [u64; 6],
}

fn call(nr: u32, args: [u64; 6]) -> Call {
    Call { nr, arch: AUDIT_ARCH_X86_64, args }
}

/// Runs the filter as the kernel does; also says whether anything but number and architecture was read.
fn run(code: &[Instruction], call: &Call) -> (u32, bool) {
    let word = |offset: u32| match offset {
        0 => call.nr,
        4 => call.arch,
        16..64 => {
            let arg = call.args[(offset as usize - 16) / 8];
            let half = if offset.is_multiple_of(8) { arg } else { arg >> 32 };
            u32::try_from(half & u64::from(u32::MAX)).unwrap()
        }
        _ => panic!("offset {offset}: where a call comes from must not matter"),
    };
    let (mut a, mut at, mut read_more) = (0, 0, false);
    loop {
        let Instruction { code: operation, jt, jf, k } = code[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match operation {
            LD_W_ABS => {
                read_more |= k > OFFSET_ARCH;
                a = word(k);
            }
            JA => at += k as usize,
            JEQ_K => at += branch(a == k),
            JGE_K => at += branch(a >= k),
            AND_K => a &= k,
            RET_K => return (k, read_more),
            _ => panic!("unknown operation {operation:#x}"),
        }
    }
}

fn expected(nr: u32, args: &[u64; 6]) -> u32 {
    let class = row(nr).map_or(Class::Refuse(libc::ENOSYS), |row| row.class);
    match gate(class).test(args) {
        Trap::Allow => RET_ALLOW,
        Trap::Notify => RET_USER_NOTIF,
        Trap::Trace => RET_TRACE | nr,
    }
}

const ARGUMENTS: [[u64; 6]; 6] = [
    [0; 6],
    [u64::MAX; 6],
    [0, 1, 0, 0x22, 0, 0],
    [1, 0, 0, 0x2, 0, 0],
    [2, 2, 0, 0x21, 0, 0],
    [1 << 32, 1 << 32, 0, 0x20 << 32, 0, 0],
];

#[test]
fn every_number_gets_the_action_of_its_row() {
    let code = filter();
    assert!(code.len() < 1024, "{} instructions", code.len());
    for nr in (0..NR_END + 20).chain([1000, 0xffff, X32_BIT - 1]) {
        for args in ARGUMENTS {
            let (action, _) = run(&code, &call(nr, args));
            assert_eq!(action, expected(nr, &args), "number {nr}, arguments {args:x?}");
        }
    }
}

#[test]
fn calls_allowed_by_number_read_nothing_else() {
    let code = filter();
    for row in calls() {
        let (action, read_more) = run(&code, &call(row.nr, [0; 6]));
        assert_eq!(row.class == Class::Local, action == RET_ALLOW && !read_more, "{}", row.name);
    }
}

#[test]
fn three_calls_depend_on_arguments() {
    let code = filter();
    let action = |nr, args| run(&code, &call(nr, args)).0;
    let anonymous = [0, 4096, 3, 0x22, u64::MAX, 0];
    let shared_anonymous = [0, 4096, 3, 0x21, u64::MAX, 0];
    let huge = [0, 4096, 3, 0x4_0022, u64::MAX, 0];
    let of_a_file = [0, 4096, 1, 0x2, 3, 0];
    assert_eq!(action(9, anonymous), RET_ALLOW);
    assert_eq!(action(9, shared_anonymous), RET_TRACE | 9);
    assert_eq!(action(9, huge), RET_TRACE | 9);
    assert_eq!(action(9, of_a_file), RET_TRACE | 9);
    assert_eq!(action(230, [1, 1, 0, 0, 0, 0]), RET_ALLOW);
    assert_eq!(action(230, [1, 0, 0, 0, 0, 0]), RET_USER_NOTIF);
    assert_eq!(action(38, [0; 6]), RET_USER_NOTIF);
    assert_eq!(action(38, [2, 0, 0, 0, 0, 0]), RET_ALLOW);
}

#[test]
fn classify_agrees_with_the_filter() {
    let code = filter();
    for row in calls() {
        for args in ARGUMENTS {
            let (action, _) = run(&code, &call(row.nr, args));
            match classify(row.nr, &args) {
                Class::Local => {
                    // The warden answers local options of prctl itself, or lets them go on.
                    let own = row.class == Class::Special(Special::Prctl);
                    assert!(own || action == RET_ALLOW, "{}", row.name);
                }
                Class::Home | Class::Refuse(_) => assert_eq!(action, RET_USER_NOTIF, "{}", row.name),
                Class::Special(_) => {}
            }
        }
    }
}

#[test]
fn another_architecture_and_x32_kill() {
    let code = filter();
    for nr in [0, 11, 59, 202] {
        assert_eq!(run(&code, &Call { nr, arch: 0x4000_0003, args: [0; 6] }).0, RET_KILL_PROCESS);
        assert_eq!(run(&code, &call(nr | X32_BIT, [0; 6])).0, RET_KILL_PROCESS);
    }
    assert_eq!(run(&code, &call(u32::MAX, [0; 6])).0, RET_ERRNO | ENOSYS);
}

#[test]
fn few_calls_run_at_the_guest() {
    let code = filter();
    let by_number = |row: &&Row| run(&code, &call(row.nr, [0; 6])) == (RET_ALLOW, false);
    let names: Vec<_> = calls().filter(by_number).map(|row| row.name).collect();
    assert!(names.len() <= LOCAL_MAX, "{} calls: {names:?}", names.len());
}

/// The aim of the design for the surface that the guest's kernel shows to a body.
const LOCAL_MAX: usize = 45;
