//! What a query answered, as the terminal shows it.

use super::text::rfc3339;
use serde_json::Value;

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Sorted by name.
    pub labels: Vec<(String, String)>,
    /// Seconds since the epoch, and the value as the server wrote it.
    pub points: Vec<(f64, String)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    pub series: Vec<Series>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    /// What was read from buckets in the place of samples, a line each.
    pub tiers: Vec<String>,
}

impl Series {
    /// `name{label="value"}`.
    pub fn name(&self) -> String {
        let metric = self.labels.iter().find(|(name, _)| name == "__name__").map_or("", |(_, value)| value.as_str());
        let others: Vec<String> = self
            .labels
            .iter()
            .filter(|(name, _)| name != "__name__")
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        match (metric, &others[..]) {
            ("", []) => "{}".to_owned(),
            (metric, []) => metric.to_owned(),
            (metric, others) => format!("{metric}{{{}}}", others.join(",")),
        }
    }
}

impl Outcome {
    /// Reads an answer of `/api/v1/query` or `query_range`; `None` where it is none.
    pub fn read(answer: &Value) -> Option<Outcome> {
        let data = answer.get("data")?;
        let result = data.get("result")?;
        let series = match data.get("resultType")?.as_str()? {
            "scalar" | "string" => vec![Series { labels: vec![], points: vec![point(result)?] }],
            "vector" => result.as_array()?.iter().map(one).collect::<Option<Vec<Series>>>()?,
            "matrix" => result.as_array()?.iter().map(many).collect::<Option<Vec<Series>>>()?,
            _ => return None,
        };
        let tiers = data["stats"]["tiers"].as_array().map_or(&[][..], Vec::as_slice);
        Some(Outcome {
            series,
            warnings: texts(answer, "warnings"),
            infos: texts(answer, "infos"),
            tiers: tiers.iter().filter_map(tier).collect(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }
}

fn one(element: &Value) -> Option<Series> {
    let value = element.get("value").or_else(|| element.get("histogram"))?;
    Some(Series { labels: labels(element)?, points: vec![point(value)?] })
}

fn many(element: &Value) -> Option<Series> {
    let mut points = Vec::new();
    for kind in ["values", "histograms"] {
        let values = element.get(kind).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        points.extend(values.iter().map(point).collect::<Option<Vec<_>>>()?);
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(Series { labels: labels(element)?, points })
}

fn labels(element: &Value) -> Option<Vec<(String, String)>> {
    let metric = element.get("metric")?.as_object()?;
    metric.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn point(pair: &Value) -> Option<(f64, String)> {
    let value = match pair.get(1)? {
        Value::String(text) => text.clone(),
        // A native histogram: its sums are what fits on a line.
        histogram => {
            let part = |name: &str| histogram.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            format!("count={} sum={}", part("count"), part("sum"))
        }
    };
    Some((pair.get(0)?.as_f64()?, value))
}

fn tier(tier: &Value) -> Option<String> {
    let time = |name: &str| tier[name].as_f64().map(rfc3339);
    let (resolution, fidelity) = (tier["resolution"].as_str()?, tier["fidelity"].as_str()?);
    Some(format!("from {} to {} read from buckets of {resolution}: {fidelity}", time("start")?, time("end")?))
}

fn texts(answer: &Value, key: &str) -> Vec<String> {
    let list = answer.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_answer_is_read() {
        let read = |kind: &str, result: Value| {
            Outcome::read(&json!({ "status": "success", "data": { "resultType": kind, "result": result } })).unwrap()
        };
        let tier = json!({ "offset": 0, "resolution": "1h", "start": 0, "end": 7200, "fidelity": "exact" });
        let data = json!({ "resultType": "vector", "result": [], "stats": { "tiers": [tier] } });
        let tiers = Outcome::read(&json!({ "status": "success", "data": data })).unwrap().tiers;
        assert_eq!(tiers, ["from 1970-01-01T00:00:00Z to 1970-01-01T02:00:00Z read from buckets of 1h: exact"]);
        assert_eq!(read("scalar", json!([4, "2"])).series[0].points, [(4.0, "2".to_owned())]);
        let vector = read("vector", json!([{ "metric": { "__name__": "up", "job": "a" }, "value": [4.5, "NaN"] }]));
        assert_eq!(vector.series[0].name(), "up{job=\"a\"}");
        let matrix = read(
            "matrix",
            json!([{ "metric": {}, "values": [[2, "1"]], "histograms": [[1, { "count": "3", "sum": "4" }]] }]),
        );
        assert_eq!(matrix.series[0].points[0], (1.0, "count=3 sum=4".to_owned()));
        assert_eq!(matrix.series[0].name(), "{}");
        assert!(read("matrix", json!([])).is_empty());
        for wrong in [json!({}), json!({ "data": { "resultType": "vector", "result": [{}] } }), json!([])] {
            assert_eq!(Outcome::read(&wrong), None);
        }
    }
}
