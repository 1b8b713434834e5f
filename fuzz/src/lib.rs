//! What strangers may send us, as functions from bytes to nothing that must not panic.
//!
//! Each [`Target`] takes any bytes, gives them to the part that reads such bytes, and asserts what must hold whatever they were.
//! `tests/corpus.rs` runs the seeds and everything in `corpus/` through them in each `cargo test`; `./search SECONDS` builds
//! `sheshi-search`, in which libFuzzer is guided by the branches that an input reaches, and looks for more.

mod compiled;
mod dns;
mod evidence;
mod firewall;
mod list;
mod policy;
mod portal;
mod query;
mod upstream;

/// One kind of bytes and what reads it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads the bytes; panics when something does not hold.
    pub run: fn(&[u8]),
    /// Inputs of our own making to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All there are.
pub const TARGETS: [Target; 8] = [
    Target { name: "query", run: query::run, seeds: query::seeds },
    Target { name: "upstream", run: upstream::run, seeds: upstream::seeds },
    Target { name: "list", run: list::run, seeds: list::seeds },
    Target { name: "compiled", run: compiled::run, seeds: compiled::seeds },
    Target { name: "policy", run: policy::run, seeds: policy::seeds },
    Target { name: "firewall", run: firewall::run, seeds: firewall::seeds },
    Target { name: "portal", run: portal::run, seeds: portal::seeds },
    Target { name: "evidence", run: evidence::run, seeds: evidence::seeds },
];
