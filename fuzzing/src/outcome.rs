//! What a decoder made of an input, and whether it is something new.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};

/// What a decoder made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// It meant something.
    pub accepted: bool,
    /// Inputs of one class are alike. It must depend on nothing but the input.
    pub class: u64,
}

impl Outcome {
    /// The class of a value is which variants, fields and types it is made of, not the numbers and texts in it; the
    /// class of an error is its words without numbers.
    pub fn of<T: Debug, E: Debug>(result: &Result<T, E>) -> Outcome {
        match result {
            Ok(value) => Outcome { accepted: true, class: shape(value, Texts::LeftOut) },
            Err(error) => Outcome { accepted: false, class: shape(error, Texts::Kept) },
        }
    }

    /// Accepted; its class is that of this value.
    pub fn accepted(value: &impl Debug) -> Outcome {
        Outcome { accepted: true, class: shape(value, Texts::LeftOut) }
    }

    /// Refused; its class is that of this error.
    pub fn refused(error: &impl Debug) -> Outcome {
        Outcome { accepted: false, class: shape(error, Texts::Kept) }
    }
}

/// Whether quoted texts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Texts {
    /// They come from the decoder.
    Kept,
    /// They come from the input, and would make each one a class of its own.
    LeftOut,
}

fn shape(value: &impl Debug, texts: Texts) -> u64 {
    let mut words = Words {
        texts,
        in_text: false,
        escaped: false,
        word: 0,
        last: 0,
        left: SHAPE_BYTES_MAX,
        hasher: DefaultHasher::new(),
    };
    // It fails only when there was enough of it.
    let _ = write!(words, "{value:?}");
    words.end();
    words.hasher.finish()
}

/// Hashes the words of a debug text; the same word several times in a row, as in a list, counts once.
struct Words {
    texts: Texts,
    in_text: bool,
    escaped: bool,
    word: u64,
    last: u64,
    left: usize,
    hasher: DefaultHasher,
}

impl Words {
    fn end(&mut self) {
        if self.word != 0 && self.word != self.last {
            self.hasher.write_u64(self.word);
            self.last = self.word;
        }
        self.word = 0;
    }
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(self.left) {
            if self.in_text && !self.escaped && byte == b'\\' {
                self.escaped = true;
                continue;
            }
            if byte == b'"' && !self.escaped {
                self.in_text = !self.in_text;
            }
            self.escaped = false;
            let counts = byte.is_ascii_alphabetic() && (!self.in_text || self.texts == Texts::Kept);
            if counts {
                self.word = (self.word ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            } else {
                self.end();
            }
        }
        self.left = self.left.saturating_sub(text.len());
        if self.left == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Of a debug text: what follows makes nothing new.
const SHAPE_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_alike_and_variants_are_not() {
        let class = |value: &dyn Debug| Outcome::accepted(&value).class;
        assert_eq!(class(&Some(7)), class(&Some(9)));
        assert_eq!(class(&Some("a \" b")), class(&Some("c")));
        assert_eq!(class(&[Some(1), Some(2)]), class(&[Some(1)]));
        assert_ne!(class(&[Some(1), None]), class(&[Some(1)]));
        assert_ne!(class(&Some(1)), class(&None::<u8>));
    }

    #[test]
    fn errors_differ_by_their_words() {
        let of = |text: &str| Outcome::refused(&text).class;
        assert_eq!(of("at 7"), of("at 8"));
        assert_ne!(of("too long"), of("too short"));
    }
}
