//! From the mappings that a process has to those that it must have, without losing the pages of those that stay.

use crate::image::{Backing, Vma};
use crate::remote::Remote;
use crate::tracee::TraceError;

/// A mapping that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `PROT_*`.
    pub protection: u32,
    /// A file mapping at home, or its watched stand-in at a guest.
    pub from_home: bool,
}

impl From<&Vma> for Held {
    fn from(vma: &Vma) -> Held {
        let from_home = vma.backing == Backing::Home;
        Held { start: vma.start, end: vma.end, protection: vma.protection, from_home }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is there any more.
    Unmap(u64, u64),
    /// The same memory with another protection.
    Protect(u64, u64, u32),
    /// New memory.
    Map(Vma),
}

impl Step {
    /// Makes the change, except for new memory, which each side has its own way to map: that is returned.
    pub(crate) fn change(self, remote: &mut Remote<'_>) -> Result<Option<Vma>, TraceError> {
        match self {
            Step::Unmap(start, end) => {
                remote.must("unmapping", libc::SYS_munmap, [start, end - start, 0, 0, 0, 0])?;
            }
            Step::Protect(start, end, protection) => {
                let args = [start, end - start, u64::from(protection), 0, 0, 0];
                remote.must("protecting", libc::SYS_mprotect, args)?;
            }
            Step::Map(vma) => return Ok(Some(vma)),
        }
        Ok(None)
    }
}

/// The changes in an order in which each is possible: whatever is of the same kind at the same addresses stays.
/// Both lists are sorted.
pub(crate) fn plan(held: &[Held], wanted: &[Vma]) -> Vec<Step> {
    let mut steps = Vec::new();
    for there in held {
        let mut at = there.start;
        for vma in wanted.iter().filter(|vma| Held::from(*vma).from_home == there.from_home) {
            let (start, end) = (vma.start.max(at), vma.end.min(there.end));
            if start >= end {
                continue;
            }
            if at < start {
                steps.push(Step::Unmap(at, start));
            }
            if vma.protection != there.protection {
                steps.push(Step::Protect(start, end, vma.protection));
            }
            at = end;
        }
        if at < there.end {
            steps.push(Step::Unmap(at, there.end));
        }
    }
    for vma in wanted {
        let mut at = vma.start;
        let same = held.iter().filter(|there| there.from_home == (vma.backing == Backing::Home));
        for there in same.filter(|there| there.start < vma.end && vma.start < there.end) {
            if at < there.start {
                steps.push(Step::Map(Vma { start: at, end: there.start, ..vma.clone() }));
            }
            at = at.max(there.end);
        }
        if at < vma.end {
            steps.push(Step::Map(Vma { start: at, ..vma.clone() }));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(start: u64, end: u64, protection: u32, from_home: bool) -> Held {
        Held { start, end, protection, from_home }
    }

    fn vma(start: u64, end: u64, protection: u32, backing: Backing) -> Vma {
        Vma { start, end, protection, backing, advice: Default::default() }
    }

    #[test]
    fn file_mappings_survive_where_the_body_still_has_them() {
        let steps = plan(&[held(0x1000, 0x5000, 1, true)], &[vma(0x2000, 0x4000, 1, Backing::Home)]);
        assert_eq!(steps, [Step::Unmap(0x1000, 0x2000), Step::Unmap(0x4000, 0x5000)]);
    }

    #[test]
    fn changed_protection_follows_and_other_memory_is_replaced() {
        let heap = vma(0x7000, 0xa000, 3, Backing::Zero);
        let steps = plan(
            &[held(0x1000, 0x2000, 1, true), held(0x7000, 0x8000, 1, true)],
            &[vma(0x1000, 0x2000, 5, Backing::Home), heap.clone()],
        );
        assert_eq!(steps, [Step::Protect(0x1000, 0x2000, 5), Step::Unmap(0x7000, 0x8000), Step::Map(heap)]);
    }

    #[test]
    fn memory_that_grew_on_both_sides_keeps_its_middle() {
        let steps = plan(&[held(0x4000, 0x6000, 3, false)], &[vma(0x2000, 0x9000, 3, Backing::Stack)]);
        assert_eq!(
            steps,
            [
                Step::Map(vma(0x2000, 0x4000, 3, Backing::Stack)),
                Step::Map(vma(0x6000, 0x9000, 3, Backing::Stack))
            ]
        );
    }

    #[test]
    fn one_mapping_may_become_several_and_several_one() {
        let split = [vma(0x1000, 0x2000, 3, Backing::Zero), vma(0x2000, 0x3000, 0, Backing::Zero)];
        assert_eq!(plan(&[held(0x1000, 0x3000, 3, false)], &split), [Step::Protect(0x2000, 0x3000, 0)]);
        let joined = [vma(0x1000, 0x3000, 3, Backing::Zero)];
        let parts = split.each_ref().map(Held::from);
        assert_eq!(plan(&parts, &joined), [Step::Protect(0x2000, 0x3000, 3)]);
    }

    /// Whatever the two layouts are, applying the plan to the first gives the second, and no step touches memory that
    /// another one has given its final form.
    #[test]
    fn every_plan_leads_to_what_is_wanted() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let mut layout = || {
                let mut at = 0;
                let mut vmas = Vec::new();
                while at < 40 {
                    let start = at + random(4);
                    let end = start + 1 + random(8);
                    let backing = if random(2) == 0 { Backing::Home } else { Backing::Zero };
                    vmas.push(vma(start, end, u32::try_from(random(3)).unwrap_or(0), backing));
                    at = end;
                }
                vmas
            };
            let (before, wanted) = (layout(), layout());
            let mut pages: Vec<Option<(u32, bool)>> = vec![None; 64];
            let mut set = |start: u64, end: u64, value: Option<(u32, bool)>, expected: Option<bool>| {
                for page in start..end {
                    let page = &mut pages[usize::try_from(page).unwrap_or(0)];
                    assert_eq!(page.is_some(), expected.unwrap_or(page.is_some()));
                    *page = value;
                }
            };
            for vma in &before {
                set(vma.start, vma.end, Some((vma.protection, vma.backing == Backing::Home)), Some(false));
            }
            let held: Vec<Held> = before.iter().map(Held::from).collect();
            for step in plan(&held, &wanted) {
                match step {
                    Step::Unmap(start, end) => set(start, end, None, Some(true)),
                    Step::Protect(start, end, protection) => {
                        let kind = before.iter().find(|vma| vma.start <= start && end <= vma.end);
                        let from_home = kind.is_some_and(|vma| vma.backing == Backing::Home);
                        set(start, end, Some((protection, from_home)), Some(true));
                    }
                    Step::Map(vma) => {
                        let value = Some((vma.protection, vma.backing == Backing::Home));
                        set(vma.start, vma.end, value, Some(false));
                    }
                }
            }
            let mut expected = vec![None; 64];
            for vma in &wanted {
                for page in vma.start..vma.end {
                    expected[usize::try_from(page).unwrap_or(0)] =
                        Some((vma.protection, vma.backing == Backing::Home));
                }
            }
            assert_eq!(pages, expected);
        }
    }
}
