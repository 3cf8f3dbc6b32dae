//! Which pages of a process its copy at another node lacks, while the process runs and once it stands still.
//!
//! What a look finds is write-protected in the same pass (`PAGEMAP_SCAN` with a userfaultfd in asynchronous mode), so
//! a write between the look and the reading of the page is seen by the next look. A mapping that is not watched yet
//! (new, moved, or mapped again at the same addresses) refuses the protection with EPERM; it is watched from then on
//! and all of it counts as changed. So nothing is taken for clean that was not looked at.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rangemap::RangeSet;

use crate::image::{Backing, Layout, Vma};
use crate::pages::{Changed, PAGE, Run, push};
use crate::relayout::{Held, Step, plan};
use crate::sys::pagemap::{self, Query, Region};
use crate::sys::uffd::{self, Watch};
use crate::sys::{Errno, pagemap::FILE, pagemap::PRESENT, pagemap::SWAPPED, pagemap::WRITTEN, pagemap::ZERO};

/// Whether the process runs, and what of it a round may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It runs: only its anonymous memory is looked at. Private copies of file pages are few, and what the kernel says
    /// of a file mapping changes its meaning while the program maps, drops and fetches.
    Running,
    /// It stands still: what is found now is all.
    Still,
}

/// What the receiver lacks, and what it has too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pages to be sent.
    pub send: Vec<Run>,
    /// Pages that were sent and hold nothing any more.
    pub gone: Vec<Run>,
}

impl Changes {
    /// Size of what is to be sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.send.iter().map(|run| run.bytes() as u64).sum()
    }
}

/// What must be remembered of a body's memory when looks take the kernel's own signs away: for home mappings it counts
/// what was ever written.
#[derive(Debug, Default)]
pub struct Written {
    /// Pages that were written since they were fetched, seen by some look.
    pages: RangeSet<u64>,
    /// Ranges that were mapped anew since the last look.
    renewed: Vec<Range<u64>>,
}

/// Shared by whoever maps files for a body and whoever looks at its pages.
#[derive(Clone, Debug, Default)]
pub struct SharedWritten(Arc<Mutex<Written>>);

impl SharedWritten {
    /// These addresses hold another mapping now.
    pub fn renew(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut written = self.lock();
        written.pages.remove(range.clone());
        written.renewed.push(range);
    }

    /// Supplies a missing page from home by means of `copy`, which says whether the page was missing: then whatever was
    /// written to it before was dropped. No look comes between both, which could take a write after the copy for one
    /// before it.
    pub fn supply(&self, page: Range<u64>, copy: impl FnOnce() -> bool) -> bool {
        let mut written = self.lock();
        let supplied = copy();
        if supplied {
            written.pages.remove(page.clone());
            written.renewed.push(page);
        }
        supplied
    }

    /// What holds for a child whose memory is a copy.
    #[must_use]
    pub fn forked(&self) -> SharedWritten {
        let pages = self.lock().pages.clone();
        SharedWritten(Arc::new(Mutex::new(Written { pages, renewed: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pages of one process during one transfer.
#[derive(Debug)]
pub struct Tracking {
    pagemap: File,
    changed: Changed,
    /// Without it nothing is known to be clean, so nothing is sent before the process stands still.
    uffd: Option<OwnedFd>,
    left_out: Vec<u64>,
    written: SharedWritten,
    /// As the receiver knows it.
    layout: Layout,
    /// Pages of which the receiver has some content.
    there: RangeSet<u64>,
    /// Those whose content was right at the last look and has not been written since, as far as is known.
    current: RangeSet<u64>,
}

impl Tracking {
    /// Nothing was sent yet. `left_out` are pages that do not travel: homing's own code.
    #[must_use]
    pub fn new(
        pagemap: File,
        changed: Changed,
        uffd: Option<OwnedFd>,
        written: SharedWritten,
        left_out: Vec<u64>,
    ) -> Tracking {
        Tracking {
            pagemap,
            changed,
            uffd,
            left_out,
            written,
            layout: Layout::default(),
            there: RangeSet::new(),
            current: RangeSet::new(),
        }
    }

    /// Looks at every mapping of the layout, which the receiver must be told before what is found.
    ///
    /// # Errors
    /// The kernel's, when the process is gone.
    pub fn look(&mut self, layout: &Layout, phase: Phase) -> Result<Changes, Errno> {
        for range in std::mem::take(&mut self.written.lock().renewed) {
            self.current.remove(range);
        }
        self.follow(layout);
        if phase == Phase::Running {
            self.watch_all(layout);
        }
        let mut changes = Changes::default();
        for vma in &layout.vmas {
            if phase == Phase::Running && vma.backing != Backing::Zero {
                continue;
            }
            let is_tracked = self.note_writes(vma);
            if !is_tracked {
                self.current.remove(vma.start..vma.end);
                if phase != Phase::Still {
                    continue;
                }
            }
            let content = self.content(vma)?;
            runs(&mut changes.send, content.iter().flat_map(|part| without(&self.current, part)));
            if phase == Phase::Still {
                let sent = self.there.overlapping(vma.start..vma.end);
                let sent = sent.map(|part| part.start.max(vma.start)..part.end.min(vma.end));
                runs(&mut changes.gone, sent.flat_map(|part| without(&content, &part)).collect::<Vec<_>>());
            }
        }
        Ok(changes)
    }

    /// These pages have been read since the last look, and are on their way to the receiver.
    pub fn sent(&mut self, runs: &[Run]) {
        for run in runs {
            self.there.insert(run.start..run.end());
            self.current.insert(run.start..run.end());
        }
    }

    /// These pages did not arrive as they were sent. Unless they are sent again, the next look finds them.
    pub fn damaged(&mut self, runs: &[Run]) {
        for run in runs {
            self.current.remove(run.start..run.end());
        }
    }

    /// Whatever the receiver unmaps for this layout is not right any more. It may be told so of a mapping that was not
    /// unmapped here: what the kernel says of a running process's mappings is not of one instant.
    fn follow(&mut self, layout: &Layout) {
        let held: Vec<Held> = self.layout.vmas.iter().map(Held::from).collect();
        for step in plan(&held, &layout.vmas) {
            if let Step::Unmap(start, end) = step {
                self.current.remove(start..end);
            }
        }
        self.layout.clone_from(layout);
    }

    /// Has every mapping watched, if some are not. What was not watched is not current.
    fn watch_all(&mut self, layout: &Layout) {
        let Some(uffd) = &self.uffd else { return };
        let mut is_complete = true;
        for vma in &layout.vmas {
            // Matches no page: only the refusal matters.
            let probe = Query { mask: PRESENT | SWAPPED | FILE | ZERO, protect: true, ..Query::default() };
            if pagemap::scan(&self.pagemap, vma.start, vma.start + PAGE, probe).is_err() {
                self.current.remove(vma.start..vma.end);
                is_complete = false;
            }
        }
        if is_complete {
            return;
        }
        // Never a single mapping: the program may have changed it meanwhile, and a mapping that is watched in part is
        // two mappings, which mremap refuses (measured). The kernel's own ones cannot be watched.
        let mut start = 0;
        let mut special: Vec<_> = layout.special.iter().map(|special| (special.start, special.end)).collect();
        special.push((ADDRESSES_END, ADDRESSES_END));
        special.sort_unstable();
        for (end, next) in special {
            let first = layout.vmas.partition_point(|vma| vma.start < start);
            let behind = layout.vmas.partition_point(|vma| vma.start < end);
            watch(uffd, start..end, layout.vmas.get(first..behind).unwrap_or_default());
            start = next;
        }
    }

    /// Takes written pages out of those that are current, and protects them again. False: the mapping is not watched.
    fn note_writes(&mut self, vma: &Vma) -> bool {
        if self.uffd.is_none() {
            return false;
        }
        let protect = Query { protect: true, ..self.written_in(vma) };
        // A fork between the scan and what is remembered of it would give the child neither.
        let mut remembered = self.written.lock();
        let Ok(written) = pagemap::scan(&self.pagemap, vma.start, vma.end, protect) else { return false };
        for Region { start, end, .. } in written {
            self.current.remove(start..end);
            // Whatever this was taken for: by now a file may be mapped there.
            if self.changed == Changed::Written {
                remembered.pages.insert(start..end);
            }
        }
        true
    }

    /// The pages of a mapping that hold something the receiver cannot have from elsewhere.
    fn content(&mut self, vma: &Vma) -> Result<RangeSet<u64>, Errno> {
        let scan = |query| pagemap::scan(&self.pagemap, vma.start, vma.end, query);
        let in_memory = Query { any_of: PRESENT | SWAPPED, ..Query::default() };
        let mut content = RangeSet::new();
        match (vma.backing, self.changed) {
            (Backing::Home, Changed::Written) => {
                let seen = scan(Query { mask: WRITTEN, ..in_memory })?;
                content.extend(seen.iter().map(|region| region.start..region.end));
                let remembered = self.written.lock();
                for region in scan(in_memory)? {
                    for part in remembered.pages.overlapping(region.start..region.end) {
                        content.insert(part.start.max(region.start)..part.end.min(region.end));
                    }
                }
            }
            (Backing::Home, Changed::Copied) => {
                let copied = Query { inverted: FILE, mask: FILE, ..in_memory };
                for region in scan(Query { returned: SWAPPED, ..copied })? {
                    content.insert(region.start..region.end);
                    // What looks swapped may be the mark of a write-protected copy that was dropped meanwhile; then
                    // the file's content counts again, and is what a reader of the page gets.
                    if region.categories & SWAPPED != 0 {
                        self.current.remove(region.start..region.end);
                    }
                }
            }
            (Backing::Zero | Backing::Stack, _) => {
                let seen = scan(Query { inverted: ZERO, mask: ZERO, ..in_memory })?;
                content.extend(seen.iter().map(|region| region.start..region.end));
            }
        }
        for page in &self.left_out {
            content.remove(*page..page + PAGE);
        }
        Ok(content)
    }

    fn written_in(&self, vma: &Vma) -> Query {
        let foreign = match (vma.backing, self.changed) {
            (Backing::Home, Changed::Copied) => FILE,
            (Backing::Home, Changed::Written) => 0,
            (Backing::Zero | Backing::Stack, _) => ZERO,
        };
        Query { inverted: foreign, mask: WRITTEN | foreign, any_of: PRESENT | SWAPPED, ..Query::default() }
    }
}

/// Has a range watched that holds these mappings. A single one that nobody may ever write to, such as a shared one of a
/// file opened for reading, has the kernel refuse the whole range (measured); then as many of the others as can be are.
/// Whatever is not watched is seen so by the look.
fn watch(uffd: &OwnedFd, range: Range<u64>, vmas: &[Vma]) {
    let Range { start, end } = range;
    if start >= end || uffd::register(uffd.as_fd(), start, end - start, Watch::Writes).is_ok() {
        return;
    }
    let (left, right) = vmas.split_at(vmas.len() / 2);
    if let (Some(_), Some(first)) = (left.first(), right.first()) {
        watch(uffd, start..first.start, left);
        watch(uffd, first.start..end, right);
    }
}

/// Of user space on x86_64 with four-level page tables, less the last page.
const ADDRESSES_END: u64 = 0x7fff_ffff_f000;

/// The parts of a range that are not in the set.
fn without(set: &RangeSet<u64>, range: &Range<u64>) -> Vec<Range<u64>> {
    set.gaps(range).collect()
}

/// Appends ranges of one mapping as runs; those of different mappings are never joined, since they are written in
/// different ways.
fn runs(to: &mut Vec<Run>, ranges: impl IntoIterator<Item = Range<u64>>) {
    let mut inside = Vec::new();
    for range in ranges {
        push(&mut inside, range.start, range.end);
    }
    to.append(&mut inside);
}
