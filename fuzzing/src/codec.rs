//! The usual targets: what can be decoded can be encoded, and comes to the same again.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::Outcome;

/// Something that is attacked.
pub type Decoder = Box<dyn FnMut(&[u8]) -> Outcome>;

/// Decodes an input, and what was decoded once more from its own encoding, which must come to the same bytes and be no
/// longer than the input was. (Values are not compared: some hold numbers that are not equal to themselves.)
pub fn codec<T: Debug + 'static, E: Debug + 'static>(
    decode: impl Fn(&[u8]) -> Result<T, E> + 'static,
    encode: impl Fn(&T) -> Result<Vec<u8>, E> + 'static,
) -> Decoder {
    Box::new(move |input| {
        let decoded = decode(input);
        let outcome = Outcome::of(&decoded);
        if let Ok(value) = decoded {
            let once = encode(&value).expect("what was decoded can be encoded");
            assert!(once.len() <= input.len(), "{} bytes have become {}", input.len(), once.len());
            // Each of the two may be as large as the bound allows.
            drop(value);
            let again = decode(&once).expect("what was encoded can be decoded");
            assert!(encode(&again).expect("and encoded again") == once, "it does not come to the same again");
        }
        outcome
    })
}

/// Parses a text, and what was parsed once more from the text that it is shown as. What is not UTF-8 is read as
/// programs read file names: with replacement characters.
pub fn text<T: Debug + PartialEq + 'static, E: Debug + 'static>(
    parse: impl Fn(&str) -> Result<T, E> + 'static,
    show: impl Fn(&T) -> String + 'static,
) -> Decoder {
    Box::new(move |input| {
        let parsed = parse(&String::from_utf8_lossy(input));
        if let Ok(value) = &parsed {
            assert_eq!(&parse(&show(value)).expect("what is shown can be parsed"), value);
        }
        Outcome::of(&parsed)
    })
}

/// Several small targets with one corpus: an input's first byte says which one the rest is for.
pub fn choice<const N: usize>(mut decoders: [Decoder; N]) -> Decoder {
    Box::new(move |input| {
        let (first, rest) = input.split_first().unwrap_or((&0, &[]));
        let chosen = usize::from(*first) % N.max(1);
        let Some(decoder) = decoders.get_mut(chosen) else { return Outcome::refused(&"no target") };
        let Outcome { accepted, class } = decoder(rest);
        let mut hasher = DefaultHasher::new();
        (chosen, class).hash(&mut hasher);
        Outcome { accepted, class: hasher.finish() }
    })
}

/// A valid input of a [`choice`].
#[must_use]
pub fn chosen(decoder: u8, input: &[u8]) -> Vec<u8> {
    [&[decoder], input].concat()
}
