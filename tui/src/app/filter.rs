//! Which processes are shown: `user=ana at=bravo`, or plain words that the command contains.

use crate::model::Process;

/// Conditions that a process must all meet; none at all shows every process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    text: String,
    conditions: Vec<(Field, String)>,
}

/// What a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// The command contains it, or the pid equals it.
    Word,
    Pid,
    Command,
    User,
    Home,
    At,
    State,
}

/// A filter names a field that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no field `{0}` to filter by; there are pid, command, user, home, at, state")]
pub(crate) struct UnknownField(String);

impl Filter {
    /// Reads a filter as the user types it: conditions between blanks, several values between commas.
    pub(crate) fn parse(text: &str) -> Result<Filter, UnknownField> {
        let conditions = text.split_whitespace().map(condition).collect::<Result<_, _>>()?;
        Ok(Filter { text: text.trim().to_owned(), conditions })
    }

    /// As it was typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True if this process is to be shown.
    pub(crate) fn admits(&self, process: &Process) -> bool {
        self.conditions.iter().all(|(field, values)| {
            values.split(',').any(|value| match field {
                Field::Word => contains(&process.command, value) || process.pid.to_string() == value,
                Field::Pid => process.pid.to_string() == value,
                Field::Command => contains(&process.command, value),
                Field::User => process.user == value,
                Field::Home => process.home == value,
                Field::At => process.at == value,
                Field::State => process.state.word() == value,
            })
        })
    }
}

fn condition(word: &str) -> Result<(Field, String), UnknownField> {
    let Some((name, values)) = word.split_once('=') else { return Ok((Field::Word, word.to_owned())) };
    let field = match name {
        "pid" => Field::Pid,
        "command" => Field::Command,
        "user" => Field::User,
        "home" => Field::Home,
        "at" => Field::At,
        "state" => Field::State,
        unknown => return Err(UnknownField(unknown.to_owned())),
    };
    Ok((field, values.to_owned()))
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn conditions_are_joined_by_and_values_by_or() {
        let mut process = sample::process(41207, "Blender -b", "alpha", "bravo");
        process.user = "ana".into();
        for (text, expected) in [
            ("", true),
            ("blend", true),
            ("41207", true),
            ("4120", false),
            ("user=ana at=bravo", true),
            ("user=ana at=alpha", false),
            ("user=li,ana", true),
            ("state=away", true),
            ("state=home", false),
            ("home=alpha command=blender", true),
            ("pid=41207", true),
            ("xz", false),
        ] {
            assert_eq!(Filter::parse(text).unwrap().admits(&process), expected, "{text:?}");
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = Filter::parse("user=ana colour=red").unwrap_err();
        assert!(error.to_string().contains("`colour`"), "{error}");
    }
}
