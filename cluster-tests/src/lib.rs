//! Proves: a lab of nodes that can fail, self-checking guest programs, scenarios and benches.
