//! Numbers in few characters, and the time of day, as fio writes them.

/// By what a number is divided from one prefix to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// k, M, G, …
    Ten,
    /// Ki, Mi, Gi, …
    Two,
}

impl Base {
    const fn step(self) -> u64 {
        match self {
            Base::Ten => 1_000,
            Base::Two => 1_024,
        }
    }

    const fn prefixes(self) -> [&'static str; 7] {
        match self {
            Base::Ten => ["", "k", "M", "G", "T", "P", "E"],
            Base::Two => ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"],
        }
    }
}

/// The number with the smallest prefix that leaves at most `characters` before it, with as many
/// decimals as fit into them, rounded.
pub(super) fn short(value: u64, characters: usize, base: Base, unit: &str) -> String {
    let digits = |value: u64| value.to_string().len();
    let (step, prefixes) = (base.step(), base.prefixes());
    let (mut whole, mut rest, mut prefix) = (value, 0, 0);
    while digits(whole) > characters && prefix + 1 < prefixes.len() {
        prefix += 1;
        (whole, rest) = (whole / step, whole % step);
    }
    // One character of the room is the point.
    let decimals = match prefix {
        0 => 0,
        _ => characters.saturating_sub(digits(whole) + 1),
    };
    // The fraction is rounded by itself, like fio does it: 1.25 and 0.25 end in the same digit.
    let fraction = format!("{:.decimals$}", rest as f64 / step as f64);
    let carries = if decimals == 0 { rest * 2 >= step } else { fraction.starts_with('1') };
    let carried = whole + u64::from(carries);
    format!("{carried}{}{}{unit}", &fraction[1..], prefixes[prefix])
}

pub(super) fn bytes_two(value: u64) -> String {
    short(value, 4, Base::Two, "B")
}

pub(super) fn bytes_ten(value: u64) -> String {
    short(value, 4, Base::Ten, "B")
}

/// `58.8MiB/s (61.6MB/s)`.
pub(super) fn speed(bytes_per_s: u64) -> String {
    format!("{} ({})", speed_two(bytes_per_s), speed_ten(bytes_per_s))
}

pub(super) fn speed_two(bytes_per_s: u64) -> String {
    short(bytes_per_s, 4, Base::Two, "B/s")
}

pub(super) fn speed_ten(bytes_per_s: u64) -> String {
    short(bytes_per_s, 4, Base::Ten, "B/s")
}

/// As the status line has it: 215MiB/s, and 0KiB/s where nothing moves.
pub(in crate::disk) fn status_speed(bytes_per_s: u64) -> String {
    if bytes_per_s == 0 { "0KiB/s".to_owned() } else { speed_two(bytes_per_s) }
}

/// 55.1k.
pub(in crate::disk) fn status_count(count: u64) -> String {
    short(count, 4, Base::Ten, "")
}

/// `Thu Nov 26 02:08:16 2026`, in UTC.
///
/// Source of the calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
pub(super) fn calendar(wall_ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = wall_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted from the first of March of the year 0, so that a leap day ends its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year}",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_fits_as_fio_fits_it() {
        let two = |value| short(value, 4, Base::Two, "B");
        assert_eq!(two(4_096), "4096B");
        assert_eq!(two(65_536), "64.0KiB");
        assert_eq!(two(131_072), "128KiB");
        assert_eq!(two(4 << 20), "4096KiB");
        assert_eq!(two(120_279_040), "115MiB");
        assert_eq!(speed(61_690_000), "58.8MiB/s (61.7MB/s)");
        assert_eq!(speed(409_015), "399KiB/s (409kB/s)");
        assert_eq!(short(15_015, 4, Base::Ten, ""), "15.0k");
        assert_eq!(short(8_250, 4, Base::Ten, ""), "8250");
        assert_eq!(short(1_526_500, 6, Base::Ten, ""), "1526.5k");
        assert_eq!(short(495_046, 6, Base::Ten, ""), "495046");
        assert_eq!(short(0, 4, Base::Ten, ""), "0");
        assert_eq!(two(16_353 << 10), "16.0MiB");
        assert_eq!(two(16_332 << 10), "15.9MiB");
        assert_eq!(two((118 << 20) + (512 << 10)), "119MiB");
        assert_eq!(short(15_970, 4, Base::Ten, ""), "16.0k");
        assert_eq!(short(u64::MAX, 4, Base::Two, "B"), "16.0EiB");
    }

    #[test]
    fn calendar_knows_leap_days_and_year_ends() {
        assert_eq!(calendar(1_795_658_892_047), "Thu Nov 26 02:08:12 2026");
        assert_eq!(calendar(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(calendar(951_782_400_000), "Tue Feb 29 00:00:00 2000");
        assert_eq!(calendar(1_735_689_599_999), "Tue Dec 31 23:59:59 2024");
    }
}
