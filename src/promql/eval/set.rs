//! `and`, `or` and `unless`: series of either side, at the steps the other side allows.

use super::{
    column::{Bits, Column},
    context::Context,
    matching::Signatures,
    node::{Held, Node, OwnLabels, SeriesLabels, hold_columns, presences},
    pool::Scratch,
};
use crate::promql::{
    ast::{BinaryOp, VectorMatching},
    limits::QueryError,
};
use std::sync::Arc;

/// Series of one node, each masked by the presence of its signature on the other side.
pub struct Masked {
    input: Arc<dyn Node>,
    signatures: Vec<u32>,
    present: Vec<Bits>,
    /// Keep where the other side is present, else where it is not.
    keep_present: bool,
}

/// Several nodes, one after the other.
pub struct Chain(pub Vec<Arc<dyn Node>>);

/// Applies a set operator.
pub fn set(
    context: &Arc<Context>,
    steps: usize,
    op: BinaryOp,
    matching: &VectorMatching,
    left: Arc<dyn Node>,
    right: Arc<dyn Node>,
) -> Result<Arc<dyn Node>, QueryError> {
    let signatures = Signatures::of(context, matching, &left, &right)?;
    let by_signature = |node: &Arc<dyn Node>, numbers: &[u32]| -> Result<Vec<Bits>, QueryError> {
        let mut present = vec![Bits::new(steps); signatures.count];
        for (bits, signature) in presences(context, node)?.iter().zip(numbers) {
            present[*signature as usize].or(bits);
        }
        Ok(present)
    };
    if op != BinaryOp::Or {
        let present = by_signature(&right, &signatures.right)?;
        let keep_present = op == BinaryOp::And;
        return Ok(Arc::new(Masked { input: left, signatures: signatures.left, present, keep_present }));
    }
    // The left side is needed twice: to answer, and to know where the right side may.
    let labels = (0..left.len()).map(|i| OwnLabels::of(left.labels(i))).collect();
    let (columns, charge) = hold_columns(context, &left)?;
    drop(charge);
    let mut held = Held::new(context, steps, labels, columns)?;
    held.order = left.order().map(<[u32]>::to_vec);
    held.names_matter = left.names_matter();
    let left: Arc<dyn Node> = Arc::new(held);
    let present = by_signature(&left, &signatures.left)?;
    let right = Arc::new(Masked { input: right, signatures: signatures.right, present, keep_present: false });
    Ok(Arc::new(Chain(vec![left, right])))
}

impl Node for Masked {
    fn len(&self) -> usize {
        self.input.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.input.labels(index)
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let mask = &self.present[self.signatures[index] as usize];
        if self.keep_present && !mask.any() {
            out.reset(mask.steps());
            return Ok(());
        }
        self.input.fill(index, out, scratch)?;
        if self.keep_present {
            out.keep(mask);
        } else {
            out.drop_steps(mask);
        }
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.input.names_matter()
    }

    fn weight(&self) -> usize {
        self.input.weight()
    }

    fn order(&self) -> Option<&[u32]> {
        self.input.order()
    }
}

impl Chain {
    fn find(&self, mut index: usize) -> (&Arc<dyn Node>, usize) {
        for node in &self.0 {
            if index < node.len() {
                return (node, index);
            }
            index -= node.len();
        }
        unreachable!("the index is below the sum of lengths")
    }
}

impl Node for Chain {
    fn len(&self) -> usize {
        self.0.iter().map(|node| node.len()).sum()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        let (node, index) = self.find(index);
        node.labels(index)
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let (node, index) = self.find(index);
        node.fill(index, out, scratch)
    }

    fn names_matter(&self) -> bool {
        true
    }

    fn weight(&self) -> usize {
        self.0.iter().map(|node| node.weight()).max().unwrap_or(0)
    }
}
