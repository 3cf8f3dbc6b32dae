//! Messages as bytes: the only importer of bincode, so that another encoding is one file away.
//!
//! bincode's standard configuration (variable-length little-endian integers), a limit on every message and nothing
//! after it. The encoding does not describe itself: variants and fields are only ever appended, and a message that
//! must change otherwise needs a new [version](crate::version). A message must not hold a sequence of elements that
//! take no bytes (`Vec<()>`), since its length would be bounded by nothing.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest encoded message, in bytes. Larger things travel as the raw tail of a [frame](crate::frame).
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Why a message was not encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("message of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// The value cannot be written, for instance because it holds a sequence of unknown length.
    #[error("cannot encode the message")]
    Encode(#[source] EncodeError),
    /// The bytes are not a message of the expected type; the peer is faulty or speaks another version.
    #[error("cannot decode the message")]
    Decode(#[source] DecodeError),
    /// A whole message and then more bytes.
    #[error("{0} bytes after the end of the message")]
    TrailingBytes(usize),
}

/// Appends the encoded message to `bytes`; leaves `bytes` as it was on an error.
///
/// # Errors
/// [`WireError::TooLong`] and [`WireError::Encode`].
pub fn encode<T: Serialize + ?Sized>(message: &T, bytes: &mut Vec<u8>) -> Result<(), WireError> {
    let start = bytes.len();
    let mut writer = Bounded { bytes, end: start.saturating_add(MESSAGE_BYTES_MAX), overrun: false };
    let result = bincode::serde::encode_into_writer(message, &mut writer, CONFIG);
    let overrun = writer.overrun;
    result.map_err(|error| {
        bytes.truncate(start);
        if overrun { WireError::TooLong } else { WireError::Encode(error) }
    })
}

/// The message that `bytes` hold, all of them.
///
/// A number counts against the limit as much as it has in memory, a length for instance as eight bytes. So a message
/// takes little more than ten times the limit when it is decoded, and some just below the limit can be encoded and not
/// decoded.
///
/// # Errors
/// [`WireError::TooLong`], [`WireError::Decode`] and [`WireError::TrailingBytes`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong);
    }
    let (message, used) = bincode::serde::decode_from_slice(bytes, CONFIG).map_err(WireError::Decode)?;
    match bytes.len() - used {
        0 => Ok(message),
        trailing => Err(WireError::TrailingBytes(trailing)),
    }
}

/// Whether a message can be encoded and then decoded: some just below the limit cannot.
///
/// # Errors
/// As of [`encode`] and [`decode`].
pub fn check<T: Serialize + DeserializeOwned>(message: &T) -> Result<(), WireError> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes)?;
    decode::<T>(&bytes).map(drop)
}

/// Stops an encoding at the limit instead of after the allocation.
struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    end: usize,
    overrun: bool,
}

impl Writer for Bounded<'_> {
    fn write(&mut self, piece: &[u8]) -> Result<(), EncodeError> {
        if piece.len() > self.end - self.bytes.len() {
            self.overrun = true;
            return Err(EncodeError::UnexpectedEnd);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// The limit makes a hostile length prefix an error before anything is allocated for it.
const CONFIG: Configuration<LittleEndian, Varint, Limit<MESSAGE_BYTES_MAX>> =
    config::standard().with_limit::<MESSAGE_BYTES_MAX>();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Sample {
        Empty,
        Pages { start: u64, count: u32 },
        Named(String, Option<i16>),
        Bytes(Vec<u8>),
        Nested(Vec<Sample>),
    }

    fn encoded(message: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        bytes
    }

    fn check(message: Sample, golden: &[u8]) {
        assert_eq!(encoded(&message), golden, "{message:?}");
        assert_eq!(decode::<Sample>(golden).unwrap(), message);
    }

    #[test]
    fn what_can_be_encoded_and_not_decoded_is_found() {
        let numbers = |count: usize| vec![1_u64; count];
        super::check(&numbers(1000)).unwrap();
        let mut bytes = Vec::new();
        encode(&numbers(MESSAGE_BYTES_MAX / 4), &mut bytes).unwrap();
        assert!(matches!(super::check(&numbers(MESSAGE_BYTES_MAX / 4)), Err(WireError::Decode(_))));
        assert!(matches!(super::check(&numbers(2 * MESSAGE_BYTES_MAX)), Err(WireError::TooLong)));
    }

    #[test]
    fn the_bytes_of_a_message_never_change() {
        check(Sample::Empty, &[0]);
        check(Sample::Pages { start: 0x7000, count: 2 }, &[1, 251, 0, 0x70, 2]);
        check(Sample::Named("ab".into(), Some(-1)), &[2, 2, b'a', b'b', 1, 1]);
        check(Sample::Named(String::new(), None), &[2, 0, 0]);
        check(Sample::Bytes(vec![7, 255]), &[3, 2, 7, 255]);
        check(Sample::Nested(vec![Sample::Empty, Sample::Empty]), &[4, 2, 0, 0]);
    }

    #[test]
    fn an_unknown_variant_is_refused() {
        assert!(matches!(decode::<Sample>(&[5]), Err(WireError::Decode(_))));
    }

    #[test]
    fn a_message_cut_short_is_refused() {
        assert!(matches!(decode::<Sample>(&[1, 251, 0]), Err(WireError::Decode(_))));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(matches!(decode::<Sample>(&[0, 9, 9]), Err(WireError::TrailingBytes(2))));
    }

    #[test]
    fn a_hostile_length_is_refused_before_allocating() {
        let one_tebibyte = [3, 253, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(matches!(decode::<Sample>(&one_tebibyte), Err(WireError::Decode(_))));
    }

    #[test]
    fn the_limit_holds_in_both_directions() {
        let mut bytes = vec![42];
        let fits = vec![0u8; MESSAGE_BYTES_MAX - 5];
        encode(&fits, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 1 + MESSAGE_BYTES_MAX);

        bytes.truncate(1);
        let long = vec![0u8; MESSAGE_BYTES_MAX - 4];
        assert!(matches!(encode(&long, &mut bytes), Err(WireError::TooLong)));
        assert_eq!(bytes, [42]);
        assert!(matches!(decode::<Sample>(&vec![0; MESSAGE_BYTES_MAX + 1]), Err(WireError::TooLong)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_peace(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(message) = decode::<Sample>(&bytes) {
                prop_assert!(decode::<Sample>(&encoded(&message)).unwrap() == message);
            }
        }
    }
}
