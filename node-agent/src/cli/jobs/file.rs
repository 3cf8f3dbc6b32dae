//! Job files in TOML: the flags of `submit` by their names. Every error names line and column.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::cli::values;
use crate::config;
use crate::queue::{self, Array, PRIORITY_MAX, RETRIES_MAX};

/// A job file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct JobFile {
    pub(super) command: CommandLine,
    #[serde(default)]
    pub(super) name: Option<Name>,
    #[serde(default)]
    pub(super) array: Option<Parsed<Array>>,
    #[serde(default)]
    pub(super) priority: Option<AtMost<{ PRIORITY_MAX as u32 }>>,
    #[serde(default)]
    pub(super) after: Vec<JobRef>,
    #[serde(default)]
    pub(super) after_any: Vec<JobRef>,
    #[serde(default)]
    pub(super) cpus: Option<Cpus>,
    #[serde(default)]
    pub(super) mem: Option<Size>,
    #[serde(default)]
    pub(super) home: Option<NodeName>,
    #[serde(default)]
    pub(super) node: Vec<NodeName>,
    #[serde(default)]
    pub(super) not_node: Vec<Spanned<NodeName>>,
    #[serde(default)]
    pub(super) time_limit: Option<Time>,
    #[serde(default)]
    pub(super) retries: Option<AtMost<RETRIES_MAX>>,
    #[serde(default)]
    pub(super) workdir: Option<PathText>,
    #[serde(default)]
    pub(super) stdin: Option<PathText>,
    #[serde(default)]
    pub(super) stdout: Option<Spanned<PathText>>,
    #[serde(default)]
    pub(super) stderr: Option<Spanned<PathText>>,
    #[serde(default)]
    pub(super) env: BTreeMap<Variable, PathText>,
}

/// What is wrong in a job file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.why)
    }
}

/// Understands a job file.
pub(super) fn parse(text: &str) -> Result<JobFile, Mistake> {
    let file: JobFile = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        mistake(text, at, error.message())
    })?;
    for output in [&file.stdout, &file.stderr].into_iter().flatten() {
        if file.array.is_some() && !output.get_ref().0.contains("%a") {
            let why = "the tasks of an array would write over each other's output: put %a into the name";
            return Err(mistake(text, output.span().start, why));
        }
    }
    for node in &file.not_node {
        let name = &node.get_ref().0;
        if file.node.iter().any(|allowed| allowed.0 == *name) {
            return Err(mistake(text, node.span().start, &format!("it may and must not be at {name}")));
        }
        if file.home.as_ref().is_some_and(|home| home.0 == *name) {
            return Err(mistake(text, node.span().start, &format!("its home {name} must not be left out")));
        }
    }
    Ok(file)
}

/// True if a command is the name of a job file.
pub(super) fn is_one(command: &[std::ffi::OsString]) -> bool {
    matches!(command, [only] if Path::new(only).extension().is_some_and(|extension| extension == "toml"))
}

fn mistake(text: &str, at: usize, why: &str) -> Mistake {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    Mistake { line, column, why: why.lines().collect::<Vec<_>>().join(" ") }
}

/// A program with its arguments, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "`command` is an array of texts, or one text for the shell")]
pub(super) enum CommandLine {
    Words(Vec<String>),
    Line(String),
}

/// Declares a value that is checked while it is read, so that the error knows where it stands.
macro_rules! checked {
    ($name:ident, $inner:ty, $raw:ty, $check:expr) => {
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = <$raw>::deserialize(deserializer)?;
                let check: fn($raw) -> Result<$inner, String> = $check;
                check(raw).map(Self).map_err(serde::de::Error::custom)
            }
        }
    };
}

checked!(Name, String, String, |text| queue::check_name(&text).map(|()| text));
checked!(Size, u64, String, |text| values::size(&text));
checked!(Time, Duration, String, |text| values::duration(&text));
checked!(NodeName, String, String, |text| config::node_name(&text));
checked!(PathText, String, String, without_zero);
checked!(Cpus, u32, u32, |count| if count > 0 {
    Ok(count)
} else {
    Err("a job needs at least 1 core".into())
});
checked!(Variable, String, String, |text| {
    let bad = text.is_empty() || text.contains(['=', '\0']);
    if bad { Err(format!("`{text}` is no name of a variable")) } else { Ok(text) }
});
checked!(JobRef, String, JobText, |text| match text {
    JobText::Number(number) => Ok(number.to_string()),
    JobText::Name(name) => Ok(name),
});

/// A job is named by its number or by its name.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a job is a number or a name")]
enum JobText {
    Number(u64),
    Name(String),
}

fn without_zero(text: String) -> Result<String, String> {
    if text.contains('\0') { Err("a text holds no zero byte".into()) } else { Ok(text) }
}

/// A value that is written as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: std::str::FromStr<Err = String>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Parsed).map_err(serde::de::Error::custom)
    }
}

/// A number with an upper limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtMost<const MAX: u32>(pub(super) u32);

impl<'de, const MAX: u32> Deserialize<'de> for AtMost<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if number > MAX {
            return Err(serde::de::Error::custom(format!("at most {MAX}, not {number}")));
        }
        Ok(AtMost(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_file_has_the_flags_of_submit() {
        let file = parse(
            "name = \"render\"\ncommand = [\"./render\", \"--fast\"]\narray = \"0-99%8\"\npriority = 70\n\
             after = [71, \"prepare\"]\ncpus = 2\nmem = \"2G\"\nhome = \"any\"\nnode = [\"n1\", \"n2\"]\n\
             not-node = [\"n3\"]\ntime-limit = \"1h\"\nretries = 2\nworkdir = \"/data\"\nstdin = \"in\"\n\
             stdout = \"out.%a\"\n[env]\nMODE = \"fast\"\n",
        )
        .unwrap();
        assert_eq!(file.command, CommandLine::Words(vec!["./render".into(), "--fast".into()]));
        assert_eq!(file.after, [JobRef("71".into()), JobRef("prepare".into())]);
        assert_eq!((file.cpus, file.mem), (Some(Cpus(2)), Some(Size(2 << 30))));
        assert_eq!(file.env.len(), 1);
        assert_eq!(parse("command = \"a | b\"").unwrap().command, CommandLine::Line("a | b".into()));
    }

    #[test]
    fn every_mistake_has_a_line_and_a_column() {
        for (text, line, column, word) in [
            ("", 1, 1, "command"),
            ("command = [\"a\"\nname = 1", 1, 15, "unclosed"),
            ("command = 7", 1, 11, "command"),
            ("command = \"a\"\nnmae = \"x\"", 2, 1, "nmae"),
            ("command = \"a\"\nname = \"7x\"", 2, 8, "name"),
            ("command = \"a\"\n\ncpus = 0", 3, 8, "core"),
            ("command = \"a\"\ncpus = -1", 2, 8, ""),
            ("command = \"a\"\nmem = \"2 GB\"", 2, 7, "size"),
            ("command = \"a\"\n  array = \"9-0\"", 2, 11, "array"),
            ("command = \"a\"\npriority = 101", 2, 12, "at most 100"),
            ("command = \"a\"\nretries = 9999", 2, 11, "at most 1000"),
            ("command = \"a\"\ntime-limit = \"soon\"", 2, 14, "time"),
            ("command = \"a\"\nhome = \"A B\"", 2, 8, "node name"),
            ("command = \"a\"\nnode = [\"n1\", \"N2\"]", 2, 8, "node name"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert_eq!((mistake.line, mistake.column), (line, column), "{text}: {mistake}");
            assert!(mistake.why.contains(word), "{text}: {mistake}");
        }
    }
}
