//! The parser as a whole: what it accepts, what it refuses in which words, and that printing loses nothing.

use super::grammar::NESTING_MAX;
use super::{DEPTH_MAX, ParseOptions, parse, parse_selector, pretty};
use crate::promql::ast::{Expr, selectors};
use proptest::prelude::*;

fn all(text: &str) -> Expr {
    parse(text, &ParseOptions::all()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn stable_error(text: &str) -> String {
    parse(text, &ParseOptions::default()).map(|tree| tree.to_string()).unwrap_err().to_string()
}

fn error(text: &str) -> String {
    parse(text, &ParseOptions::all()).map(|tree| tree.to_string()).unwrap_err().to_string()
}

#[test]
fn expressions_print_in_their_normal_form() {
    for (text, printed) in NORMAL_FORMS.iter().copied() {
        let tree = all(text);
        assert_eq!(tree.to_string(), printed, "{text}");
        assert_eq!(all(printed).to_string(), printed, "printed {text}");
    }
}

#[test]
fn precedence_shapes_the_tree() {
    for (text, same) in [
        ("1 - 2 - 3", "(1 - 2) - 3"),
        ("2 ^ 3 ^ 2", "2 ^ (3 ^ 2)"),
        ("-a ^ 2", "-(a ^ 2)"),
        ("-a * b", "(-a) * b"),
        ("2 ^ -a * 3", "(2 ^ (-a)) * 3"),
        ("2 ^ -a ^ 3", "2 ^ (-(a ^ 3))"),
        ("1 + 2 * 3 ^ a", "1 + (2 * (3 ^ a))"),
        ("a or b and c", "a or (b and c)"),
        ("a unless b and c", "(a unless b) and c"),
        ("a == b + 1", "a == (b + 1)"),
        ("a < b and c", "(a < b) and c"),
        ("a % b atan2 c", "(a % b) atan2 c"),
        ("-a offset 5m", "-(a offset 5m)"),
        ("-a[5m:1m]", "-(a[5m:1m])"),
        ("a + b @ 5", "a + (b @ 5)"),
        ("h </ 1 + 2", "h </ (1 + 2)"),
    ] {
        // Shape is told by the spans of the operands once parentheses are taken out of the comparison.
        let outline = |text: &str| match parse(text, &ParseOptions::all()) {
            Ok(tree) => shape(&tree),
            // `-(a[5m:1m])` is no valid type, but its shape shows in the same words of the error.
            Err(error) => error.message,
        };
        assert_eq!(outline(text), outline(same), "{text}");
    }
}

/// The tree with every operation in parentheses and no others.
fn shape(expr: &Expr) -> String {
    use crate::promql::ast::ExprKind;
    match &expr.kind {
        ExprKind::Paren(inner) => shape(inner),
        ExprKind::Unary { operand, .. } => format!("-({})", shape(operand)),
        ExprKind::Binary(binary) => {
            format!("({} {} {})", shape(&binary.left), binary.op.as_str(), shape(&binary.right))
        }
        _ => expr.to_string(),
    }
}

#[test]
fn syntax_errors_read_as_those_of_prometheus() {
    for (text, message) in SYNTAX_ERRORS.iter().copied() {
        assert_eq!(error(text), message, "{text}");
    }
    assert!(error("foo{a=~'('}").starts_with("1:5: parse error: error parsing regexp: "));
}

#[test]
fn type_errors_read_as_those_of_prometheus() {
    for (text, message) in [
        ("abs(1)", "1:5: parse error: expected type instant vector in call to function \"abs\", got scalar"),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("abs(foo, bar)", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 2"),
        ("time(1)", "1:1: parse error: expected 0 argument(s) in call to \"time\", got 1"),
        ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
        ("hour(foo, foo)", "1:1: parse error: expected at most 1 argument(s) in call to \"hour\", got 2"),
        ("label_join(foo)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1"),
        (
            "histogram_quantiles(foo, 'q', 0,0,0,0,0,0,0,0,0,0,0)",
            "1:1: parse error: expected at most 12 argument(s) in call to \"histogram_quantiles\", got 13",
        ),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk('a', foo)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("count_values(1, foo)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("1 + bool 2", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("a or on(x) group_left b", "1:1: parse error: no grouping allowed for \"or\" operation"),
        ("1 + on(x) a", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a + on(x) group_left(x) b", "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"),
        ("1 + 'a'", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
        ("foo[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        (
            "-'a'",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~'.*'}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("rate({a=''}[5m])", "1:6: parse error: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__='bar'}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo{'bar'}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("foo[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("info(foo, bar)", "1:11: parse error: expected label selectors only, got vector selector instead"),
        ("info(foo, abs(bar))", "1:11: parse error: expected label selectors only"),
        ("1 + fill(0) a", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("a or fill(0) b", "1:1: parse error: filling in missing series not allowed for set operators"),
    ] {
        assert_eq!(error(text), message, "{text}");
    }
}

#[test]
fn experimental_syntax_is_off_unless_asked_for() {
    for (text, message) in [
        ("limitk(1, foo)", "1:1: parse error: limitk() is experimental"),
        ("info(foo)", "1:1: parse error: function \"info\" is not enabled"),
        ("step()", "1:1: parse error: function \"step\" is not enabled"),
        ("foo[5m] anchored", "1:1: parse error: anchored modifier is experimental"),
        ("foo smoothed", "1:1: parse error: smoothed modifier is experimental"),
        ("foo + fill(0) bar", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        assert!(stable_error(text).starts_with(message), "{text}: {}", stable_error(text));
    }
    assert!(parse("foo[step()*2] offset -range()", &ParseOptions::default()).is_ok());
}

#[test]
fn selectors_of_match_parameters() {
    let printed = |text: &str| {
        parse_selector(text).map(|m| m.iter().map(|m| format!("{m:?} ")).collect::<String>()).map_err(|e| e.to_string())
    };
    assert_eq!(printed("up"), Ok("__name__=\"up\" ".to_owned()));
    assert_eq!(printed("up{a!='b'}"), Ok("a!=\"b\" __name__=\"up\" ".to_owned()));
    assert_eq!(printed("{}"), Ok(String::new()));
    for (text, message) in [
        ("", "1:1: parse error: unexpected end of input"),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("sum(up)", "1:4: parse error: unexpected \"(\""),
        ("1", "1:1: parse error: unexpected number \"1\""),
        ("up(", "1:3: parse error: unexpected \"(\""),
    ] {
        assert_eq!(printed(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn all_selectors_of_a_tree_are_found_in_order() {
    let tree = all("sum(a) + topk(scalar(b), rate(c[5m])) / -max_over_time((d{x='1'})[5m:] offset 1m) > bool abs(e)");
    let names: Vec<&str> = selectors(&tree).filter_map(|s| s.metric.as_deref()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[test]
fn deep_and_long_texts_are_refused_not_fatal() {
    let deep = 10_000;
    for text in [
        "(".repeat(deep) + "1" + &")".repeat(deep),
        "(".repeat(deep),
        "-".repeat(deep) + "foo",
        "- ".repeat(deep) + "1",
        "1".to_owned() + &"+1".repeat(deep),
        "a".to_owned() + &" or a".repeat(deep),
        "1".to_owned() + &"^1".repeat(deep),
        "abs(".repeat(deep) + "a" + &")".repeat(deep),
        "sum(".repeat(deep) + "a" + &")".repeat(deep),
        "a".to_owned() + &"[5m:]".repeat(deep),
        "a[".to_owned() + &"(".repeat(deep) + "1" + &")".repeat(deep) + "]",
        "a[".to_owned() + &"-".repeat(deep) + "step()]",
        "a[1".to_owned() + &"+1".repeat(deep) + "]",
        "a[1".to_owned() + &"^1".repeat(deep) + "]",
        "a[".to_owned() + &"min_of(1,".repeat(deep / 2) + "1" + &")".repeat(deep / 2) + "]",
    ] {
        let message = error(&text);
        assert!(message.contains("levels deep") || message.contains("unclosed"), "{}: {message}", &text[..20]);
    }
    let message = error(&" ".repeat(super::TEXT_BYTES_MAX + 1));
    assert!(message.starts_with("1:1: parse error: query is 65537 bytes long"), "{message}");
}

#[test]
fn trees_of_the_greatest_depth_are_walked_printed_and_dropped() {
    let (terms, levels) = (DEPTH_MAX - 1, NESTING_MAX - 1);
    for text in [
        "a".to_owned() + &" + a".repeat(terms),
        "a".to_owned() + &" ^ a".repeat(levels),
        "(".repeat(levels) + "a" + &")".repeat(levels),
        "abs(".repeat(levels) + "a" + &")".repeat(levels),
        "sum by (x) (".repeat(levels) + "a" + &")".repeat(levels),
    ] {
        let tree = all(&text);
        assert!(selectors(&tree).count() > 0);
        assert_eq!(all(&tree.to_string()).to_string(), tree.to_string());
        assert!(!pretty(&tree.clone()).is_empty());
    }
}

#[test]
fn long_expressions_are_split_over_lines() {
    let text = "sum by (job, instance) (rate(http_requests_total{code=~\"5..\",job=\"api\"}[5m])) / on (job) group_left () \
                sum by (job) (rate(http_requests_total[5m])) > 0.05";
    let expected = "    \
    sum by (job, instance) (rate(http_requests_total{code=~\"5..\",job=\"api\"}[5m]))
  / on (job) group_left ()
    sum by (job) (rate(http_requests_total[5m]))
>
  0.05";
    assert_eq!(pretty(&all(text)), expected);
    let long = "a".repeat(97);
    assert_eq!(pretty(&all(&format!("topk(3, -abs({long}))"))), format!("topk(\n  3,\n  -abs(\n    {long}\n  )\n)"));
    assert_eq!(pretty(&all("sum(foo)")), "sum(foo)");
}

/// Random expressions by grammar, as text.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("foo".to_owned()),
        Just("sum".to_owned()),
        Just("{\"a.b\",\"x.y\"=~\"z|\\u00e9\"}".to_owned()),
        Just("foo:bar{a!=\"\\n\"} offset -5m".to_owned()),
        Just("up{b='1',a=\"2\"} @ 12.3456".to_owned()),
        Just("rate(foo[5m*2] @ end() offset (step() - 1))".to_owned()),
        Just("rate(foo[5m] anchored)".to_owned()),
        "[0-9]{1,3}(\\.[0-9])?(e-?[0-9])?".prop_map(|n| n),
        Just("Inf".to_owned()),
        Just("1h30m".to_owned()),
        Just("time()".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "==bool",
            "<bool",
            ">",
            "!=",
            "and",
            "or",
            "unless on(a)",
            "</",
            ">/",
            "+ on(a) group_left(b)",
            "- ignoring(x) fill(1)",
            "* group",
            "^ -",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("+ {a}")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("SUM({a}) without (a, \"b.c\")")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[1h:step()] offset 1m)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("topk by (x) (scalar({a}), {b})")),
        ]
    })
}

proptest! {
    #[test]
    fn printing_any_tree_parses_back_to_the_same_print(text in expression()) {
        if let Ok(tree) = parse(&text, &ParseOptions::all()) {
            let printed = tree.to_string();
            let again = parse(&printed, &ParseOptions::all());
            prop_assert!(again.is_ok(), "{text} -> {printed}: {:?}", again.err());
            prop_assert_eq!(again.map(|tree| tree.to_string()).unwrap_or_default(), printed.clone());
            let pretty_again = parse(&pretty(&tree), &ParseOptions::all()).map(|tree| tree.to_string());
            prop_assert_eq!(pretty_again.unwrap_or_default(), printed);
        }
    }

    #[test]
    fn token_soup_never_panics(words in prop::collection::vec(prop::sample::select(SOUP.to_vec()), 0..25)) {
        let text = words.join(" ");
        let _ = parse_selector(&text);
        match parse(&text, &ParseOptions::all()) {
            Ok(tree) => {
                let printed = tree.to_string();
                let again = parse(&printed, &ParseOptions::all()).map(|tree| tree.to_string());
                prop_assert_eq!(again.as_ref().ok(), Some(&printed), "{}", text);
            }
            Err(error) => prop_assert!(error.with_caret(&text).contains('^')),
        }
    }

    #[test]
    fn characters_at_random_never_panic(text in "[-+*/^%(){}\\[\\]'\"`\\\\,:@=!<>~#a-z0-9_.é\u{1f600}\n ]{0,60}") {
        let _ = parse_selector(&text);
        if let Err(error) = parse(&text, &ParseOptions::all()) {
            prop_assert!(error.with_caret(&text).contains('^'));
        }
    }
}

const SOUP: [&str; 46] = [
    "foo",
    "sum",
    "rate",
    "abs",
    "topk",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "[5m]",
    "[1h:1m]",
    "(foo)",
    "by",
    "on",
    "without",
    "group_left",
    "offset",
    "@",
    "start",
    "end",
    "step",
    "range",
    "bool",
    "and",
    "or",
    "+",
    "-",
    "^",
    "==",
    "</",
    "5m",
    "1",
    "0x1f",
    "\"a\"",
    "'b'",
    ",",
    "=",
    "=~",
    ":",
    "min_of",
    "fill",
    "anchored",
];

/// A text and how it prints.
const NORMAL_FORMS: &[(&str, &str)] = &[
    ("1", "1"),
    ("-1", "-1"),
    ("+1", "1"),
    ("- - 1", "1"),
    ("-(1)", "-(1)"),
    ("1e3", "1000"),
    ("0x1F", "31"),
    ("017", "15"),
    ("1_000_000", "1000000"),
    ("iNf", "+Inf"),
    ("-Inf", "-Inf"),
    ("inf ^ 2 * inf", "Inf ^ 2 * +Inf"),
    ("nan", "NaN"),
    ("5m", "5m"),
    ("-90s", "-1m30s"),
    ("5m + 1", "5m + 1"),
    ("-2^2", "-2 ^ 2"),
    ("1+2*3", "1 + 2 * 3"),
    ("(1+2)*3", "(1 + 2) * 3"),
    ("'a\\'b'", "\"a'b\""),
    ("`a\\n`", "\"a\\\\n\""),
    ("foo{}", "foo"),
    ("{__name__=\"foo\"}", "{__name__=\"foo\"}"),
    ("{\"foo\"}", "{__name__=\"foo\"}"),
    ("{'http.requests', 'a.b' != 'z', c=~\"x|y\",}", "{\"a.b\"!=\"z\",__name__=\"http.requests\",c=~\"x|y\"}"),
    ("foo{b='1',a!~'2'}", "foo{a!~\"2\",b=\"1\"}"),
    ("foo:bar", "foo:bar"),
    (":foo", ":foo"),
    ("foo[5m] OFFSET 1h", "foo[5m] offset 1h"),
    ("foo offset -1h", "foo offset -1h"),
    ("foo offset 0s", "foo"),
    ("foo offset 1h @ 5", "foo @ 5.000 offset 1h"),
    ("foo @ -1.5", "foo @ -1.500"),
    ("foo @ -0.5 offset 5m", "foo @ -0.500 offset 5m"),
    ("foo @ START()", "foo @ start()"),
    ("foo[5m] @ end() offset 2m", "foo[5m] @ end() offset 2m"),
    ("foo[300]", "foo[5m]"),
    ("foo[5m:]", "foo[5m:]"),
    ("(foo)[1h:30s] @ 10 offset -5m", "(foo)[1h:30s] @ 10.000 offset -5m"),
    ("foo[5m*2]", "foo[5m * 2]"),
    ("foo[-(step() - 1) ^ 2]", "foo[-(step() - 1) ^ 2]"),
    ("foo[STEP()+1m:range()/4]", "foo[step() + 1m:range() / 4]"),
    ("foo[MIN_OF(1m, max_of(2, step()))]", "foo[min_of(1m, max_of(2, step()))]"),
    ("foo offset 5m + 2", "foo offset 5m + 2"),
    ("foo offset -2^2", "foo offset -2s ^ 2"),
    ("foo offset -(step()*2)", "foo offset -(step() * 2)"),
    ("foo offset +step()", "foo offset step()"),
    ("foo offset (1h) + 1", "foo offset (1h) + 1"),
    ("sum(foo) by (a, b,)", "sum by (a, b) (foo)"),
    ("SUM BY (job)(foo)", "sum by (job) (foo)"),
    ("sum by () (foo)", "sum(foo)"),
    ("sum without () (foo)", "sum without () (foo)"),
    ("sum by (\"a.b\", on, group_left, sum, start) (foo)", "sum by (\"a.b\", on, group_left, sum, start) (foo)"),
    ("topk(3, foo)", "topk(3, foo)"),
    ("count_values by (x) ('v', foo)", "count_values by (x) (\"v\", foo)"),
    ("limitk(2, foo)", "limitk(2, foo)"),
    ("sum", "sum"),
    ("sum{a='b'} + by / without", "sum{a=\"b\"} + by / without"),
    ("or or and and unless", "or or and and unless"),
    ("offset offset 5m", "offset offset 5m"),
    ("start + end{a='1'} - step * range", "start + end{a=\"1\"} - step * range"),
    ("start() + END() - Step() * range()", "start() + end() - step() * range()"),
    ("fill + fill_left", "fill + fill_left"),
    ("anchored + smoothed", "anchored + smoothed"),
    ("a + on(x) group_left(y) b", "a + on (x) group_left (y) b"),
    ("a + ignoring(x) group_right b", "a + ignoring (x) group_right () b"),
    ("a + ignoring() b", "a + b"),
    ("a + on() b", "a + on () b"),
    ("a == bool on(x) b", "a == bool on (x) b"),
    ("a > BOOL 1", "a > bool 1"),
    ("1 + on() a", "1 + a"),
    ("a and on(x) b or c unless d", "a and on (x) b or c unless d"),
    ("a + fill(0) b", "a + fill (0) b"),
    ("a + on(x) fill_left(-Inf) fill_right(1e30) b", "a + on (x) fill_left (-Inf) fill_right (1e+30) b"),
    ("a + fill_right(5m) b", "a + fill_right (300) b"),
    ("h </ 5 >/ 1", "h </ 5 >/ 1"),
    ("a atan2 b", "a atan2 b"),
    ("rate(foo[5m] anchored)", "rate(foo[5m] anchored)"),
    ("foo @ 100 smoothed + 0", "foo @ 100.000 smoothed + 0"),
    ("foo offset -100 smoothed", "foo smoothed offset -1m40s"),
    ("time()", "time()"),
    ("round(foo, 5)", "round(foo, 5)"),
    ("hour()", "hour()"),
    ("label_join(foo, 'a', ',')", "label_join(foo, \"a\", \",\")"),
    ("info(foo, {})", "info(foo, {})"),
    ("info(foo, {a='b'})", "info(foo, {a=\"b\"})"),
    ("min_of(1, 2)", "min_of(1, 2)"),
    ("foo # comment\n + # another } ) '\n bar", "foo + bar"),
    ("{a='1' # inside\n}", "{a=\"1\"}"),
    ("foo[5m # inside\n]", "foo[5m]"),
];

/// A text and its error.
const SYNTAX_ERRORS: &[(&str, &str)] = &[
    ("", "1:1: parse error: no expression found in input"),
    (" # only a comment", "1:1: parse error: no expression found in input"),
    ("up(", "1:4: parse error: unclosed left parenthesis"),
    ("(1", "1:3: parse error: unclosed left parenthesis"),
    ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("foo[5m", "1:7: parse error: unclosed left bracket"),
    ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
    ("foo]", "1:4: parse error: unexpected right bracket ']'"),
    ("foo{", "1:5: parse error: unexpected end of input inside braces"),
    ("foo}", "1:4: parse error: unexpected character: '}'"),
    ("foo{{", "1:5: parse error: unexpected left brace '{'"),
    ("foo{a%}", "1:6: parse error: unexpected character inside braces: '%'"),
    ("foo{a!b}", "1:6: parse error: unexpected character after '!' inside braces: 'b'"),
    ("foo !~ 'a'", "1:5: parse error: unexpected character after '!': '~'"),
    ("foo =~ 'a'", "1:5: parse error: unexpected character after '=': '~'"),
    ("foo $", "1:5: parse error: unexpected character: '$'"),
    ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
    ("foo\n\n  bar", "3:3: parse error: unexpected identifier \"bar\""),
    ("foo = 1", "1:5: parse error: unexpected \"=\""),
    ("foo +", "1:6: parse error: unexpected end of input"),
    ("* foo", "1:1: parse error: unexpected <op:*>"),
    ("1 2", "1:3: parse error: unexpected number \"2\""),
    ("1 'text that is long'", "1:3: parse error: unexpected string \"'text that\"..."),
    ("1 5m", "1:3: parse error: unexpected duration \"5m\""),
    ("1 a:b", "1:3: parse error: unexpected metric identifier \"a:b\""),
    ("on", "1:1: parse error: unexpected <on>"),
    ("a + group_left b", "1:5: parse error: unexpected <group_left>"),
    ("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation"),
    ("sum(rate(foo bar))", "1:14: parse error: unexpected identifier \"bar\" in aggregation"),
    ("sum by foo (bar)", "1:8: parse error: unexpected identifier \"foo\" in grouping opts, expected \"(\""),
    ("sum by (5) (bar)", "1:9: parse error: unexpected number \"5\" in grouping opts, expected label"),
    ("sum by (a b) (bar)", "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\""),
    ("sum by (\"\") (bar)", "1:9: parse error: invalid label name for grouping: \"\""),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("topk(foo)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum foo", "1:5: parse error: unexpected identifier \"foo\""),
    ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
    ("nosuch(1)", "1:1: parse error: unknown function with name \"nosuch\""),
    ("RATE(foo[5m])", "1:1: parse error: unknown function with name \"RATE\""),
    ("foo{a=1}", "1:7: parse error: unexpected character inside braces: '1'"),
    ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
    ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
    ("foo{,}", "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
    ("foo{a='1' b='2'}", "1:11: parse error: unexpected identifier \"b\" in label matching, expected \",\" or \"}\""),
    ("foo{'a' b}", "1:9: parse error: unexpected identifier \"b\" in label matching, expected \",\" or \"}\""),
    (
        "foo offset",
        "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
    ),
    ("foo offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
    ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
    ("foo @ start", "1:12: parse error: unexpected end of input in @, expected timestamp"),
    ("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
    ("foo @ 1e30", "1:1: parse error: timestamp out of bounds for @ modifier: 1000000000000000019884624838656.000000"),
    (
        "1 offset 5m",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    (
        "(foo) @ 5",
        "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("1[5m]", "1:2: parse error: ranges only allowed for vector selectors"),
    ("foo[5m][5m]", "1:8: parse error: ranges only allowed for vector selectors"),
    ("foo offset 1m [5m]", "1:15: parse error: no offset modifiers allowed before range"),
    ("foo @ 1 [5m]", "1:9: parse error: no @ modifiers allowed before range"),
    ("foo[5m", "1:7: parse error: unclosed left bracket"),
    ("foo[0]", "1:5: parse error: duration must be greater than 0"),
    ("foo[-5m]", "1:5: parse error: duration must be greater than 0"),
    ("foo[5m:0s]", "1:8: parse error: duration must be greater than 0"),
    ("foo[5m/0]", "1:7: parse error: division by zero"),
    ("foo[1e30]", "1:5: parse error: duration out of range"),
    ("foo[300y]", "1:5: parse error: duration out of range"),
    ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5mm\""),
    ("foo[1.5m]", "1:5: parse error: not a valid duration string: \"1.5m\""),
    ("foo[1s5m]", "1:5: parse error: not a valid duration string: \"1s5m\""),
    ("foo[bar]", "1:5: parse error: unexpected character in duration expression: 'b'"),
    ("foo[5m bar]", "1:8: parse error: unexpected character: 'b', expected ':'"),
    ("foo[:5m]", "1:5: parse error: unexpected colon before duration in duration expression"),
    ("foo[5m:1m:1m]", "1:10: parse error: unexpected colon ':'"),
    ("foo[5m 1m]", "1:8: parse error: unexpected duration \"1m\" in subquery or range, expected \":\" or \"]\""),
    ("foo[5m:1m 1m]", "1:11: parse error: unexpected duration \"1m\" in subquery selector, expected \"]\""),
    ("5foo", "1:1: parse error: bad number or duration syntax: \"5\""),
    ("1__0", "1:1: parse error: bad number or duration syntax: \"1__\""),
    ("'abc", "1:1: parse error: unterminated quoted string"),
    ("'abc\n'", "1:1: parse error: unterminated quoted string"),
    ("`abc", "1:1: parse error: unterminated raw string"),
    ("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
    ("'\\xg0'", "1:1: parse error: illegal character U+0067 'g' in escape sequence"),
    ("'\\ud800'", "1:1: parse error: escape sequence is an invalid Unicode code point"),
    ("'\\777'", "1:1: parse error: escape sequence is an invalid Unicode code point"),
    ("'\\xff'", "1:1: parse error: error unquoting string \"'\\\\xff'\": not valid UTF-8"),
    ("foo anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ("foo[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
    ("a + fill(0) fill(0) b", "1:13: parse error: unexpected <fill>"),
];
