//! Answers DNS for guests, filtered.
