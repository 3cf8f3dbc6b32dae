//! Compressing page contents for the wire: lz4 where it saves a tenth, raw otherwise.

use std::io;

/// Packs a batch. The second value is its unpacked size, or 0 if it was left as it is.
#[must_use]
pub fn pack(data: Vec<u8>) -> (Vec<u8>, u32) {
    let packed = lz4_flex::block::compress(&data);
    match u32::try_from(data.len()) {
        Ok(size) if packed.len() * 10 <= data.len() * 9 => (packed, size),
        _ => (data, 0),
    }
}

/// Unpacks what [`pack`] made, if it is not larger than `bytes_max`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(pack(noise.clone()), (noise, 0));
    }
}
