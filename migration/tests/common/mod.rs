//! Tests in the main thread: whoever traces or makes namespaces must be the only thread, which the built-in harness is
//! not.

/// Answers the two questions that test runners ask, then runs what is named, or all.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--list") {
        if !has("--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return;
    }
    let named: Vec<_> = tests.iter().filter(|(name, _)| has(name)).collect();
    for (name, test) in if named.is_empty() { tests.iter().collect() } else { named } {
        test();
        println!("test {name} ... ok");
    }
}
