//! Where injected system calls are executed inside a foreign process.
//!
//! Before commit the code must heal itself: when the warden is killed, the kernel lets the thread run on from wherever
//! it stands. So behind the `syscall` instruction stand instructions that put back the signal mask and every register
//! and jump to where the program was. They are written into the unused rest of a page of program text, because that is
//! the one place which exists before the first call was injected. After commit the program at home is a deputy that
//! cannot live alone anyway, and one `int3` is enough.

mod needed;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::freeze::Frozen;
use crate::pages::{PAGE, PAGE_BYTES};
use crate::procfs::{self, MapLine};
use crate::sys::pagemap;
use crate::sys::ptrace::{NO_CALL, RESTART_WITHOUT_HANDLER, Registers};
use crate::vdso;

/// A place with a `syscall` instruction that an injected call returns from in a controlled way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// `syscall` at this address, left by stopping at the call's exit: for self-healing code, or for text that must
    /// not be changed.
    Stepped(u64),
    /// `syscall; int3` at this address.
    Trap(u64),
}

/// `syscall; int3`: what stands at a [`Landing::Trap`].
pub const TRAP_CODE: [u8; 3] = [0x0f, 0x05, 0xcc];

/// How far behind its start a finished call stands.
pub const TRAP_BYTES: u64 = TRAP_CODE.len() as u64;

/// The self-healing area in one process.
///
/// Writing it makes its page a private copy, which stays until a move drops it: a program cannot be made to take the
/// file's own page again without code in some other page. So an area that a move left behind, also one whose warden was
/// killed, is used again, unless a thread may still be on its way through it.
#[derive(Debug)]
pub struct HealingArea {
    memory: File,
    addr: u64,
    /// Pages of former areas.
    former: Vec<u64>,
}

impl HealingArea {
    /// Finds room for the area: the rest of a text page behind the last instruction, where the file has zeros. A page
    /// that a former move has copied comes first. The vdso has such a rest too, and comes last: a static program may
    /// have no other.
    ///
    /// # Errors
    /// `NotFound` when no mapping has such a page; else what reading the process gave.
    pub fn find(pid: u32) -> io::Result<HealingArea> {
        HealingArea::find_among(pid, Ok)
    }

    /// As [`HealingArea::find`], among the areas that no thread of a frozen process may still need.
    ///
    /// # Errors
    /// `NotFound` when no mapping has such a page; else what reading the process gave.
    pub fn find_unused(frozen: &Frozen) -> io::Result<HealingArea> {
        let memory = File::open(format!("/proc/{}/mem", frozen.pid))?;
        let maps = procfs::maps(frozen.pid)?;
        HealingArea::find_among(frozen.pid, |armed| needed::unused(armed, frozen, &memory, &maps))
    }

    fn find_among(
        pid: u32,
        unused: impl Fn(Vec<HealingArea>) -> io::Result<Vec<HealingArea>>,
    ) -> io::Result<HealingArea> {
        let pages = File::open(format!("/proc/{pid}/pagemap"))?;
        let mut fresh = None;
        let (mut former, mut armed) = (Vec::new(), Vec::new());
        for map in procfs::maps(pid)? {
            let executable = map.protection & libc::PROT_EXEC.unsigned_abs() != 0;
            if !executable || map.shared || (map.inode == 0 && map.name != vdso::NAME) {
                continue;
            }
            let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
            let area = HealingArea { memory, addr: map.end - AREA_BYTES, former: Vec::new() };
            let copied = is_private_copy(&pages, area.page())?;
            match area.state(pid, &map, copied) {
                Ok(State::Erased) => former.push(area),
                Ok(State::Armed) => armed.push(area),
                Ok(State::Fresh) if fresh.is_none() => fresh = Some(area),
                // A page that holds something else, or cannot be read.
                Ok(_) | Err(_) => {}
            }
        }
        former.extend(unused(armed)?);
        let pages = former.iter().map(HealingArea::page).collect();
        let best = former.into_iter().next().or(fresh);
        let none = || io::Error::new(io::ErrorKind::NotFound, "no text page with room for 512 bytes");
        Ok(HealingArea { former: pages, ..best.ok_or_else(none)? })
    }

    /// Where calls are executed.
    #[must_use]
    pub fn landing(&self) -> Landing {
        Landing::Stepped(self.addr)
    }

    /// The page that holds it: of no interest to whoever reads the program's memory.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.addr & !(PAGE - 1)
    }

    /// The pages with nothing in them but what the files have and what was left of homing's code: that of this area and
    /// those of former ones. Nobody has to carry them along.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        let own = self.page();
        std::iter::once(own).chain(self.former.iter().copied().filter(move |page| *page != own))
    }

    /// Where the restoring code starts: a thread that is resumed there goes on as `arm` was told.
    #[must_use]
    pub fn heal_at(&self) -> u64 {
        self.addr + SYSCALL.len() as u64
    }

    /// Writes the area so that it restores exactly this thread.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn arm(&self, registers: &Registers, mask: u64) -> io::Result<()> {
        self.memory.write_all_at(&healing_code(&as_resumed(registers), mask), self.addr)
    }

    /// Puts back what stands there in the file.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn erase(&self) -> io::Result<()> {
        self.memory.write_all_at(&[0; AREA_LENGTH], self.addr)
    }

    fn state(&self, pid: u32, map: &MapLine, copied: bool) -> io::Result<State> {
        let mut found = [0; PAGE_BYTES];
        self.memory.read_exact_at(&mut found, self.page())?;
        let (text, area) = found.split_at(PAGE_BYTES - AREA_LENGTH);
        let zeros = area.iter().all(|byte| *byte == 0);
        if !copied {
            return Ok(if zeros { State::Fresh } else { State::Foreign });
        }
        let mut own = [0; PAGE_BYTES];
        if map.name == vdso::NAME {
            own.copy_from_slice(vdso::last_page()?);
        } else {
            let file = File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", map.start, map.end))?;
            read_up_to_its_end(&file, &mut own, map.offset + (self.page() - map.start))?;
        }
        let (own_text, own_area) = own[..].split_at(PAGE_BYTES - AREA_LENGTH);
        let armed = area.starts_with(&healing_code(&Registers::default(), 0)[..MASK_AT]);
        Ok(match () {
            () if text != own_text || own_area.iter().any(|byte| *byte != 0) => State::Foreign,
            () if zeros => State::Erased,
            () if armed => State::Armed,
            () => State::Foreign,
        })
    }

    fn code(&self) -> Range<u64> {
        self.addr..self.addr + MASK_AT as u64
    }
}

/// What is at the end of a text page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Zeros, in the file's own page.
    Fresh,
    /// A private copy with the content of the file: a former area that was erased.
    Erased,
    /// A private copy that differs from the file by nothing but our code: the warden was killed.
    Armed,
    /// Something else.
    Foreign,
}

fn is_private_copy(pagemap: &File, page: u64) -> io::Result<bool> {
    let private = pagemap::Query {
        inverted: pagemap::FILE,
        mask: pagemap::FILE,
        any_of: pagemap::PRESENT | pagemap::SWAPPED,
        ..pagemap::Query::default()
    };
    Ok(!pagemap::scan(pagemap, page, page + PAGE, private)?.is_empty())
}

/// Fills the buffer; what lies behind the file's end stays zero, as it is in memory.
fn read_up_to_its_end(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => return Ok(()),
            count => done += count,
        }
    }
    Ok(())
}

/// The registers with which plain user code does what the kernel would do when it restarts an interrupted call.
fn as_resumed(registers: &Registers) -> Registers {
    let mut resumed = *registers;
    if registers.orig_rax == NO_CALL {
        return resumed;
    }
    let again = match registers.rax.cast_signed() {
        -514..=-512 => registers.orig_rax,
        -516 => libc::SYS_restart_syscall.cast_unsigned(),
        INTERRUPTED if leaks_interruption(registers.orig_rax) => registers.orig_rax,
        _ => return resumed,
    };
    resumed.rax = again;
    resumed.rip -= SYSCALL.len() as u64;
    resumed.orig_rax = NO_CALL;
    resumed
}

/// Calls that a mere freeze and thaw would make return EINTR to the program: measured for `epoll_wait`; signal(7) names
/// the others, most of them only for sockets with a timeout.
#[must_use]
pub fn leaks_interruption(nr: u64) -> bool {
    matches!(
        nr.cast_signed(),
        libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
    )
}

/// The registers with which a call that ended early only because of a stop goes on, except if a handler runs first.
#[must_use]
pub fn without_leak(registers: Registers) -> Registers {
    if registers.rax.cast_signed() == INTERRUPTED && leaks_interruption(registers.orig_rax) {
        return Registers { rax: RESTART_WITHOUT_HANDLER.cast_unsigned(), ..registers };
    }
    registers
}

/// `syscall`, the restoring code and its data, position-independent.
fn healing_code(registers: &Registers, mask: u64) -> Vec<u8> {
    let r = registers;
    // In the order of the hardware's register numbers; rsp comes last, by itself.
    let general: [(u8, u64); 15] = [
        (0, r.rax),
        (1, r.rcx),
        (2, r.rdx),
        (3, r.rbx),
        (5, r.rbp),
        (6, r.rsi),
        (7, r.rdi),
        (8, r.r8),
        (9, r.r9),
        (10, r.r10),
        (11, r.r11),
        (12, r.r12),
        (13, r.r13),
        (14, r.r14),
        (15, r.r15),
    ];
    let mut code = SYSCALL.to_vec();
    code.extend_from_slice(&[0xb8, 14, 0, 0, 0]); // mov eax, rt_sigprocmask
    code.extend_from_slice(&[0xbf, 2, 0, 0, 0]); // mov edi, SIG_SETMASK
    relative(&mut code, &[0x48, 0x8d, 0x35], MASK_AT); // lea rsi, [mask]
    code.extend_from_slice(&[0x31, 0xd2]); // xor edx, edx
    code.extend_from_slice(&[0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    code.extend_from_slice(&SYSCALL);
    for (at, (number, _)) in general.iter().enumerate() {
        let prefix = if *number < 8 { 0x48 } else { 0x4c };
        relative(&mut code, &[prefix, 0x8b, 0x05 | (number & 7) << 3], GENERAL_AT + at * 8); // mov reg, [value]
    }
    relative(&mut code, &[0x48, 0x8d, 0x25], FLAGS_AT); // lea rsp, [flags]
    code.push(0x9d); // popfq
    relative(&mut code, &[0x48, 0x8b, 0x25], STACK_AT); // mov rsp, [stack]
    relative(&mut code, &[0xff, 0x25], RESUME_AT); // jmp [resume]
    code.resize(MASK_AT, 0);
    for word in [mask, r.eflags, r.rsp, r.rip] {
        code.extend_from_slice(&word.to_le_bytes());
    }
    for (_, word) in general {
        code.extend_from_slice(&word.to_le_bytes());
    }
    code
}

/// Appends an instruction whose last four bytes are the distance from its end to `target`.
fn relative(code: &mut Vec<u8>, opcode: &[u8], target: usize) {
    code.extend_from_slice(opcode);
    let distance = i32::try_from(target).unwrap_or(0) - i32::try_from(code.len() + 4).unwrap_or(0);
    code.extend_from_slice(&distance.to_le_bytes());
}

/// The instruction.
pub(crate) const SYSCALL: [u8; 2] = [0x0f, 0x05];
const INTERRUPTED: i64 = -(libc::EINTR as i64);
const AREA_BYTES: u64 = AREA_LENGTH as u64;
const AREA_LENGTH: usize = 512;
const MASK_AT: usize = 256;
const FLAGS_AT: usize = MASK_AT + 8;
const STACK_AT: usize = FLAGS_AT + 8;
const RESUME_AT: usize = STACK_AT + 8;
const GENERAL_AT: usize = RESUME_AT + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_before_its_data() {
        let code = healing_code(&Registers::default(), 0);
        assert_eq!(code.len(), GENERAL_AT + 15 * 8);
        assert!(code.len() as u64 <= AREA_BYTES);
        assert_eq!(code[MASK_AT - 1], 0, "the code must end before the mask");
    }

    #[test]
    fn an_interrupted_call_is_issued_again() {
        let mut registers = Registers { rip: 0x1002, orig_rax: 0, ..Registers::default() };
        registers.rax = (-512i64).cast_unsigned();
        assert_eq!((as_resumed(&registers).rax, as_resumed(&registers).rip), (0, 0x1000));
        registers.rax = (-516i64).cast_unsigned();
        assert_eq!(as_resumed(&registers).rax, 219);
        registers.rax = 5;
        assert_eq!((as_resumed(&registers).rax, as_resumed(&registers).rip), (5, 0x1002));
        registers.orig_rax = NO_CALL;
        registers.rax = (-512i64).cast_unsigned();
        assert_eq!(as_resumed(&registers).rip, 0x1002);
    }
}
