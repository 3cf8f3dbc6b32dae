//! Where two outputs differ first.

use std::fmt;

/// The first difference of two outputs that should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Offset of the first differing byte.
    pub offset: usize,
    /// What the first output has from there on, at most 80 bytes.
    pub first: Vec<u8>,
    /// What the second output has there.
    pub second: Vec<u8>,
}

impl Difference {
    /// None if both are the same to the last byte.
    #[must_use]
    pub fn between(first: &[u8], second: &[u8]) -> Option<Difference> {
        if first == second {
            return None;
        }
        let offset = first.iter().zip(second).take_while(|(a, b)| a == b).count();
        let excerpt = |bytes: &[u8]| bytes[offset..].iter().copied().take(EXCERPT_BYTES).collect();
        Some(Difference { offset, first: excerpt(first), second: excerpt(second) })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (self.first.escape_ascii(), self.second.escape_ascii());
        write!(f, "from byte {} on \"{second}\" instead of \"{first}\"", self.offset)
    }
}

const EXCERPT_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: &str, second: &str, expect: Option<&str>) {
        let difference = Difference::between(first.as_bytes(), second.as_bytes());
        assert_eq!(difference.map(|difference| difference.to_string()).as_deref(), expect);
    }

    #[test]
    fn the_first_difference_is_named() {
        check("", "", None);
        check("a\n", "a\n", None);
        check("one\ntwo\n", "one\nto\n", Some(r#"from byte 5 on "o\n" instead of "wo\n""#));
        check("lost", "lo", Some(r#"from byte 2 on "" instead of "st""#));
        check("", "more", Some(r#"from byte 0 on "more" instead of """#));
    }
}
