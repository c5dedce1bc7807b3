//! Parts of a date, in UTC, from Unix seconds.

use super::FunctionId;

/// A day of the proleptic Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

/// The part of the date that `id` names; `None` for functions that are not about dates.
pub fn part(id: FunctionId, seconds: i64) -> Option<f64> {
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    let value = match id {
        FunctionId::Hour => of_day / 3_600,
        FunctionId::Minute => of_day / 60 % 60,
        FunctionId::DayOfWeek => (days + 4).rem_euclid(7),
        FunctionId::DayOfMonth => civil(days).day,
        FunctionId::Month => civil(days).month,
        FunctionId::Year => civil(days).year,
        FunctionId::DayOfYear => {
            let year = civil(days).year;
            days - days_from_civil(year, 1, 1) + 1
        }
        FunctionId::DaysInMonth => {
            let Date { year, month, .. } = civil(days);
            let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            days_from_civil(next.0, next.1, 1) - days_from_civil(year, month, 1)
        }
        _ => return None,
    };
    Some(value as f64)
}

/// As Go converts a float to whole seconds; beyond the range of the calendar the ends are taken.
pub fn whole_seconds(value: f64) -> i64 {
    // Years up to 290 million, so that no sum below overflows.
    (value as i64).clamp(-(1 << 53), 1 << 53)
}

/// Days since 1970 to a date: years counted from March, in eras of 400 years.
fn civil(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day: of_year - (153 * from_march + 2) / 5 + 1 }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_leap_day() {
        // 2024-02-29T13:45:59Z, a Thursday.
        let seconds = 1_709_214_359;
        for (id, expected) in [
            (FunctionId::Year, 2024.0),
            (FunctionId::Month, 2.0),
            (FunctionId::DayOfMonth, 29.0),
            (FunctionId::DayOfWeek, 4.0),
            (FunctionId::DayOfYear, 60.0),
            (FunctionId::DaysInMonth, 29.0),
            (FunctionId::Hour, 13.0),
            (FunctionId::Minute, 45.0),
        ] {
            assert_eq!(part(id, seconds), Some(expected), "{id:?}");
        }
        assert_eq!(part(FunctionId::Year, -1), Some(1969.0));
        assert_eq!(part(FunctionId::Abs, 0), None);
    }
}
