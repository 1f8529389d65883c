//! Code page 437, the characters of a PC's text screen.

const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/// The character that byte `code` shows as; 0 and 255 are spaces.
pub fn cp437(code: u8) -> char {
    let found = match code {
        0..0x20 => LOW.chars().nth(code.into()),
        0x20..0x7F => Some(char::from(code)),
        _ => HIGH.chars().nth(usize::from(code) - 0x7F),
    };
    found.unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!((LOW.chars().count(), HIGH.chars().count()), (0x20, 0x81));
        assert_eq!((cp437(b'A'), cp437(0xC4), cp437(0xDB), cp437(0xFF), cp437(1)), ('A', '─', '█', ' ', '☺'));
    }
}
