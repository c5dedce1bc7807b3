//! Lengths of time that depend on the query: `5m * step()`.

use super::annotations::position;
use crate::promql::{
    ast::{BinaryOp, DurationExpr, DurationKind, DurationNode},
    functions::math,
    limits::QueryError,
};

/// What a computed duration may refer to, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct DurationScope<'a> {
    pub query: &'a str,
    pub step_ms: i64,
    pub range_ms: i64,
}

/// Prometheus counts nanoseconds in 64 bits: some 292 years.
const SECONDS_MAX: f64 = 9_223_372_036.0;

impl DurationScope<'_> {
    /// Milliseconds; a range or a step has to be positive.
    pub fn positive(&self, duration: &DurationExpr) -> Result<i64, QueryError> {
        let ms = self.any(duration)?;
        if ms <= 0 {
            let at = match duration {
                DurationExpr::Literal(_) => 0,
                DurationExpr::Computed(node) => node.span.start,
            };
            return Err(self.error(at, "duration must be greater than 0"));
        }
        Ok(ms)
    }

    /// Milliseconds of either sign.
    pub fn any(&self, duration: &DurationExpr) -> Result<i64, QueryError> {
        match duration {
            DurationExpr::Literal(ms) => Ok(*ms),
            DurationExpr::Computed(node) => {
                let seconds = self.seconds(node)?;
                if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
                    return Err(self.error(node.span.start, "duration out of range"));
                }
                Ok((seconds * 1000.0).round() as i64)
            }
        }
    }

    fn seconds(&self, node: &DurationNode) -> Result<f64, QueryError> {
        Ok(match &node.kind {
            DurationKind::Number { seconds, .. } => *seconds,
            DurationKind::Step => self.step_ms as f64 / 1000.0,
            DurationKind::Range => self.range_ms as f64 / 1000.0,
            DurationKind::Negate(inner) => -self.seconds(inner)?,
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationKind::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationKind::Binary { op, left, right } => {
                let (left, right) = (self.seconds(left)?, self.seconds(right)?);
                if right == 0.0 && *op == BinaryOp::Div {
                    return Err(self.error(node.span.start, "division by zero"));
                }
                if right == 0.0 && *op == BinaryOp::Mod {
                    return Err(self.error(node.span.start, "modulo by zero"));
                }
                let function = math::arithmetic(*op)
                    .ok_or_else(|| self.error(node.span.start, "unexpected operator in a duration"))?;
                function(left, right)
            }
        })
    }

    fn error(&self, at: usize, message: &str) -> QueryError {
        let (line, column) = position(self.query, at);
        QueryError::Parse(format!("{line}:{column}: parse error: {message}"))
    }
}
