//! The pages, one file each.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod generation;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod sign_in;
pub(crate) mod site;
