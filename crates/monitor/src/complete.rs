//! Tab completion: commands, `info` topics, drives, keys, log items, files.

use machine::MachineHandle;

use crate::commands::{COMMANDS, Command};
use crate::editor::Candidates;
use crate::info;

/// Files listed at most.
const MOST_FILES: usize = 500;

/// What the last word of `text` can become.
pub(crate) fn complete(machine: &MachineHandle, text: &str) -> Candidates {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if text.is_empty() || text.ends_with(char::is_whitespace) {
        words.push("");
    }
    let (word, before) = words.split_last().map_or(("", &[][..]), |(w, b)| (*w, b));
    let before: Vec<&str> = before.iter().copied().filter(|w| !w.starts_with('-')).collect();
    match before.as_slice() {
        [] => among(word, names(COMMANDS)),
        ["info"] | ["help" | "?", "info"] => among(word, names(info::TOPICS)),
        ["help" | "?"] => among(word, names(COMMANDS)),
        ["eject" | "change"] => {
            let drives = machine.drives().iter().filter(|d| d.removable);
            among(word, drives.map(|d| d.id.clone()))
        }
        ["sendkey"] => {
            let key = word.rsplit('-').next().unwrap_or_default();
            among(key, input::Key::ALL.iter().map(|k| k.name().to_string()))
        }
        ["log"] => {
            let item = word.rsplit(',').next().unwrap_or_default();
            among(item, cli::DebugLog::ITEMS.iter().map(|i| i.0).chain(["none"]).map(String::from))
        }
        ["trace-event"] | ["info", "trace-events"] => among(word, cli::Trace::EVENTS.iter().map(|e| e.0.to_string())),
        ["screendump"] | ["memsave" | "pmemsave", _, _] | ["change", _] => files(word),
        _ => Candidates::default(),
    }
}

fn names(table: &'static [Command]) -> impl Iterator<Item = String> {
    table.iter().map(|c| c.name.to_string())
}

fn among(word: &str, all: impl Iterator<Item = String>) -> Candidates {
    let words = all.filter(|w| w.starts_with(word)).collect();
    Candidates { typed: word.chars().count(), words }
}

fn files(word: &str) -> Candidates {
    let (folder, name) = word.rfind('/').map_or(("", word), |at| word.split_at(at + 1));
    let place = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = std::fs::read_dir(place) else { return Candidates::default() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|e| {
            let end = if e.file_type().is_ok_and(|t| t.is_dir()) { "/" } else { "" };
            Some(e.file_name().into_string().ok()? + end)
        })
        .filter(|n| n.starts_with(name) && (!n.starts_with('.') || name.starts_with('.')))
        .take(MOST_FILES)
        .collect();
    found.sort_unstable();
    Candidates { typed: name.chars().count(), words: found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_files() {
        let c = among("system", names(COMMANDS));
        assert_eq!(
            (c.typed, c.words),
            (6, vec!["system_powerdown".to_string(), "system_reset".into(), "system_wakeup".into()])
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shot.png"), "").unwrap();
        std::fs::create_dir(dir.path().join("shots")).unwrap();
        let c = files(&format!("{}/sh", dir.path().display()));
        assert_eq!((c.typed, c.words), (2, vec!["shot.png".to_string(), "shots/".into()]));
    }
}
