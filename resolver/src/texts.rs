//! What a block answer says about itself, made once for each reason and kept as long as its policy.

use serde::Serialize;
use sheshi_policy::Reason;

use crate::{reply::ede, views::Snapshot};

/// EXTRA-TEXT of a filtered answer in the form of draft-ietf-dnsop-structured-dns-error: contact, justification, organisation.
#[derive(Serialize)]
struct Structured<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    c: Vec<&'a str>,
    j: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    o: &'a str,
}

/// Texts by reason. Each thread has its own, so that reading one takes no lock.
pub(crate) struct Texts {
    contact: Vec<String>,
    organisation: String,
    epoch: u32,
    known: Vec<(Reason, u16, Box<[u8]>)>,
}

/// Longest text: with it a block answer still fits 512 bytes behind most names.
const LONGEST: usize = 256;

impl Texts {
    pub(crate) fn new(contact: &[String], organisation: &str) -> Self {
        Self { contact: contact.to_vec(), organisation: organisation.to_owned(), epoch: 0, known: Vec::new() }
    }

    /// The Extended DNS Error code and text for `reason`.
    pub(crate) fn get(&mut self, snapshot: &Snapshot, reason: &Reason) -> (u16, &[u8]) {
        if self.epoch != snapshot.epoch {
            self.known.clear();
            self.epoch = snapshot.epoch;
        }
        let at = match self.known.iter().position(|(known, ..)| known == reason) {
            Some(at) => at,
            None => {
                self.known.push(self.make(snapshot, reason));
                self.known.len() - 1
            }
        };
        let (_, code, text) = &self.known[at];
        (*code, text)
    }

    fn make(&self, snapshot: &Snapshot, reason: &Reason) -> (Reason, u16, Box<[u8]>) {
        let category = reason.category.and_then(|category| snapshot.compiled.categories().get(usize::from(category.0)));
        let code = category.map_or(ede::BLOCKED, |category| category.ede);
        let words = snapshot.compiled.block_text(reason);
        // What the gateway was set up with goes before what the policy says, which may have been written for many cities.
        let theirs = snapshot.compiled.organisation();
        let contact: Vec<&str> = match &self.contact[..] {
            [] => theirs.contact.iter().map(|contact| &**contact).collect(),
            ours => ours.iter().map(String::as_str).collect(),
        };
        let organisation = if self.organisation.is_empty() { &*theirs.name } else { &self.organisation };
        let text =
            [Structured { c: contact, j: &words, o: organisation }, Structured { c: Vec::new(), j: &words, o: "" }]
                .into_iter()
                .filter_map(|text| serde_json::to_vec(&text).ok())
                .find(|text| text.len() <= LONGEST)
                .unwrap_or_default();
        (*reason, code, text.into())
    }
}
