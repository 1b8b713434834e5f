//! Canonical JSON: the one byte form of a value (`docs/evidence-format.md`, section 1).

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Error;

/// Largest integer that every JSON reader holds exactly: 2^53 − 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The canonical bytes of a value.
///
/// # Panics
/// Where the value is not one of ours: a fraction, an integer beyond [`MAX_INTEGER`], a map with keys that are not strings.
/// Values of this room cannot be made so; what comes from outside goes through [`decode`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    try_encode(value).expect("a value of this room has a canonical form")
}

/// Reads a value and refuses bytes that are not its canonical form.
///
/// # Errors
/// [`Error::NotCanonical`] with what is wrong.
pub fn decode<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, Error> {
    let value: T = serde_json::from_slice(bytes).map_err(|error| Error::NotCanonical(error.to_string()))?;
    let again = try_encode(&value)?;
    same(bytes, &again)?;
    Ok(value)
}

/// Compares what was read with what we would have written.
pub(crate) fn same(read: &[u8], written: &[u8]) -> Result<(), Error> {
    if read == written {
        return Ok(());
    }
    let at = read.iter().zip(written).position(|(a, b)| a != b).unwrap_or(read.len().min(written.len()));
    Err(Error::NotCanonical(format!("byte {at} differs from the canonical form")))
}

fn try_encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let value = serde_json::to_value(value).map_err(|error| Error::NotCanonical(error.to_string()))?;
    let mut out = Vec::new();
    write(&value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_none_or(|magnitude| magnitude > MAX_INTEGER) {
                return Err(Error::NotCanonical(format!("{number} is not an integer below 2^53")));
            }
            out.extend(number.to_string().bytes());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Sorted here, because another crate of a build may switch serde_json to insertion order.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (i, (key, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    // serde_json escapes exactly as section 1 asks.
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_are_sorted_and_control_characters_escaped() {
        let value = serde_json::json!({"b": [1, -2, true, null], "a": "\u{8}\t\n\u{c}\r\u{1f}\"\\/ë\u{7f}"});
        assert_eq!(
            String::from_utf8(encode(&value)).unwrap(),
            "{\"a\":\"\\b\\t\\n\\f\\r\\u001f\\\"\\\\/ë\u{7f}\",\"b\":[1,-2,true,null]}"
        );
    }

    #[test]
    fn other_spellings_of_the_same_value_are_refused() {
        type Map = BTreeMap<String, i64>;
        assert!(decode::<Map>(br#"{"a":1,"b":2}"#).is_ok());
        for text in [
            r#"{"b":2,"a":1}"#,
            r#"{"a":1, "b":2}"#,
            r#"{"a":1,"a":1,"b":2}"#,
            r#"{"a":1,"b":2}"#.replace('a', "\\u0061").as_str(),
            "{\"a\":1,\"b\":2}\n",
            r#"{"a":1,"b":-0}"#,
            r#"{"a":1,"b":9007199254740992}"#,
            r#"{"a":1,"b":2.0}"#,
            "\u{feff}{\"a\":1}",
        ] {
            assert!(matches!(decode::<Map>(text.as_bytes()), Err(Error::NotCanonical(_))), "{text}");
        }
    }
}
