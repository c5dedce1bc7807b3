//! From a measure as SonarQube writes it to series: which, and with what value. One scheme of our own in base units, and
//! those of two exporters for dashboards that were made for them.

use super::catalogue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a metric's values are, by SonarQube's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Int,
    Float,
    /// 0 to 100.
    Percent,
    /// 1 (A) to 5 (E).
    Rating,
    /// Minutes.
    WorkDuration,
    Millisec,
    Bool,
    /// `OK`, `WARN` or `ERROR`.
    Level,
    /// Free text, sometimes a number.
    Text,
    /// JSON, or `key=value` pairs.
    Data,
    /// Pairs that are no numbers of ours.
    Distribution,
    /// Our own: the date of the analysis in seconds.
    Date,
}

impl Kind {
    /// Of the `type` in `metrics/search`; one that is not known is text.
    pub fn of(text: &str) -> Kind {
        match text {
            "INT" => Kind::Int,
            "FLOAT" => Kind::Float,
            "PERCENT" => Kind::Percent,
            "RATING" => Kind::Rating,
            "WORK_DUR" => Kind::WorkDuration,
            "MILLISEC" => Kind::Millisec,
            "BOOL" => Kind::Bool,
            "LEVEL" => Kind::Level,
            "DATA" => Kind::Data,
            "DISTRIB" => Kind::Distribution,
            _ => Kind::Text,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Kind::Int => "INT",
            Kind::Float => "FLOAT",
            Kind::Percent => "PERCENT",
            Kind::Rating => "RATING",
            Kind::WorkDuration => "WORK_DUR",
            Kind::Millisec => "MILLISEC",
            Kind::Bool => "BOOL",
            Kind::Level => "LEVEL",
            Kind::Text => "STRING",
            Kind::Data => "DATA",
            Kind::Distribution => "DISTRIB",
            Kind::Date => "DATE",
        }
    }
}

/// A metric as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    pub key: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
}

impl Metric {
    /// The date of the newest analysis, which is a measure like the others.
    pub fn analysis_date() -> Metric {
        Metric { key: ANALYSIS_DATE.to_owned(), kind: Kind::Date, domain: String::new() }
    }
}

/// No metric of SonarQube has such a key.
pub const ANALYSIS_DATE: &str = "@analysis";

/// How series are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Base units, units in the name.
    #[default]
    Base,
    /// `sonar_<key>` with SonarQube's units, and labels `key`, `name`, `domain`, `type`.
    SonarqubeExporter,
    /// `sonarcloud_<key>` with SonarQube's units, a few of them named as a push of CI would.
    Sonarcloud,
}

impl Scheme {
    pub const ALL: [Scheme; 3] = [Scheme::Base, Scheme::SonarqubeExporter, Scheme::Sonarcloud];

    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Base => "base",
            Scheme::SonarqubeExporter => "sonarqube_exporter",
            Scheme::Sonarcloud => "sonarcloud",
        }
    }

    pub fn parse(text: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }
}

/// Values in one map, such as lines by language: a project has seldom more than ten.
const PARTS_MAX: usize = 64;

/// One series of a measure, without the labels that say of what.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

impl Output {
    fn plain(name: String, value: f64) -> Output {
        Output { name, labels: Vec::new(), value }
    }

    /// Whether both are of one series.
    pub fn is_of(&self, other: &Output) -> bool {
        self.name == other.name && self.labels == other.labels
    }
}

/// What a metric says, for the list of metrics.
pub fn help(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Date => "When the newest analysis was made.",
        _ => catalogue::find(&metric.key).map_or("A metric of SonarQube.", |known| known.help),
    }
}

/// The series of a measure; none where its value says nothing that is a number.
pub fn outputs(scheme: Scheme, metric: &Metric, value: &str) -> Vec<Output> {
    match scheme {
        Scheme::Base => base(metric, value),
        Scheme::SonarqubeExporter => exporter(metric, value),
        Scheme::Sonarcloud => sonarcloud(metric, value),
    }
}

fn base(metric: &Metric, value: &str) -> Vec<Output> {
    let key = metric.key.as_str();
    if metric.kind == Kind::Data || metric.kind == Kind::Distribution {
        return base_of_data(key, value);
    }
    if metric.kind == Kind::Level {
        let name =
            if key == "alert_status" { "sonar_quality_gate_status".to_owned() } else { named("sonar_", key, "") };
        let state = |status: &str| Output {
            name: name.clone(),
            labels: vec![("status", status.to_ascii_lowercase())],
            value: f64::from(u8::from(status == value)),
        };
        return ["OK", "WARN", "ERROR"].map(state).to_vec();
    }
    let Some(number) = number(metric.kind, value) else { return Vec::new() };
    let plain = |unit: &str, number: f64| Output::plain(named("sonar_", key, unit), number);
    let family = |name: &str, label, text: &str| Output {
        name: name.to_owned(),
        labels: vec![(label, text.to_owned())],
        value: number,
    };
    match metric.kind {
        Kind::Date => vec![Output::plain("sonar_analysis_timestamp_seconds".to_owned(), number)],
        Kind::Percent => vec![plain("_ratio", number / 100.0)],
        Kind::WorkDuration => vec![plain("_seconds", number * 60.0)],
        // A moment and not a span.
        Kind::Millisec if key == "last_commit_date" => {
            vec![Output::plain("sonar_last_commit_timestamp_seconds".to_owned(), number / 1000.0)]
        }
        Kind::Millisec => vec![plain("_seconds", number / 1000.0)],
        _ => {
            let (age, rest) = key.strip_prefix("new_").map_or(("", key), |rest| ("new_", rest));
            if let Some(severity) = rest.strip_suffix("_violations") {
                return vec![family(&format!("sonar_{age}issues"), "severity", severity)];
            }
            let mut series = vec![plain("", number)];
            let of_type = [("bugs", "bug"), ("vulnerabilities", "vulnerability"), ("code_smells", "code_smell")];
            if let Some((_, issue)) = of_type.iter().find(|(key, _)| *key == rest) {
                series.push(family(&format!("sonar_{age}issues"), "type", issue));
            }
            series
        }
    }
}

/// Two kinds of data are known; what others hold is for people.
fn base_of_data(key: &str, value: &str) -> Vec<Output> {
    if key == "ncloc_language_distribution" {
        let pairs = value.split(';').filter_map(|pair| pair.split_once('='));
        let parsed = pairs.filter_map(|(language, lines)| Some((language, number(Kind::Int, lines)?)));
        return parsed
            .take(PARTS_MAX)
            .map(|(language, lines)| Output {
                name: "sonar_ncloc_by_language".to_owned(),
                labels: vec![("language", language.to_owned())],
                value: lines,
            })
            .collect();
    }
    let (age, rest) = key.strip_prefix("new_").map_or(("", key), |rest| ("new_", rest));
    let Some(quality @ ("reliability" | "security" | "maintainability")) = rest.strip_suffix("_issues") else {
        return Vec::new();
    };
    let Ok(Value::Object(counts)) = serde_json::from_str(value) else { return Vec::new() };
    let counts = counts.iter().filter(|(severity, _)| *severity != "total").take(PARTS_MAX);
    let counted = counts.filter_map(|(severity, count)| {
        let count = count.as_f64().or_else(|| number(Kind::Int, count.as_str()?))?;
        let labels = vec![("quality", quality.to_owned()), ("severity", severity.to_ascii_lowercase())];
        Some(Output { name: format!("sonar_{age}quality_issues"), labels, value: count })
    });
    counted.collect()
}

/// As nthienan/sonarqube-exporter: SonarQube's units, and a gate that counts 1 for failed.
fn exporter(metric: &Metric, value: &str) -> Vec<Output> {
    let key = &metric.key;
    let labels = vec![("domain", metric.domain.clone()), ("type", metric.kind.as_str().to_owned())];
    let series = |labels, value| vec![Output { name: named("sonar_", key, ""), labels, value }];
    match metric.kind {
        Kind::Date => base(metric, value),
        Kind::Level => {
            // One series for each value, so that the one of the old value ends.
            let state = match value {
                "OK" => 0.0,
                "ERROR" => 1.0,
                _ => 2.0,
            };
            series([labels, vec![("value", value.to_owned())]].concat(), state)
        }
        _ => number(metric.kind, value).map_or_else(Vec::new, |number| series(labels, number)),
    }
}

/// Names of those that a push of CI uses; every other metric is `sonarcloud_<key>`.
const SONARCLOUD: &[(&str, &str)] = &[
    ("coverage", "sonarcloud_coverage_percent"),
    ("bugs", "sonarcloud_bugs_total"),
    ("vulnerabilities", "sonarcloud_vulnerabilities_total"),
    ("code_smells", "sonarcloud_code_smells_total"),
    ("sqale_rating", "sonarcloud_maintainability_rating"),
    ("alert_status", "sonarcloud_quality_gate_status"),
];

fn sonarcloud(metric: &Metric, value: &str) -> Vec<Output> {
    let renamed = SONARCLOUD.iter().find(|(key, _)| *key == metric.key).map(|(_, name)| (*name).to_owned());
    let name = renamed.unwrap_or_else(|| named("sonarcloud_", &metric.key, ""));
    match metric.kind {
        Kind::Date => base(metric, value),
        Kind::Level => vec![Output::plain(name, f64::from(u8::from(value == "OK")))],
        kind => number(kind, value).map_or_else(Vec::new, |number| vec![Output::plain(name, number)]),
    }
}

/// The number a value is, in SonarQube's own unit.
fn number(kind: Kind, value: &str) -> Option<f64> {
    match (kind, value) {
        (Kind::Data | Kind::Distribution | Kind::Level, _) => None,
        (Kind::Bool, "true") => Some(1.0),
        (Kind::Bool, "false") => Some(0.0),
        // `f64` would take `inf` and `NaN`, which no measure is.
        (_, text) if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

/// A metric name of a key, with a unit that is not said twice. What no metric name may have becomes `_`.
fn named(prefix: &str, key: &str, unit: &str) -> String {
    let unit = if key.ends_with(unit) { "" } else { unit };
    let legal = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    let mut name = prefix.to_owned();
    name.extend(legal);
    name.push_str(unit);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sonar::catalogue::{self, CATALOGUE};
    use proptest::prelude::*;

    fn metric(key: &str) -> Metric {
        let kind = catalogue::find(key).map_or(Kind::Text, |known| known.kind);
        Metric { key: key.to_owned(), kind, domain: "Coverage".to_owned() }
    }

    fn shown(scheme: Scheme, key: &str, value: &str) -> String {
        let series = outputs(scheme, &metric(key), value);
        let one = |output: &Output| {
            let labels: Vec<String> = output.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}{{{}}} {}", output.name, labels.join(","), output.value)
        };
        series.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_kind_of_value_becomes_base_units() {
        for (key, value, expected) in [
            ("coverage", "89.5", "sonar_coverage_ratio{} 0.895"),
            ("coverage", "0.0", "sonar_coverage_ratio{} 0"),
            ("coverage", "1.0E-4", "sonar_coverage_ratio{} 0.000001"),
            ("sqale_debt_ratio", "1.5", "sonar_sqale_debt_ratio{} 0.015"),
            ("sqale_index", "1110", "sonar_sqale_index_seconds{} 66600"),
            ("test_execution_time", "53000", "sonar_test_execution_time_seconds{} 53"),
            ("last_commit_date", "1769868000000", "sonar_last_commit_timestamp_seconds{} 1769868000"),
            ("reliability_rating", "2.0", "sonar_reliability_rating{} 2"),
            ("ncloc", "120", "sonar_ncloc{} 120"),
            ("bugs", "3", "sonar_bugs{} 3 sonar_issues{type=bug} 3"),
            ("blocker_violations", "1", "sonar_issues{severity=blocker} 1"),
            ("new_violations", "4", "sonar_new_violations{} 4"),
            ("development_cost", "233790", "sonar_development_cost{} 233790"),
            ("development_cost", "a lot", ""),
            ("quality_gate_details", "{\"level\":\"OK\"}", ""),
            ("coverage", "NaN", ""),
            ("coverage", "inf", ""),
            ("coverage", "1e999", ""),
            ("coverage", "", ""),
            (
                "alert_status",
                "WARN",
                "sonar_quality_gate_status{status=ok} 0 sonar_quality_gate_status{status=warn} 1 \
                 sonar_quality_gate_status{status=error} 0",
            ),
            (
                "ncloc_language_distribution",
                "java=100;js=20;odd",
                "sonar_ncloc_by_language{language=java} 100 sonar_ncloc_by_language{language=js} 20",
            ),
            (
                "reliability_issues",
                "{\"LOW\":1,\"HIGH\":2,\"total\":3}",
                "sonar_quality_issues{quality=reliability,severity=high} 2 \
                 sonar_quality_issues{quality=reliability,severity=low} 1",
            ),
        ] {
            assert_eq!(shown(Scheme::Base, key, value), expected, "{key} {value}");
        }
        let flag = Metric { key: "is-on".to_owned(), kind: Kind::Bool, domain: String::new() };
        assert_eq!(outputs(Scheme::Base, &flag, "true"), [Output::plain("sonar_is_on".to_owned(), 1.0)]);
    }

    #[test]
    fn the_names_of_exporters_keep_their_units_and_their_gate() {
        for (scheme, key, value, expected) in [
            (Scheme::SonarqubeExporter, "coverage", "89.5", "sonar_coverage{domain=Coverage,type=PERCENT} 89.5"),
            (
                Scheme::SonarqubeExporter,
                "alert_status",
                "ERROR",
                "sonar_alert_status{domain=Coverage,type=LEVEL,value=ERROR} 1",
            ),
            (Scheme::SonarqubeExporter, "sqale_index", "7", "sonar_sqale_index{domain=Coverage,type=WORK_DUR} 7"),
            (Scheme::Sonarcloud, "coverage", "89.5", "sonarcloud_coverage_percent{} 89.5"),
            (Scheme::Sonarcloud, "alert_status", "ERROR", "sonarcloud_quality_gate_status{} 0"),
            (Scheme::Sonarcloud, "alert_status", "OK", "sonarcloud_quality_gate_status{} 1"),
            (Scheme::Sonarcloud, "ncloc", "5", "sonarcloud_ncloc{} 5"),
        ] {
            assert_eq!(shown(scheme, key, value), expected);
        }
    }

    #[test]
    fn no_two_metrics_share_a_series() {
        for scheme in Scheme::ALL {
            let mut seen: Vec<Output> = Vec::new();
            for known in CATALOGUE {
                for output in outputs(scheme, &metric(known.key), "1") {
                    assert!(!seen.iter().any(|other| other.is_of(&output)), "{}", known.key);
                    seen.push(output);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_value_panics_or_becomes_what_is_no_number(key in "[a-z_@.-]{0,20}", value in ".{0,60}", kind in 0..5usize) {
            let kind = [Kind::Data, Kind::Level, Kind::Text, Kind::Percent, Kind::Bool][kind];
            for scheme in Scheme::ALL {
                for output in outputs(scheme, &Metric { key: key.clone(), kind, domain: String::new() }, &value) {
                    prop_assert!(output.value.is_finite());
                }
            }
        }
    }
}
