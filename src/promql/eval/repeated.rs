//! Equal expressions of one query are evaluated once.
//!
//! An expression that stands twice, letter by letter, and is asked for at the same steps is planned once. What it
//! would compute anew for each reader is computed and kept, unless that took too much memory.

use super::{
    context::{Context, Grid},
    node::{Held, Node, OwnLabels, hold_columns},
};
use crate::promql::{
    ast::{Expr, ExprKind, Span, ValueType},
    limits::QueryError,
};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Longer expressions are not compared as a whole; their parts are. Bounds the work on a long chain of operators.
const TEXT_BYTES_MAX: usize = 2048;
/// Of the bytes a query may hold, the part one kept expression may take.
const BYTES_PART: u64 = 8;

/// The expressions of a query that repeat, and what was planned for them.
pub struct Repeated<'a> {
    query: &'a str,
    texts: HashSet<&'a str>,
    planned: RefCell<Vec<Planned>>,
}

struct Planned {
    expr_text: String,
    span: Span,
    grid: Grid,
    /// What [`super::hints`] says of the selectors within, from left to right.
    figures: Vec<bool>,
    node: Arc<dyn Node>,
}

impl<'a> Repeated<'a> {
    pub fn find(query: &'a str, expr: &Expr) -> Repeated<'a> {
        let mut texts = HashSet::new();
        let mut seen = HashMap::new();
        let mut rest = vec![expr];
        while let Some(expr) = rest.pop() {
            let text = text_of(query, expr);
            if let Some(text) = text
                && let Some(first) = seen.insert(text, expr)
                && first.to_string() == expr.to_string()
            {
                // Its parts are shared with it.
                texts.insert(text);
                continue;
            }
            rest.extend(expr.children().into_iter().rev());
        }
        Repeated { query, texts, planned: RefCell::default() }
    }

    /// Whether `expr` stands elsewhere too.
    pub fn is_repeated(&self, expr: &Expr) -> bool {
        !self.texts.is_empty() && text_of(self.query, expr).is_some_and(|text| self.texts.contains(text))
    }

    /// What was planned for an equal expression at the same steps; what it notes is noted here as well.
    pub fn known(&self, context: &Arc<Context>, expr: &Expr, grid: Grid, figures: &[bool]) -> Option<Arc<dyn Node>> {
        let planned = self.planned.borrow();
        let text = text_of(self.query, expr)?;
        let same = planned.iter().filter(|p| p.grid == grid && p.figures == figures);
        let first =
            same.into_iter().find(|p| text_at(self.query, p.span) == Some(text) && p.expr_text == expr.to_string())?;
        context.annotations.repeat(first.span, expr.span.start);
        Some(first.node.clone())
    }

    /// Keeps what was planned, computed where that is better than computing it for every reader.
    pub fn keep(
        &self,
        context: &Arc<Context>,
        expr: &Expr,
        grid: Grid,
        figures: Vec<bool>,
        node: Arc<dyn Node>,
    ) -> Result<Arc<dyn Node>, QueryError> {
        let bytes = node.len().saturating_mul(grid.count).saturating_mul(8);
        let node = if node.is_held() || bytes as u64 > context.budget.bytes_max() / BYTES_PART {
            node
        } else {
            held(context, &node, grid.count)?
        };
        let expr_text = expr.to_string();
        self.planned.borrow_mut().push(Planned { expr_text, span: expr.span, grid, figures, node: node.clone() });
        Ok(node)
    }
}

fn held(context: &Arc<Context>, node: &Arc<dyn Node>, steps: usize) -> Result<Arc<dyn Node>, QueryError> {
    let (columns, charge) = hold_columns(context, node)?;
    let labels = (0..node.len()).map(|index| OwnLabels::of(node.labels(index))).collect();
    drop(charge);
    let mut held = Held::new(context, steps, labels, columns)?;
    held.names_matter = node.names_matter();
    held.order = node.order().map(<[u32]>::to_vec);
    Ok(Arc::new(held))
}

/// The text of an expression worth sharing: one that computes something and yields a vector.
fn text_of<'a>(query: &'a str, expr: &Expr) -> Option<&'a str> {
    let computes = matches!(expr.kind, ExprKind::Call(_) | ExprKind::Aggregate(_) | ExprKind::Binary(_));
    if !computes || expr.value_type() != ValueType::Vector {
        return None;
    }
    text_at(query, expr.span).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

fn text_at(query: &str, span: Span) -> Option<&str> {
    query.get(span.start..span.end)
}
