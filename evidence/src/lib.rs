//! Controls, probes and outcomes as values; records, chain, signature, verification.
