//! The memory of a body as its calls see it, where pages may still be at home.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use migration::pages::{PAGE, PAGE_BYTES};
use migration::sys::{procvm, uffd};

use super::Guest;
use super::state::{BodyProcess, Effect, Fetching, Kind, Standing, Trapped};
use crate::syscall::marshal::{Fault, Memory};

/// A view of a body's memory that notes the first page which must be fetched before it can be read.
#[derive(Debug)]
pub(super) struct View<'a> {
    outer: u32,
    file: &'a File,
    from_home: &'a [Range<u64>],
    missing: Cell<Option<u64>>,
}

impl<'a> View<'a> {
    pub(super) fn of(process: &'a BodyProcess) -> View<'a> {
        View {
            outer: process.outer,
            file: &process.memory,
            from_home: &process.from_home,
            missing: Cell::new(None),
        }
    }

    /// The page that was missing, if one was.
    pub(super) fn missing(&self) -> Option<u64> {
        self.missing.get()
    }

    fn is_from_home(&self, start: u64, end: u64) -> bool {
        self.from_home.iter().any(|range| range.start < end && start < range.end)
    }

    /// The first page of a range that cannot be read.
    fn first_absent(&self, start: u64, end: u64) -> Option<u64> {
        let mut byte = [0];
        let mut at = start;
        while at < end {
            if self.file.read_exact_at(&mut byte, at).is_err() {
                return Some(at & !(PAGE - 1));
            }
            at = (at & !(PAGE - 1)) + PAGE;
        }
        None
    }

    fn absent(&self, addr: u64, len: usize) -> Fault {
        if let Some(page) = self.first_absent(addr, addr.saturating_add(len as u64))
            && self.is_from_home(page, page + PAGE)
        {
            self.missing.set(Some(page));
        }
        Fault { addr }
    }
}

impl Memory for View<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let end = addr.checked_add(buf.len() as u64).ok_or(Fault { addr })?;
        if !self.is_from_home(addr, end) {
            return procvm::read(self.outer, addr, buf).map_err(|_| Fault { addr });
        }
        // This way never waits for a missing page: it fails with EIO, where the other one would wait for us.
        self.file.read_exact_at(buf, addr).map_err(|_| self.absent(addr, buf.len()))
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        let end = addr.checked_add(data.len() as u64).ok_or(Fault { addr })?;
        if !self.is_from_home(addr, end) {
            return procvm::write(self.outer, addr, data).map_err(|_| Fault { addr });
        }
        self.file.write_all_at(data, addr).map_err(|_| self.absent(addr, data.len()))
    }
}

impl Guest {
    /// Reads what the kernel reports about a process's memory, in its order.
    pub fn serve(&mut self, pid: u32) {
        while let Some(process) = self.processes.get_mut(&pid) {
            match uffd::next_event(process.uffd.as_fd()) {
                Ok(Some(uffd::Event::Missing(addr))) => self.missing(pid, addr),
                Ok(Some(uffd::Event::Fork(raw))) => process.forked_uffd = Some(uffd::adopt(raw)),
                Ok(Some(uffd::Event::Other(kind))) => {
                    tracing::warn!(pid, kind, "a report that was not asked for")
                }
                Ok(None) => return,
                Err(errno) => return tracing::debug!(pid, %errno, "no more reports about this memory"),
            }
        }
    }

    /// A body thread, or a call of one, waits for a page.
    pub(super) fn missing(&mut self, pid: u32, addr: u64) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let page = addr & !(PAGE - 1);
        let Some(range) = process.from_home.iter().find(|range| range.contains(&page)) else {
            tracing::error!(pid, addr, "a page is missing that nobody has");
            return;
        };
        // Around the page: what is near will be needed soon, and one round trip costs more than fifteen pages.
        let start = (page & !(AROUND_BYTES - 1)).max(range.start);
        let end = ((page & !(AROUND_BYTES - 1)) + AROUND_BYTES).min(range.end);
        if process.fetching.insert(start, Fetching { end, outdated: false }).is_some() {
            // Asked for already; whoever waits is woken by that answer.
            return;
        }
        let pages = u32::try_from((end - start) / PAGE).unwrap_or(1);
        self.effects.push_back(Effect::Fetch { pid, start, pages });
    }

    /// Pages that home has sent.
    pub fn fetched(&mut self, pid: u32, start: u64, data: &[u8]) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(end) = start.checked_add(data.len() as u64) else { return };
        let outdated = process.fetching.remove(&start).is_none_or(|fetching| fetching.outdated);
        for (index, page) in data.chunks_exact(PAGE_BYTES).enumerate() {
            let addr = start + index as u64 * PAGE;
            // A page that is there already or unmapped, or that belonged to a former mapping of these addresses, is
            // not put in place: whoever waits is woken and asks again if it has to.
            let supplied = !outdated
                && process
                    .written
                    .supply(addr..addr + PAGE, || uffd::copy(process.uffd.as_fd(), addr, page, true).is_ok());
            if !supplied {
                let _ = uffd::wake(process.uffd.as_fd(), addr, PAGE);
            }
        }
        self.retry(pid, start, end);
    }

    /// Calls whose arguments were on one of these pages.
    fn retry(&mut self, pid: u32, start: u64, end: u64) {
        let waiting: Vec<u32> = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.pid == pid)
            .filter(|(_, thread)| match &thread.standing {
                Standing::Waiting(_, call) => {
                    matches!(call.kind, Kind::Gathering(page) if (start..end).contains(&page))
                }
                Standing::Trapped(_, Trapped::ExecStrings(page) | Trapped::Unsettled(_, page)) => {
                    (start..end).contains(page)
                }
                _ => false,
            })
            .map(|(tid, _)| *tid)
            .collect();
        for tid in waiting {
            self.again(tid);
        }
    }
}

/// 16 pages: 2.1 times the time of one for 16 times the data, measured.
const AROUND_BYTES: u64 = 16 * PAGE;
