//! Roles: what a person may do here. Which route is granted to which role is in `routes.rs`.

use serde::{Deserialize, Serialize};

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, people included.
    Owner,
    /// Writes and publishes policy.
    Policy,
    /// Lets gateways in and turns them away.
    Operator,
    /// Reads.
    Viewer,
    /// Reads, the audit log too, and changes nothing.
    Certifier,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Policy, Self::Operator, Self::Viewer, Self::Certifier];

    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Policy => "policy",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Certifier => "certifier",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
