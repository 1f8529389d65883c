"""Writes src/layouts.rs: what the keys of a layout type, asked of libxkbcommon (Debian's libxkbcommon0 with xkb-data).

python3 layouts.py > src/layouts.rs
"""
import ctypes
import unicodedata

KEYS = (["TLDE"] + [f"AE{n:02}" for n in range(1, 13)] + [f"AD{n:02}" for n in range(1, 13)] + ["BKSL"]
        + [f"AC{n:02}" for n in range(1, 12)] + ["LSGT"] + [f"AB{n:02}" for n in range(1, 11)])
# QEMU's name, xkb's layout and variant.
LAYOUTS = [
    ("be", "be", ""), ("cz", "cz", ""), ("da", "dk", ""), ("de", "de", ""), ("de-ch", "ch", ""), ("en-gb", "gb", ""),
    ("en-us", "us", ""), ("es", "es", ""), ("et", "ee", ""), ("fi", "fi", ""), ("fr", "fr", ""), ("fr-be", "be", ""),
    ("fr-ca", "ca", ""), ("fr-ch", "ch", "fr"), ("hr", "hr", ""), ("hu", "hu", ""), ("is", "is", ""), ("it", "it", ""),
    ("lt", "lt", ""), ("lv", "lv", ""), ("nl", "nl", ""), ("no", "no", ""), ("pl", "pl", ""), ("pt", "pt", ""),
    ("pt-br", "br", ""), ("sl", "si", ""), ("sv", "se", ""), ("tr", "tr", ""),
]
# Dead keys, as the combining character that they add.
DEAD = {"grave": 0x300, "acute": 0x301, "circumflex": 0x302, "tilde": 0x303, "macron": 0x304, "breve": 0x306, "abovedot": 0x307,
        "diaeresis": 0x308, "abovering": 0x30A, "doubleacute": 0x30B, "caron": 0x30C, "cedilla": 0x327, "ogonek": 0x328}
NONE = "\u00a0"  # no key types a no-break space that anybody would want

xkb = ctypes.CDLL("libxkbcommon.so.0")
for name in ("xkb_context_new", "xkb_keymap_new_from_names"):
    getattr(xkb, name).restype = ctypes.c_void_p
context = ctypes.c_void_p(xkb.xkb_context_new(0))


class Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


def meaning(keysym):
    text = ctypes.create_string_buffer(64)
    xkb.xkb_keysym_get_name(keysym, text, 64)
    name = text.value.decode()
    if name.startswith("dead_"):
        code = DEAD.get(name[5:])
        return chr(code) if code else NONE
    code = xkb.xkb_keysym_to_utf32(keysym)
    return chr(code) if code > 0x20 and code != 0x7F else NONE


def layout(name, variant):
    names = Names(b"evdev", b"pc105", name.encode(), variant.encode(), b"")
    keymap = ctypes.c_void_p(xkb.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
    keys = []
    for key in KEYS:
        code = xkb.xkb_keymap_key_by_name(keymap, key.encode())
        levels = ""
        for level in range(4):
            symbols = ctypes.POINTER(ctypes.c_uint32)()
            count = xkb.xkb_keymap_key_get_syms_by_level(keymap, code, 0, level, ctypes.byref(symbols))
            levels += meaning(symbols[0]) if count == 1 else NONE
        keys.append(levels)
    return keys


def written(text):
    out = ""
    for c in text:
        if c in "\\\"":
            out += "\\" + c
        elif c == NONE:
            out += " "
        elif c == " " or unicodedata.combining(c) or not c.isprintable():
            out += f"\\u{{{ord(c):x}}}"
        else:
            out += c
    return out


print("//! What keys type, by layout: made by `layouts.py` from xkb-data's facts; not to be edited.")
print("//!")
print("//! For each key of [`KEYS`] four characters: alone, with Shift, with AltGr, with both; a space where there is none, a combining")
print("//! character for a dead key.\n")
print("use crate::Key;\n")
place = {"TLDE": "GraveAccent", "BKSL": "Backslash", "LSGT": "Less"}
for row, keys in (("AE", "Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal"),
                  ("AD", "Q W E R T Y U I O P BracketLeft BracketRight"), ("AC", "A S D F G H J K L Semicolon Apostrophe"),
                  ("AB", "Z X C V B N M Comma Dot Slash")):
    place.update({f"{row}{n:02}": key for n, key in enumerate(keys.split(), 1)})
print("/// The keys of the tables.")
print("#[rustfmt::skip]")
print(f"pub(crate) const KEYS: [Key; {len(KEYS)}] = [")
for n in range(0, len(KEYS), 8):
    print("    " + " ".join(f"Key::{place[k]}," for k in KEYS[n:n + 8]))
print("];\n")
print("/// Name and table.")
print("#[rustfmt::skip]")
print(f"pub(crate) static LAYOUTS: [(&str, [&str; {len(KEYS)}]); {len(LAYOUTS)}] = [")
used = set()
for name, xkb_name, variant in LAYOUTS:
    keys = layout(xkb_name, variant)
    used.update("".join(keys))
    print(f"    (\"{name}\", [")
    for n in range(0, len(keys), 12):
        print("        " + " ".join(f"\"{written(k)}\"," for k in keys[n:n + 12]))
    print("    ]),")
print("];\n")

print("/// X11 keysyms of these characters that are neither Latin-1 nor made of the character's Unicode number.")
print("#[rustfmt::skip]")
old = sorted((xkb.xkb_utf32_to_keysym(ord(c)), c) for c in used if ord(c) > 0xFF and not unicodedata.combining(c))
old = [(keysym, c) for keysym, c in old if 0 < keysym < 0x1000000]
print(f"pub(crate) const KEYSYMS: [(u32, char); {len(old)}] = [")
for n in range(0, len(old), 8):
    print("    " + " ".join(f"({keysym:#x}, '{c}')," for keysym, c in old[n:n + 8]))
print("];")
