//! Operators between two vectors.
//!
//! Where every signature has one series on the "one" side, and no two results could be the same series, each result
//! is computed on its own when asked for ([`Join`]). Everything else is decided step by step, with Prometheus' errors
//! for what is ambiguous ([`general`]).

use super::{
    column::{Bits, Column},
    context::{Context, Keys},
    matching::{self, Signatures, match_labels, members, result_labels},
    node::{Held, Node, OwnLabels, SAME_LABELS, SeriesLabels, hold_columns},
    operate::{OneResult, Operand, Operator},
    pool::Scratch,
};
use crate::{
    model::Labels,
    promql::{
        ast::{Cardinality, VectorMatching},
        limits::QueryError,
    },
};
use std::{collections::HashMap, sync::Arc};

/// What both ways of joining need to know.
#[derive(Clone)]
pub struct JoinPlan {
    pub context: Arc<Context>,
    pub steps: usize,
    pub operator: Operator,
    pub matching: VectorMatching,
}

/// The sides by their role: the "many" side gives the labels. In one-to-one it is the left one.
struct Sides {
    many: Arc<dyn Node>,
    one: Arc<dyn Node>,
    many_signatures: Vec<u32>,
    one_members: Vec<Vec<u32>>,
    many_members: Vec<Vec<u32>>,
}

/// Joins two vectors.
pub fn join(plan: JoinPlan, left: Arc<dyn Node>, right: Arc<dyn Node>) -> Result<Arc<dyn Node>, QueryError> {
    let fills = plan.matching.fill_left.is_some() || plan.matching.fill_right.is_some();
    if !fills && (left.is_empty() || right.is_empty()) {
        return Ok(Arc::new(super::node::Nothing));
    }
    let signatures = Signatures::of(&plan.context, &plan.matching, &left, &right)?;
    let swapped = plan.matching.cardinality == Cardinality::OneToMany;
    let left_members = members(&signatures.left, signatures.count);
    let right_members = members(&signatures.right, signatures.count);
    let sides = if swapped {
        Sides {
            many: right,
            one: left,
            many_signatures: signatures.right,
            one_members: left_members,
            many_members: right_members,
        }
    } else {
        Sides {
            many: left,
            one: right,
            many_signatures: signatures.left,
            one_members: right_members,
            many_members: left_members,
        }
    };
    let one_to_one = plan.matching.cardinality == Cardinality::OneToOne;
    let clear = sides.one_members.iter().all(|m| m.len() < 2)
        && (!one_to_one || sides.many_members.iter().zip(&sides.one_members).all(|(m, o)| m.len() < 2 || o.is_empty()));
    if fills || !clear {
        return Ok(Arc::new(general(&plan, &sides, swapped)?));
    }
    let join = simple(plan.clone(), &sides, swapped)?;
    match join {
        Some(join) => Ok(Arc::new(join)),
        None => Ok(Arc::new(general(&plan, &sides, swapped)?)),
    }
}

/// Pairs of series, computed when asked for.
pub struct Join {
    plan: JoinPlan,
    many: Arc<dyn Node>,
    one: Arc<dyn Node>,
    /// Many-side and one-side series of each result.
    pairs: Vec<(u32, u32)>,
    labels: Vec<OwnLabels>,
    swapped: bool,
}

/// `None` where two results of one signature have equal labels, which only the general way can judge.
fn simple(plan: JoinPlan, sides: &Sides, swapped: bool) -> Result<Option<Join>, QueryError> {
    let delayed = plan.context.semantics.delayed_name_removal;
    let (mut pairs, mut labels) = (Vec::new(), Vec::new());
    let mut uses = vec![0u32; sides.one.len()];
    for (many, signature) in sides.many_signatures.iter().enumerate() {
        if let Some(one) = sides.one_members[*signature as usize].first() {
            pairs.push((many as u32, *one));
            uses[*one as usize] += 1;
            labels.push(result_labels(
                &plan.matching,
                plan.operator.op,
                plan.operator.return_bool,
                delayed,
                &sides.many.labels(many),
                &sides.one.labels(*one as usize),
            ));
        }
    }
    if plan.matching.cardinality != Cardinality::OneToOne {
        let mut keys = Keys::default();
        let mut key = Vec::new();
        for ((many, _), labels) in pairs.iter().zip(&labels) {
            labels.borrow().write_key(&mut key, |_| true);
            key.extend_from_slice(&sides.many_signatures[*many as usize].to_le_bytes());
            if !keys.number(&key).1 {
                return Ok(None);
            }
        }
    }
    // What is used more than once is computed once.
    let one: Arc<dyn Node> = if uses.iter().any(|n| *n > 1) {
        let own = (0..sides.one.len()).map(|i| OwnLabels::of(sides.one.labels(i))).collect();
        let (columns, charge) = hold_columns(&plan.context, &sides.one)?;
        drop(charge);
        Arc::new(Held::new(&plan.context, plan.steps, own, columns)?)
    } else {
        sides.one.clone()
    };
    Ok(Some(Join { plan, many: sides.many.clone(), one, pairs, labels, swapped }))
}

impl Node for Join {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.labels[index].borrow()
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let (many, one) = self.pairs[index];
        self.many.fill(many as usize, out, scratch)?;
        let mut other = scratch.column(self.plan.steps);
        self.one.fill(one as usize, &mut other, scratch)?;
        if self.swapped {
            self.plan.operator.apply(&self.plan.context, &other, out, true);
        } else {
            self.plan.operator.apply(&self.plan.context, &other, out, false);
        }
        scratch.give_column(other);
        Ok(())
    }

    fn names_matter(&self) -> bool {
        true
    }

    fn weight(&self) -> usize {
        self.many.weight() + self.one.weight()
    }
}

/// Result series of the general way, by labels.
struct Results<'a> {
    plan: &'a JoinPlan,
    sides: &'a Sides,
    keys: Keys,
    labels: Vec<OwnLabels>,
    columns: Vec<Column>,
    pairs: HashMap<(Option<u32>, Option<u32>), usize>,
}

impl Results<'_> {
    /// The result of a pair; a missing side is filled and has the matched labels of the other.
    fn of(&mut self, many: Option<u32>, one: Option<u32>) -> usize {
        if let Some(number) = self.pairs.get(&(many, one)) {
            return *number;
        }
        let matching = &self.plan.matching;
        let filled: Labels;
        let many_labels = many.map(|m| self.sides.many.labels(m as usize));
        let one_labels = one.map(|o| self.sides.one.labels(o as usize));
        let (many_labels, one_labels) = match (many_labels, one_labels) {
            (Some(many), Some(one)) => (many, one),
            (Some(many), None) => {
                filled = match_labels(matching, &many);
                (many, SeriesLabels::plain(&filled))
            }
            (None, Some(one)) => {
                filled = match_labels(matching, &one);
                (SeriesLabels::plain(&filled), one)
            }
            (None, None) => unreachable!("a pair has one side at least"),
        };
        let operator = &self.plan.operator;
        let delayed = self.plan.context.semantics.delayed_name_removal;
        let labels = result_labels(matching, operator.op, operator.return_bool, delayed, &many_labels, &one_labels);
        let mut key = Vec::new();
        labels.borrow().write_key(&mut key, |_| true);
        let (number, new) = self.keys.number(&key);
        if new {
            self.labels.push(labels);
            self.columns.push(Column::new(self.plan.steps));
        }
        self.pairs.insert((many, one), number);
        number
    }
}

/// Decides at every step, as Prometheus does, which samples match.
fn general(plan: &JoinPlan, sides: &Sides, swapped: bool) -> Result<Held, QueryError> {
    let (many, _many_charge) = hold_columns(&plan.context, &sides.many)?;
    let (one, _one_charge) = hold_columns(&plan.context, &sides.one)?;
    let any = |columns: &[Column]| {
        let mut bits = Bits::new(plan.steps);
        columns.iter().filter(|c| !c.is_empty()).for_each(|c| c.presence_into(&mut bits));
        bits
    };
    let (many_any, one_any) = (any(&many), any(&one));
    // With `group_right` too, `fill_left` stands for the "many" side: Prometheus swaps the sides and not the values.
    let (fill_many, fill_one) = (plan.matching.fill_left, plan.matching.fill_right);
    let fills = fill_many.is_some() || fill_one.is_some();
    let mut results =
        Results { plan, sides, keys: Keys::default(), labels: Vec::new(), columns: Vec::new(), pairs: HashMap::new() };
    let has = |columns: &[Column], index: u32, step: usize| {
        let column = &columns[index as usize];
        column.steps() > 0 && column.has(step)
    };
    for step in 0..plan.steps {
        plan.context.budget.check()?;
        if (!many_any.get(step) || !one_any.get(step)) && !fills {
            continue;
        }
        let mut at_step: HashMap<usize, u32> = HashMap::new();
        for signature in 0..sides.one_members.len() {
            let mut ones = sides.one_members[signature].iter().copied().filter(|o| has(&one, *o, step));
            let single = ones.next();
            if let (Some(first), Some(second)) = (single, ones.next()) {
                return Err(duplicate_error(plan, sides, first, second, swapped));
            }
            let mut matched = false;
            for m in sides.many_members[signature].iter().copied().filter(|m| has(&many, *m, step)) {
                if single.is_none() && fill_one.is_none() {
                    continue;
                }
                if matched && plan.matching.cardinality == Cardinality::OneToOne {
                    return Err(QueryError::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                matched = true;
                let number = results.of(Some(m), single);
                let left = Operand::of(&many[m as usize], step);
                let right = single
                    .map_or(Operand::Float(fill_one.unwrap_or_default()), |o| Operand::of(&one[o as usize], step));
                store(&mut results, &mut at_step, number, signature, step, left, right, swapped)?;
            }
            if let (false, Some(o), Some(fill)) = (matched, single, fill_many) {
                let number = results.of(None, Some(o));
                let right = Operand::of(&one[o as usize], step);
                store(&mut results, &mut at_step, number, signature, step, Operand::Float(fill), right, swapped)?;
            }
        }
    }
    Held::new(&plan.context, plan.steps, results.labels, results.columns)
}

#[allow(clippy::too_many_arguments, reason = "one place of one loop, split off for its length")]
fn store(
    results: &mut Results<'_>,
    at_step: &mut HashMap<usize, u32>,
    number: usize,
    signature: usize,
    step: usize,
    many: Operand<'_>,
    one: Operand<'_>,
    swapped: bool,
) -> Result<(), QueryError> {
    let (left, right) = if swapped { (one, many) } else { (many, one) };
    let plan = results.plan;
    let result = plan.operator.one(&plan.context, left, right);
    if result == OneResult::Incompatible {
        return Ok(());
    }
    // Within a signature grouping labels have to tell results apart; across signatures it is the same series twice.
    if let Some(other) = at_step.insert(number, signature as u32) {
        let text = if other == signature as u32 {
            "multiple matches for labels: grouping labels must ensure unique matches"
        } else {
            SAME_LABELS
        };
        return Err(QueryError::execution(text));
    }
    match result {
        OneResult::Float(value) => results.columns[number].set(step, value),
        OneResult::Histogram(histogram) => results.columns[number].set_histogram(step, histogram),
        _ => {}
    }
    Ok(())
}

fn duplicate_error(plan: &JoinPlan, sides: &Sides, first: u32, second: u32, swapped: bool) -> QueryError {
    let (first, second) = (sides.one.labels(first as usize), sides.one.labels(second as usize));
    let group = matching::match_labels(&plan.matching, &second);
    QueryError::execution(format!(
        "found duplicate series for the match group {} on the {} hand-side of the operation: [{}, {}];many-to-many \
         matching not allowed: matching labels must be unique on one side",
        braces(&group),
        if swapped { "left" } else { "right" },
        braces(&first.to_labels()),
        braces(&second.to_labels()),
    ))
}

/// Labels as Prometheus' errors show them: the name among the others.
pub fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}
