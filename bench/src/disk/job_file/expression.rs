//! Arithmetic in a value: `(2*4k+1)`. Whole numbers, without going below zero. Pure.

use crate::limits::DISK_JOB_EXPRESSION_DEPTH_MAX;

/// The value of `text`, whose numbers `atom` reads; `None` if it is none, or does not fit 64 bits.
///
/// Operators: `^` before `*`, `/`, `%`, before `+`, `-`; parentheses.
pub(super) fn evaluate(text: &str, atom: &dyn Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut parser = Parser { rest: text.trim_start(), atom, depth: 0 };
    let value = parser.sum()?;
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
    atom: &'a dyn Fn(&str) -> Option<u64>,
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, operators: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|c| operators.contains(c))?;
        self.rest = self.rest[first.len_utf8()..].trim_start();
        Some(first)
    }

    fn sum(&mut self) -> Option<u64> {
        let mut value = self.product()?;
        while let Some(operator) = self.take(&['+', '-']) {
            let right = self.product()?;
            value = match operator {
                '+' => value.checked_add(right)?,
                _ => value.checked_sub(right)?,
            };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<u64> {
        let mut value = self.power()?;
        while let Some(operator) = self.take(&['*', '/', '%']) {
            let right = self.power()?;
            value = match operator {
                '*' => value.checked_mul(right)?,
                '/' => value.checked_div(right)?,
                _ => value.checked_rem(right)?,
            };
        }
        Some(value)
    }

    fn power(&mut self) -> Option<u64> {
        let base = self.operand()?;
        match self.take(&['^']) {
            Some(_) => base.checked_pow(u32::try_from(self.operand()?).ok()?),
            None => Some(base),
        }
    }

    fn operand(&mut self) -> Option<u64> {
        if self.take(&['(']).is_some() {
            self.depth += 1;
            if self.depth > DISK_JOB_EXPRESSION_DEPTH_MAX {
                return None;
            }
            let value = self.sum()?;
            self.depth -= 1;
            self.take(&[')'])?;
            return Some(value);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let value = (self.atom)(&self.rest[..end])?;
        self.rest = self.rest[end..].trim_start();
        Some(value)
    }
}
