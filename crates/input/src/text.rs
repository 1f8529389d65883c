//! Text to key strokes for the US layout: pasting, and tests that type.

use crate::Key;

/// Characters in the order of the keys below, without and with Shift.
const PLAIN: &str = "1234567890-=qwertyuiop[]asdfghjkl;'`\\zxcvbnm,./ \n\t\u{8}\u{1b}";
const SHIFTED: &str = "!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"~|ZXCVBNM<>?";

const KEYS: &[Key] = {
    use Key::*;
    &[
        Digit1,
        Digit2,
        Digit3,
        Digit4,
        Digit5,
        Digit6,
        Digit7,
        Digit8,
        Digit9,
        Digit0,
        Minus,
        Equal,
        Q,
        W,
        E,
        R,
        T,
        Y,
        U,
        I,
        O,
        P,
        BracketLeft,
        BracketRight,
        A,
        S,
        D,
        F,
        G,
        H,
        J,
        K,
        L,
        Semicolon,
        Apostrophe,
        GraveAccent,
        Backslash,
        Z,
        X,
        C,
        V,
        B,
        N,
        M,
        Comma,
        Dot,
        Slash,
        Spc,
        Ret,
        Tab,
        Backspace,
        Esc,
    ]
};

/// The key of a character on a US keyboard, and whether Shift is needed.
pub(crate) fn char_to_key(c: char) -> Option<(Key, bool)> {
    let at = |s: &str| s.chars().position(|x| x == c).and_then(|i| KEYS.get(i).copied());
    at(PLAIN).map(|k| (k, false)).or_else(|| at(SHIFTED).map(|k| (k, true)))
}

/// The strokes that type `text`, each a combination to press together. Characters that a US keyboard does not have
/// are left out; CR and CR LF count as LF.
pub fn text_to_keys(text: &str) -> Vec<Vec<Key>> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let stroke = |c| char_to_key(c).map(|(k, shift)| if shift { vec![Key::Shift, k] } else { vec![k] });
    text.chars().filter_map(stroke).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_stroke() {
        assert_eq!(PLAIN.chars().count(), KEYS.len());
        let all: String = (' '..='~').collect();
        assert_eq!(text_to_keys(&all).len(), 95);
        assert_eq!(text_to_keys("a|\r\né"), [vec![Key::A], vec![Key::Shift, Key::Backslash], vec![Key::Ret]]);
    }
}
