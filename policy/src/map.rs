//! The memory map of a compiled file.
#![allow(unsafe_code)] // mapping a file is: what is mapped changes when somebody writes into the file

use std::{fs::File, io};

/// A file mapped for reading.
pub(crate) struct Map(memmap2::Mmap);

impl Map {
    /// Maps the whole file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: a compiled file is written under another name, synced and renamed into place, and never written into
        // or cut afterwards (docs/decisions/0011); the map keeps the old file when the name is given to a new one.
        // Whoever may write into the file of root's daemon can as well replace the daemon.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }

    /// What is mapped.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}
