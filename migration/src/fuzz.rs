//! Hostile bytes for what comes from another machine about memory, and for `/proc` files with names in them that
//! programs choose.

use std::fmt::Debug;
use std::fs;

use fuzzing::{Decoder, Outcome, choice, chosen, codec, target};
use rangemap::RangeSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use transport::wire::{self, MESSAGE_BYTES_MAX, WireError};

use crate::cpu::CpuNeeds;
use crate::foothold::Foothold;
use crate::graves::Graves;
use crate::image::{FamilyImage, Layout, ProcessImage, SignalAction, ThreadImage};
use crate::layout::{self, Side};
use crate::pages::{self, Run};
use crate::relayout::{Held, Step, plan};
use crate::{digest, packing, procfs};

fn encoded<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes).map(|()| bytes)
}

/// A message, and what homing computes with one that was decoded.
fn used<T: Serialize + DeserializeOwned + Debug + 'static>(mut compute: impl FnMut(T) + 'static) -> Decoder {
    let mut decoder = codec(wire::decode::<T>, encoded);
    Box::new(move |input| {
        if let Ok(message) = wire::decode(input) {
            compute(message);
        }
        decoder(input)
    })
}

fn own_layout() -> Layout {
    layout::read(std::process::id(), &Side::Home).unwrap().0
}

fn follow(layout: &Layout, held: &[Held]) {
    let foothold = Foothold::find(layout);
    let free = foothold.map(Foothold::range);
    assert!(
        free.is_none_or(|free| layout.vmas.iter().all(|vma| vma.end <= free.start || free.end <= vma.start))
    );
    if let Some(foothold) = foothold {
        let _ = Graves::beside(layout, foothold);
    }
    let mut there = RangeSet::new();
    layout.vmas.iter().for_each(|vma| there.insert(vma.start..vma.end));
    for step in plan(held, &layout.vmas) {
        if let Step::Map(vma) = step {
            assert!(!vma.is_empty() && there.overlaps(&(vma.start..vma.end)));
        }
    }
}

/// What a receiver and a sender of pages do with them.
fn mark(runs: &[Run]) {
    let mut there = RangeSet::new();
    runs.iter().for_each(|run| there.insert(run.start..run.end()));
    runs.iter().for_each(|run| there.remove(run.start..run.end()));
    let _ = digest::batch(7, runs, b"");
    let few = pages::batches(runs, 16).take(1000);
    assert!(few.flatten().all(|run| run.pages > 0));
    assert!(there.is_empty());
}

#[test]
fn images_of_processes() {
    let valid = || {
        let mut layout = own_layout();
        layout.vmas.truncate(8);
        let thread =
            ThreadImage { tid: 7, xstate: vec![0; 64], pending: vec![vec![1; 128]], ..Default::default() };
        let process = ProcessImage {
            pid: 7,
            command: "sim".into(),
            layout: layout.clone(),
            actions: vec![(10, SignalAction { handler: 0x5555_0000, ..Default::default() })],
            threads: vec![thread],
            ..Default::default()
        };
        let family = FamilyImage { processes: vec![process] };
        let runs = [Run { start: 0x1000, pages: 3 }, Run { start: 0x7fff_0000_0000, pages: 1 }];
        let cpu = CpuNeeds { flags: vec!["avx2".into(), "sse2".into()], xsave_bytes: 832, xfeatures: 7 };
        vec![
            ("family", chosen(0, &encoded(&family).unwrap())),
            ("layout", chosen(1, &encoded(&layout).unwrap())),
            ("runs", chosen(2, &encoded(&runs.to_vec()).unwrap())),
            ("foothold", chosen(3, &encoded(&Foothold::find(&layout).unwrap()).unwrap())),
            ("cpu", chosen(4, &encoded(&cpu).unwrap())),
        ]
    };
    let held: Vec<Held> = own_layout().vmas.iter().map(Held::from).collect();
    let foothold = |foothold: Foothold| {
        assert!(foothold.slot(crate::foothold::SLOTS_MAX - 1) < foothold.range().end);
        assert!(foothold.code() < foothold.scratch());
    };
    target!("images").valid(valid).length_max(MESSAGE_BYTES_MAX).run(choice([
        used::<FamilyImage>(|_| {}),
        used::<Layout>(move |layout| follow(&layout, &held)),
        used::<Vec<Run>>(|runs| mark(&runs)),
        used::<Foothold>(foothold),
        used::<CpuNeeds>(|_| {}),
    ]));
}

#[test]
fn packed_pages() {
    const BYTES_MAX: usize = 16 * pages::PAGE_BYTES;
    let valid = || {
        let steps = (0..=250).flat_map(|step| [step; 16]).collect();
        [("steps", steps), ("even", vec![7; BYTES_MAX])]
            .map(|(name, data)| {
                let (packed, size) = packing::Packer::default().pack(data);
                (name, [&size.to_le_bytes(), &packed[..]].concat())
            })
            .to_vec()
    };
    target!("packed").valid(valid).run(|input| {
        let (size, packed) = input.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let size = u32::from_le_bytes(*size);
        let unpacked = packing::unpack(packed, size, BYTES_MAX).map_err(|error| error.to_string());
        if let Ok(data) = &unpacked {
            assert!(data.len() <= size as usize && data.len() <= BYTES_MAX);
        }
        Outcome::of(&unpacked.map(|data| data.len() == size as usize))
    });
}

#[test]
fn files_of_proc() {
    let valid = || {
        let head = |file: &str| {
            let mut text = fs::read(format!("/proc/self/{file}")).unwrap();
            text.truncate(2048);
            text.truncate(text.iter().rposition(|byte| *byte == b'\n').unwrap() + 1);
            text
        };
        vec![
            ("maps", chosen(0, &head("maps"))),
            ("smaps", chosen(1, &head("smaps"))),
            ("stat", chosen(2, &head("stat"))),
            ("status", chosen(3, &head("status"))),
        ]
    };
    let words: &[&[u8]] = &[
        b"\n",
        b"[vdso]",
        b"VmFlags:",
        b"SigBlk:",
        b")",
        b" (deleted)",
        b"7f00-8000 rwxp 00000000 fe:00 7 ",
    ];
    let text = |input: &[u8]| String::from_utf8_lossy(input).into_owned();
    let maps: Decoder = Box::new(move |input| {
        let maps = procfs::parse_maps(&text(input)).map_err(|error| error.to_string());
        Outcome::of(&maps.map(|maps| maps.iter().map(procfs::MapLine::is_special).collect::<Vec<_>>()))
    });
    let flags: Decoder =
        Box::new(move |input| Outcome::accepted(&procfs::parse_vm_flags(&text(input)).len().min(4)));
    let stat: Decoder =
        Box::new(move |input| Outcome::of(&procfs::parse_stat(&text(input)).ok_or("no name")));
    let status: Decoder = Box::new(move |input| {
        Outcome::of(&procfs::parse_status(&text(input), "SigBlk").ok_or("no such line"))
    });
    target!("proc").valid(valid).words(words).run(choice([maps, flags, stat, status]));
}
