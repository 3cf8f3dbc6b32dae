//! Making hostile inputs out of good ones.

use crate::random::Random;

/// What mutations draw from.
#[derive(Debug)]
pub(crate) struct Material<'a> {
    /// Another input, to take pieces from.
    pub(crate) other: &'a [u8],
    /// Words of the target's language.
    pub(crate) words: &'a [&'a [u8]],
    /// No input becomes longer, in bytes.
    pub(crate) length_max: usize,
}

/// Changes an input in one to some places.
pub(crate) fn mutate(input: &mut Vec<u8>, material: &Material<'_>, random: &mut Random) {
    let times = 1 + random.below(2) * random.below(6);
    for _ in 0..times {
        once(input, material, random);
        input.truncate(material.length_max);
    }
}

fn once(input: &mut Vec<u8>, material: &Material<'_>, random: &mut Random) {
    let at = random.below(input.len() + 1);
    let room = material.length_max.saturating_sub(input.len());
    match random.below(16) {
        0 | 1 => flip(input, at, random),
        2 => overwrite(input, at, &[random.byte()]),
        3..=5 => tamper(input, at, random),
        6 => count(input, at, random),
        7 => input.truncate(at),
        8 => drop(input.drain(piece(input.len(), at, random))),
        9 => {
            let copied = input[piece(input.len(), at, random)].to_vec();
            overwrite(input, random.below(input.len() + 1), &copied);
        }
        10 => repeat(input, at, room, random),
        11 => {
            let few = random.length(room.min(64));
            let noise: Vec<u8> = (0..few).map(|_| random.byte()).collect();
            insert(input, at, &noise);
        }
        12 => {
            let most = rarely_all(room, random);
            let run = vec![random.byte(); random.length(most)];
            insert(input, at, &run);
        }
        13 => {
            let from = random.below(material.other.len() + 1);
            let taken = &material.other[piece(material.other.len(), from, random)];
            if random.one_in(2) { insert(input, at, taken) } else { overwrite(input, at, taken) }
        }
        14 => {
            let from = if random.one_in(2) { at } else { random.below(material.other.len() + 1) };
            input.truncate(at);
            input.extend_from_slice(material.other.get(from..).unwrap_or_default());
        }
        _ => match random.pick(material.words) {
            Some(word) if random.one_in(2) => insert(input, at, word),
            Some(word) => overwrite(input, at, word),
            None => flip(input, at, random),
        },
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Puts a number there that lengths, counts and addresses are likely to be wrong about, in one of the forms that
/// lengths have: fixed, as a varint of the wire, or as digits.
fn tamper(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let near = random.below(5) as u64;
    let lengths = [input.len(), input.len() - at, at].map(|length| length as u64);
    let known = match random.below(3) {
        0 => lengths[random.below(3)],
        _ => random.pick(INTERESTING).copied().unwrap_or(0),
    };
    let number = known.wrapping_add(near).wrapping_sub(2);
    let bytes = number.to_le_bytes();
    match random.below(8) {
        0 => overwrite(input, at, &bytes[..1]),
        1 => overwrite(input, at, &bytes[..2]),
        2 => overwrite(input, at, &bytes[..4]),
        3 => overwrite(input, at, &bytes),
        4 => overwrite(input, at, &[251, bytes[0], bytes[1]]),
        5 => {
            drop(input.drain(at..input.len().min(at + 1)));
            insert(input, at, &[&[252], &bytes[..4]].concat());
        }
        6 => {
            drop(input.drain(at..input.len().min(at + 1)));
            insert(input, at, &[&[253], &bytes[..]].concat());
        }
        _ => insert(input, at, number.to_string().as_bytes()),
    }
}

/// A little more or less than what is there.
fn count(input: &mut [u8], at: usize, random: &mut Random) {
    let change = random.below(9) as u64;
    let width = [1, 2, 4, 8][random.below(4)];
    if let Some(place) = input.get_mut(at..).and_then(|rest| rest.get_mut(..width)) {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(place);
        let number = u64::from_le_bytes(bytes).wrapping_add(change).wrapping_sub(4);
        place.copy_from_slice(&number.to_le_bytes()[..width]);
    }
}

/// The same piece many times over: what is small for each is large for all.
fn repeat(input: &mut Vec<u8>, at: usize, room: usize, random: &mut Random) {
    let copied = input[piece(input.len(), at, random)].to_vec();
    if copied.is_empty() {
        return;
    }
    let most = rarely_all(room, random);
    let times = random.length(most / copied.len());
    insert(input, at, &copied.repeat(times));
}

fn piece(length: usize, at: usize, random: &mut Random) -> std::ops::Range<usize> {
    at..at + random.length(length - at).min(length - at)
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn overwrite(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = input.len().min(at + bytes.len());
    input.splice(at..end, bytes.iter().copied());
}

/// Large inputs cost much time, and find what they find in a few.
fn rarely_all(room: usize, random: &mut Random) -> usize {
    if random.one_in(64) { room } else { room.min(1024) }
}

/// Ends of ranges: of integers, of varint forms, of pages and of homing's own limits.
const INTERESTING: &[u64] = &[
    0,
    1,
    4,
    8,
    16,
    64,
    0x7f,
    0x80,
    250,
    251,
    0xff,
    256,
    1024,
    4096,
    0x7fff,
    0xffff,
    0x1_0000,
    384 * 1024,
    1 << 20,
    4 << 20,
    0x7fff_f000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_f000,
    0xffff_ffff,
    1 << 32,
    0x7fff_ffff_f000,
    1 << 47,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_every_length_can_be_mutated_and_stay_within_it() {
        let mut random = Random::new(1);
        let words: &[&[u8]] = &[b"word"];
        for round in 0..100_000 {
            let other = vec![7; random.below(20)];
            let mut input = vec![1; random.below(20)];
            let material = Material { other: &other, words, length_max: round % 40 };
            mutate(&mut input, &material, &mut random);
            assert!(input.len() <= material.length_max);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let made = |seed| {
            let mut random = Random::new(seed);
            let mut input = b"an input".to_vec();
            for _ in 0..50 {
                let material = Material { other: b"another", words: &[], length_max: 100 };
                mutate(&mut input, &material, &mut random);
            }
            input
        };
        assert_eq!(made(3), made(3));
        assert_ne!(made(3), made(4));
    }
}
