//! The coverage table of the README, from the one table.

use std::fmt::Write;

use super::table::calls;
use super::vocabulary::{Class, Row};

/// A Markdown table: how many calls each class has, and which.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| calls | number | which |\n|---|---:|---|\n");
    for (title, belongs) in GROUPS {
        let names: Vec<_> = calls().filter(|row| belongs(row)).map(|row| row.name).collect();
        writeln!(text, "| {title} | {} | {} |", names.len(), names.join(", "))
            .expect("a String takes any text");
    }
    text
}

type Group = (&'static str, fn(&Row) -> bool);

const GROUPS: [Group; 4] = [
    ("run at the guest, at native speed", |row| row.class == Class::Local),
    ("run at home", |row| row.class == Class::Home),
    ("have a handler of their own", |row| matches!(row.class, Class::Special(_))),
    ("are refused", |row| matches!(row.class, Class::Refuse(_))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_once() {
        let text = markdown();
        let counted: usize = text
            .lines()
            .skip(2)
            .map(|line| line.split('|').nth(2).unwrap().trim().parse::<usize>().unwrap())
            .sum();
        assert_eq!(counted, calls().count());
        assert!(text.contains("| run at the guest, at native speed |"));
    }
}
