//! The inputs that mutations start from: the corpus, and what turned out to be new.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// One file of a corpus.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) input: Vec<u8>,
}

impl Entry {
    /// Whether the target must take it: a corpus of valid inputs that are valid no more finds little.
    pub(crate) fn must_be_accepted(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(VALID))
    }
}

/// Reads a corpus, in the order of its names.
pub(crate) fn read(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok(Entry { input: fs::read(&path)?, path })).collect()
}

/// Writes the valid inputs of a corpus in the place of the former ones. What was found stays.
pub(crate) fn write(dir: &Path, valid: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for former in read(dir)?.iter().filter(|entry| entry.must_be_accepted()) {
        fs::remove_file(&former.path)?;
    }
    valid.iter().try_for_each(|(name, input)| fs::write(dir.join(format!("{VALID}{name}")), input))
}

/// What a file that must be accepted begins with.
const VALID: &str = "valid-";

/// Inputs, and which signatures were seen.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    inputs: Vec<Vec<u8>>,
    /// The first ones, which are never given up.
    kept: usize,
    seen: HashSet<u64>,
}

impl Pool {
    /// An input of the corpus.
    pub(crate) fn keep(&mut self, input: Vec<u8>) {
        self.inputs.push(input);
        self.kept = self.inputs.len();
    }

    /// An input of which the target said this; kept if nothing said so before.
    pub(crate) fn offer(&mut self, input: &[u8], signature: u64, random: &mut Random) {
        if input.len() > INPUT_BYTES_MAX || self.seen.len() >= SEEN_MAX || !self.seen.insert(signature) {
            return;
        }
        if self.inputs.len() < self.kept + FOUND_MAX {
            self.inputs.push(input.to_vec());
        } else {
            let replaced = self.kept + random.below(FOUND_MAX);
            self.inputs[replaced] = input.to_vec();
        }
    }

    pub(crate) fn pick(&self, random: &mut Random) -> &[u8] {
        // Half of the time a corpus that is small among much that was found is at least heard.
        let among = if random.one_in(4) { self.kept } else { self.inputs.len() };
        random.pick(&self.inputs[..among]).map_or(&[], Vec::as_slice)
    }

    /// How many different outcomes there were.
    pub(crate) fn outcomes(&self) -> usize {
        self.seen.len()
    }
}

/// Longer ones are not kept: each mutation of one costs as much as many of another.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Inputs kept beside the corpus.
const FOUND_MAX: usize = 1024;

/// Signatures remembered; who gets beyond that has signatures that say nothing.
const SEEN_MAX: usize = 64 * 1024;
