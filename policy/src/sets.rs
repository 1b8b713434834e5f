//! Sets of atoms: many names say the same, so what is said is stored once and named by a number.

use std::collections::HashMap;

use crate::atom::Atom;

/// Sets on their way into the file.
#[derive(Default)]
pub(crate) struct Interner {
    numbers: HashMap<Box<[Atom]>, u32>,
    sets: Vec<Box<[Atom]>>,
}

impl Interner {
    /// The number of this set; `None` when there are more sets than the table can name.
    pub(crate) fn number(&mut self, atoms: &[Atom]) -> Option<u32> {
        if let Some(&number) = self.numbers.get(atoms) {
            return Some(number);
        }
        let number = u32::try_from(self.sets.len()).ok().filter(|&number| (number as usize) < crate::table::SETS)?;
        self.numbers.insert(atoms.into(), number);
        self.sets.push(atoms.into());
        Some(number)
    }

    /// As stored: for each set the number of its atoms, then the atoms.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut section = Vec::new();
        for set in &self.sets {
            section.extend((set.len() as u32).to_le_bytes());
            section.extend(set.iter().flat_map(|atom| atom.pack().to_le_bytes()));
        }
        section
    }
}

/// Sets to look up in. Few, so they are kept unpacked.
pub(crate) struct Sets {
    atoms: Box<[Atom]>,
    ends: Box<[u32]>,
}

impl Sets {
    /// Reads what [`Interner::write`] wrote.
    pub(crate) fn read(section: &[u8]) -> Option<Self> {
        let (mut atoms, mut ends) = (Vec::new(), Vec::new());
        let mut words = section.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
        while let Some(count) = words.next() {
            for _ in 0..count {
                atoms.push(Atom::unpack(words.next()?)?);
            }
            ends.push(u32::try_from(atoms.len()).ok()?);
        }
        Some(Self { atoms: atoms.into(), ends: ends.into() })
    }

    /// The atoms of a set.
    pub(crate) fn get(&self, number: u32) -> Option<&[Atom]> {
        let number = number as usize;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.atoms.get(start..*self.ends.get(number)? as usize)
    }
}
