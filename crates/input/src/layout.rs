//! Keyboard layouts: which keys type a character. The tables are those of xkb-data ([`crate::layouts`]); dead keys are followed by the
//! letter that they change, or by the space bar. Left out: layouts of several groups (Cyrillic, Greek, ...), whose switch is the guest's.

use crate::Key;
use crate::layouts::{KEYS, LAYOUTS};

/// Keys that no layout changes.
const COMMON: [(char, Key); 5] =
    [(' ', Key::Spc), ('\n', Key::Ret), ('\t', Key::Tab), ('\u{8}', Key::Backspace), ('\u{1b}', Key::Esc)];
/// What a dead key makes of the space bar.
const SPACED: [(char, char); 6] = [
    ('`', '\u{300}'),
    ('´', '\u{301}'),
    ('^', '\u{302}'),
    ('~', '\u{303}'),
    ('¨', '\u{308}'),
    ('\'', '\u{301}'), // where acute is dead and there is no apostrophe, as with "us international"
];
/// Dead key, letters, and what it makes of each (Unicode's canonical compositions).
const COMPOSED: [(char, &str, &str); 11] = [
    ('\u{300}', "aeiouAEIOU", "àèìòùÀÈÌÒÙ"),
    ('\u{301}', "aeiouyAEIOUYcnszCNSZ", "áéíóúýÁÉÍÓÚÝćńśźĆŃŚŹ"),
    ('\u{302}', "aeiouAEIOU", "âêîôûÂÊÎÔÛ"),
    ('\u{303}', "aonAON", "ãõñÃÕÑ"),
    ('\u{308}', "aeiouyAEIOU", "äëïöüÿÄËÏÖÜ"),
    ('\u{30a}', "auAU", "åůÅŮ"),
    ('\u{30b}', "ouOU", "őűŐŰ"),
    ('\u{30c}', "cdenrstzCDENRSTZ", "čďěňřšťžČĎĚŇŘŠŤŽ"),
    ('\u{327}', "csCS", "çşÇŞ"),
    ('\u{328}', "aeAE", "ąęĄĘ"),
    ('\u{307}', "zZI", "żŻİ"),
];

/// A key with the modifiers that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub key: Key,
    /// With Shift.
    pub shift: bool,
    /// With AltGr.
    pub altgr: bool,
}

impl Stroke {
    /// The keys to press together, in order.
    pub fn keys(self) -> Vec<Key> {
        let modifiers = [(self.altgr, Key::AltR), (self.shift, Key::Shift)];
        modifiers.into_iter().filter(|m| m.0).map(|m| m.1).chain([self.key]).collect()
    }
}

/// A layout, by QEMU's name (`-k`).
#[derive(Clone, Copy)]
pub struct Layout(&'static (&'static str, [&'static str; 48]));

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layout({})", self.name())
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Layout {}

impl Default for Layout {
    /// `en-us`.
    fn default() -> Self {
        Self::named("en-us").unwrap_or(Self(&LAYOUTS[0]))
    }
}

impl Layout {
    /// The layout called so.
    pub fn named(name: &str) -> Option<Self> {
        LAYOUTS.iter().find(|l| l.0 == name).map(Self)
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LAYOUTS.iter().map(|l| l.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.0
    }

    /// The key of a character, or of a dead key's combining character.
    pub fn key(self, c: char) -> Option<Stroke> {
        if let Some((_, key)) = COMMON.iter().find(|k| k.0 == c) {
            return Some(Stroke { key: *key, shift: false, altgr: false });
        }
        let at = |level: usize| self.0.1.iter().position(|key| key.chars().nth(level) == Some(c));
        let found = (0..4).find_map(|level| Some((level, *KEYS.get(at(level)?)?)));
        found.map(|(level, key)| Stroke { key, shift: level & 1 != 0, altgr: level & 2 != 0 })
    }

    /// What types a character: its key, or a dead key and another. Empty where the layout cannot.
    pub fn strokes(self, c: char) -> Vec<Stroke> {
        if let Some(stroke) = self.key(c) {
            return vec![stroke];
        }
        let spaced = SPACED.iter().find(|s| s.0 == c && self.key(s.1).is_some()).map(|s| (s.1, ' '));
        let composed = || {
            COMPOSED.iter().find_map(|(dead, letters, made)| {
                let at = made.chars().position(|m| m == c)?;
                self.key(*dead).and(letters.chars().nth(at)).map(|letter| (*dead, letter))
            })
        };
        let Some((dead, letter)) = spaced.or_else(composed) else { return vec![] };
        [dead, letter].into_iter().filter_map(|c| self.key(c)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_layout_types_ascii() {
        assert!(Layout::names().is_sorted());
        assert_eq!(Layout::named("xx"), None);
        for name in Layout::names() {
            let layout = Layout::named(name).unwrap();
            assert!(layout.0.1.iter().all(|key| key.chars().count() == 4), "{name}");
            let missing: String = (' '..='~').filter(|c| layout.strokes(*c).is_empty()).collect();
            assert_eq!(missing, "", "{name}");
        }
        let keys: BTreeSet<Key> = KEYS.into_iter().collect();
        assert_eq!(keys.len(), KEYS.len());
    }

    #[test]
    fn what_people_know_of_their_keyboards() {
        let typed = |name: &str, c| {
            let strokes = Layout::named(name).unwrap().strokes(c);
            strokes
                .iter()
                .map(|s| s.keys().iter().map(|k| k.name()).collect::<Vec<_>>().join("-"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (layout, c, keys) in [
            ("de", 'z', "y"),
            ("de", 'ß', "minus"),
            ("de", '@', "alt_r-q"),
            ("de", '{', "alt_r-7"),
            ("de", '/', "shift-7"),
            ("de", '^', "grave_accent spc"),
            ("de", 'ê', "grave_accent e"),
            ("de", 'Ä', "shift-apostrophe"),
            ("de", '|', "alt_r-less"),
            ("fr", 'a', "q"),
            ("fr", '1', "shift-1"),
            ("fr", 'é', "2"),
            ("fr", 'ê', "bracket_left e"),
            ("en-gb", '#', "backslash"),
            ("en-gb", '"', "shift-2"),
            ("en-us", '"', "shift-apostrophe"),
            ("es", 'ñ', "semicolon"),
            ("sv", '@', "alt_r-2"),
            ("pl", 'ł', "alt_r-l"),
        ] {
            assert_eq!(typed(layout, c), keys, "{layout} {c}");
        }
        assert!(Layout::default().strokes('é').is_empty());
    }
}
