//! The functions of PromQL as one table: the parser checks types by it, the evaluator dispatches on its ids, the
//! documentation and the editor list it.

pub mod buckets;
pub mod date;
pub mod math;
pub mod over_time;
pub mod rate;
pub mod sliding;
pub mod text;
#[cfg(test)]
mod tier_table;
pub mod window;

use super::ast::ValueType::{self, Matrix, Scalar, Text, Vector};

/// Names a function; the evaluator's `match` over it is exhaustive, so no row can be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionId {
    Abs,
    Absent,
    AbsentOverTime,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    AvgOverTime,
    Ceil,
    Changes,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    CountOverTime,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Deg,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    End,
    Exp,
    FirstOverTime,
    Floor,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Hour,
    Idelta,
    Increase,
    Info,
    Irate,
    LabelJoin,
    LabelReplace,
    LastOverTime,
    Ln,
    Log10,
    Log2,
    MadOverTime,
    MaxOf,
    MaxOverTime,
    MinOf,
    MinOverTime,
    Minute,
    Month,
    Pi,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rad,
    Range,
    Rate,
    Resets,
    Round,
    Scalar,
    Sgn,
    Sin,
    Sinh,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Sqrt,
    Start,
    StartTimestamp,
    StddevOverTime,
    StdvarOverTime,
    Step,
    SumOverTime,
    Tan,
    Tanh,
    Time,
    Timestamp,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Vector,
    Year,
}

/// How many of the listed arguments may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// All of them.
    Exact,
    /// The last one may be left out.
    LastOptional,
    /// The last one may be left out or repeated without limit.
    LastRepeated,
    /// The last one may be repeated up to this many times in all.
    LastUpTo(usize),
}

/// One row of the table.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub id: FunctionId,
    pub name: &'static str,
    pub arguments: &'static [ValueType],
    pub arity: Arity,
    pub returns: ValueType,
    /// Needs the feature `promql-experimental-functions`.
    pub experimental: bool,
    pub doc: &'static str,
}

/// Finds a function by name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

const fn row(
    id: FunctionId,
    name: &'static str,
    arguments: &'static [ValueType],
    returns: ValueType,
    doc: &'static str,
) -> Function {
    Function { id, name, arguments, arity: Arity::Exact, returns, experimental: false, doc }
}

const fn experimental(function: Function) -> Function {
    Function { experimental: true, ..function }
}

const fn arity(function: Function, arity: Arity) -> Function {
    Function { arity, ..function }
}

/// Sorted by name.
pub const FUNCTIONS: &[Function] = &[
    row(FunctionId::Abs, "abs", &[Vector], Vector, "Absolute value."),
    row(
        FunctionId::Absent,
        "absent",
        &[Vector],
        Vector,
        "1 where the vector is empty, labelled by the equality matchers.",
    ),
    row(
        FunctionId::AbsentOverTime,
        "absent_over_time",
        &[Matrix],
        Vector,
        "1 where the window holds no sample, labelled by the equality matchers.",
    ),
    row(FunctionId::Acos, "acos", &[Vector], Vector, "Arc cosine in radians."),
    row(FunctionId::Acosh, "acosh", &[Vector], Vector, "Inverse hyperbolic cosine."),
    row(FunctionId::Asin, "asin", &[Vector], Vector, "Arc sine in radians."),
    row(FunctionId::Asinh, "asinh", &[Vector], Vector, "Inverse hyperbolic sine."),
    row(FunctionId::Atan, "atan", &[Vector], Vector, "Arc tangent in radians."),
    row(FunctionId::Atanh, "atanh", &[Vector], Vector, "Inverse hyperbolic tangent."),
    row(FunctionId::AvgOverTime, "avg_over_time", &[Matrix], Vector, "Mean of the samples in the window."),
    row(FunctionId::Ceil, "ceil", &[Vector], Vector, "Rounds up to a whole number."),
    row(FunctionId::Changes, "changes", &[Matrix], Vector, "How often the value changed in the window."),
    row(FunctionId::Clamp, "clamp", &[Vector, Scalar, Scalar], Vector, "Limits values to a lower and an upper bound."),
    row(FunctionId::ClampMax, "clamp_max", &[Vector, Scalar], Vector, "Limits values to an upper bound."),
    row(FunctionId::ClampMin, "clamp_min", &[Vector, Scalar], Vector, "Limits values to a lower bound."),
    row(FunctionId::Cos, "cos", &[Vector], Vector, "Cosine of radians."),
    row(FunctionId::Cosh, "cosh", &[Vector], Vector, "Hyperbolic cosine."),
    row(FunctionId::CountOverTime, "count_over_time", &[Matrix], Vector, "How many samples the window holds."),
    arity(
        row(FunctionId::DayOfMonth, "day_of_month", &[Vector], Vector, "Day of the month in UTC, 1 to 31."),
        Arity::LastOptional,
    ),
    arity(
        row(FunctionId::DayOfWeek, "day_of_week", &[Vector], Vector, "Day of the week in UTC, 0 is Sunday."),
        Arity::LastOptional,
    ),
    arity(
        row(FunctionId::DayOfYear, "day_of_year", &[Vector], Vector, "Day of the year in UTC, 1 to 366."),
        Arity::LastOptional,
    ),
    arity(
        row(FunctionId::DaysInMonth, "days_in_month", &[Vector], Vector, "Days of the month in UTC, 28 to 31."),
        Arity::LastOptional,
    ),
    row(FunctionId::Deg, "deg", &[Vector], Vector, "Radians to degrees."),
    row(
        FunctionId::Delta,
        "delta",
        &[Matrix],
        Vector,
        "Difference of a gauge over the window, extrapolated to its edges.",
    ),
    row(FunctionId::Deriv, "deriv", &[Matrix], Vector, "Slope per second of a gauge by linear regression."),
    experimental(row(
        FunctionId::DoubleExponentialSmoothing,
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
        "Smoothed value by a smoothing and a trend factor.",
    )),
    experimental(row(FunctionId::End, "end", &[], Scalar, "End of the query as Unix seconds.")),
    row(FunctionId::Exp, "exp", &[Vector], Vector, "e to the power of the value."),
    row(FunctionId::FirstOverTime, "first_over_time", &[Matrix], Vector, "The oldest sample of the window."),
    row(FunctionId::Floor, "floor", &[Vector], Vector, "Rounds down to a whole number."),
    row(
        FunctionId::HistogramAvg,
        "histogram_avg",
        &[Vector],
        Vector,
        "Mean of the observations of a native histogram.",
    ),
    row(
        FunctionId::HistogramCount,
        "histogram_count",
        &[Vector],
        Vector,
        "Count of the observations of a native histogram.",
    ),
    row(
        FunctionId::HistogramFraction,
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        Vector,
        "Share of the observations between two bounds.",
    ),
    row(
        FunctionId::HistogramQuantile,
        "histogram_quantile",
        &[Scalar, Vector],
        Vector,
        "Quantile of a histogram, native or with `le` buckets.",
    ),
    experimental(arity(
        row(
            FunctionId::HistogramQuantiles,
            "histogram_quantiles",
            &[Vector, Text, Scalar, Scalar],
            Vector,
            "Several quantiles at once, told apart by a label.",
        ),
        Arity::LastUpTo(10),
    )),
    row(
        FunctionId::HistogramStddev,
        "histogram_stddev",
        &[Vector],
        Vector,
        "Estimated standard deviation of the observations of a native histogram.",
    ),
    row(
        FunctionId::HistogramStdvar,
        "histogram_stdvar",
        &[Vector],
        Vector,
        "Estimated variance of the observations of a native histogram.",
    ),
    row(FunctionId::HistogramSum, "histogram_sum", &[Vector], Vector, "Sum of the observations of a native histogram."),
    arity(row(FunctionId::Hour, "hour", &[Vector], Vector, "Hour of the day in UTC, 0 to 23."), Arity::LastOptional),
    row(FunctionId::Idelta, "idelta", &[Matrix], Vector, "Difference of the last two samples."),
    row(
        FunctionId::Increase,
        "increase",
        &[Matrix],
        Vector,
        "Increase of a counter over the window, extrapolated to its edges.",
    ),
    experimental(arity(
        row(FunctionId::Info, "info", &[Vector, Vector], Vector, "Adds the labels of matching info metrics."),
        Arity::LastOptional,
    )),
    row(FunctionId::Irate, "irate", &[Matrix], Vector, "Per-second rate of the last two samples of a counter."),
    arity(
        row(
            FunctionId::LabelJoin,
            "label_join",
            &[Vector, Text, Text, Text],
            Vector,
            "Joins the values of labels into another label.",
        ),
        Arity::LastRepeated,
    ),
    row(
        FunctionId::LabelReplace,
        "label_replace",
        &[Vector, Text, Text, Text, Text],
        Vector,
        "Sets a label from a regex match on another.",
    ),
    row(FunctionId::LastOverTime, "last_over_time", &[Matrix], Vector, "The newest sample of the window."),
    row(FunctionId::Ln, "ln", &[Vector], Vector, "Natural logarithm."),
    row(FunctionId::Log10, "log10", &[Vector], Vector, "Decimal logarithm."),
    row(FunctionId::Log2, "log2", &[Vector], Vector, "Binary logarithm."),
    experimental(row(
        FunctionId::MadOverTime,
        "mad_over_time",
        &[Matrix],
        Vector,
        "Median absolute deviation of the window.",
    )),
    experimental(row(FunctionId::MaxOf, "max_of", &[Scalar, Scalar], Scalar, "The larger of two scalars.")),
    row(FunctionId::MaxOverTime, "max_over_time", &[Matrix], Vector, "Largest value of the window."),
    experimental(row(FunctionId::MinOf, "min_of", &[Scalar, Scalar], Scalar, "The smaller of two scalars.")),
    row(FunctionId::MinOverTime, "min_over_time", &[Matrix], Vector, "Smallest value of the window."),
    arity(
        row(FunctionId::Minute, "minute", &[Vector], Vector, "Minute of the hour in UTC, 0 to 59."),
        Arity::LastOptional,
    ),
    arity(
        row(FunctionId::Month, "month", &[Vector], Vector, "Month of the year in UTC, 1 to 12."),
        Arity::LastOptional,
    ),
    row(FunctionId::Pi, "pi", &[], Scalar, "The number pi."),
    row(
        FunctionId::PredictLinear,
        "predict_linear",
        &[Matrix, Scalar],
        Vector,
        "Value of a gauge some seconds from now by linear regression.",
    ),
    row(FunctionId::PresentOverTime, "present_over_time", &[Matrix], Vector, "1 where the window holds a sample."),
    row(
        FunctionId::QuantileOverTime,
        "quantile_over_time",
        &[Scalar, Matrix],
        Vector,
        "Quantile of the values of the window.",
    ),
    row(FunctionId::Rad, "rad", &[Vector], Vector, "Degrees to radians."),
    experimental(row(FunctionId::Range, "range", &[], Scalar, "Seconds from the start to the end of the query.")),
    row(
        FunctionId::Rate,
        "rate",
        &[Matrix],
        Vector,
        "Per-second increase of a counter over the window, extrapolated to its edges.",
    ),
    row(FunctionId::Resets, "resets", &[Matrix], Vector, "How often a counter was reset in the window."),
    arity(
        row(
            FunctionId::Round,
            "round",
            &[Vector, Scalar],
            Vector,
            "Rounds to the nearest multiple of the second argument (1).",
        ),
        Arity::LastOptional,
    ),
    row(FunctionId::Scalar, "scalar", &[Vector], Scalar, "The value of the only series, else NaN."),
    row(FunctionId::Sgn, "sgn", &[Vector], Vector, "The sign: -1, 0 or 1."),
    row(FunctionId::Sin, "sin", &[Vector], Vector, "Sine of radians."),
    row(FunctionId::Sinh, "sinh", &[Vector], Vector, "Hyperbolic sine."),
    row(FunctionId::Sort, "sort", &[Vector], Vector, "Sorts an instant answer by value, rising."),
    experimental(arity(
        row(
            FunctionId::SortByLabel,
            "sort_by_label",
            &[Vector, Text],
            Vector,
            "Sorts an instant answer by labels in natural order.",
        ),
        Arity::LastRepeated,
    )),
    experimental(arity(
        row(
            FunctionId::SortByLabelDesc,
            "sort_by_label_desc",
            &[Vector, Text],
            Vector,
            "Sorts an instant answer by labels in reverse natural order.",
        ),
        Arity::LastRepeated,
    )),
    row(FunctionId::SortDesc, "sort_desc", &[Vector], Vector, "Sorts an instant answer by value, falling."),
    row(FunctionId::Sqrt, "sqrt", &[Vector], Vector, "Square root."),
    experimental(row(FunctionId::Start, "start", &[], Scalar, "Start of the query as Unix seconds.")),
    experimental(row(
        FunctionId::StartTimestamp,
        "start_timestamp",
        &[Vector],
        Vector,
        "When the counter of a sample began. Empty: start times are not kept.",
    )),
    row(
        FunctionId::StddevOverTime,
        "stddev_over_time",
        &[Matrix],
        Vector,
        "Population standard deviation of the window.",
    ),
    row(FunctionId::StdvarOverTime, "stdvar_over_time", &[Matrix], Vector, "Population variance of the window."),
    experimental(row(FunctionId::Step, "step", &[], Scalar, "Seconds between two evaluations of the query.")),
    row(FunctionId::SumOverTime, "sum_over_time", &[Matrix], Vector, "Sum of the values of the window."),
    row(FunctionId::Tan, "tan", &[Vector], Vector, "Tangent of radians."),
    row(FunctionId::Tanh, "tanh", &[Vector], Vector, "Hyperbolic tangent."),
    row(FunctionId::Time, "time", &[], Scalar, "The evaluation time as Unix seconds."),
    row(FunctionId::Timestamp, "timestamp", &[Vector], Vector, "The time of the sample as Unix seconds."),
    experimental(row(
        FunctionId::TsOfFirstOverTime,
        "ts_of_first_over_time",
        &[Matrix],
        Vector,
        "Time of the oldest sample of the window.",
    )),
    experimental(row(
        FunctionId::TsOfLastOverTime,
        "ts_of_last_over_time",
        &[Matrix],
        Vector,
        "Time of the newest sample of the window.",
    )),
    experimental(row(
        FunctionId::TsOfMaxOverTime,
        "ts_of_max_over_time",
        &[Matrix],
        Vector,
        "Time of the largest sample of the window.",
    )),
    experimental(row(
        FunctionId::TsOfMinOverTime,
        "ts_of_min_over_time",
        &[Matrix],
        Vector,
        "Time of the smallest sample of the window.",
    )),
    row(FunctionId::Vector, "vector", &[Scalar], Vector, "The scalar as a vector without labels."),
    arity(row(FunctionId::Year, "year", &[Vector], Vector, "Year in UTC."), Arity::LastOptional),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_name_is_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|f| find(f.name) == Some(f)));
        assert!(find("nosuch").is_none());
    }
}
