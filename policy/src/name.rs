//! Names: from text to wire form and back.

/// The dotted lower-case form of a wire-form name; `None` when it is malformed.
pub(crate) fn dotted(wire: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire;
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            return after.is_empty().then_some(text);
        }
        if length > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(length))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        rest = after;
    }
}
