//! Text to key strokes: pasting, and tests that type.

use crate::{Key, Layout};

/// The strokes that type `text` on a keyboard of this layout, each a combination to press together. Characters that the layout
/// cannot type are left out; CR and CR LF count as LF.
pub fn text_to_keys(text: &str, layout: Layout) -> Vec<Vec<Key>> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().flat_map(|c| layout.strokes(c)).map(crate::Stroke::keys).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_stroke() {
        let us = Layout::default();
        let all: String = (' '..='~').collect();
        assert_eq!(text_to_keys(&all, us).len(), 95);
        assert_eq!(text_to_keys("a|\r\né", us), [vec![Key::A], vec![Key::Shift, Key::Backslash], vec![Key::Ret]]);
        let german = text_to_keys("Zé", Layout::named("de").unwrap());
        assert_eq!(german, [vec![Key::Shift, Key::Y], vec![Key::Equal], vec![Key::E]]);
    }
}
