//! Functions and operators of one or two numbers.

use super::FunctionId;
use crate::promql::ast::BinaryOp;

/// The function of one float that `id` names; `None` for all others.
pub fn unary(id: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId::*;
    Some(match id {
        Abs => f64::abs,
        Acos => f64::acos,
        Acosh => f64::acosh,
        Asin => f64::asin,
        Asinh => f64::asinh,
        Atan => f64::atan,
        Atanh => f64::atanh,
        Ceil => f64::ceil,
        Cos => f64::cos,
        Cosh => f64::cosh,
        Deg => |v| v * 180.0 / std::f64::consts::PI,
        Exp => f64::exp,
        Floor => f64::floor,
        Ln => f64::ln,
        Log10 => f64::log10,
        Log2 => f64::log2,
        Rad => |v| v * std::f64::consts::PI / 180.0,
        Sgn => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        Sin => f64::sin,
        Sinh => f64::sinh,
        Sqrt => f64::sqrt,
        Tan => f64::tan,
        Tanh => f64::tanh,
        _ => return None,
    })
}

/// Rounds to the nearest multiple of `1 / inverse`, ties up.
pub fn round(value: f64, inverse: f64) -> f64 {
    (value * inverse + 0.5).floor() / inverse
}

/// As Go's `math.Max(low, math.Min(high, value))`: NaN wins.
pub fn clamp(value: f64, low: f64, high: f64) -> f64 {
    larger(low, smaller(high, value))
}

/// NaN where either is; +0 is larger than -0.
pub fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        // An infinity beats NaN in Go's Max.
        if a == f64::INFINITY || b == f64::INFINITY { f64::INFINITY } else { f64::NAN }
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// NaN where either is; -0 is smaller than +0.
pub fn smaller(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY { f64::NEG_INFINITY } else { f64::NAN }
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// An arithmetic operator on two floats; `None` for comparisons, sets and trims.
#[inline]
pub fn arithmetic(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    use BinaryOp::*;
    Some(match op {
        Add => |a, b| a + b,
        Sub => |a, b| a - b,
        Mul => |a, b| a * b,
        Div => |a, b| a / b,
        Mod => |a, b| a % b,
        Pow => f64::powf,
        Atan2 => f64::atan2,
        _ => return None,
    })
}

/// A comparison of two floats; false for all other operators.
#[inline]
pub fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    use BinaryOp::*;
    match op {
        Equal => a == b,
        NotEqual => a != b,
        Greater => a > b,
        Less => a < b,
        GreaterEqual => a >= b,
        LessEqual => a <= b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_takes_ties_up() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(0.24, 1.0 / 0.1), 0.2);
    }

    #[test]
    fn nan_passes_a_clamp() {
        assert!(clamp(f64::NAN, 0.0, 1.0).is_nan());
        assert_eq!(clamp(5.0, 0.0, 1.0), 1.0);
        assert_eq!(clamp(-5.0, 0.0, 1.0), 0.0);
    }

    #[test]
    fn the_remainder_takes_the_sign_of_the_dividend() {
        let modulo = arithmetic(BinaryOp::Mod).unwrap();
        assert_eq!(modulo(-5.0, 3.0), -2.0);
        assert!(modulo(5.0, 0.0).is_nan());
        assert!(arithmetic(BinaryOp::Equal).is_none());
        assert!(compare(BinaryOp::NotEqual, f64::NAN, f64::NAN));
    }
}
