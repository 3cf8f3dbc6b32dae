//! Hostile bytes for whoever receives memory: a frame's header and its tail.

use fuzzing::{Outcome, target};
use migration::image::{Advice, Backing, Layout, Vma};
use migration::packing::Packer;
use transport::wire;

use super::*;
use crate::fuzz::encoded;
use crate::warden::memory::Plan;

fn valid() -> Vec<(&'static str, Vec<u8>)> {
    let runs = vec![Run { start: 0x1000, pages: 1 }, Run { start: 0x4000, pages: 1 }];
    let data = vec![7; 2 * pages::PAGE_BYTES];
    let digest = digest::batch(77, &runs, &data);
    let (packed, unpacked_bytes) = Packer::default().pack(data);
    let (start, end) = (0x1000, 0x5000);
    let vma = Vma { start, end, protection: 3, backing: Backing::Zero, advice: Advice::default() };
    let layout = Layout { vmas: vec![vma], special: Vec::new() };
    let plan = Plan { layout, fresh: true, gone: runs.clone(), still: false };
    let frames = [
        ("batch", Memory::Batch { transfer: 1, pid: 77, runs, unpacked_bytes, digest, again: false }, packed),
        ("layout", Memory::Layout { transfer: 1, pid: 77, plan }, Vec::new()),
        ("mark", Memory::Mark { transfer: 1, number: 2 }, Vec::new()),
        ("complete", Memory::Complete { transfer: 1, number: 3 }, Vec::new()),
    ];
    let laid = frames.map(|(name, frame, tail)| {
        let header = encoded(&frame).unwrap();
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        (name, [&length[..], &header, &tail].concat())
    });
    laid.to_vec()
}

#[test]
fn frames_of_memory() {
    let pieces = [
        Piece { start: 0x1000, end: 0x3000, at: 0x1400_0000_1000 },
        Piece { start: 0x3000, end: 0x10_0000, at: 0x1400_0000_3000 },
    ];
    target!("memory").valid(valid).length_max(64 * 1024).run(|input| {
        let (length, rest) = input.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let (header, tail) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        let frame = match wire::decode::<Memory>(header) {
            Ok(frame) => frame,
            Err(error) => return Outcome::refused(&error),
        };
        let Memory::Batch { pid, runs, unpacked_bytes, digest, .. } = &frame else {
            return Outcome::accepted(&frame);
        };
        if !is_batch(runs) {
            return Outcome::refused(&"more than a batch");
        }
        let placed = staged(runs, &pieces);
        let pages = |runs: &[Run]| runs.iter().map(|run| u64::from(run.pages)).sum::<u64>();
        assert!(
            placed.as_ref().is_none_or(|placed| pages(placed) == pages(runs)),
            "every page has its place"
        );
        let data =
            unpacked(&Bytes::copy_from_slice(tail), *unpacked_bytes).map_err(|error| error.to_string());
        let whole = data.map(|data| {
            let most = PAGES_PER_BATCH as usize * pages::PAGE_BYTES;
            assert!(*unpacked_bytes == 0 || data.len() <= most);
            digest::batch(*pid, runs, &data) == *digest
        });
        let accepted = whole == Ok(true);
        let class = Outcome::accepted(&(placed.is_some(), &whole)).class;
        Outcome { accepted, class }
    });
}
