#![allow(unsafe_code)]
//! What nftnl's safe interface cannot say, said through libnftnl's own functions: the only file of the room with `unsafe`.
//!
//! Expressions the crate does not know (given as data: a name and its attributes), sets with flags and sizes, elements
//! with a time, a value, a measure or an interval's end, emptying a set, table flags. Each function hands libnftnl values that live longer
//! than the call, of the size the attribute has, and checks every allocation; libnftnl copies what it is given.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::NonNull,
};

use nftnl::{
    Batch, MsgType, NlMsg, ProtoFamily, Rule, Table,
    expr::Expression,
    nftnl_sys as nft,
    nftnl_sys::libc,
    set::{Set, SetKey},
};

/// An attribute's value.
pub(crate) enum Value {
    /// One byte.
    U8(u8),
    /// Host order; libnftnl turns it.
    U32(u32),
    /// Host order; libnftnl turns it.
    U64(u64),
    /// A name.
    Text(CString),
    /// An expression inside this one.
    Inner(Raw),
}

/// An expression by its name and attributes (`NFTNL_EXPR_…`), for those the safe crate lacks.
pub(crate) struct Raw {
    pub(crate) name: &'static CStr,
    pub(crate) attributes: Vec<(u32, Value)>,
}

impl Expression for Raw {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<nft::nftnl_expr> {
        self.made()
    }
}

impl Raw {
    fn made(&self) -> NonNull<nft::nftnl_expr> {
        // SAFETY: the name is a C string; libnftnl returns null for a name it does not know.
        let expr = allocated(unsafe { nft::nftnl_expr_alloc(self.name.as_ptr()) });
        for (attribute, value) in &self.attributes {
            let attribute = *attribute as u16;
            // SAFETY: `expr` was just made and is not shared; the setters copy the value by its type's size, the
            // text up to its end.
            unsafe {
                match value {
                    Value::U8(value) => nft::nftnl_expr_set_u8(expr.as_ptr(), attribute, *value),
                    Value::U32(value) => nft::nftnl_expr_set_u32(expr.as_ptr(), attribute, *value),
                    Value::U64(value) => nft::nftnl_expr_set_u64(expr.as_ptr(), attribute, *value),
                    Value::Text(text) => {
                        // Fails only when memory is out.
                        if nft::nftnl_expr_set_str(expr.as_ptr(), attribute, text.as_ptr()) < 0 {
                            std::process::abort();
                        }
                    }
                    // The outer expression owns the inner one from now on, and frees it.
                    Value::Inner(inner) => {
                        let inner = inner.made();
                        nft::nftnl_expr_add_expr(expr.as_ptr(), u32::from(attribute), inner.as_ptr());
                    }
                }
            }
        }
        expr
    }
}

/// Gives a set its flags (`NFT_SET_…`) and, unless zero, the most elements it takes.
pub(crate) fn shape<K>(set: &mut Set<'_, K>, flags: u32, size: u32) {
    let set = set.as_ptr().as_ptr();
    // SAFETY: `set` is a live nftnl_set that we hold exclusively; both attributes are u32.
    unsafe {
        nft::nftnl_set_set_u32(set, nft::NFTNL_SET_FLAGS as u16, flags);
        if size > 0 {
            nft::nftnl_set_set_u32(set, nft::NFTNL_SET_DESC_SIZE as u16, size);
        }
    }
}

/// Lets each element of a set lead to a value: its type as nft numbers it, and its length in bytes.
pub(crate) fn leads_to<K>(set: &mut Set<'_, K>, kind: u32, length: u32) {
    let set = set.as_ptr().as_ptr();
    // SAFETY: `set` is a live nftnl_set that we hold exclusively; both attributes are u32.
    unsafe {
        nft::nftnl_set_set_u32(set, nft::NFTNL_SET_DATA_TYPE as u16, kind);
        nft::nftnl_set_set_u32(set, nft::NFTNL_SET_DATA_LEN as u16, length);
    }
}

/// Gives each element of a set an expression of this kind.
pub(crate) fn measures<K>(set: &mut Set<'_, K>, measure: &Raw) {
    // SAFETY: `set` is a live nftnl_set that we hold exclusively; it owns the expression from now on, and frees it.
    unsafe { nft::nftnl_set_add_expr(set.as_ptr().as_ptr(), measure.made().as_ptr()) };
}

/// What an element comes with.
pub(crate) enum With {
    /// Nothing.
    Nothing,
    /// A time in milliseconds, unless zero.
    Time(u64),
    /// It is the end of an interval.
    IntervalEnd,
    /// The value it leads to.
    Value(u32),
    /// An expression of its own.
    Measure(Raw),
}

/// Puts an element into the list that `Set::elems_iter` sends.
pub(crate) fn element<K: SetKey>(set: &mut Set<'_, K>, key: &K, with: &With) {
    let data = key.data();
    // SAFETY: takes nothing; null is checked.
    let element = allocated(unsafe { nft::nftnl_set_elem_alloc() });
    // SAFETY: `element` is ours until nftnl_set_elem_add gives it to the set, which frees it; `data` is read in the call.
    unsafe {
        let key = data.as_ptr().cast::<c_void>();
        nft::nftnl_set_elem_set(element.as_ptr(), nft::NFTNL_SET_ELEM_KEY as u16, key, data.len() as u32);
        match with {
            With::Nothing | With::Time(0) => {}
            With::Time(milliseconds) => {
                nft::nftnl_set_elem_set_u64(element.as_ptr(), nft::NFTNL_SET_ELEM_TIMEOUT as u16, *milliseconds);
            }
            With::IntervalEnd => {
                let flags = libc::NFT_SET_ELEM_INTERVAL_END as u32;
                nft::nftnl_set_elem_set_u32(element.as_ptr(), nft::NFTNL_SET_ELEM_FLAGS as u16, flags);
            }
            With::Value(value) => {
                let bytes = value.to_ne_bytes();
                let value = bytes.as_ptr().cast::<c_void>();
                nft::nftnl_set_elem_set(element.as_ptr(), nft::NFTNL_SET_ELEM_DATA as u16, value, bytes.len() as u32);
            }
            // The element owns the expression from now on, and frees it.
            With::Measure(measure) => nft::nftnl_set_elem_add_expr(element.as_ptr(), measure.made().as_ptr()),
        }
        nft::nftnl_set_elem_add(set.as_ptr().as_ptr(), element.as_ptr());
    }
}

/// Adds the message that empties a set: a deletion of elements that names none.
pub(crate) fn empty<K>(batch: &mut Batch, set: &Set<'_, K>) {
    struct Empty(NonNull<nft::nftnl_set>);
    // SAFETY: a header, a table's and a set's name: far below the largest message.
    unsafe impl NlMsg for Empty {
        unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _: MsgType) {
            // SAFETY: the batch gives a buffer with room for the largest message; the set lives through this call.
            unsafe {
                let header = header(buffer, libc::NFT_MSG_DELSETELEM, sequence);
                nft::nftnl_set_elems_nlmsg_build_payload(header, self.0.as_ptr());
            }
        }
    }
    batch.add(&Empty(set.as_ptr()), MsgType::Del);
}

/// A table with flags: `NFT_TABLE_F_OWNER` (2) and `NFT_TABLE_F_PERSIST` (4), which the safe crate has no word for.
pub(crate) struct FlaggedTable(NonNull<nft::nftnl_table>);

impl FlaggedTable {
    pub(crate) fn new(name: &CString, flags: u32) -> Self {
        // SAFETY: takes nothing; null is checked.
        let table = allocated(unsafe { nft::nftnl_table_alloc() });
        // SAFETY: `table` was just made; the name is copied, the others are u32.
        unsafe {
            nft::nftnl_table_set_u32(table.as_ptr(), nft::NFTNL_TABLE_FAMILY as u16, ProtoFamily::Inet as u32);
            nft::nftnl_table_set_str(table.as_ptr(), nft::NFTNL_TABLE_NAME as u16, name.as_ptr());
            nft::nftnl_table_set_u32(table.as_ptr(), nft::NFTNL_TABLE_FLAGS as u16, flags);
        }
        Self(table)
    }
}

// SAFETY: a header, a name and a flag word: far below the largest message.
unsafe impl NlMsg for FlaggedTable {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, _: MsgType) {
        // SAFETY: the batch gives a buffer with room for the largest message; the table lives as long as `self`.
        unsafe {
            let header = header(buffer, libc::NFT_MSG_NEWTABLE, sequence);
            nft::nftnl_table_nlmsg_build_payload(header, self.0.as_ptr());
        }
    }
}

impl Drop for FlaggedTable {
    fn drop(&mut self) {
        // SAFETY: we made it, and nobody else has it.
        unsafe { nft::nftnl_table_free(self.0.as_ptr()) };
    }
}

/// The name of a table as libnftnl wants it.
pub(crate) fn table(name: &CString) -> Table {
    Table::new(name, ProtoFamily::Inet)
}

/// Writes the header of an nftables message of the family `inet`.
///
/// # Safety
/// The buffer has room for a message header.
unsafe fn header(buffer: *mut c_void, message: libc::c_int, sequence: u32) -> *mut libc::nlmsghdr {
    let (family, flags) = (ProtoFamily::Inet as u16, libc::NLM_F_ACK as u16);
    // SAFETY: the caller's promise.
    unsafe { nft::nftnl_nlmsg_build_hdr(buffer.cast::<c_char>(), message as u16, family, flags, sequence) }
}

/// libnftnl's allocations are a few hundred bytes: when they fail, there is nothing left to go on with. The rules in the
/// kernel stay.
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| std::process::abort())
}
