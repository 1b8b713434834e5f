//! Records: the lines of a gateway's log (`docs/evidence-format.md`, sections 2 and 3).
//!
//! Members of each struct stand in the order of their keys, so that what serde writes is already canonical; a test compares.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Error, Time, Token, canon,
    control::{Figures, is_figure},
    hash::is_id,
    merkle,
    note::is_name,
};

/// Longest record, without its newline.
pub const MAX_RECORD: usize = 65_536;
const MAX_TEXT: usize = 2_048;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What happened.
    pub body: Body,
    /// Drawn anew each time the device starts.
    pub boot: Token,
    /// The gateway.
    pub gw: String,
    /// Milliseconds since the device started.
    pub mono: u64,
    /// Leaf hash of the record before.
    pub prev: Digest,
    /// Position in the log.
    pub seq: u64,
    /// Wall time; `None` is *time unknown*.
    pub time: Option<Time>,
    /// 1.
    pub v: u8,
}

/// The kinds of record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "nearly all records are attempts")]
pub enum Body {
    /// Record 0.
    Open(Open),
    /// The device started.
    Boot(Boot),
    /// The wall clock was set or stepped.
    Clock(Clock),
    /// Where the gateway stands.
    Site(Site),
    /// The policy in force.
    State(State),
    /// One attempt of one probe.
    Probe(Attempt),
    /// What a person checked.
    Paper(Paper),
    /// A certifier's names were asked for.
    Witness(Witness),
    /// A report was made.
    Report(Report),
}

/// First record of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// 1.
    pub format: u8,
    /// Fingerprint of the gateway's key.
    pub key: Digest,
    /// A test bed, not a hotspot.
    pub lab: bool,
    /// The log's name in its checkpoints.
    pub origin: String,
}

/// First record of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Why, as far as known.
    pub reason: String,
    /// Release that runs.
    pub software: String,
}

/// The wall clock was set, or stepped by more than a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// What set it.
    pub source: String,
    /// By how many milliseconds; 0 when it was unknown before.
    pub step_ms: i64,
}

/// A site and its guest networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The site's name.
    pub name: String,
    /// Sorted by id.
    pub networks: Vec<Network>,
    /// Whose it is.
    pub organisation: String,
    /// The site's id.
    pub site: String,
}

/// A guest network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its id, such as `vlan20`.
    pub id: String,
    /// What phones show.
    pub name: String,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The policy's running number.
    pub generation: u64,
    /// Sorted by id.
    pub lists: Vec<List>,
    /// Digest of the compiled policy.
    pub policy: Digest,
    /// Release that runs.
    pub software: String,
}

/// A loaded list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Oldest it may be, in seconds.
    pub age_limit_s: u64,
    /// Its category.
    pub category: String,
    /// SHA-256 of its names (format, section 9).
    pub digest: Digest,
    /// The edition's name.
    pub edition: String,
    /// How many entries a DNS filter can enforce.
    pub enforceable: u64,
    /// How many entries it has.
    pub entries: u64,
    /// Its id.
    pub id: String,
    /// Under what licence it is used.
    pub licence: String,
}

/// How an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds, shown with our block signature and a positive control.
    #[serde(rename = "pass")]
    Pass,
    /// It does not hold.
    #[serde(rename = "fail")]
    Fail,
    /// It could not be told. Never counts as a pass.
    #[serde(rename = "inconclusive")]
    Inconclusive,
    /// It does not apply here.
    #[serde(rename = "not applicable")]
    NotApplicable,
}

impl Outcome {
    /// As records write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// What the report prints in words beside an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The log is a test bed's.
    Lab,
    /// No list of child sexual abuse material is shown to be in force.
    NoCsamList,
    /// No such list is open to this city.
    NoList,
    /// Not certified yet.
    NotCertified,
    /// Some records were written before the clock was set.
    TimeUnknown,
    /// A failure was not confirmed by its repeats.
    Transient,
    /// The upstream provider applies national orders.
    UpstreamAppliesOrders,
    /// VPNs are open: a guest using one is not filtered.
    VpnAllowed,
}

/// One attempt of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// What was sent, for people.
    pub ask: String,
    /// The control.
    pub control: String,
    /// Counts and measures.
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    pub figures: Figures,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The DNS reply, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// The guest network, or empty for the whole site.
    pub network: String,
    /// What to print beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
    /// How it came out.
    pub outcome: Outcome,
    /// The probe.
    pub probe: String,
    /// Which attempts were made together.
    pub run: Token,
    /// Where names were drawn by seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// What came back, for people; never a sampled name.
    pub saw: String,
    /// What the control asks for.
    pub want: String,
}

/// A draw from a list (format, section 9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many names were drawn.
    pub count: u64,
    /// Date of the seed, `2026-11-23`.
    pub date: String,
    /// The list's edition.
    pub edition: String,
    /// The list.
    pub list: String,
    /// Sorted keyed hashes of names that were not blocked.
    pub misses: Vec<String>,
    /// Digest of the drawn names.
    pub names: Digest,
    /// Records before that date: the seed is the root over them.
    pub size: u64,
}

/// What a person checked, signed by that person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// Name and office.
    pub by: String,
    /// The control.
    pub control: String,
    /// Digest of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// Counts and measures.
    #[serde(default, skip_serializing_if = "Figures::is_empty")]
    pub figures: Figures,
    /// What the person found.
    pub outcome: Outcome,
    /// The probe.
    pub probe: String,
    /// Signature in base64 over [`Paper::signed_bytes`].
    pub sig: String,
    /// Fingerprint of the person's key.
    pub signer: Digest,
    /// In the person's words.
    pub text: String,
    /// From when it counts.
    pub valid_from: Time,
    /// Until when (not included).
    pub valid_to: Time,
}

/// Names with a registered nonce were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// How often.
    pub hits: u64,
    /// The certifier's nonce.
    pub nonce: String,
    /// When it was registered.
    pub registered: Time,
}

/// A report was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Digest of the details statement.
    pub details: Digest,
    /// Beginning of the period.
    pub from: Time,
    /// Digest of the report statement.
    pub report: Digest,
    /// End of the period (not included).
    pub to: Time,
}

impl Record {
    /// The canonical bytes, without newline.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has a JSON form")
    }

    /// Its leaf hash, which the next record's `prev` names.
    pub fn leaf(&self) -> Digest {
        merkle::leaf(&self.bytes())
    }

    /// Reads one line, without newline, and checks all that can be seen from it alone.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for other bytes than ours, [`Error::BadRecord`] for values that may not be.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        if line.len() > MAX_RECORD {
            return Err(Error::BadRecord("longer than 65 536 bytes".into()));
        }
        let record: Self = serde_json::from_slice(line).map_err(|error| Error::NotCanonical(error.to_string()))?;
        canon::same(line, &record.bytes())?;
        record.check()?;
        Ok(record)
    }

    /// Whether each value is one that may be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |what: &str| Err(Error::BadRecord(what.to_owned()));
        if self.v != 1 {
            return bad("`v` is not 1");
        }
        if !is_id(&self.gw) {
            return bad("`gw` is not an id");
        }
        if self.seq > canon::MAX_INTEGER || self.mono > canon::MAX_INTEGER {
            return bad("`seq` or `mono` is beyond 2^53");
        }
        if (self.seq == 0) != matches!(self.body, Body::Open(_)) {
            return bad("record 0, and no other, is `open`");
        }
        match self.body.problem() {
            Some(what) => bad(what),
            None => Ok(()),
        }
    }
}

fn long(texts: &[&str]) -> bool {
    texts.iter().any(|text| text.len() > MAX_TEXT)
}

fn bad_figures(figures: &Figures) -> bool {
    figures.len() > 64
        || figures.iter().any(|(name, value)| !is_figure(name) || value.unsigned_abs() > canon::MAX_INTEGER)
}

/// Whether a text has the shape of a control's id and another that of a probe's.
fn is_probe(control: &str, probe: &str) -> bool {
    is_id(control) && is_id(probe)
}

impl Body {
    fn problem(&self) -> Option<&'static str> {
        let told = |wrong: bool, what| wrong.then_some(what);
        match self {
            Self::Open(open) => told(open.format != 1, "`format` is not 1")
                .or_else(|| told(!is_name(&open.origin), "`origin` is not a log's name")),
            Self::Boot(boot) => told(long(&[&boot.reason, &boot.software]), "a text is too long"),
            Self::Clock(clock) => told(long(&[&clock.source]), "a text is too long")
                .or_else(|| told(clock.step_ms.unsigned_abs() > canon::MAX_INTEGER, "`step_ms` is beyond 2^53")),
            Self::Site(site) => {
                let sorted = site.networks.windows(2).all(|pair| pair[0].id < pair[1].id);
                told(!is_id(&site.site) || site.networks.iter().any(|network| !is_id(&network.id)), "an id is not one")
                    .or_else(|| told(site.networks.is_empty() || !sorted, "networks are missing, twice or not sorted"))
                    .or_else(|| told(site.networks.iter().any(|network| long(&[&network.name])), "a text is too long"))
                    .or_else(|| told(long(&[&site.name, &site.organisation]), "a text is too long"))
            }
            Self::State(state) => {
                let sorted = state.lists.windows(2).all(|pair| pair[0].id < pair[1].id);
                let large = |list: &List| {
                    [list.age_limit_s, list.enforceable, list.entries].iter().any(|n| *n > canon::MAX_INTEGER)
                };
                let text = |list: &List| !is_id(&list.id) || long(&[&list.category, &list.edition, &list.licence]);
                told(!sorted, "lists are twice or not sorted")
                    .or_else(|| told(state.generation > canon::MAX_INTEGER, "`generation` is beyond 2^53"))
                    .or_else(|| told(state.lists.iter().any(large), "a list's number is beyond 2^53"))
                    .or_else(|| told(state.lists.iter().any(text), "a list's id is not one, or a text is too long"))
                    .or_else(|| told(long(&[&state.software]), "a text is too long"))
            }
            Self::Probe(attempt) => attempt.problem(),
            Self::Paper(paper) => told(!is_probe(&paper.control, &paper.probe), "control or probe is not an id")
                .or_else(|| told(long(&[&paper.by, &paper.text]), "a text is too long"))
                .or_else(|| told(bad_figures(&paper.figures), "a figure is not one"))
                .or_else(|| told(paper.signature().is_none(), "`sig` is not 64 bytes in base64")),
            Self::Witness(witness) => told(!is_id(&witness.nonce), "`nonce` is not an id")
                .or_else(|| told(witness.hits > canon::MAX_INTEGER, "`hits` is beyond 2^53")),
            Self::Report(report) => told(report.from >= report.to, "the period is empty"),
        }
    }
}

impl Attempt {
    fn problem(&self) -> Option<&'static str> {
        let texts = [self.ask.as_str(), &self.saw, &self.want, self.msg.as_deref().unwrap_or_default()];
        // Only attempts of this room's own probes carry the report's tokens; `lab` and such are derived, never told.
        let derived = matches!(self.note, Some(Note::Lab | Note::TimeUnknown | Note::Transient));
        if !is_probe(&self.control, &self.probe) {
            Some("control or probe is not an id")
        } else if !self.network.is_empty() && !is_id(&self.network) {
            Some("`network` is not an id")
        } else if long(&texts) {
            Some("a text is too long")
        } else if self.msg.as_ref().is_some_and(|msg| crate::hash::from_base64(msg).is_none()) {
            Some("`msg` is not base64")
        } else if bad_figures(&self.figures) {
            Some("a figure is not one")
        } else if self.ms > canon::MAX_INTEGER {
            Some("`ms` is beyond 2^53")
        } else if derived {
            Some("`note` is one that only a report may have")
        } else {
            self.sample.as_ref().and_then(Sample::problem)
        }
    }
}

impl Sample {
    fn problem(&self) -> Option<&'static str> {
        let hash =
            |text: &String| text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_id(&self.list) || long(&[&self.edition]) || Time::midnight(&self.date).is_err() {
            Some("a sample's list, edition or date is not one")
        } else if !(1..=1_000_000).contains(&self.count) || self.size > canon::MAX_INTEGER {
            Some("a sample's count or size is out of range")
        } else if !self.misses.iter().all(hash) || !self.misses.is_sorted_by(|a, b| a < b) {
            Some("a sample's misses are not sorted keyed hashes")
        } else {
            None
        }
    }
}

impl Paper {
    /// What the person signs: the DSSE bytes of this paper without its signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut value = serde_json::to_value(self).expect("a paper has a JSON form");
        value.as_object_mut().expect("a paper is an object").remove("sig");
        crate::statement::dsse_bytes("application/vnd.sheshi.paper+json", &canon::encode(&value))
    }

    /// Puts the person's signature under it.
    #[must_use]
    pub fn sign(mut self, key: &crate::sign::SecretKey) -> Self {
        self.signer = key.public().fingerprint();
        self.sig = crate::hash::to_base64(&key.sign(&self.signed_bytes()));
        self
    }

    pub(crate) fn signature(&self) -> Option<[u8; 64]> {
        crate::hash::from_base64(&self.sig)?.try_into().ok()
    }

    /// Whether it is signed by one of these people.
    pub fn is_signed_by(&self, people: &[crate::sign::PublicKey]) -> bool {
        let Some(signature) = self.signature() else { return false };
        people.iter().any(|key| key.fingerprint() == self.signer && key.verifies(&self.signed_bytes(), &signature))
    }
}
