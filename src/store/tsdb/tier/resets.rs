//! Points that let a counter fall as often and as deep as it did within a bucket.

/// Points between `first` and `last` so that the values right before each fall sum up to `resets`, as they did in the
/// bucket; at most `room` of them. With `resets` of `None` nothing fell.
///
/// Whoever adds up increases takes the last value less the first and adds what each fall took away: one point at the sum
/// of all falls stands for all of them.
pub fn points_between(first: f64, resets: Option<f64>, last: f64, room: usize) -> Vec<f64> {
    let Some(resets) = resets else {
        // It fell although no sample is less than the one before: a value that is no number stood between.
        return if last < first && room > 0 { vec![f64::NAN] } else { Vec::new() };
    };
    // What is no number is never more than what follows.
    let first = if first.is_nan() { f64::NEG_INFINITY } else { first };
    let points = if last < first && resets == first {
        Vec::new()
    } else if first == resets {
        vec![first.next_down().min(last)]
    } else if first <= resets && last < resets {
        vec![resets]
    } else if first <= resets {
        vec![resets, resets.next_down().min(0.0)]
    } else if last < resets {
        // The first value did not fall, or there are values below zero.
        vec![f64::NAN, resets]
    } else {
        vec![f64::NAN, resets, resets.next_down().min(0.0)]
    };
    if points.len() <= room {
        return points;
    }
    // Values below zero in as many milliseconds: one between is what the sum leaves.
    let between = resets - first;
    if room > 0 && between < first && last < between { vec![between] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fallen(values: &[f64]) -> Option<f64> {
        let falls = values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]);
        falls.fold(None, |sum: Option<f64>, before| Some(sum.unwrap_or_default() + before))
    }

    proptest! {
        #[test]
        fn what_fell_is_what_fell_in_the_bucket(values in proptest::collection::vec(prop_oneof![9 => (-40i32..40).prop_map(f64::from), 1 => Just(f64::NAN)], 2..12),
            is_counter: bool,) {
            let values: Vec<f64> = values.into_iter().map(|value| if is_counter { value.abs() } else { value }).collect();
            let (first, last) = (values[0], values[values.len() - 1]);
            let between = points_between(first, fallen(&values), last, values.len() - 2);
            prop_assert!(between.len() <= values.len() - 2);
            let points: Vec<f64> = [&[first][..], &between, &[last]].concat();
            if values.len() > 4 || is_counter {
                let sum = |values: &[f64]| fallen(values).unwrap_or_default();
                prop_assert_eq!(sum(&points), sum(&values), "{:?} {:?}", points, values);
            }
        }
    }

    #[test]
    fn a_value_that_is_no_number_hides_a_fall() {
        assert!(points_between(5.0, None, 3.0, 1)[0].is_nan());
        assert_eq!(points_between(5.0, None, 7.0, 1).len(), 0);
    }
}
