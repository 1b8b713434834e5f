//! Fetches, validates and keeps editions of block lists.
