//! Compressing page contents for the wire: lz4 where it saves a tenth, raw otherwise.

use std::io;

/// Packs the batches of one process, and soon gives up where that saves nothing.
#[derive(Debug, Default)]
pub struct Packer {
    room: Vec<u8>,
    /// Batches that are left alone after one that did not get smaller.
    pause: u32,
    /// Of them, still to come.
    left_alone: u32,
}

impl Packer {
    /// Packs a batch. The second value is its unpacked size, or 0 if it was left as it is.
    #[must_use]
    pub fn pack(&mut self, data: Vec<u8>) -> (Vec<u8>, u32) {
        if self.left_alone > 0 {
            self.left_alone -= 1;
            return (data, 0);
        }
        let room_bytes = lz4_flex::block::get_maximum_output_size(data.len());
        if self.room.len() < room_bytes {
            self.room.resize(room_bytes, 0);
        }
        let packed = lz4_flex::block::compress_into(&data, &mut self.room);
        match (packed, u32::try_from(data.len())) {
            (Ok(packed), Ok(size)) if packed * 10 <= data.len() * 9 => {
                self.pause = 0;
                (self.room[..packed].to_vec(), size)
            }
            _ => {
                self.pause = (2 * self.pause + 1).min(PAUSE_MAX);
                self.left_alone = self.pause;
                (data, 0)
            }
        }
    }
}

/// Unpacks what [`Packer::pack`] made, if it is not larger than `bytes_max`.
///
/// # Errors
/// `InvalidData` for anything else.
pub fn unpack(packed: &[u8], unpacked_bytes: u32, bytes_max: usize) -> io::Result<Vec<u8>> {
    let bytes = unpacked_bytes as usize;
    if bytes > bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    lz4_flex::block::decompress(packed, bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Of so many batches one is tried where nothing gets smaller.
const PAUSE_MAX: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(data: Vec<u8>) -> (Vec<u8>, u32) {
        Packer::default().pack(data)
    }

    #[test]
    fn what_compresses_is_packed_and_what_does_not_is_left() {
        let even = vec![7; 4096];
        let (packed, size) = pack(even.clone());
        assert!(packed.len() < 100);
        assert_eq!(unpack(&packed, size, 4096).expect("a packed batch"), even);
        assert!(unpack(&packed, size, 4095).is_err());
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(4096)
        .collect();
        assert_eq!(pack(noise.clone()), (noise.clone(), 0));

        let mut packer = Packer::default();
        let is_left = |packer: &mut Packer, data: &[u8]| packer.pack(data.to_vec()).1 == 0;
        assert!((0..100).all(|_| is_left(&mut packer, &noise)));
        let left_after_noise = (0..100).take_while(|_| is_left(&mut packer, &even)).count();
        assert!(left_after_noise <= PAUSE_MAX as usize, "{left_after_noise}");
        assert!((0..100).all(|_| !is_left(&mut packer, &even)));
    }
}
