//! Floats as Go's `strconv` prints them: the shortest digits that read back as the same bits.

use std::fmt::Write;

/// Above this, and below its square root's inverse, JSON answers use exponents.
const PLAIN_MAX: f64 = 1e21;
const PLAIN_MIN: f64 = 1e-6;
/// Whole numbers up to here are exact as integers, which print faster.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Plain decimals whatever the size (Go's format `f`): label values, scalar answers.
pub fn push_plain(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value.abs() < EXACT_INTEGER_MAX && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        out.push_str(itoa::Buffer::new().format(value as i64));
    } else if value.abs() < 1e15 && value.abs() >= 1e-4 {
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else {
        let _ = write!(out, "{value}");
    }
}

/// Plain decimals within 1e-6..1e21, else an exponent: sample values of the query API.
pub fn push_json(out: &mut String, value: f64) {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (PLAIN_MIN..PLAIN_MAX).contains(&size) {
        push_plain(out, value);
    } else {
        push_exponent(out, value);
    }
}

/// Exponent form with a sign and two exponent digits at least (Go's format `e`): `1e+00`.
pub fn push_exponent(out: &mut String, value: f64) {
    if !value.is_finite() {
        return push_plain(out, value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

/// Go's `fmt.Sprint` of a float, and the text format's: plain from 1e-4 to below 1e6, else with an
/// exponent.
pub fn format_general(value: f64) -> String {
    let mut out = String::new();
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (1e-4..1e6).contains(&size) {
        push_plain(&mut out, value);
    } else {
        push_exponent(&mut out, value);
    }
    out
}

/// [`push_plain`] into a new text.
pub fn format_plain(value: f64) -> String {
    let mut out = String::new();
    push_plain(&mut out, value);
    out
}

/// Reads a float as Go's `strconv.ParseFloat` does for samples: `inf`, `+Inf`, `NaN`, `1e3`, in any letter case.
/// Hexadecimal and underscores are refused.
pub fn parse_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.eq_ignore_ascii_case("nan") {
        // The canonical quiet NaN of Prometheus, never mistaken for a staleness marker; a sign is refused as in Go.
        return (digits.len() == text.len()).then_some(f64::from_bits(0x7ff8_0000_0000_0001));
    }
    // Rust reads the same decimal grammar.
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: f64) -> String {
        let mut out = String::new();
        push_json(&mut out, value);
        out
    }

    #[test]
    fn numbers_print_as_in_go() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e-7, "1e-07"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (123456789.125, "123456789.125"),
            (-1.5, "-1.5"),
            (0.00001, "0.00001"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
            (1.7951897747302322e9, "1795189774.7302322"),
        ] {
            assert_eq!(json(value), expected);
        }
        assert_eq!(format_plain(1e-7), "0.0000001");
        assert_eq!(format_plain(1e30), "1000000000000000000000000000000");
        assert_eq!(format_general(1e-5), "1e-05");
        assert_eq!(format_general(999_999.5), "999999.5");
        assert_eq!(format_general(2_349_209.324), "2.349209324e+06");
        assert_eq!(format_general(123456.0), "123456");
        assert_eq!(format_general(1e6), "1e+06");
        assert_eq!(format_general(1.7951897747302322e9), "1.7951897747302322e+09");
        let mut out = String::new();
        push_exponent(&mut out, 1.0);
        assert_eq!(out, "1e+00");
    }

    #[test]
    fn numbers_are_read_as_in_go() {
        assert_eq!(parse_float("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_float("-infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float("1e3"), Some(1000.0));
        assert_eq!(parse_float("nan").map(f64::to_bits), Some(0x7ff8_0000_0000_0001));
        for wrong in ["", "0x1p3", "1_0", "1\r", "+nan", " 1"] {
            assert_eq!(parse_float(wrong), None, "{wrong:?}");
        }
    }
}
