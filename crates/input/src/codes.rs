//! Keys as front ends name them: X11 keysyms (RFB clients), XT codes (QEMU's extended RFB key event) and the `code`
//! of browsers' keyboard events.
//!
//! Facts: X.Org "X11 keysym encoding" (X Window System Protocol, appendix A; keysymdef.h, XF86keysym.h), the
//! community RFB specification ("QEMU Extended Key Event Message"), and W3C "UI Events KeyboardEvent code Values".
//! Keysyms say what is to be typed, not which key it is on: they are looked up on the guest's layout. Left out: keysyms of
//! characters that its keyboard does not have.

use crate::layouts;
use crate::{Key, Layout, Stroke};

/// A key, and the state of Shift that a keysym asks for (`None`: any).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStroke {
    /// A dead key that comes before it.
    pub dead: Option<Stroke>,
    /// The key.
    pub key: Key,
    /// What Shift must be for the guest to see the character.
    pub shift: Option<bool>,
    /// AltGr must be down for the guest to see the character.
    pub altgr: bool,
}

/// The combining characters of the keysyms `dead_grave` (0xFE50) and following.
const DEAD: [char; 13] = [
    '\u{300}', '\u{301}', '\u{302}', '\u{303}', '\u{304}', '\u{306}', '\u{307}', '\u{308}', '\u{30a}', '\u{30b}',
    '\u{30c}', '\u{327}', '\u{328}',
];

/// The character of a keysym.
fn character(keysym: u32) -> Option<char> {
    match keysym {
        0x20..0x7F | 0xA0..0x100 => char::from_u32(keysym),
        0x100_0020..0x111_0000 => char::from_u32(keysym - 0x100_0000).filter(|c| *c < '\u{7f}' || *c > '\u{9f}'),
        0xFE50..=0xFE5C => DEAD.get((keysym - 0xFE50) as usize).copied(),
        _ => layouts::KEYSYMS.iter().find(|k| k.0 == keysym).map(|k| k.1),
    }
}

/// Keysyms that are not characters.
const KEYSYMS: &[(u32, Key)] = {
    use Key::*;
    &[
        (0xFF08, Backspace),
        (0xFF09, Tab),
        (0xFE20, Tab),
        (0xFF0A, Ret),
        (0xFF0D, Ret),
        (0xFF13, Pause),
        (0xFF6B, Pause),
        (0xFF14, ScrollLock),
        (0xFF15, Sysrq),
        (0xFF1B, Esc),
        (0xFF22, Muhenkan),
        (0xFF23, Henkan),
        (0xFF27, Katakanahiragana),
        (0xFF50, Home),
        (0xFF51, Left),
        (0xFF52, Up),
        (0xFF53, Right),
        (0xFF54, Down),
        (0xFF55, Pgup),
        (0xFF56, Pgdn),
        (0xFF57, End),
        (0xFF61, Print),
        (0xFF63, Insert),
        (0xFF67, Menu),
        (0xFF7F, NumLock),
        (0xFF8D, KpEnter),
        (0xFF95, Kp7),
        (0xFF96, Kp4),
        (0xFF97, Kp8),
        (0xFF98, Kp6),
        (0xFF99, Kp2),
        (0xFF9A, Kp9),
        (0xFF9B, Kp3),
        (0xFF9C, Kp1),
        (0xFF9D, Kp5),
        (0xFF9E, Kp0),
        (0xFF9F, KpDecimal),
        (0xFFAA, KpMultiply),
        (0xFFAB, KpAdd),
        (0xFFAC, KpComma),
        (0xFFAD, KpSubtract),
        (0xFFAE, KpDecimal),
        (0xFFAF, KpDivide),
        (0xFFB0, Kp0),
        (0xFFB1, Kp1),
        (0xFFB2, Kp2),
        (0xFFB3, Kp3),
        (0xFFB4, Kp4),
        (0xFFB5, Kp5),
        (0xFFB6, Kp6),
        (0xFFB7, Kp7),
        (0xFFB8, Kp8),
        (0xFFB9, Kp9),
        (0xFFBD, KpEquals),
        (0xFFE1, Shift),
        (0xFFE2, ShiftR),
        (0xFFE3, Ctrl),
        (0xFFE4, CtrlR),
        (0xFFE5, CapsLock),
        (0xFFE7, MetaL),
        (0xFFE8, MetaR),
        (0xFFE9, Alt),
        (0xFFEA, AltR),
        (0xFFEB, MetaL),
        (0xFFEC, MetaR),
        (0xFE03, AltR),
        (0xFF7E, AltR),
        (0xFFFF, Delete),
        (0x1008_FF11, Volumedown),
        (0x1008_FF12, Audiomute),
        (0x1008_FF13, Volumeup),
        (0x1008_FF14, Audioplay),
        (0x1008_FF15, Audiostop),
        (0x1008_FF16, Audioprev),
        (0x1008_FF17, Audionext),
        (0x1008_FF18, AcHome),
        (0x1008_FF19, Mail),
        (0x1008_FF1B, Find),
        (0x1008_FF1D, Calculator),
        (0x1008_FF26, AcBack),
        (0x1008_FF27, AcForward),
        (0x1008_FF28, Stop),
        (0x1008_FF29, AcRefresh),
        (0x1008_FF2A, Power),
        (0x1008_FF2B, Wake),
        (0x1008_FF2F, Sleep),
        (0x1008_FF30, AcBookmarks),
        (0x1008_FF32, Mediaselect),
        (0x1008_FF33, Computer),
    ]
};

/// Names of `KeyboardEvent.code` other than letters, digits and function keys.
const W3C: &[(&str, Key)] = {
    use Key::*;
    &[
        ("Escape", Esc),
        ("Minus", Minus),
        ("Equal", Equal),
        ("Backspace", Backspace),
        ("Tab", Tab),
        ("BracketLeft", BracketLeft),
        ("BracketRight", BracketRight),
        ("Enter", Ret),
        ("ControlLeft", Ctrl),
        ("Semicolon", Semicolon),
        ("Quote", Apostrophe),
        ("Backquote", GraveAccent),
        ("ShiftLeft", Shift),
        ("Backslash", Backslash),
        ("IntlHash", Backslash),
        ("Comma", Comma),
        ("Period", Dot),
        ("Slash", Slash),
        ("ShiftRight", ShiftR),
        ("AltLeft", Alt),
        ("Space", Spc),
        ("CapsLock", CapsLock),
        ("NumLock", NumLock),
        ("ScrollLock", ScrollLock),
        ("IntlBackslash", Less),
        ("IntlRo", Ro),
        ("IntlYen", Yen),
        ("Convert", Henkan),
        ("NonConvert", Muhenkan),
        ("KanaMode", Katakanahiragana),
        ("ControlRight", CtrlR),
        ("PrintScreen", Print),
        ("AltRight", AltR),
        ("Home", Home),
        ("ArrowUp", Up),
        ("PageUp", Pgup),
        ("ArrowLeft", Left),
        ("ArrowRight", Right),
        ("End", End),
        ("ArrowDown", Down),
        ("PageDown", Pgdn),
        ("Insert", Insert),
        ("Delete", Delete),
        ("MetaLeft", MetaL),
        ("OSLeft", MetaL),
        ("MetaRight", MetaR),
        ("OSRight", MetaR),
        ("ContextMenu", Menu),
        ("Power", Power),
        ("Sleep", Sleep),
        ("WakeUp", Wake),
        ("Pause", Pause),
        ("NumpadMultiply", KpMultiply),
        ("NumpadSubtract", KpSubtract),
        ("NumpadAdd", KpAdd),
        ("NumpadDecimal", KpDecimal),
        ("NumpadEqual", KpEquals),
        ("NumpadComma", KpComma),
        ("NumpadEnter", KpEnter),
        ("NumpadDivide", KpDivide),
        ("MediaTrackPrevious", Audioprev),
        ("MediaTrackNext", Audionext),
        ("MediaPlayPause", Audioplay),
        ("MediaStop", Audiostop),
        ("AudioVolumeMute", Audiomute),
        ("AudioVolumeDown", Volumedown),
        ("AudioVolumeUp", Volumeup),
        ("BrowserHome", AcHome),
        ("BrowserSearch", Find),
        ("BrowserFavorites", AcBookmarks),
        ("BrowserRefresh", AcRefresh),
        ("BrowserStop", Stop),
        ("BrowserForward", AcForward),
        ("BrowserBack", AcBack),
        ("LaunchApp1", Computer),
        ("LaunchApp2", Calculator),
        ("LaunchMail", Mail),
        ("MediaSelect", Mediaselect),
    ]
};

impl KeyStroke {
    /// What types an X11 keysym on a keyboard of this layout.
    pub fn from_keysym(keysym: u32, layout: Layout) -> Option<Self> {
        let plain = |key| Some(Self { dead: None, key, shift: None, altgr: false });
        if let Some(c) = character(keysym) {
            let strokes = layout.strokes(c);
            let (last, before) = strokes.split_last()?;
            // Shift changes nothing about the space bar.
            let shift = (last.key != Key::Spc).then_some(last.shift);
            return Some(Self { dead: before.first().copied(), key: last.key, shift, altgr: last.altgr });
        }
        match keysym {
            0xFFBE..=0xFFD5 => plain(Key::from_name(&format!("f{}", keysym - 0xFFBD)).ok()?),
            _ => KEYSYMS.iter().find(|k| k.0 == keysym).and_then(|k| plain(k.1)),
        }
    }
}

impl Key {
    /// The key of an XT code as QEMU's extended RFB key event has it: set 1, bit 7 for the prefix 0xE0.
    pub fn from_rfb_code(code: u32) -> Option<Self> {
        match code {
            0xC6 => Some(Self::Pause),
            0x54 | 0xB7 => Some(Self::Print),
            1..0x80 => Self::from_set1(code as u16),
            0x80..0x100 => Self::from_set1(0xE000 | code as u16 & 0x7F),
            0xE000..0xE080 => Self::from_set1(code as u16),
            _ => None,
        }
    }

    /// The key of a browser's `KeyboardEvent.code`.
    pub fn from_w3c(code: &str) -> Option<Self> {
        if let Some(rest) = code.strip_prefix("Key").filter(|r| r.len() == 1) {
            return Self::from_name(&rest.to_ascii_lowercase()).ok();
        }
        if let Some(rest) = code.strip_prefix("Digit").filter(|r| r.len() == 1) {
            return Self::from_name(rest).ok();
        }
        if let Some(rest) = code.strip_prefix("Numpad").filter(|r| r.len() == 1) {
            return Self::from_name(&format!("kp_{rest}")).ok();
        }
        let function = |f: &&str| f.len() <= 2 && f.parse::<u8>().is_ok();
        if let Some(rest) = code.strip_prefix('F').filter(function) {
            return Self::from_name(&format!("f{rest}")).ok();
        }
        W3C.iter().find(|k| k.0 == code).map(|k| k.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keysyms_are_strokes_on_a_us_keyboard() {
        let stroke = |key, shift| Some(KeyStroke { dead: None, key, shift, altgr: false });
        assert_eq!(KeyStroke::from_keysym('a' as u32, Layout::default()), stroke(Key::A, Some(false)));
        assert_eq!(KeyStroke::from_keysym('A' as u32, Layout::default()), stroke(Key::A, Some(true)));
        assert_eq!(KeyStroke::from_keysym('|' as u32, Layout::default()), stroke(Key::Backslash, Some(true)));
        assert_eq!(KeyStroke::from_keysym(0x20, Layout::default()), stroke(Key::Spc, None));
        assert_eq!(KeyStroke::from_keysym(0xFF0D, Layout::default()), stroke(Key::Ret, None));
        assert_eq!(KeyStroke::from_keysym(0xFFBE, Layout::default()), stroke(Key::F1, None));
        assert_eq!(KeyStroke::from_keysym(0xFFC9, Layout::default()), stroke(Key::F12, None));
        assert_eq!(KeyStroke::from_keysym(0xFFEB, Layout::default()), stroke(Key::MetaL, None));
        assert_eq!(KeyStroke::from_keysym(0xE9, Layout::default()), None);
        for keysym in 0x20..0x7F {
            assert!(KeyStroke::from_keysym(keysym, Layout::default()).is_some(), "{keysym:#x}");
        }
    }

    #[test]
    fn extended_codes() {
        let key = Key::from_rfb_code;
        assert_eq!(
            [key(0x1E), key(0x9D), key(0xC8), key(0xC6)].map(Option::unwrap),
            [Key::A, Key::CtrlR, Key::Up, Key::Pause]
        );
        assert_eq!((key(0), key(0x7F), key(0x1_0000), key(u32::MAX)), (None, None, None, None));
        for k in Key::ALL {
            let code = match k.make(1)[..] {
                [code] => u32::from(code),
                [0xE0, code] => u32::from(code) | 0x80,
                _ => continue,
            };
            assert!(key(code) == Some(*k) || matches!(k, Key::Sysrq | Key::AcBookmarks), "{k:?}");
        }
    }

    #[test]
    fn browser_codes() {
        let key = Key::from_w3c;
        assert_eq!(
            [key("KeyQ"), key("Digit0"), key("Numpad7"), key("F12")].map(Option::unwrap),
            [Key::Q, Key::Digit0, Key::Kp7, Key::F12]
        );
        assert_eq!(key("ArrowLeft"), Some(Key::Left));
        assert_eq!([key(""), key("Key"), key("KeyÄ"), key("F"), key("F99"), key("NumpadX"), key("Fn")], [None; 7]);
    }
}
