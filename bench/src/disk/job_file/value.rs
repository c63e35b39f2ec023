//! Values of options: numbers with units, percentages, times, lists. Pure.

use std::borrow::Cow;
use std::time::Duration;

use super::expression;
use crate::disk::job::{ByDirection, Extent};

/// What was expected of a value, for the error.
pub(super) type Expected = Cow<'static, str>;
pub(super) type Parsed<T> = Result<T, Expected>;

/// How many bytes a `k` is: fio's `kb_base`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KbBase {
    /// `k` = 1024 and `ki` = 1000, which is fio's default.
    Compatible,
    /// `k` = 1000 and `ki` = 1024.
    International,
}

impl KbBase {
    const fn factor(self, is_iec: bool) -> u64 {
        match (self, is_iec) {
            (KbBase::Compatible, false) | (KbBase::International, true) => 1024,
            (KbBase::Compatible, true) | (KbBase::International, false) => 1000,
        }
    }
}

const NUMBER: &str = "a whole number with an optional unit (k, m, g, t, p), like 4k";

/// A whole number with a unit of data: `4096`, `0x1000`, `4k`, `4kib`, `(2*3k)`.
pub(super) fn number(text: &str, base: KbBase) -> Parsed<u64> {
    if text.starts_with('(') {
        let value = expression::evaluate(text, &|atom| plain_number(atom, base));
        return value.ok_or("an arithmetic expression of numbers in parentheses".into());
    }
    plain_number(text, base).ok_or(NUMBER.into())
}

fn plain_number(text: &str, base: KbBase) -> Option<u64> {
    let (digits, unit) = split_digits(text)?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (prefix, is_iec) = match unit.strip_suffix('i') {
        Some(prefix) if !prefix.is_empty() => (prefix, true),
        _ => (unit, false),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    digits.checked_mul(base.factor(is_iec).checked_pow(power)?)
}

/// The number that `text` begins with, decimal or hexadecimal, and what is behind it.
fn split_digits(text: &str) -> Option<(u64, &str)> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(rest) = hexadecimal {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        return Some((u64::from_str_radix(&rest[..end], 16).ok()?, &rest[end..]));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A number of `min` to `max`, both allowed.
pub(super) fn bounded(text: &str, base: KbBase, min: u64, max: u64) -> Parsed<u64> {
    match number(text, base) {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        Ok(_) => Err(format!("a number of {min} to {max}").into()),
        Err(_) => Err(format!("a whole number of {min} to {max}").into()),
    }
}

pub(super) fn bounded_u32(text: &str, base: KbBase, min: u32, max: u32) -> Parsed<u32> {
    let value = bounded(text, base, min.into(), max.into())?;
    Ok(u32::try_from(value).expect("the bound is a u32"))
}

/// `4g`, or a share like `50%`, of 1 to `percent_max` percent.
pub(super) fn extent(text: &str, base: KbBase, percent_max: u32) -> Parsed<Extent> {
    let Some(percent) = text.strip_suffix('%') else {
        return match number(text, base) {
            Ok(bytes) if i64::try_from(bytes).is_ok() => Ok(Extent::Bytes(bytes)),
            Ok(_) => Err("a number of bytes below 2^63".into()),
            Err(_) => Err("a number of bytes, like 256m, or a share, like 50%".into()),
        };
    };
    match percent.trim().parse() {
        Ok(percent) if percent <= percent_max => Ok(Extent::Percent(percent)),
        _ => Err(format!("a whole share of 0% to {percent_max}%").into()),
    }
}

/// A flag: `1`, `0`, or nothing, which is `1`.
pub(super) fn flag(text: Option<&str>) -> Parsed<bool> {
    match text {
        None | Some("1") => Ok(true),
        Some("0") => Ok(false),
        Some(_) => Err("0 or 1".into()),
    }
}

/// The unit of a time that has none of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimeUnit {
    Seconds,
    Milliseconds,
    Microseconds,
}

const DAY_US: u64 = 86_400_000_000;

/// A time: `10`, `500ms`, `2m`. At most `max`.
pub(super) fn time(text: &str, default: TimeUnit, max: Duration) -> Parsed<Duration> {
    let expected = || -> Expected {
        let max_s = max.as_secs();
        format!("a time of at most {max_s} s with a unit (us, ms, s, m, h, d), like 10s").into()
    };
    let us = if text.starts_with('(') {
        // Inside of an expression fio counts microseconds.
        expression::evaluate(text, &|atom| plain_time_us(atom, TimeUnit::Microseconds))
    } else {
        plain_time_us(text, default)
    };
    let time = Duration::from_micros(us.ok_or_else(expected)?);
    if time <= max { Ok(time) } else { Err(expected()) }
}

fn plain_time_us(text: &str, default: TimeUnit) -> Option<u64> {
    let (digits, unit) = split_digits(text)?;
    let unit_us = match unit.trim().to_ascii_lowercase().as_str() {
        "" => match default {
            TimeUnit::Seconds => 1_000_000,
            TimeUnit::Milliseconds => 1_000,
            TimeUnit::Microseconds => 1,
        },
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "s" | "sec" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => DAY_US,
        _ => return None,
    };
    digits.checked_mul(unit_us)
}

/// `1k-4k` or `1k:4k`, smaller first.
pub(super) fn range(text: &str, base: KbBase) -> Parsed<(u64, u64)> {
    let expected = || Expected::from("two numbers, like 4k-64k");
    let (first, second) = text.split_once(['-', ':']).ok_or_else(expected)?;
    let first = number(first.trim(), base).map_err(|_| expected())?;
    let second = number(second.trim(), base).map_err(|_| expected())?;
    Ok((first.min(second), first.max(second)))
}

/// Up to three values with commas between: for reads, writes, trims. One alone is for all, the
/// second of two for trims as well; an empty one leaves its direction as it is.
pub(super) fn by_direction<T: Clone>(
    text: &str,
    one: impl Fn(&str) -> Parsed<T>,
) -> Parsed<ByDirection<Option<T>>> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.len() > 3 {
        return Err("at most three values with commas between: for reads, writes, trims".into());
    }
    if parts.iter().all(|part| part.is_empty()) {
        return Err("at least one value".into());
    }
    let value = |part: &str| if part.is_empty() { Ok(None) } else { one(part).map(Some) };
    let read = value(parts[0])?;
    let Some(write) = parts.get(1) else {
        return Ok(ByDirection([read.clone(), read.clone(), read]));
    };
    let write = value(write)?;
    let trim = parts.get(2).map_or_else(|| Ok(write.clone()), |part| value(part))?;
    Ok(ByDirection([read, write, trim]))
}

/// A finite number with a point, of `min` to `max`.
pub(super) fn float(text: &str, min: f64, max: f64) -> Parsed<f64> {
    match text.parse::<f64>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => Err(format!("a number of {min} to {max}").into()),
    }
}

/// A list with colons between; `\:` is a colon of the value itself.
pub(super) fn colon_list(text: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = list.last_mut().expect("the list begins with one");
        match c {
            '\\' if chars.peek() == Some(&':') => {
                last.push(':');
                chars.next();
            }
            ':' => list.push(String::new()),
            _ => last.push(c),
        }
    }
    list
}

/// CPUs like `0-3,6`, none twice, ascending.
pub(super) fn cpu_list(text: &str, cpu_max: usize) -> Parsed<Vec<usize>> {
    let expected = || -> Expected {
        format!("CPUs of 0 to {cpu_max} with commas between, or ranges, like 0-3,6").into()
    };
    let one = |text: &str| {
        let cpu = text.trim().parse::<usize>().map_err(|_| expected())?;
        if cpu <= cpu_max { Ok(cpu) } else { Err(expected()) }
    };
    let mut cpus = Vec::new();
    for part in text.split([',', ':']) {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (one(first)?, one(last)?);
                if first > last || cpus.len() > cpu_max {
                    return Err(expected());
                }
                cpus.extend(first..=last);
            }
            None => cpus.push(one(part)?),
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}
