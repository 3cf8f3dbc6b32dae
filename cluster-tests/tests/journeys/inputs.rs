//! What programs are given to work on: the same on every run, and like nothing that a guest has.

/// Lines of words and numbers, at least `bytes` of them.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 100);
    let mut state = SEED;
    while text.len() < bytes {
        state = next(state);
        let (word, number) = (WORDS[(state >> 60) as usize], (state >> 32) & 0xffff);
        text.extend_from_slice(format!("{word} {number} {:x}\n", state & 0xff).as_bytes());
    }
    text
}

/// A program in C with this many functions, which takes an optimising compiler a while.
pub(crate) fn c_source(functions: usize) -> Vec<u8> {
    let mut source = String::from("#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n");
    let mut state = SEED;
    for number in 0..functions {
        state = next(state);
        let (a, b, c) = (state >> 56, (state >> 40) & 0xffff, (state >> 32) & 0xff);
        source.push_str(&format!(
            "uint64_t f{number}(uint64_t *v, int n)\n{{\n  uint64_t s = {b};\n  for (int i = 0; i < n; i++) {{\n    \
             switch ((v[i] + {c}) % 7) {{\n    case 0: s += v[i] * {a}; break;\n    case 1: s ^= v[i] >> {}; break;\n    \
             case 2: for (int j = 0; j < i; j++) s = s * 31 + v[j]; break;\n    case 3: s -= v[n - 1 - i]; break;\n    \
             default: v[i] = s * {b}; }}\n  }}\n  return s;\n}}\n",
            a % 60 + 1,
        ));
    }
    source.push_str("int main(void) { return 0; }\n");
    source.into_bytes()
}

fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

const SEED: u64 = 20_260_101;
const WORDS: [&str; 16] = [
    "body", "shadow", "deputy", "guest", "home", "epoch", "round", "commit", "recall", "warden", "port",
    "right", "mailbox", "link", "group", "flow",
];
