//! The usual targets: what can be decoded can be encoded, and comes to the same again.

use std::fmt::Debug;

use crate::Outcome;

/// Decodes an input, and what was decoded once more from its own encoding, which must come to the same bytes and be no
/// longer than the input was. (Values are not compared: some hold numbers that are not equal to themselves.)
pub fn codec<T: Debug, E: Debug>(
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Result<Vec<u8>, E>,
) -> impl FnMut(&[u8]) -> Outcome {
    move |input| {
        let decoded = decode(input);
        if let Ok(value) = &decoded {
            let once = encode(value).expect("what was decoded can be encoded");
            assert!(once.len() <= input.len(), "{} bytes have become {}", input.len(), once.len());
            let again = decode(&once).expect("what was encoded can be decoded");
            assert_eq!(encode(&again).expect("and encoded again"), once, "{value:?}");
        }
        Outcome::of(&decoded)
    }
}

/// Parses a text, and what was parsed once more from the text that it is shown as. What is not UTF-8 is read as
/// programs read file names: with replacement characters.
pub fn text<T: Debug + PartialEq, E: Debug>(
    parse: impl Fn(&str) -> Result<T, E>,
    show: impl Fn(&T) -> String,
) -> impl FnMut(&[u8]) -> Outcome {
    move |input| {
        let parsed = parse(&String::from_utf8_lossy(input));
        if let Ok(value) = &parsed {
            assert_eq!(&parse(&show(value)).expect("what is shown can be parsed"), value);
        }
        Outcome::of(&parsed)
    }
}
