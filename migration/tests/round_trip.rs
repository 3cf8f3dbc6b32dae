//! A real program leaves its process, runs elsewhere on this machine and comes back into it: no network, no calls
//! while away, only the kernel's hands.

mod common;
mod confined;

use std::fs::{File, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use migration::body::{Body, FilterInstruction};
use migration::capture::{Access, capture};
use migration::deputize::{ShadowThread, deputize};
use migration::foothold::Foothold;
use migration::freeze::{Frozen, FrozenThread};
use migration::homecoming;
use migration::image::ProcessImage;
use migration::init::{ClockOffsets, FamilyInit};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::{self, Changed};
use migration::procfs;
use migration::staging::Staging;
use migration::sys::ptrace::Resume;
use migration::tracee::Waiter;
use migration::vessel::Vessel;
use migration::waits::Waits;

/// Every call fails with EPERM: what is injected must not depend on what the filter lets through.
const REFUSE_ALL: [FilterInstruction; 1] = [FilterInstruction { code: 6, jt: 0, jf: 0, k: 0x5_0001 }];

fn cpu_ticks(pid: u32) -> u64 {
    procfs::stat_field(pid, 14).unwrap_or(0)
}

fn memory_of(pid: u32) -> File {
    OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).expect("memory of the process")
}

fn copy_pages(
    from: u32,
    to: &File,
    uffd: Option<&std::os::fd::OwnedFd>,
    image: &ProcessImage,
    changed: Changed,
    skip: impl Iterator<Item = u64>,
) {
    let pagemap = File::open(format!("/proc/{from}/pagemap")).expect("pagemap");
    let runs = pages::content(&pagemap, &image.layout, changed).expect("a scan");
    let runs = skip.fold(runs, pages::without);
    for batch in pages::batches(&runs, 256) {
        let data = pages::read(from, &memory_of(from), &batch).expect("pages read");
        pages::write(to, uffd, &batch, &data).expect("pages written");
    }
}

fn text_dirty_kib(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("smaps");
    let mut executable = false;
    let mut dirty = 0;
    for line in smaps.lines() {
        if line.contains("r-xp") {
            executable = true;
        } else if line.split('-').next().is_some_and(|start| u64::from_str_radix(start, 16).is_ok()) {
            executable = false;
        }
        if executable && let Some(value) = line.strip_prefix("Private_Dirty:") {
            dirty += value.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        }
    }
    dirty
}

/// The parts of `/proc/PID` that must look untouched after a return.
fn traces(pid: u32) -> String {
    let task = pid.to_string();
    let keys = ["TracerPid", "Seccomp", "NoNewPrivs", "SigBlk", "SigCgt", "SigIgn"];
    let status: Vec<_> =
        keys.map(|key| format!("{key} {}", procfs::status_value(&task, key).expect("status"))).into();
    format!("{}\n{}", std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps"), status.join("\n"))
}

/// A family's namespaces are made by a process with a single thread.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, pid] = arguments.as_slice()
        && verb == LOOK
    {
        return look_again_and_again(pid.parse().expect("a pid"));
    }
    common::run(&TESTS);
}

const TESTS: [(&str, fn()); 4] = [
    ("goes_out_and_home_and_ends_as_if_nothing_had_happened", untroubled),
    ("goes_out_and_home_although_its_text_has_no_room", without_room),
    ("goes_out_and_home_while_it_handles_a_signal_on_its_alternate_stack", on_its_alternate_stack),
    ("goes_out_after_moves_that_were_aborted_and_wardens_that_were_killed", after_failures),
];

/// Makes this program a warden that looks at a process without end, until it is killed.
const LOOK: &str = "--look-again-and-again";

fn busy_shell() -> Child {
    let script =
        "i=0; trap 'echo caught >&2' USR1; while [ $i -lt 4000000 ]; do i=$((i+1)); done; echo $i; exit 7";
    let shell = Command::new("/bin/dash")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("dash");
    wait_for_work(shell.id());
    shell
}

fn wait_for_work(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while cpu_ticks(pid) < 3 {
        assert!(Instant::now() < deadline, "the program never started to work");
        std::thread::yield_now();
    }
}

fn untroubled() {
    let shell = busy_shell();
    goes_out_and_home(&shell);
    ends_well(shell);
}

/// A static program whose one page of text is full to the last byte.
fn without_room() {
    let child = built("full.S", FULL_PAGE, &["-nostdlib", "-static"]);
    let maps = procfs::maps(child.id()).expect("maps");
    let text = maps.iter().find(|map| map.protection & libc::PROT_EXEC.unsigned_abs() != 0).expect("text");
    let mut last = [0; 512];
    std::os::unix::fs::FileExt::read_exact_at(&memory_of(child.id()), &mut last, text.end - 512)
        .expect("its text");
    assert!(last.iter().all(|byte| *byte != 0), "this program would have room");
    goes_out_and_home(&child);
    ends_well(child);
}

/// It works in a handler, as the threads of Go programs do now and then.
fn on_its_alternate_stack() {
    let child = built("handler.c", HANDLER, &["-O1"]);
    goes_out_and_home(&child);
    ends_well(child);
}

/// A program of our own, at work.
fn built(name: &str, text: &str, flags: &[&str]) -> Child {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, program) = (directory.path().join(name), directory.path().join("program"));
    std::fs::write(&source, text).expect("a source");
    let built = Command::new("gcc").args(flags).arg("-o").arg(&program).arg(&source).status().expect("gcc");
    assert!(built.success());
    // A page that is yet to be written to the disk would pass for a dirty copy.
    File::open(&program).and_then(|file| file.sync_all()).expect("a file on the disk");
    let child = Command::new(&program).stdout(Stdio::piped()).spawn().expect("the program");
    wait_for_work(child.id());
    child
}

const HANDLER: &str = r#"
#include <signal.h>
#include <unistd.h>
static char area[65536];
static void handler(int signal)
{
    for (volatile unsigned long left = 1500000000; left; left--) {}
    if (write(1, "4000000\n", 8) == 8)
        _exit(7);
}
int main(void)
{
    stack_t stack = { .ss_sp = area, .ss_size = sizeof area };
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    return 1;
}
"#;

/// It counts for a few seconds, and ends as the shell does.
const FULL_PAGE: &str = r#"
.globl _start
_start:
    movabs $8000000000, %rbx
1:  dec %rbx
    jnz 1b
    mov $1, %eax
    mov $1, %edi
    lea said(%rip), %rsi
    mov $8, %edx
    syscall
    mov $231, %eax
    mov $7, %edi
    syscall
said: .ascii "4000000\n"
    .balign 4096, 0xcc
"#;

/// As the first half of a move, up to the image.
fn look(pid: u32, waiter: &Waiter) -> (Frozen, HealingArea, ProcessImage) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut frozen, area) = loop {
        let frozen = Frozen::new(pid, waiter).unwrap_or_else(|error| {
            let state = procfs::status_value(&pid.to_string(), "State");
            let status = procfs::stat_field(pid, 52);
            panic!("no frozen program: {error}; its state: {state:?}, its wait status: {status:?}")
        });
        match HealingArea::find_unused(&frozen) {
            Ok(area) => break (frozen, area),
            // A thread that wardens were killed over, one behind the other, has not come to run since.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && Instant::now() < deadline => {
                frozen.thaw()
            }
            Err(error) => panic!("no room for the healing area: {error}"),
        }
    };
    let (layout, ties) = layout::read(pid, &Side::Home).expect("a layout");
    assert_eq!(ties, []);
    let image = capture(&mut frozen, layout, Access::Healing(&area), waiter).expect("an image");
    (frozen, area, image)
}

fn look_again_and_again(pid: u32) {
    let waiter = Waiter::new().expect("a waiter");
    loop {
        let (frozen, area, _) = look(pid, &waiter);
        frozen.thaw();
        area.erase().expect("an erased area");
    }
}

/// Healing areas are used again, also by a thread's next warden while it is on its way through one, or in a handler
/// that came in between.
fn after_failures() {
    let shell = busy_shell();
    let pid = shell.id();
    let waiter = Waiter::new().expect("a waiter");
    let mappings = names(pid);
    for round in 0..ABORTED {
        let (frozen, area, _) = look(pid, &waiter);
        frozen.thaw();
        area.erase().unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(text_dirty_kib(pid) <= PAGE_KIB, "aborted moves copy one page only");
    let this = std::env::current_exe().expect("this program");
    let mut used = 0;
    for round in 0..KILLED {
        let mut warden = Command::new(&this).args([LOOK, &pid.to_string()]).spawn().expect("a warden");
        // Anywhere between its start and its third look, and some of them just behind a signal.
        std::thread::sleep(Duration::from_micros(2_000 + round * 371 % 9_000));
        if round % 3 == 0 {
            migration::sys::signal::kill(pid, 10).expect("SIGUSR1");
        }
        warden.kill().expect("a killed warden");
        warden.wait().expect("the end of the warden");
        let before = text_dirty_kib(pid);
        let (frozen, area, _) = look(pid, &waiter);
        frozen.thaw();
        area.erase().expect("an erased area");
        used += u64::from(text_dirty_kib(pid) > before);
    }
    println!("{used} of {KILLED} killed wardens left an area that was still used");
    // A thread that has not run since a warden was killed has its call still before it, which may map a page; once it
    // has run, the next look clears that away.
    let (deadline, ticks) = (Instant::now() + Duration::from_secs(20), cpu_ticks(pid));
    while cpu_ticks(pid) < ticks + 2 {
        assert!(Instant::now() < deadline, "dash does not work any more");
        std::thread::yield_now();
    }
    let (frozen, area, _) = look(pid, &waiter);
    frozen.thaw();
    area.erase().expect("an erased area");
    assert!(text_dirty_kib(pid) <= 4 * PAGE_KIB, "no more pages than dash has text mappings, with the vdso");
    assert_eq!(names(pid), mappings, "a killed warden left a mapping");
    goes_out_and_home(&shell);
    ends_well(shell);
}

/// Every mapping by what it is, without its size: a heap may grow.
fn names(pid: u32) -> Vec<String> {
    let maps = procfs::maps(pid).expect("maps");
    maps.into_iter().map(|map| format!("{:x} {} {}", map.start, map.protection, map.name)).collect()
}

fn ends_well(shell: Child) {
    let output = shell.wait_with_output().expect("the end of dash");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "4000000\n");
    assert_eq!(output.status.code(), Some(7));
}

const ABORTED: u64 = 20;
const KILLED: u64 = 60;
const PAGE_KIB: u64 = 4;

fn goes_out_and_home(shell: &Child) {
    let pid = shell.id();
    let waiter = Waiter::new().expect("a waiter");
    let family = FamilyInit::start(ClockOffsets::default(), &[]).expect("a family's namespaces (needs root)");
    let deadline = Instant::now() + Duration::from_secs(20);
    let before = traces(pid);
    let started = Instant::now();
    let (frozen, area, image) = look(pid, &waiter);
    let foothold = Foothold::find(&image.layout).expect("room for the foothold");
    let vessel = Vessel::build(&family, &waiter, pid, image.layout.clone(), foothold).expect("a vessel");
    copy_pages(pid, &vessel.memory, Some(&vessel.uffd), &image, Changed::Copied, area.pages());
    let memory = vessel.memory.try_clone().expect("a descriptor");
    let body = Body::complete(vessel, &image, &REFUSE_ALL, &family, &waiter).expect("a body");
    fill_home_pages(pid, &image, &memory, &body.vessel.uffd);
    let running: Vec<_> = body
        .threads
        .into_iter()
        .map(|thread| thread.task.resume(Resume::Cont, 0).expect("a start"))
        .collect();
    println!("out: {:?}", started.elapsed());
    confined::check(body.vessel.outer, family.user());
    let (shadows, _) = deputize(frozen, &image, &area, foothold, &waiter).expect("a deputy");
    let rss = procfs::status_value(&pid.to_string(), "VmRSS").expect("VmRSS");
    println!("deputy: VmRSS {rss}");
    let (utime, away) = (cpu_ticks(pid), cpu_ticks(body.vessel.outer));
    while cpu_ticks(body.vessel.outer) < away + 3 {
        assert!(Instant::now() < deadline, "the body does not work");
        std::thread::yield_now();
    }
    assert_eq!(cpu_ticks(pid), utime, "the original works although its body is away");

    let started = Instant::now();
    let mut threads = Vec::new();
    for task in running {
        task.interrupt().expect("an interrupt");
        threads.push(FrozenThread { task: waiter.next(task).expect("a stop").0, signal: None });
    }
    let outer = body.vessel.outer;
    let mut frozen = Frozen { pid: outer, threads, waits: Waits::default() };
    let side = Side::Guest { own: vec![foothold.range()] };
    let (layout, _) = layout::read(outer, &side).expect("a layout");
    let access = Access::Trap { code: foothold.code(), scratch: foothold.scratch() };
    let mut image = capture(&mut frozen, layout, access, &waiter).expect("an image");
    image.pid = pid;
    image.threads[0].tid = pid;
    let mut shadows = shadows;
    let leader = shadows.remove(0);
    let mut staging = Staging::default();
    let task = homecoming::lay_out(pid, leader.task, (&image.layout, &[]), foothold, &mut staging, &waiter);
    shadows.insert(0, ShadowThread { task: task.expect("mappings"), ..leader });
    copy_pages(outer, &memory_of(pid), None, &image, Changed::Written, [foothold.code()].into_iter());
    homecoming::let_go(&image, shadows, foothold, &waiter).expect("a return");
    println!("home: {:?}", started.elapsed());
    drop(family);
    assert_eq!(traces(pid), before);
    assert_eq!(text_dirty_kib(pid), 0);
}

/// In place of the pages that a guest warden fetches: copies every home mapping whole.
fn fill_home_pages(pid: u32, image: &ProcessImage, _memory: &File, uffd: &std::os::fd::OwnedFd) {
    use std::os::fd::AsFd;
    let source = memory_of(pid);
    for vma in image.layout.vmas.iter().filter(|vma| vma.backing == migration::image::Backing::Home) {
        for addr in (vma.start..vma.end).step_by(4096) {
            let mut page = vec![0; 4096];
            if std::os::unix::fs::FileExt::read_exact_at(&source, &mut page, addr).is_ok() {
                let _ = migration::sys::uffd::copy(uffd.as_fd(), addr, &page, true);
            }
        }
    }
}
