//! Digests of memory: a batch of pages that has become another one on its way is not put in place.
//!
//! TLS keeps what travels from being altered between two sockets. This is for everything else on the way: the
//! machine's memory, the packing, the code that cuts memory into batches. XXH3 finds accidents, which is what there is
//! to find (14 GiB/s measured; it adds less than a tenth to what lz4 takes).

use serde::Serialize;
use transport::wire::{self, WireError};
use twox_hash::XxHash3_64;

use crate::pages::Run;

/// The digest of these pages of this process with this content.
#[must_use]
pub fn batch(pid: u32, runs: &[Run], data: &[u8]) -> u64 {
    let place = runs.iter().fold(u64::from(pid), |place, run| {
        place.rotate_left(11).wrapping_mul(ODD) ^ run.start ^ u64::from(run.pages)
    });
    XxHash3_64::oneshot_with_seed(place, data)
}

/// What one transfer has brought so far, in its order: both ends come to the same, or something was lost, doubled or changed
/// between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer(u64);

impl Transfer {
    /// A batch of pages, by its own digest.
    pub fn batch(&mut self, digest: u64) {
        self.0 = (self.0.rotate_left(11) ^ digest).wrapping_mul(ODD);
    }

    /// What a process needs before more of its pages can be put in place.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn mappings<T: Serialize>(&mut self, pid: u32, mappings: &T) -> Result<(), WireError> {
        self.batch(encoded(pid.into(), mappings)?);
        Ok(())
    }

    /// The digest of all that with what is not memory: equal digests, equal programs.
    ///
    /// # Errors
    /// When that cannot be encoded.
    pub fn with<T: Serialize>(self, image: &T) -> Result<u64, WireError> {
        encoded(self.0, image)
    }
}

fn encoded<T: Serialize>(seed: u64, message: &T) -> Result<u64, WireError> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes)?;
    Ok(XxHash3_64::oneshot_with_seed(seed, &bytes))
}

/// Spreads the bits of an address (2^64 divided by the golden ratio).
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::PAGE_BYTES;

    #[test]
    fn every_flipped_bit_is_found() {
        let runs = [Run { start: 0x1000, pages: 1 }, Run { start: 0x8000, pages: 1 }];
        let mut data: Vec<u8> = (0..=250).cycle().take(2 * PAGE_BYTES).collect();
        let whole = batch(7, &runs, &data);
        assert_eq!(batch(7, &runs, &data), whole);
        for bit in 0..data.len() * 8 {
            data[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(batch(7, &runs, &data), whole, "bit {bit}");
            data[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_transfer_is_another_one_without_a_part_of_it_or_in_another_order() {
        let sum = |parts: &[u64]| {
            let mut sum = Transfer::default();
            parts.iter().for_each(|part| sum.batch(*part));
            sum
        };
        let whole = sum(&[1, 2, 3]);
        assert_eq!(sum(&[1, 2, 3]), whole);
        for other in [&[1, 2][..], &[2, 3], &[1, 3], &[1, 3, 2], &[1, 2, 3, 3], &[0, 1, 2, 3]] {
            assert_ne!(sum(other), whole, "{other:?}");
        }
        assert_eq!(whole.with(&7_u32).unwrap(), whole.with(&7_u32).unwrap());
        assert_ne!(whole.with(&7_u32).unwrap(), whole.with(&8_u32).unwrap());
        assert_ne!(whole.with(&7_u32).unwrap(), sum(&[1, 2]).with(&7_u32).unwrap());
    }

    #[test]
    fn the_same_content_elsewhere_is_another_batch() {
        let data = vec![0; 2 * PAGE_BYTES];
        let run = |start, pages| Run { start, pages };
        let all = [
            batch(7, &[run(0x1000, 2)], &data),
            batch(8, &[run(0x1000, 2)], &data),
            batch(7, &[run(0x2000, 2)], &data),
            batch(7, &[run(0x1000, 1), run(0x2000, 1)], &data),
            batch(7, &[run(0x2000, 1), run(0x1000, 1)], &data),
        ];
        for (at, digest) in all.iter().enumerate() {
            assert!(!all[..at].contains(digest), "{at}");
        }
    }
}
