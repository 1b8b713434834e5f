//! What guests see: probes, RFC 8908, terms, sessions, block page.
