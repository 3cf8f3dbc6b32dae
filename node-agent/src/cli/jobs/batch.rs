//! Files of command lines, as `mosrun -S` takes them.

use crate::queue::{Array, Bytes};

/// The lines of a file that are commands, and an array of them.
///
/// # Errors
/// A sentence that says what is wrong, and where.
pub(super) fn parse(text: &[u8], at_most: Option<u32>) -> Result<(Vec<Bytes>, Array), String> {
    if let Some(line) = text.split(|byte| *byte == b'\n').position(|line| line.contains(&0)) {
        return Err(format!("line {}, column 1: a command line holds no zero byte", line + 1));
    }
    let is_command = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    let lines: Vec<Bytes> = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.trim_ascii())
        .filter(is_command)
        .map(<[u8]>::to_vec)
        .collect();
    let count = u32::try_from(lines.len()).map_err(|_| "too many lines")?;
    if count == 0 {
        return Err("line 1, column 1: it holds no command line".into());
    }
    let array = Array::of(count, at_most).ok_or_else(|| {
        format!(
            "{count} command lines; at most {} make one job: split the file",
            crate::queue::ARRAY_TASKS_MAX
        )
    })?;
    Ok((lines, array))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_task() {
        let (lines, array) = parse(b"# frames\n./render 1\n\n  ./render 2 >out \r\n", Some(2)).unwrap();
        assert_eq!(lines, [b"./render 1".to_vec(), b"./render 2 >out".to_vec()]);
        assert_eq!(array.to_string(), "0-1%2");
        assert!(parse(b"# nothing\n", None).unwrap_err().contains("line 1"));
        assert!(parse(b"a\nb\0c\n", None).unwrap_err().contains("line 2, column 1"));
        assert!(parse("x\n".repeat(100_001).as_bytes(), None).unwrap_err().contains("split"));
    }
}
