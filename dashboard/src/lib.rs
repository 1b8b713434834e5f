//! The city's server.
