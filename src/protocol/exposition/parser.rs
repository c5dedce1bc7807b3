//! Lines to families and samples.

use super::{
    Exposition, Family, Label, Limits, Value,
    error::{ParseError, ParseErrorKind, echo},
    labels::{metric_name_length, read_labels, read_quoted, skip_blanks},
};
use crate::model::{MetricType, number::parse_float};
use std::{borrow::Cow, collections::HashMap};

/// Parses a body of raw bytes; see [`parse`].
pub fn parse_bytes<'a>(body: &'a [u8], limits: &Limits) -> Result<Exposition<'a>, ParseError> {
    match std::str::from_utf8(body) {
        Ok(text) => parse(text, limits),
        Err(e) => {
            let line = body[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
            Err(ParseError { line, kind: ParseErrorKind::Utf8 })
        }
    }
}

/// Parses a body in the text format 0.0.4. An empty body is an empty exposition.
pub fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Exposition<'a>, ParseError> {
    let mut parser = Parser::new(limits);
    let one_line = !text.contains('\n');
    for (index, line) in text.split('\n').enumerate() {
        parser.line(line).map_err(|kind| ParseError { line: index + 1, kind: advise(kind, one_line) })?;
    }
    // A file whose line breaks were stripped is one long comment if it begins with one: that must not look stored.
    if one_line && parser.exposition.samples.is_empty() && !text.trim().is_empty() {
        let kind = ParseErrorKind::LineBreaksStripped(Box::new(ParseErrorKind::OnlyComments));
        return Err(ParseError { line: 1, kind });
    }
    Ok(parser.exposition)
}

/// Adds what to do where an error looks like that of a file whose line breaks were stripped.
fn advise(kind: ParseErrorKind, one_line: bool) -> ParseErrorKind {
    use ParseErrorKind::{LineBreaksStripped, LineTooLong, Spurious, Timestamp, UnknownType, Value};
    match kind {
        Value(_) | Timestamp(_) | Spurious(_) | UnknownType(_) | LineTooLong { .. } if one_line => {
            LineBreaksStripped(Box::new(kind))
        }
        kind => kind,
    }
}

struct Parser<'a, 'l> {
    limits: &'l Limits,
    exposition: Exposition<'a>,
    by_name: HashMap<Cow<'a, str>, usize>,
    /// For each family, what has been said of it.
    described: Vec<Described>,
    /// The labels of the line at hand.
    labels: Vec<Label<'a>>,
}

#[derive(Default)]
struct Described {
    typed: bool,
    helped: bool,
}

impl<'a, 'l> Parser<'a, 'l> {
    fn new(limits: &'l Limits) -> Parser<'a, 'l> {
        Parser {
            limits,
            exposition: Exposition::default(),
            by_name: HashMap::new(),
            described: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn line(&mut self, line: &'a str) -> Result<(), ParseErrorKind> {
        if line.len() > self.limits.line_bytes_max {
            return Err(ParseErrorKind::LineTooLong { found: line.len(), limit: self.limits.line_bytes_max });
        }
        let line = skip_blanks(line.strip_suffix('\r').unwrap_or(line));
        match line.as_bytes().first() {
            None => Ok(()),
            Some(b'#') => self.comment(&line[1..]),
            Some(_) => self.sample(line),
        }
    }

    /// Reads a comment from after its `#`. Anything but HELP and TYPE is ignored.
    fn comment(&mut self, comment: &'a str) -> Result<(), ParseErrorKind> {
        let (keyword, rest) = split_token(skip_blanks(comment));
        if keyword != "HELP" && keyword != "TYPE" {
            return Ok(());
        }
        let rest = skip_blanks(rest);
        if rest.is_empty() {
            return Ok(());
        }
        let (name, rest) = match rest.strip_prefix('"') {
            Some(after) => read_quoted(after)?,
            None => {
                let length = metric_name_length(rest);
                (Cow::Borrowed(&rest[..length]), &rest[length..])
            }
        };
        if name.is_empty() || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
            return Err(ParseErrorKind::MetricNameInComment);
        }
        self.limits.labels.check_name(&name)?;
        let rest = skip_blanks(rest);
        if rest.is_empty() {
            return Ok(());
        }
        match keyword {
            "HELP" => self.help(name, rest),
            _ => self.metric_type(name, rest),
        }
    }

    fn help(&mut self, name: Cow<'a, str>, text: &'a str) -> Result<(), ParseErrorKind> {
        let family = self.family(&name);
        if std::mem::replace(&mut self.described[family].helped, true) {
            return Err(ParseErrorKind::SecondHelp(echo(&name)));
        }
        self.exposition.families[family].help = unescape_help(text);
        Ok(())
    }

    fn metric_type(&mut self, name: Cow<'a, str>, text: &'a str) -> Result<(), ParseErrorKind> {
        let index = self.family(&name);
        let family = &mut self.exposition.families[index];
        if std::mem::replace(&mut self.described[index].typed, true) || family.samples > 0 {
            return Err(ParseErrorKind::SecondType(echo(&name)));
        }
        let text = text.trim_end_matches([' ', '\t']);
        family.metric_type = parse_type(text).ok_or_else(|| ParseErrorKind::UnknownType(echo(text)))?;
        Ok(())
    }

    fn sample(&mut self, line: &'a str) -> Result<(), ParseErrorKind> {
        let length = metric_name_length(line);
        let mut rest = skip_blanks(&line[length..]);
        let mut name = (length > 0).then(|| Cow::Borrowed(&line[..length]));
        let mut labels = std::mem::take(&mut self.labels);
        if let Some(after) = rest.strip_prefix('{') {
            rest = read_labels(after, &mut name, &self.limits.labels, &mut labels)?;
        } else if rest.len() == line.len() - length && !rest.is_empty() {
            return Err(ParseErrorKind::MetricName);
        }
        let name = name.ok_or(ParseErrorKind::MetricName)?;
        self.limits.labels.check_name(&name)?;
        let (value, rest) = split_token(skip_blanks(rest));
        let value = parse_float(value).ok_or_else(|| ParseErrorKind::Value(echo(value)))?;
        let (timestamp, rest) = split_token(skip_blanks(rest));
        let timestamp = match timestamp {
            "" => None,
            text => Some(text.parse().map_err(|_| ParseErrorKind::Timestamp(echo(text)))?),
        };
        let rest = skip_blanks(rest);
        if !rest.is_empty() {
            return Err(ParseErrorKind::Spurious(echo(rest)));
        }
        if self.exposition.samples.len() == self.limits.series_max {
            return Err(ParseErrorKind::TooManySamples { limit: self.limits.series_max });
        }
        // Lines of one metric stand together: ask the last sample before the map.
        let family = match self.exposition.samples.last() {
            Some(last) if last.name == name => last.family,
            _ => self.family(&name),
        };
        self.exposition.push_sample(family, name, labels.drain(..), Value::Float(value), timestamp);
        self.labels = labels;
        Ok(())
    }

    /// The index of the family `name` is or is a part of; a new one where there is none.
    #[expect(clippy::ptr_arg, reason = "a new family keeps a clone that borrows from the body")]
    fn family(&mut self, name: &Cow<'a, str>) -> usize {
        if let Some(found) = self.by_name.get(name) {
            return *found;
        }
        let part_of = [("_count", true), ("_sum", true), ("_bucket", false)].iter().find_map(|(suffix, summary)| {
            let found = *self.by_name.get(name.strip_suffix(suffix)?)?;
            match self.exposition.families[found].metric_type {
                MetricType::Histogram | MetricType::GaugeHistogram => Some(found),
                MetricType::Summary if *summary => Some(found),
                _ => None,
            }
        });
        part_of.unwrap_or_else(|| {
            self.exposition.families.push(Family { name: name.clone(), ..Family::default() });
            self.described.push(Described::default());
            self.by_name.insert(name.clone(), self.described.len() - 1);
            self.described.len() - 1
        })
    }
}

/// The text up to the next blank or tab, and the rest.
pub(in crate::protocol) fn split_token(text: &str) -> (&str, &str) {
    text.split_at(text.find([' ', '\t']).unwrap_or(text.len()))
}

pub(in crate::protocol) fn parse_type(text: &str) -> Option<MetricType> {
    [
        ("counter", MetricType::Counter),
        ("gauge", MetricType::Gauge),
        ("histogram", MetricType::Histogram),
        ("summary", MetricType::Summary),
        ("untyped", MetricType::Unknown),
        ("gauge_histogram", MetricType::GaugeHistogram),
    ]
    .into_iter()
    .find_map(|(name, metric_type)| text.eq_ignore_ascii_case(name).then_some(metric_type))
}

/// Undoes `\\` and `\n`; any other backslash stays as it is.
pub(in crate::protocol) fn unescape_help(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            out.push(next);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') | None => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Exposition<'_> {
        parse(text, &Limits::default()).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    fn error(text: &str) -> String {
        parse(text, &Limits::default()).expect_err(text).to_string()
    }

    /// Each sample as `name{a=b} value family`.
    fn shown(text: &str) -> Vec<String> {
        let exposition = parsed(text);
        let shown = exposition.samples.iter().map(|sample| {
            let labels: Vec<String> =
                exposition.labels(sample).iter().map(|l| format!("{}={}", l.name, l.value)).collect();
            let Value::Float(value) = sample.value else { panic!("a histogram from text") };
            format!("{}{{{}}} {value} {}", sample.name, labels.join(","), exposition.families[sample.family].name)
        });
        shown.collect()
    }

    #[test]
    fn kindnesses_hold() {
        assert_eq!(shown("a 1"), ["a{} 1 a"]);
        assert_eq!(shown("a 1\r\nb 2\r\n"), ["a{} 1 a", "b{} 2 b"]);
        assert_eq!(shown("  \ta\t {x=\"y\" , }  1e3  \n\n"), ["a{x=y} 1000 a"]);
        assert_eq!(shown("{\"a.b\",x=\"é\"} 1\n{\"c\"} 2\n"), ["a.b{x=é} 1 a.b", "c{} 2 c"]);
        assert_eq!(shown("a{\"x.y\"=\"1\"} 1\n"), ["a{x.y=1} 1 a"]);
        assert_eq!(shown("a +Inf\na{z=\"\"} nan\n")[1], "a{z=} NaN a");
        assert_eq!(shown("a{x=\"q\\\"b\\\\n\\n\"} 1\n"), ["a{x=q\"b\\n\n} 1 a"]);
        assert_eq!(shown("a 1\n# EOF\n#x\n# x\n# UNIT a seconds\n"), ["a{} 1 a"]);
        assert_eq!(shown(""), [""; 0]);
        assert_eq!(shown("\n"), [""; 0]);
    }

    #[test]
    fn samples_of_a_family_need_not_stand_together() {
        assert_eq!(shown("a 1\nb 2\na{z=\"1\"} 3\n"), ["a{} 1 a", "b{} 2 b", "a{z=1} 3 a"]);
        assert_eq!(parsed("a 1\nb 2\na{z=\"1\"} 3\n").families[0].samples, 2);
    }

    #[test]
    fn parts_of_histograms_and_summaries_belong_to_them() {
        let text = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\ns_bucket 9\n# TYPE c counter\nc_total 1\n";
        let families: Vec<String> = shown(text).iter().map(|s| s.rsplit(' ').next().unwrap().to_owned()).collect();
        assert_eq!(families, ["h", "h", "h", "s", "s", "s", "s_bucket", "c_total"]);
        assert_eq!(parsed(text).families[0].metric_type, MetricType::Histogram);
    }

    #[test]
    fn type_and_help_are_kept() {
        let exposition = parsed("# HELP a one\\\\two\\nthree \\q\n#  TYPE\ta GAUGE \na 1\n# HELP b\n");
        let family = &exposition.families[0];
        assert_eq!((family.help.as_ref(), family.metric_type), ("one\\two\nthree \\q", MetricType::Gauge));
    }

    #[test]
    fn timestamps_are_read() {
        assert_eq!(parsed("a 1 1700000000000\nb 1 -5\n").samples[1].timestamp, Some(-5));
    }

    #[test]
    fn errors_name_the_line_and_the_cause() {
        for (text, expected) in [
            ("a 1\nb x\n", "text format parsing error in line 2: expected float as value, got \"x\""),
            ("a\n", "line 1: expected float as value, got \"\""),
            ("a 1 x\n", "expected integer as timestamp, got \"x\""),
            ("a 1 # {x=\"y\"} 1\n", "expected integer as timestamp, got \"#\""),
            ("a 1 2 3\n", "spurious string after timestamp: \"3\""),
            ("a-b 1\n", "invalid metric name"),
            ("1a 1\n", "invalid metric name"),
            ("{x=\"y\"} 1\n", "invalid metric name"),
            ("# TYPE a gauge\n# TYPE a gauge\na 1\n", "second TYPE line for metric name \"a\""),
            ("a 1\n# TYPE a gauge\n", "line 2: second TYPE line for metric name \"a\", or TYPE reported after samples"),
            ("# HELP a x\n# HELP a x\n", "second HELP line"),
            ("# TYPE a unknown\n", "unknown metric type \"unknown\""),
            ("# TYPE a-b gauge\n", "invalid metric name in comment"),
            ("a{x=\"1\",x=\"2\"} 1\n", "duplicate label names for metric \"a\": \"x\""),
            ("a{__name__=\"b\"} 1\n", "label name \"__name__\" is reserved"),
            ("a{x} 1\n", "expected '=' after label name \"x\""),
            ("a{x=1} 1\n", "expected '\"' at start of the value of label \"x\""),
            ("a{x=\"1\" y=\"2\"} 1\n", "expected ',' or '}' after label value, found \"y\""),
            ("a{x=\"1\"", "'}' is missing"),
            ("a{x=\"1\n\"} 1\n", "line 1: a quoted text is not closed"),
            ("a{x=\"\\q\"} 1\n", "invalid escape sequence '\\q'"),
            ("a{=\"x\"} 1\n", "invalid label name for metric \"a\""),
            ("a{,} 1\n", "invalid label name for metric \"a\""),
        ] {
            assert!(error(text).contains(expected), "{text:?}: {}", error(text));
        }
    }

    #[test]
    fn a_file_without_its_line_breaks_gets_advice() {
        for text in ["# TYPE a gaugea 1b 2", "a 1b 2", "a{x=\"y\"} 1a{x=\"z\"} 2", "# HELP a text"] {
            assert!(error(text).contains("--data-binary @FILE"), "{text:?}: {}", error(text));
        }
        assert!(!error("a 1\nb x").contains("--data-binary"));
    }

    #[test]
    fn limits_are_kept() {
        let limits = Limits { line_bytes_max: 20, series_max: 2, ..Limits::default() };
        let error = |text: &str| parse(text, &limits).unwrap_err().to_string();
        assert!(error("a 1\nb 2\nc 3\n").contains("line 3: the body has more than 2 samples"));
        assert!(error("a_rather_long_name_here 1\n").contains("the line is 25 bytes long, the limit is 20"));
        let many: Vec<String> = (0..64).map(|i| format!("l{i}=\"x\"")).collect();
        assert!(super::tests::error(&format!("a{{{}}} 1\n", many.join(","))).contains("65 labels, the limit is 64"));
        assert!(super::tests::error(&format!("a{{x=\"{}\"}} 1\n", "v".repeat(4097))).contains("4097 bytes long"));
        assert!(super::tests::error(&format!("{} 1\n", "n".repeat(513))).contains("513 bytes long"));
    }

    #[test]
    fn a_body_that_is_not_utf8_is_refused_by_line() {
        let error = parse_bytes(b"a 1\nb{x=\"\xff\"} 1\n", &Limits::default()).unwrap_err();
        assert_eq!((error.line, error.kind), (2, ParseErrorKind::Utf8));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = parse_bytes(&body, &Limits::default());
        }

        #[test]
        fn changed_bodies_are_read_without_panic(at in 0usize..120, byte in "[#a\" {}=,\\\\1\n\r\t.é]") {
            let whole = "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\",x=\"\\n\"} 1 5\n{\"b\",y=\"2\"} NaN\n";
            let at = at % whole.len();
            for text in [format!("{}{byte}{}", &whole[..at], &whole[at..]), format!("{}{byte}{}", &whole[..at], &whole[at + 1..])] {
                let _ = parse(&text, &Limits::default());
            }
        }

        #[test]
        fn labels_survive(value in "\\PC{0,20}[\\\\\"\n]?\\PC{0,5}", number: f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let text = format!("a{{x=\"{escaped}\"}} {number:?}\n");
            let exposition = parsed(&text);
            prop_assert_eq!(exposition.labels(&exposition.samples[0])[0].value.as_ref(), value);
            let Value::Float(read) = exposition.samples[0].value else { panic!() };
            prop_assert!(read == number || read.is_nan() && number.is_nan());
        }
    }
}
