//! A real program leaves its process, runs elsewhere on this machine and comes back into it: no network, no calls
//! while away, only the kernel's hands.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use migration::body::{Body, FilterInstruction};
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::{Frozen, FrozenThread};
use migration::homecoming;
use migration::image::ProcessImage;
use migration::init::{ClockOffsets, FamilyInit};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::{self, Changed};
use migration::procfs;
use migration::sys::ptrace::Resume;
use migration::tracee::Waiter;
use migration::vessel::Vessel;

/// `RET_ALLOW`.
const ALLOW_ALL: [FilterInstruction; 1] = [FilterInstruction { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }];

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
    skip: u64,
) {
    let pagemap = File::open(format!("/proc/{from}/pagemap")).expect("pagemap");
    let runs = pages::content(&pagemap, &image.layout, changed).expect("a scan");
    let runs = pages::without(runs, skip);
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
            executable = !line.contains("[vdso]");
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

/// A family's namespaces are made by a process with a single thread, so this test has no harness: it answers the two
/// questions that test runners ask and then runs in the main thread.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    goes_out_and_home_and_ends_as_if_nothing_had_happened();
    println!("test {NAME} ... ok");
}

const NAME: &str = "goes_out_and_home_and_ends_as_if_nothing_had_happened";

fn goes_out_and_home_and_ends_as_if_nothing_had_happened() {
    let family = FamilyInit::start(ClockOffsets::default()).expect("a family's namespaces (needs root)");
    let waiter = Waiter::new().expect("a waiter");
    let script =
        "i=0; trap 'echo caught' USR1; while [ $i -lt 4000000 ]; do i=$((i+1)); done; echo $i; exit 7";
    let shell = Command::new("/bin/dash").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("dash");
    let pid = shell.id();
    let deadline = Instant::now() + Duration::from_secs(20);
    while cpu_ticks(pid) < 3 {
        assert!(Instant::now() < deadline, "dash never started to work");
        std::thread::yield_now();
    }
    let before = traces(pid);
    let started = Instant::now();
    let area = HealingArea::find(pid).expect("room for the healing area");
    let mut frozen = Frozen::new(pid, &waiter).expect("a frozen program");
    let (layout, ties) = layout::read(pid, &Side::Home).expect("a layout");
    assert_eq!(ties, []);
    let foothold = Foothold::find(&layout).expect("room for the foothold");
    let image = capture(&mut frozen, layout, Access::Healing(&area), &waiter).expect("an image");
    let vessel = Vessel::build(&family, &waiter, pid, image.layout.clone(), foothold).expect("a vessel");
    copy_pages(pid, &vessel.memory, Some(&vessel.uffd), &image, Changed::Copied, area.page());
    let memory = vessel.memory.try_clone().expect("a descriptor");
    let body = Body::complete(vessel, &image, &ALLOW_ALL, &family, &waiter).expect("a body");
    fill_home_pages(pid, &image, &memory, &body.vessel.uffd);
    let running: Vec<_> = body
        .threads
        .into_iter()
        .map(|thread| thread.task.resume(Resume::Cont, 0).expect("a start"))
        .collect();
    println!("out: {:?}", started.elapsed());
    let shadows = deputize(frozen, &image, &area, foothold, &waiter).expect("a deputy");
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
    let mut frozen = Frozen { pid: outer, threads };
    let side = Side::Guest { own: vec![foothold.range()] };
    let (layout, _) = layout::read(outer, &side).expect("a layout");
    let access = Access::Trap { code: foothold.code(), scratch: foothold.scratch() };
    let mut image = capture(&mut frozen, layout, access, &waiter).expect("an image");
    image.pid = pid;
    image.threads[0].tid = pid;
    let mut shadows = shadows;
    homecoming::lay_out(pid, &mut shadows[0].task, &image.layout, foothold, &waiter).expect("mappings");
    copy_pages(outer, &memory_of(pid), None, &image, Changed::Written, foothold.code());
    homecoming::let_go(&image, shadows, foothold, &waiter).expect("a return");
    println!("home: {:?}", started.elapsed());
    drop(family);
    assert_eq!(traces(pid), before);
    assert_eq!(text_dirty_kib(pid), 0);
    let output = shell.wait_with_output().expect("the end of dash");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "4000000\n");
    assert_eq!(output.status.code(), Some(7));
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
