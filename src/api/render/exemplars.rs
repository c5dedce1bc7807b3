//! Exemplars, as Prometheus writes them.

use super::text::{push_labels, push_time};
use crate::model::{Exemplar, Labels, number};

/// Writes a list of series, each with its exemplars.
pub fn push_exemplars(out: &mut String, found: &[(Labels, Vec<Exemplar>)]) {
    out.push('[');
    for (index, (series, exemplars)) in found.iter().enumerate() {
        out.push_str(if index > 0 { ",{\"seriesLabels\":" } else { "{\"seriesLabels\":" });
        push_labels(out, series);
        out.push_str(",\"exemplars\":[");
        for (index, exemplar) in exemplars.iter().enumerate() {
            out.push_str(if index > 0 { ",{\"labels\":" } else { "{\"labels\":" });
            push_labels(out, &exemplar.labels);
            out.push_str(",\"value\":\"");
            number::push_json(out, exemplar.value);
            out.push_str("\",\"timestamp\":");
            push_time(out, exemplar.timestamp);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
}
