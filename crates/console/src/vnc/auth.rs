//! VNC Authentication (RFC 6143, section 7.2.2): a challenge encrypted with DES under the password.

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// A challenge or its answer.
pub(crate) type Challenge = [u8; 16];

/// The answer to `challenge` of somebody who knows `password`: its first eight bytes, each with its bits mirrored, are
/// the key.
pub(crate) fn response(password: &[u8], challenge: &Challenge) -> Challenge {
    let mut key = [0; 8];
    key.iter_mut().zip(password).for_each(|(k, p)| *k = p.reverse_bits());
    let cipher = Des::new(&Array::from(key));
    let mut answer = *challenge;
    for half in answer.chunks_exact_mut(8) {
        let mut block = Array::from(std::array::from_fn::<u8, 8, _>(|n| half[n]));
        cipher.encrypt_block(&mut block);
        half.copy_from_slice(&block);
    }
    answer
}

/// Compares without telling by its time where they differ.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 81: key 0123456789ABCDEF turns "Now is t" into 3FA40E8A984D4815.
        let key = [0x01u8, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF].map(u8::reverse_bits);
        let answer = response(&key, b"Now is tNow is t");
        assert_eq!(answer[..8], [0x3F, 0xA4, 0x0E, 0x8A, 0x98, 0x4D, 0x48, 0x15]);
        assert_eq!(answer[..8], answer[8..]);
        assert_eq!(response(b"12345678", &[7; 16]), response(b"123456789", &[7; 16]));
        assert_ne!(response(b"1234567", &[7; 16]), response(b"12345678", &[7; 16]));
    }

    #[test]
    fn comparison() {
        assert!(same(b"ab", b"ab") && !same(b"ab", b"ac") && !same(b"ab", b"abc"));
    }
}
