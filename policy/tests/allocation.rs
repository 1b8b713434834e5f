//! A verdict that allows or blocks takes no memory from the allocator: the fast path counts on it.
#![allow(unsafe_code)] // counting allocations needs an allocator, and implementing one is unsafe

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use sheshi_policy::{Compiled, Edition, GroupId, Moment, Name, Policy, compile};

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn verdict_that_allows_or_blocks_takes_no_memory() {
    let policy = "version = 1\nallow = [\"good.bad.example\"]\n[list.a]\nfile = \"a\"\nformat = \"adblock\"\ncategory = \"adult\"\n\
        [list.b]\nfile = \"b\"\nformat = \"hashed\"\nkey_file = \"k\"\ncategory = \"csam\"\n";
    let policy = Policy::parse(policy).unwrap();
    let texts = ["||bad.example^\n||ads*.example.net^\n/^xx[0-9]+\\.test$/\n".to_owned(), "ab".repeat(32)];
    let editions: Vec<Edition> = policy
        .lists
        .iter()
        .zip(&texts)
        .map(|(list, text)| Edition::parse_parts(list, &[(list.format, text.as_bytes())], Some([1; 32])).unwrap())
        .collect();
    let compiled = Compiled::from_bytes(compile(&policy, &editions, &mut |_| ()).unwrap()).unwrap();
    let view = compiled.view(GroupId(0), Moment::Unknown);
    for (name, blocked) in [
        ("www.bad.example", true),
        ("good.bad.example", false),
        ("other.example", false),
        ("ads7.example.net", true),
        ("xx7.test", true),
        ("xx.test", false),
    ] {
        let wire = Name::parse(name).unwrap().wire();
        // The first use of an expression on a thread makes room for its work.
        assert_eq!(compiled.decide(&wire, &view).is_block(), blocked, "{name}");
        let before = TAKEN.with(Cell::get);
        for _ in 0..10 {
            compiled.decide(&wire, &view);
        }
        assert_eq!(TAKEN.with(Cell::get), before, "{name}");
    }
    assert_ne!(TAKEN.with(Cell::get), 0, "the counter counts");
}
