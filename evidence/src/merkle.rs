//! The Merkle tree over records (RFC 9162 section 2.1): roots, compact ranges, inclusion and consistency proofs.

use crate::Digest;

/// The leaf hash of a record's bytes; also what the next record's `prev` names.
pub fn leaf(bytes: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], bytes])
}

/// The hash of two neighbours.
pub fn node(left: Digest, right: Digest) -> Digest {
    Digest::of_parts(&[&[1], &left.0, &right.0])
}

/// The roots of the perfect subtrees of the first `len` leaves, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    len: u64,
    roots: Vec<Digest>,
}

impl Range {
    /// The range of a log's first `len` leaves; `None` when there are not as many roots as `len` has bits.
    pub fn from_roots(len: u64, roots: Vec<Digest>) -> Option<Self> {
        (roots.len() as u32 == len.count_ones()).then_some(Self { len, roots })
    }

    /// How many leaves.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The roots, largest subtree first.
    pub fn roots(&self) -> &[Digest] {
        &self.roots
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut root = leaf;
        // Each trailing one of the length is a subtree as large as the one in hand.
        for _ in 0..self.len.trailing_ones() {
            let left = self.roots.pop().expect("one root for each bit of the length");
            root = node(left, root);
        }
        self.roots.push(root);
        self.len += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        let mut roots = self.roots.iter().rev().copied();
        let Some(last) = roots.next() else { return Digest::of(b"") };
        roots.fold(last, |right, left| node(left, right))
    }
}

/// All leaves with the hashes above them: what proofs are made from. 64 bytes of memory a leaf.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// `levels[k][i]` is the root of the perfect subtree of leaves `i·2^k … (i+1)·2^k − 1`.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// How many leaves.
    pub fn len(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut root = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(root);
            if row.len() % 2 == 1 {
                return;
            }
            root = node(row[row.len() - 2], row[row.len() - 1]);
        }
    }

    /// The compact range of the first `size` leaves.
    ///
    /// # Panics
    /// When the tree has fewer.
    pub fn range(&self, size: u64) -> Range {
        assert!(size <= self.len(), "a range of {size} leaves of {}", self.len());
        let mut roots = Vec::new();
        let mut start = 0;
        for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
            roots.push(self.levels[level][(start >> level) as usize]);
            start += 1 << level;
        }
        Range { len: size, roots }
    }

    /// The root of the first `size` leaves.
    ///
    /// # Panics
    /// When the tree has fewer.
    pub fn root(&self, size: u64) -> Digest {
        self.range(size).root()
    }

    /// The proof that leaf `index` is in the tree of `size` leaves (section 2.1.3.1).
    ///
    /// # Panics
    /// When `index < size ≤ len` does not hold.
    pub fn inclusion(&self, index: u64, size: u64) -> Vec<Digest> {
        assert!(index < size && size <= self.len(), "leaf {index} of {size} in a tree of {}", self.len());
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.subtree(middle, end));
                end = middle;
            } else {
                path.push(self.subtree(start, middle));
                start = middle;
            }
        }
        path.reverse();
        path
    }

    /// The proof that the tree of `old` leaves grew into that of `size` (section 2.1.4.1); empty when `old` is 0 or `size`.
    ///
    /// # Panics
    /// When `old ≤ size ≤ len` does not hold.
    pub fn consistency(&self, old: u64, size: u64) -> Vec<Digest> {
        assert!(old <= size && size <= self.len(), "from {old} to {size} in a tree of {}", self.len());
        if old == 0 || old == size {
            return Vec::new();
        }
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        // Whether the part in hand is still the whole old tree, whose root the verifier has.
        let mut whole = true;
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                path.push(self.subtree(middle, end));
                end = middle;
            } else {
                path.push(self.subtree(start, middle));
                start = middle;
                whole = false;
            }
        }
        if !whole {
            path.push(self.subtree(start, end));
        }
        path.reverse();
        path
    }

    /// The root over leaves `start … end − 1`, where the tree's own division makes them a subtree.
    fn subtree(&self, start: u64, end: u64) -> Digest {
        let count = end - start;
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            return self.levels[level as usize][(start >> level) as usize];
        }
        let middle = start + split(count);
        node(self.subtree(start, middle), self.subtree(middle, end))
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// Whether the proof puts this leaf at `index` of the tree of `size` leaves with this root (section 2.1.3.2).
pub fn verifies_inclusion(leaf: Digest, index: u64, size: u64, proof: &[Digest], root: Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for &other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(other, hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether the tree of `old` leaves with `old_root` grew into that of `size` with `root` (section 2.1.4.2).
pub fn verifies_consistency(old: u64, old_root: Digest, size: u64, root: Digest, proof: &[Digest]) -> bool {
    if old > size {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 {
        return proof.is_empty() && old_root == Digest::of(b"");
    }
    // A power of two is a subtree of the new tree, so its root is not repeated in the proof.
    let (first, rest) = match proof.split_first() {
        Some((&first, rest)) if !old.is_power_of_two() => (first, rest),
        Some(_) => (old_root, proof),
        None => return false,
    };
    let shift = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> shift, (size - 1) >> shift);
    let (mut small, mut large) = (first, first);
    for &other in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            small = node(other, small);
            large = node(other, large);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            large = node(large, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && small == old_root && large == root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(len: u64) -> Tree {
        let mut tree = Tree::default();
        (0..len).for_each(|i| tree.push(leaf(&i.to_be_bytes())));
        tree
    }

    /// Section 2.1.1, as it is written there.
    fn plain_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node(plain_root(left), plain_root(right))
            }
        }
    }

    #[test]
    fn known_roots_of_the_reference_tree() {
        // The eight leaves that certificate transparency implementations test with.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Tree::default();
        leaves.iter().for_each(|bytes| tree.push(leaf(bytes)));
        assert_eq!(tree.root(1).to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(tree.root(8).to_string(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn tree_range_and_definition_agree_for_each_size() {
        let tree = tree(70);
        let mut range = Range::default();
        for size in 0..=70 {
            let want = plain_root(tree.levels.first().map_or(&[][..], |leaves| &leaves[..size as usize]));
            assert_eq!(tree.root(size), want, "{size}");
            assert_eq!(range.root(), want, "{size}");
            assert_eq!(range, tree.range(size), "{size}");
            range.push(leaf(&size.to_be_bytes()));
        }
    }

    #[test]
    fn each_leaf_is_proved_and_nothing_else_is() {
        let tree = tree(33);
        for size in 1..=33 {
            let root = tree.root(size);
            for index in 0..size {
                let proof = tree.inclusion(index, size);
                let leaf = tree.levels[0][index as usize];
                assert!(verifies_inclusion(leaf, index, size, &proof, root), "{index} of {size}");
                assert!(!verifies_inclusion(leaf, index + 1, size, &proof, root), "{index} of {size}");
                assert!(!verifies_inclusion(Digest::of(b"x"), index, size, &proof, root));
                for changed in 0..proof.len() {
                    let mut proof = proof.clone();
                    proof[changed].0[0] ^= 1;
                    assert!(!verifies_inclusion(leaf, index, size, &proof, root));
                    proof.remove(changed);
                    assert!(!verifies_inclusion(leaf, index, size, &proof, root));
                }
                let mut longer = proof.clone();
                longer.push(root);
                assert!(!verifies_inclusion(leaf, index, size, &longer, root));
            }
        }
    }

    #[test]
    fn each_growth_is_proved_and_no_fork_is() {
        let tree = tree(33);
        for size in 0..=33 {
            for old in 0..=size {
                let proof = tree.consistency(old, size);
                let (old_root, root) = (tree.root(old), tree.root(size));
                assert!(verifies_consistency(old, old_root, size, root, &proof), "{old} to {size}");
                let fork = Digest::of(b"fork");
                assert!(!verifies_consistency(old, fork, size, root, &proof), "{old} to {size}");
                if old > 0 {
                    assert!(!verifies_consistency(old, old_root, size, fork, &proof), "{old} to {size}");
                }
                for changed in 0..proof.len() {
                    let mut proof = proof.clone();
                    proof[changed].0[0] ^= 1;
                    assert!(!verifies_consistency(old, old_root, size, root, &proof));
                    proof.remove(changed);
                    assert!(!verifies_consistency(old, old_root, size, root, &proof));
                }
                if old < size {
                    assert!(!verifies_consistency(size, root, old, old_root, &proof));
                }
            }
        }
    }
}
