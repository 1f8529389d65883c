//! Expressions in addresses and `print`: C numbers, characters, `$registers`, parentheses, and operators.
//!
//! As in QEMU's monitor, `* / %` bind tightest, then `& | ^`, then `+ -`. Everything is 64 bits and wraps.

/// A name that is none, or text that is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExprError {
    #[error("unknown register")]
    Register(String),
    #[error("invalid char constant")]
    Char,
    #[error("unexpected end of expression")]
    End,
    #[error("invalid char '{0}' in expression")]
    Unexpected(char),
    #[error("division by zero")]
    Division,
    #[error("expression too deep")]
    Deep,
    #[error("number too big")]
    Number,
}

/// Nesting of parentheses and signs.
const DEPTH: u32 = 64;

struct Parser<'a> {
    rest: &'a str,
    register: &'a dyn Fn(&str) -> Option<u64>,
    depth: u32,
}

/// The value at the start of `text`, and what follows it.
pub(crate) fn evaluate<'a>(
    text: &'a str,
    register: &'a dyn Fn(&str) -> Option<u64>,
) -> Result<(u64, &'a str), ExprError> {
    let mut p = Parser { rest: text, register, depth: 0 };
    let value = p.sum()?;
    Ok((value, p.rest.trim_start()))
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn skip(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }

    fn sum(&mut self) -> Result<u64, ExprError> {
        let mut value = self.logic()?;
        while let Some(op @ ('+' | '-')) = self.peek() {
            self.skip();
            let right = self.logic()?;
            value = if op == '+' { value.wrapping_add(right) } else { value.wrapping_sub(right) };
        }
        Ok(value)
    }

    fn logic(&mut self) -> Result<u64, ExprError> {
        let mut value = self.product()?;
        while let Some(op @ ('&' | '|' | '^')) = self.peek() {
            self.skip();
            let right = self.product()?;
            value = match op {
                '&' => value & right,
                '|' => value | right,
                _ => value ^ right,
            };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<u64, ExprError> {
        let mut value = self.unary()?;
        while let Some(op @ ('*' | '/' | '%')) = self.peek() {
            self.skip();
            let right = self.unary()?;
            value = match op {
                '*' => Some(value.wrapping_mul(right)),
                '/' => value.checked_div(right),
                _ => value.checked_rem(right),
            }
            .ok_or(ExprError::Division)?;
        }
        Ok(value)
    }

    fn unary(&mut self) -> Result<u64, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ExprError::Deep);
        }
        let value = match self.peek().ok_or(ExprError::End)? {
            '+' => {
                self.skip();
                self.unary()
            }
            '-' => {
                self.skip();
                self.unary().map(u64::wrapping_neg)
            }
            '~' => {
                self.skip();
                self.unary().map(|v| !v)
            }
            '(' => self.parenthesis(),
            '\'' => self.character(),
            '$' => {
                self.skip();
                let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                (self.register)(name).ok_or_else(|| ExprError::Register(name.into()))
            }
            c if c.is_ascii_digit() => self.number(),
            c => Err(ExprError::Unexpected(c)),
        };
        self.depth -= 1;
        value
    }

    fn parenthesis(&mut self) -> Result<u64, ExprError> {
        self.skip();
        let value = self.sum()?;
        match self.peek() {
            Some(')') => {
                self.skip();
                Ok(value)
            }
            Some(c) => Err(ExprError::Unexpected(c)),
            None => Err(ExprError::End),
        }
    }

    fn character(&mut self) -> Result<u64, ExprError> {
        let inner = self.rest.get(1..).and_then(|r| Some((r.chars().next()?, r)));
        let (c, after) = inner.ok_or(ExprError::Char)?;
        let closed = after.get(c.len_utf8()..).and_then(|r| r.strip_prefix('\''));
        self.rest = closed.ok_or(ExprError::Char)?;
        Ok(u64::from(u32::from(c)))
    }

    fn take(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn number(&mut self) -> Result<u64, ExprError> {
        let hex = self.rest.strip_prefix("0x").or_else(|| self.rest.strip_prefix("0X"));
        let (digits, radix) = match hex {
            Some(rest) => {
                self.rest = rest;
                (self.take(|c| c.is_ascii_hexdigit()), 16)
            }
            None => {
                let digits = self.take(|c| c.is_ascii_digit());
                (digits, if digits.starts_with('0') { 8 } else { 10 })
            }
        };
        if digits.is_empty() {
            return Err(self.peek().map_or(ExprError::End, ExprError::Unexpected));
        }
        if let Some(c) = digits.chars().find(|c| !c.is_digit(radix)) {
            return Err(ExprError::Unexpected(c));
        }
        u64::from_str_radix(digits, radix).map_err(|_| ExprError::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(text: &str) -> Result<u64, ExprError> {
        let registers = |name: &str| (name == "rip").then_some(0x1000);
        match evaluate(text, &registers)? {
            (v, "") => Ok(v),
            (_, rest) => Err(ExprError::Unexpected(rest.chars().next().unwrap())),
        }
    }

    #[test]
    fn values() {
        for (text, value) in [
            ("0xb8000", 0xB8000),
            ("$rip + 0x10 - 2", 0x100E),
            ("$rip+2*(3+4)", 0x100E),
            ("1+2&3", 3),
            ("017", 15),
            ("-1", u64::MAX),
            ("~0x0F & 0xff", 0xF0),
            ("'A'+1", 66),
            ("0xffffffffffffffff+2", 1),
            ("7/2%2", 1),
            ("0", 0),
        ] {
            assert_eq!(eval(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(eval("$foo"), Err(ExprError::Register("foo".into())));
        assert_eq!(eval("1/0"), Err(ExprError::Division));
        assert_eq!(eval("1%0"), Err(ExprError::Division));
        assert_eq!(eval(""), Err(ExprError::End));
        assert_eq!(eval("(1"), Err(ExprError::End));
        assert_eq!(eval("1)"), Err(ExprError::Unexpected(')')));
        assert_eq!(eval("0x"), Err(ExprError::End));
        assert_eq!(eval("09"), Err(ExprError::Unexpected('9')));
        assert_eq!(eval("'é"), Err(ExprError::Char));
        assert_eq!(eval("0x10000000000000000"), Err(ExprError::Number));
        assert_eq!(eval(&"(".repeat(100_000)), Err(ExprError::Deep));
        assert_eq!(eval(&"-".repeat(100_000)), Err(ExprError::Deep));
    }
}
