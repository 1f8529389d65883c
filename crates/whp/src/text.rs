//! Text forms (feature `serde`): registers by name, wide values and bytes as hexadecimal. The rest is derived.
//!
//! JSON's numbers are 64 bits at best, so register values (128 bits) are strings.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{HResult, RegisterName, RegisterValue};

fn number(text: &str) -> Option<u128> {
    u128::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

impl Serialize for RegisterName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.symbol() {
            Some(symbol) => s.serialize_str(symbol),
            None => s.collect_str(&format_args!("{:#x}", self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for RegisterName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let code = || number(&text).and_then(|n| u32::try_from(n).ok()).map(Self);
        Self::from_symbol(&text).or_else(code).ok_or_else(|| D::Error::custom(format!("{text:?} is no register")))
    }
}

impl Serialize for RegisterValue {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for RegisterValue {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        number(&text).map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no 128-bit value")))
    }
}

impl Serialize for HResult {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:#010x}", self.0))
    }
}

impl<'de> Deserialize<'de> for HResult {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let code = number(&text).and_then(|n| u32::try_from(n).ok());
        code.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no HRESULT")))
    }
}

/// Instruction bytes as hexadecimal digits.
pub(crate) mod bytes16 {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 16], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:032x}", u128::from_be_bytes(*bytes)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(d)?;
        let value = if text.len() == 32 { u128::from_str_radix(&text, 16).ok() } else { None };
        value.map(u128::to_be_bytes).ok_or_else(|| D::Error::custom(format!("{text:?} is not 16 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    #[test]
    fn names_and_values_are_read_as_text() {
        let name = |s: &str| RegisterName::deserialize(IntoDeserializer::<Error>::into_deserializer(s));
        assert_eq!(name("WHvX64RegisterRip"), Ok(RegisterName::RIP));
        assert_eq!(name("0x7777"), Ok(RegisterName(0x7777)));
        assert!(name("Rip").is_err() && name("0x100000000").is_err());
        let value = |s: &str| RegisterValue::deserialize(IntoDeserializer::<Error>::into_deserializer(s));
        assert_eq!(value("0xffffffffffffffffffffffffffffffff"), Ok(RegisterValue(u128::MAX)));
        assert!(value("-1").is_err());
    }
}
