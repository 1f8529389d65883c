//! Splitting a line into command and words.
//!
//! Words are separated by spaces; double quotes keep spaces, with `\n`, `\r`, `\t`, `\\`, `\"` and `\'` inside.

/// Why a command did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// The arguments do not fit: its usage is to be shown, after the reason if there is one.
    #[error("{0}")]
    Usage(String),
    /// It ran and failed, or cannot run.
    #[error("Error: {0}")]
    Failed(String),
}

/// The outcome of a command: what to print.
pub(crate) type Outcome = Result<String, CommandError>;

/// An error of a command that ran.
pub(crate) fn failed(e: impl ToString) -> CommandError {
    CommandError::Failed(e.to_string())
}

/// Wrong arguments.
pub(crate) fn usage(reason: impl Into<String>) -> CommandError {
    CommandError::Usage(reason.into())
}

/// The command's name and what follows it. A format (`x/10i`) may follow the name without a space.
pub(crate) fn split_command(line: &str) -> (&str, &str) {
    let line = line.trim();
    let end = line.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    (name, rest.trim_start())
}

/// Splits into words.
pub(crate) fn words(text: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut inside = false;
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => (quoted, inside) = (!quoted, true),
            '\\' if quoted => match chars.next() {
                Some('n') => word.push('\n'),
                Some('r') => word.push('\r'),
                Some('t') => word.push('\t'),
                Some(c @ ('\\' | '"' | '\'')) => word.push(c),
                Some(c) => return Err(usage(format!("unsupported escape code: '\\{c}'"))),
                None => {}
            },
            c if c.is_whitespace() && !quoted => {
                if std::mem::take(&mut inside) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                inside = true;
                word.push(c);
            }
        }
    }
    if quoted {
        return Err(usage("unterminated string"));
    }
    if inside {
        words.push(word);
    }
    Ok(words)
}

/// Takes the flag `name` ("-f") out of `words`.
pub(crate) fn take_flag(words: &mut Vec<String>, name: &str) -> bool {
    let before = words.len();
    words.retain(|w| w != name);
    words.len() != before
}

/// Takes the option `name` and its value ("-f png") out of `words`.
pub(crate) fn take_option(words: &mut Vec<String>, name: &str) -> Result<Option<String>, CommandError> {
    let Some(at) = words.iter().position(|w| w == name) else { return Ok(None) };
    words.remove(at);
    if at == words.len() {
        return Err(usage(format!("{name} needs a value")));
    }
    Ok(Some(words.remove(at)))
}

/// Refuses options that are left, and more or fewer words than there may be.
pub(crate) fn expect(words: &[String], least: usize, most: usize) -> Result<(), CommandError> {
    if let Some(option) = words.iter().find(|w| w.starts_with('-') && w.len() == 2 && !w.ends_with(char::is_numeric)) {
        return Err(usage(format!("unsupported option '{option}'")));
    }
    match words.len() {
        n if n < least => Err(usage("missing argument")),
        n if n > most => Err(usage("extraneous characters at the end of line")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_words() {
        assert_eq!(split_command("  x/10i $pc "), ("x", "/10i $pc"));
        assert_eq!(split_command("info  cpus"), ("info", "cpus"));
        assert_eq!(split_command(""), ("", ""));
        assert_eq!(words(r#"a "b c\"\n"d  "" e"#).unwrap(), ["a", "b c\"\nd", "", "e"]);
        assert!(matches!(words("\"a"), Err(CommandError::Usage(_))));
        assert!(matches!(words(r#""\q""#), Err(CommandError::Usage(_))));
    }

    #[test]
    fn flags_and_counts() {
        let mut w = words("-f a -n png b").unwrap();
        assert!(take_flag(&mut w, "-f") && !take_flag(&mut w, "-f"));
        assert_eq!(take_option(&mut w, "-n").unwrap().unwrap(), "png");
        assert_eq!(take_option(&mut w, "-n").unwrap(), None);
        assert!(expect(&w, 2, 2).is_ok() && expect(&w, 3, 3).is_err() && expect(&w, 0, 1).is_err());
        assert!(expect(&words("-z").unwrap(), 0, 1).is_err());
        assert!(take_option(&mut words("-n").unwrap(), "-n").is_err());
    }
}
