//! Addresses in answers: which set of atoms belongs to an address.
//!
//! Ranges may lie inside one another; they are cut into pieces that do not, each with everything that covers it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{atom::Atom, network::Network, sets::Interner};

/// Octets of a piece: its first address, and the set that holds from there to the next piece.
const PIECE: usize = 20;
/// Set number of a piece that nothing covers.
const NONE: u32 = u32::MAX;

/// The ranges of a policy.
pub(crate) struct Addresses;

impl Addresses {
    /// Writes the section; `None` when there are too many sets.
    pub(crate) fn write(networks: &[(Network, Atom)], sets: &mut Interner) -> Option<Vec<u8>> {
        // At each border: what starts, what ends.
        let mut borders: BTreeMap<u128, (Vec<Atom>, Vec<Atom>)> = BTreeMap::new();
        for (network, atom) in networks {
            let (first, last) = network.range();
            borders.entry(first).or_default().0.push(*atom);
            if let Some(after) = last.checked_add(1) {
                borders.entry(after).or_default().1.push(*atom);
            }
        }
        let mut covering: BTreeMap<Atom, u32> = BTreeMap::new();
        let mut section = Vec::new();
        let mut last = NONE;
        for (first, (starts, ends)) in borders {
            for atom in starts {
                *covering.entry(atom).or_default() += 1;
            }
            for atom in ends {
                if let Some(count) = covering.get_mut(&atom) {
                    *count -= 1;
                    if *count == 0 {
                        covering.remove(&atom);
                    }
                }
            }
            let atoms: BTreeSet<Atom> = covering.keys().copied().collect();
            let set = match atoms.is_empty() {
                true => NONE,
                false => sets.number(&atoms.into_iter().collect::<Vec<_>>())?,
            };
            if set != last {
                section.extend(first.to_le_bytes());
                section.extend(set.to_le_bytes());
                last = set;
            }
        }
        Some(section)
    }

    /// Each piece: its first and last address, and the set that holds in it.
    pub(crate) fn pieces(section: &[u8]) -> impl Iterator<Item = (u128, u128, Option<u32>)> {
        let (pieces, _) = section.as_chunks::<PIECE>();
        pieces.iter().enumerate().filter_map(move |(number, piece)| {
            let first = u128::from_le_bytes(*piece.first_chunk()?);
            let set = u32::from_le_bytes(*piece.last_chunk()?);
            let next = pieces.get(number + 1).and_then(|next| next.first_chunk());
            let last = next.map_or(u128::MAX, |next| u128::from_le_bytes(*next).wrapping_sub(1));
            Some((first, last, (set != NONE).then_some(set)))
        })
    }

    /// The set of this address.
    pub(crate) fn find(section: &[u8], address: u128) -> Option<u32> {
        let (mut low, mut high) = (0, section.len() / PIECE);
        while low < high {
            let middle = low + (high - low) / 2;
            let first = section.get(middle * PIECE..)?.first_chunk().map(|first| u128::from_le_bytes(*first))?;
            if first <= address { low = middle + 1 } else { high = middle }
        }
        let piece = low.checked_sub(1)?;
        let set = section.get(piece * PIECE + 16..)?.first_chunk().map(|set| u32::from_le_bytes(*set))?;
        (set != NONE).then_some(set)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        atom::{Scope, What},
        network::number,
        sets::Sets,
    };

    proptest! {
        #[test]
        fn pieces_agree_with_the_networks(
            networks in proptest::collection::vec((0u32..4, 0u8..=32, 0u16..3), 0..20),
            asked in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let networks: Vec<(Network, Atom)> = networks
                .into_iter()
                .map(|(top, length, list)| {
                    let address = IpAddr::V4((top << 30 | 0x0a0b0c0d).into());
                    let atom = Atom { what: What::Listed(list), scope: Scope::Exact };
                    (Network::new(address, length).unwrap(), atom)
                })
                .collect();
            let mut sets = Interner::default();
            let section = Addresses::write(&networks, &mut sets).unwrap();
            let sets = Sets::read(&sets.write()).unwrap();
            for address in asked.into_iter().chain([0, u32::MAX]).flat_map(|n| [n, n & 0xc000_0000 | 0x0a0b0c0d]) {
                let address = IpAddr::V4(address.into());
                let mut expected: Vec<Atom> =
                    networks.iter().filter(|(network, _)| network.contains(address)).map(|(_, atom)| *atom).collect();
                expected.sort();
                expected.dedup();
                let found = Addresses::find(&section, number(address)).map_or(&[][..], |set| sets.get(set).unwrap());
                prop_assert_eq!(found, &expected[..]);
            }
        }
    }
}
