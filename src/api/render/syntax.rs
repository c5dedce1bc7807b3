//! A syntax tree as JSON: the shape that Prometheus' own page draws its tree from.

use crate::{
    model::{MatchOp, number},
    promql::{
        ast::{
            Aggregate, At, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationKind, DurationNode, Expr,
            ExprKind, Extension, Subquery, ValueType, VectorMatching, VectorSelector,
        },
        functions::{Arity, Function},
    },
};
use serde_json::{Map, Value, json};

/// The tree below `expr`. The parser bounds how deep it is.
pub fn syntax_tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number { value, .. } => json!({ "type": "numberLiteral", "val": number::format_plain(*value) }),
        ExprKind::Text(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": syntax_tree(inner) }),
        ExprKind::Unary { negative, operand } => {
            json!({ "type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": syntax_tree(operand) })
        }
        ExprKind::Binary(binary) => binary_tree(binary),
        ExprKind::Aggregate(aggregate) => aggregate_tree(aggregate),
        ExprKind::Call(call) => call_tree(call),
        ExprKind::Vector(selector) => Value::Object(selector_tree("vectorSelector", selector)),
        ExprKind::Matrix(matrix) => {
            let mut tree = selector_tree("matrixSelector", &matrix.vector);
            put_duration(&mut tree, "range", Some(&matrix.range));
            Value::Object(tree)
        }
        ExprKind::Subquery(subquery) => subquery_tree(subquery),
    }
}

fn binary_tree(binary: &Binary) -> Value {
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": syntax_tree(&binary.left),
        "rhs": syntax_tree(&binary.right),
        "matching": binary.matching.as_ref().map(matching_tree),
        "bool": binary.return_bool,
    })
}

fn matching_tree(matching: &VectorMatching) -> Value {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": cardinality,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
    })
}

fn aggregate_tree(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": syntax_tree(&aggregate.operand),
        "param": aggregate.parameter.as_ref().map(syntax_tree),
        "grouping": aggregate.grouping,
        "without": aggregate.without,
    })
}

fn call_tree(call: &Call) -> Value {
    let Function { name, arguments, returns, .. } = call.function;
    let types: Vec<&str> = arguments.iter().map(|argument| type_name(*argument)).collect();
    json!({
        "type": "call",
        "func": {
            "name": name,
            "argTypes": types,
            "variadic": variadic(call.function),
            "returnType": type_name(*returns),
        },
        "args": call.arguments.iter().map(syntax_tree).collect::<Vec<Value>>(),
    })
}

/// Go's notation: how many more of the last argument there may be, -1 for any number.
fn variadic(function: &Function) -> i64 {
    match function.arity {
        Arity::Exact => 0,
        Arity::LastOptional => 1,
        Arity::LastRepeated => -1,
        Arity::LastUpTo(most) => i64::try_from(most).map_or(-1, |most| most - 1),
    }
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::Text => "string",
    }
}

fn selector_tree(kind: &str, selector: &VectorSelector) -> Map<String, Value> {
    let mut tree = Map::new();
    tree.insert("type".to_owned(), kind.into());
    tree.insert("name".to_owned(), selector.metric.as_deref().unwrap_or_default().into());
    let matchers = selector.matchers.iter().map(|matcher| {
        let op: MatchOp = matcher.op;
        json!({ "name": matcher.name, "value": matcher.value, "type": op.as_str() })
    });
    tree.insert("matchers".to_owned(), matchers.collect());
    put_duration(&mut tree, "offset", selector.offset.as_ref());
    put_at(&mut tree, selector.at);
    tree.insert("anchored".to_owned(), (selector.extension == Extension::Anchored).into());
    tree.insert("smoothed".to_owned(), (selector.extension == Extension::Smoothed).into());
    tree
}

fn subquery_tree(subquery: &Subquery) -> Value {
    let mut tree = Map::new();
    tree.insert("type".to_owned(), "subquery".into());
    tree.insert("expr".to_owned(), syntax_tree(&subquery.operand));
    put_duration(&mut tree, "range", Some(&subquery.range));
    put_duration(&mut tree, "offset", subquery.offset.as_ref());
    put_duration(&mut tree, "step", subquery.step.as_ref());
    put_at(&mut tree, subquery.at);
    Value::Object(tree)
}

fn put_at(tree: &mut Map<String, Value>, at: Option<At>) {
    let (timestamp, edge) = match at {
        None => (Value::Null, Value::Null),
        Some(At::Time(time)) => (time.into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
    };
    tree.insert("timestamp".to_owned(), timestamp);
    tree.insert("startOrEnd".to_owned(), edge);
}

/// Milliseconds under `name`, and what is computed when the query runs under `nameExpr`.
fn put_duration(tree: &mut Map<String, Value>, name: &str, duration: Option<&DurationExpr>) {
    let (milliseconds, computed) = match duration {
        None => (0, Value::Null),
        Some(DurationExpr::Literal(milliseconds)) => (*milliseconds, Value::Null),
        Some(DurationExpr::Computed(node)) => (0, duration_tree(node)),
    };
    tree.insert(name.to_owned(), milliseconds.into());
    tree.insert(format!("{name}Expr"), computed);
}

fn duration_tree(node: &DurationNode) -> Value {
    let pair = |op: &str, left: Option<&DurationNode>, right: Option<&DurationNode>, wrapped: bool| {
        json!({
            "type": "durationExpr",
            "op": op,
            "lhs": left.map(duration_tree),
            "rhs": right.map(duration_tree),
            "wrapped": wrapped,
        })
    };
    match &node.kind {
        DurationKind::Number { seconds, .. } => {
            json!({ "type": "numberLiteral", "val": number::format_plain(*seconds) })
        }
        DurationKind::Step => pair("step", None, None, false),
        DurationKind::Range => pair("range", None, None, false),
        DurationKind::Negate(operand) => pair(BinaryOp::Sub.as_str(), None, Some(operand), false),
        DurationKind::Binary { op, left, right } => pair(op.as_str(), Some(left), Some(right), false),
        DurationKind::MinOf(left, right) => pair("min_of", Some(left), Some(right), false),
        DurationKind::MaxOf(left, right) => pair("max_of", Some(left), Some(right), false),
        DurationKind::Paren(inner) => {
            let mut tree = duration_tree(inner);
            if let Some(tree) = tree.as_object_mut().filter(|tree| tree.contains_key("wrapped")) {
                tree.insert("wrapped".to_owned(), true.into());
            }
            tree
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parser::{ParseOptions, parse};

    fn tree(query: &str) -> Value {
        syntax_tree(&parse(query, &ParseOptions::all()).unwrap())
    }

    #[test]
    fn selectors_carry_matchers_times_and_edges() {
        assert_eq!(
            tree("up{job!~\"a.*\"}[5m] @ end() offset 1m"),
            json!({
                "type": "matrixSelector", "name": "up", "range": 300_000, "rangeExpr": null, "offset": 60_000,
                "offsetExpr": null, "timestamp": null, "startOrEnd": "end", "anchored": false, "smoothed": false,
                "matchers": [
                    { "name": "job", "value": "a.*", "type": "!~" },
                    { "name": "__name__", "value": "up", "type": "=" },
                ],
            })
        );
        let pinned = tree("up @ 1.5");
        assert_eq!((&pinned["type"], &pinned["timestamp"]), (&json!("vectorSelector"), &json!(1_500)));
    }

    #[test]
    fn operators_calls_and_aggregations_carry_their_modifiers() {
        let sum = tree("sum by (a) (-x * on (b) group_left (c) y)");
        assert_eq!(sum["type"], "aggregation");
        assert_eq!((&sum["op"], &sum["param"], &sum["grouping"]), (&json!("sum"), &Value::Null, &json!(["a"])));
        let product = &sum["expr"];
        assert_eq!(
            product["matching"],
            json!({
                "card": "many-to-one", "labels": ["b"], "on": true, "include": ["c"],
                "fillValues": { "lhs": null, "rhs": null },
            })
        );
        assert_eq!((&product["lhs"]["type"], &product["lhs"]["op"]), (&json!("unaryExpr"), &json!("-")));
        let call = tree("(round(x > bool 1, 1e3))");
        assert_eq!(
            call["expr"]["func"],
            json!({ "name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector" })
        );
        assert_eq!(call["expr"]["args"][1], json!({ "type": "numberLiteral", "val": "1000" }));
        let compared = &call["expr"]["args"][0];
        assert_eq!((&compared["bool"], &compared["matching"]), (&json!(true), &Value::Null));
        assert_eq!(tree("\"text\""), json!({ "type": "stringLiteral", "val": "text" }));
    }

    #[test]
    fn subqueries_and_computed_durations() {
        let subquery = tree("rate(x[step()])[1h:5m]");
        assert_eq!((&subquery["range"], &subquery["step"]), (&json!(3_600_000), &json!(300_000)));
        let range = &subquery["expr"]["args"][0];
        assert_eq!((&range["range"], &range["rangeExpr"]["op"]), (&json!(0), &json!("step")));
    }
}
