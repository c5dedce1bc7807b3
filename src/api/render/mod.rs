//! Answers as JSON, written straight from columns into one text: no tree of values in between.
//!
//! 1. [`text`] writes texts, times and label sets as Go's encoder does.
//! 2. [`result`] writes what a query answers, [`histogram`] a native histogram within it.
//! 3. [`syntax`] is the exception: a syntax tree, which is small, as a tree.
//! 4. [`exposition`] writes samples in the text format instead, for scrapers.
//! 5. [`envelope`] puts `status`, `data` and warnings around it.

pub mod envelope;
pub mod exemplars;
pub mod exposition;
pub mod histogram;
pub mod result;
pub mod syntax;
pub mod text;
