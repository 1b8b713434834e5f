//! Names and policies for the benches: always the same, so that runs compare.

use sheshi_policy::{Compiled, Edition, Policy, Spec, compile};

/// How many names the list has.
pub const LISTED: usize = 300_000;

/// The policy that the benches run under, and what its list says.
const POLICY: &str = r#"
version = 1
allow = ["good.n7.adult.example"]
[category.adult]
locked = false
[list.adult]
category = "adult"
file = "adult.txt"
format = "adblock"
"#;

/// The listed name of a number: of the length that names have, no two alike.
pub fn listed(number: usize) -> String {
    let syllables = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va"];
    let (mut rest, mut name) = (number.wrapping_mul(2_654_435_761) % (1 << 32), String::new());
    for _ in 0..4 {
        name += syllables[rest % 16];
        rest /= 16;
    }
    format!("{name}{number:x}.{}", ["com", "net", "org", "example"][rest % 4])
}

/// A name in wire form.
pub fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A query for the address of a name, with EDNS, as a phone sends it.
pub fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend(wire(name));
    message.extend([0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    message
}

/// The policy, checked.
///
/// # Panics
/// When it is wrong.
pub fn policy() -> Policy {
    Spec::parse(POLICY).and_then(|spec| spec.check()).expect("a good policy")
}

/// An edition with `count` names, two hundred patterns and as many expressions as lists of this size have.
///
/// # Panics
/// When it is no list.
pub fn edition(policy: &Policy, count: usize) -> Edition {
    let mut text: String = (0..count).map(|number| format!("||{}^\n", listed(number))).collect();
    text.extend((0..200).map(|number| format!("||banner{number}*.ads.example^\n")));
    text.extend((0..20).map(|number| format!("/^track[0-9]+{number}x\\.site\\.example$/\n")));
    text += "||n7.adult.example^\n";
    Edition::parse(&policy.lists[0], text.as_bytes()).expect("a list")
}

/// The policy with its list, compiled and loaded.
///
/// # Panics
/// When it does not compile.
pub fn compiled(count: usize) -> Compiled {
    let policy = policy();
    let edition = edition(&policy, count);
    Compiled::from_bytes(compile(&policy, &[edition], &mut |_| ()).expect("compiles")).expect("loads")
}
