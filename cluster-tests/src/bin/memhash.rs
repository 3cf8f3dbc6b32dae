//! Fills pages from a seed, verifies every byte of all of them on each pass, and rewrites some in between.
//!
//! usage: memhash [MEBIBYTES [PASSES]]; ends with status 1 at the first wrong byte, naming its page.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let (Ok(mebibytes), Ok(passes)) = (args.next().unwrap_or(Ok(32)), args.next().unwrap_or(Ok(8))) else {
        eprintln!("memhash: usage: memhash [MEBIBYTES [PASSES]]");
        return ExitCode::from(2);
    };
    let mut pages: Vec<Page> = (0..mebibytes * PAGES_PER_MEBIBYTE).map(Page::new).collect();
    for pass in 1..=passes {
        let mut hash = 0;
        for (number, page) in pages.iter().enumerate() {
            match page.verify(number) {
                Some(page_hash) => hash = mix(hash ^ page_hash),
                None => {
                    println!("wrong: page {number} in pass {pass}");
                    return ExitCode::FAILURE;
                }
            }
        }
        println!("pass {pass}: {} pages right, {hash:016x}", pages.len());
        for (number, page) in pages.iter_mut().enumerate().skip(pass).step_by(REWRITE_STRIDE) {
            page.rewrite(number);
        }
    }
    ExitCode::SUCCESS
}

/// One page's words, and how often they were written, which is part of their seed.
struct Page {
    generation: u64,
    words: Box<[u64; WORDS]>,
}

impl Page {
    fn new(number: usize) -> Page {
        Page { generation: 0, words: Box::new(content(number, 0)) }
    }

    fn rewrite(&mut self, number: usize) {
        self.generation += 1;
        *self.words = content(number, self.generation);
    }

    /// The page's hash if every word is what its seed says.
    fn verify(&self, number: usize) -> Option<u64> {
        let expected = content(number, self.generation);
        (*self.words == expected).then(|| self.words.iter().fold(0, |hash, word| mix(hash ^ word)))
    }
}

fn content(number: usize, generation: u64) -> [u64; WORDS] {
    let seed = mix(number as u64 ^ generation << 40);
    std::array::from_fn(|word| mix(seed ^ word as u64))
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

const WORDS: usize = 4096 / size_of::<u64>();
const PAGES_PER_MEBIBYTE: usize = 256;
const REWRITE_STRIDE: usize = 7;
