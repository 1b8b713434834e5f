//! Atoms: what one source says about one name, in four octets.

/// Which names below a listed one an atom speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The name and all below.
    Tree,
    /// The name only.
    Exact,
    /// What is below, not the name itself.
    Below,
}

/// What a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    /// This list has it.
    Listed(u16),
    /// This list has it, and its own exceptions do not take it back (adblock `$important`).
    Important(u16),
    /// This list takes it back (adblock `@@`, RPZ passthru).
    Spared(u16),
    /// Entries of this list for names above do not reach here (adblock `$denyallow`).
    Stopped(u16),
    /// This list of allowed names has it.
    Welcome(u16),
    /// The policy denies it.
    Deny,
    /// The policy allows it.
    Allow,
    /// This exception of the policy.
    Exception(u16),
    /// This order of the policy.
    Order(u16),
    /// This safe search target.
    Search(u16),
    /// Something below is allowed: NXDOMAIN would deny it too (RFC 8020).
    Above,
}

/// What a source says about a name, and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Atom {
    pub(crate) what: What,
    pub(crate) scope: Scope,
}

impl Atom {
    /// Whether it speaks of the asked name, when it was found at it (`whole`) or at a name above.
    pub(crate) fn reaches(self, whole: bool) -> bool {
        match self.scope {
            Scope::Tree => true,
            Scope::Exact => whole,
            Scope::Below => !whole,
        }
    }

    /// As stored: source in the low half, then scope, then kind.
    pub(crate) fn pack(self) -> u32 {
        let (kind, source) = match self.what {
            What::Listed(list) => (0, list),
            What::Important(list) => (1, list),
            What::Spared(list) => (2, list),
            What::Stopped(list) => (3, list),
            What::Welcome(list) => (4, list),
            What::Deny => (5, 0),
            What::Allow => (6, 0),
            What::Exception(exception) => (7, exception),
            What::Order(order) => (8, order),
            What::Search(target) => (9, target),
            What::Above => (10, 0),
        };
        let scope = match self.scope {
            Scope::Tree => 0,
            Scope::Exact => 1,
            Scope::Below => 2,
        };
        u32::from(source) | scope << 16 | kind << 24
    }

    /// The reverse of [`Atom::pack`]; `None` for what no `pack` makes.
    pub(crate) fn unpack(packed: u32) -> Option<Self> {
        let [low, high, scope, kind] = packed.to_le_bytes();
        let source = u16::from_le_bytes([low, high]);
        let what = match kind {
            0 => What::Listed(source),
            1 => What::Important(source),
            2 => What::Spared(source),
            3 => What::Stopped(source),
            4 => What::Welcome(source),
            5 => What::Deny,
            6 => What::Allow,
            7 => What::Exception(source),
            8 => What::Order(source),
            9 => What::Search(source),
            10 => What::Above,
            _ => return None,
        };
        let scope = match scope {
            0 => Scope::Tree,
            1 => Scope::Exact,
            2 => Scope::Below,
            _ => return None,
        };
        Some(Self { what, scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_atom_is_read_back() {
        let list = 0xabcd;
        for what in [
            What::Listed(list),
            What::Important(list),
            What::Spared(list),
            What::Stopped(list),
            What::Welcome(list),
            What::Deny,
            What::Allow,
            What::Exception(7),
            What::Order(8),
            What::Search(9),
            What::Above,
        ] {
            for scope in [Scope::Tree, Scope::Exact, Scope::Below] {
                assert_eq!(Atom::unpack(Atom { what, scope }.pack()), Some(Atom { what, scope }));
            }
        }
        assert_eq!(Atom::unpack(11 << 24), None);
        assert_eq!(Atom::unpack(3 << 16), None);
    }
}
