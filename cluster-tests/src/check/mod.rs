//! Scenarios: a program, its moves, and what a native run of it does.
