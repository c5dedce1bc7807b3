//! Explanations over a store in memory.
