//! The badge: how a site stands, said for a short time and signed. Grey is what it falls back to by itself.
//!
//! It is a statement like the others (`docs/evidence-format.md`, section 14), shown as a page without a script: the page says in
//! words until when it holds, and a browser's own animation greys it at that moment. A portal shows it only while
//! [`Badge::is_valid`] says so, at the portal's own clock.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Time, canon,
    hash::to_base64,
    report::{Language, badge_page},
    rollup::{Findings, Period, Verdict},
    sign::{PublicKey, SecretKey},
    statement::{Resource, Statement, StatementError},
};

/// Predicate type of [`Standing`].
pub const BADGE: &str = "https://sheshi.example/badge/v1";
/// Longest that a badge may hold.
pub const LONGEST_MS: i64 = 26 * 3_600_000;
/// How long one holds unless said: a round is missed, not two.
pub const USUAL_MS: i64 = 30 * 60_000;

/// What a badge says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Mandatory controls that fail, in the catalogue's order.
    pub failing: Vec<String>,
    /// 1.
    pub format: u8,
    /// The gateway.
    pub gateway: String,
    /// A test bed.
    pub lab: bool,
    /// Which part of the log it speaks of.
    pub period: Period,
    /// The profile's id and edition.
    pub profile: String,
    /// Size of the log.
    pub records: u64,
    /// Root of the log, in base64.
    pub root: String,
    /// The site's name.
    pub site: String,
    /// From when it holds.
    pub valid_from: Time,
    /// Until when (not included).
    pub valid_to: Time,
    /// How it stands.
    pub verdict: Verdict,
}

/// A signed badge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    standing: Standing,
    envelope: Vec<u8>,
}

/// Why a badge is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadgeError {
    /// The envelope is not as it must be.
    #[error("badge: {0}")]
    Statement(#[from] StatementError),
    /// It holds for too long, or for no time at all, or is of another format.
    #[error("badge: it must hold for at most 26 hours, in format 1, about the gateway that signed it")]
    Shape,
}

/// What a gateway knows of itself when it makes a badge.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// The gateway's id.
    pub gateway: &'a str,
    /// The site's name.
    pub site: &'a str,
    /// A test bed.
    pub lab: bool,
    /// The profile's id and edition.
    pub profile: &'a str,
    /// Size and root of the log.
    pub log: (u64, Digest),
    /// The period that the findings are of.
    pub period: Period,
}

impl Badge {
    /// Says and signs how the site stands, from now on for a while. Shown green only where every mandatory control holds.
    pub fn new(about: &About<'_>, findings: &Findings, key: &SecretKey, now: Time, holds_ms: i64) -> Self {
        let failing = findings
            .controls
            .iter()
            .filter(|control| control.mandatory && control.state == crate::record::Outcome::Fail)
            .map(|control| control.id.clone());
        let standing = Standing {
            failing: failing.collect(),
            format: 1,
            gateway: about.gateway.into(),
            lab: about.lab,
            period: about.period,
            profile: about.profile.into(),
            records: about.log.0,
            root: about.log.1.base64(),
            site: about.site.into(),
            valid_from: now,
            valid_to: now.plus_millis(holds_ms.clamp(1, LONGEST_MS)),
            verdict: findings.verdict,
        };
        let subject = vec![Resource::new(about.gateway, key.public().fingerprint())];
        let envelope = Statement::new(BADGE, subject, standing.clone()).sign(key);
        Self { standing, envelope }
    }

    /// Reads a badge and checks its signature. Whether it still holds, [`Self::is_valid`] says.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(envelope: &[u8], key: &PublicKey) -> Result<Self, BadgeError> {
        let statement: Statement<Standing> = Statement::verify(envelope, BADGE, key)?;
        let standing = statement.predicate;
        let holds = standing.valid_to.millis() - standing.valid_from.millis();
        let subject = [Resource::new(standing.gateway.clone(), key.fingerprint())];
        if standing.format != 1 || !(1..=LONGEST_MS).contains(&holds) || statement.subject != subject {
            return Err(BadgeError::Shape);
        }
        Ok(Self { standing, envelope: envelope.to_vec() })
    }

    /// What it says.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The signed bytes, for `badge.dsse.json`.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }

    /// Whether it holds now; where the time is not known, it does not.
    pub fn is_valid(&self, now: Option<Time>) -> bool {
        now.is_some_and(|now| self.standing.valid_from <= now && now < self.standing.valid_to)
    }

    /// Whether a portal may show it, and the logo of a scheme beside it: it holds, and the site complies.
    pub fn may_be_shown(&self, now: Option<Time>) -> bool {
        self.is_valid(now) && matches!(self.standing.verdict, Verdict::Compliant | Verdict::WithFindings)
    }

    /// The page, in both languages. `link` is where the current badge is found, and goes into the QR code; `now` is when
    /// the page is sent, from which the browser counts until it greys it.
    pub fn page(&self, link: &str, now: Option<Time>) -> String {
        badge_page(&self.standing, link, self.is_valid(now).then_some(now).flatten(), &self.digest(), Language::BOTH)
    }

    /// The digest of what was signed, for people to compare.
    fn digest(&self) -> String {
        Digest::of(&self.envelope).to_string()
    }

    /// The badge in one line for a QR code that needs no network: base64 of the signed bytes.
    pub fn text(&self) -> String {
        to_base64(&self.envelope)
    }
}

/// The canonical JSON of what a badge says, for an interface of a portal.
impl Standing {
    /// Canonical bytes.
    pub fn bytes(&self) -> Vec<u8> {
        canon::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn now() -> Time {
        "2026-11-23T07:00:00.000Z".parse().unwrap()
    }

    fn badge(verdict: Verdict) -> Badge {
        let findings = Findings {
            verdict,
            controls: Vec::new(),
            coverage_ppm: 1_000_000,
            longest_gap_s: 0,
            probes_run: 7,
            notes: BTreeSet::new(),
            people: BTreeSet::new(),
        };
        let period = Period { from: now().plus_millis(-86_400_000), to: now() };
        let about = About {
            gateway: "gw-0042",
            site: "Sheshi <b>Skënderbej</b>",
            lab: false,
            profile: "baseline 0.1",
            log: (7, Digest::of(b"root")),
            period,
        };
        Badge::new(&about, &findings, &SecretKey::new([1; 32]), now(), USUAL_MS)
    }

    #[test]
    fn badge_holds_for_its_time_and_not_where_the_time_is_unknown() {
        let badge = badge(Verdict::Compliant);
        assert!(badge.may_be_shown(Some(now())));
        assert!(badge.may_be_shown(Some(now().plus_millis(USUAL_MS - 1))));
        assert!(!badge.may_be_shown(Some(now().plus_millis(USUAL_MS))));
        assert!(!badge.may_be_shown(Some(now().plus_millis(-1))));
        assert!(!badge.may_be_shown(None));
    }

    #[test]
    fn badge_of_a_site_that_does_not_comply_is_valid_and_not_shown() {
        for verdict in [Verdict::NotProven, Verdict::NotCompliant] {
            let badge = badge(verdict);
            assert!(badge.is_valid(Some(now())) && !badge.may_be_shown(Some(now())));
        }
    }

    #[test]
    fn changed_badge_and_one_that_holds_too_long_are_refused() {
        let (key, badge) = (SecretKey::new([1; 32]), badge(Verdict::Compliant));
        assert_eq!(Badge::verify(badge.envelope(), &key.public()), Ok(badge.clone()));
        for at in 0..badge.envelope().len() {
            let mut changed = badge.envelope().to_vec();
            changed[at] ^= 1;
            assert!(Badge::verify(&changed, &key.public()).is_err(), "byte {at}");
        }
        let long = Standing { valid_to: now().plus_millis(LONGEST_MS + 1), ..badge.standing.clone() };
        let subject = vec![Resource::new("gw-0042", key.public().fingerprint())];
        let envelope = Statement::new(BADGE, subject, long).sign(&key);
        assert_eq!(Badge::verify(&envelope, &key.public()), Err(BadgeError::Shape));
    }

    #[test]
    fn page_says_its_end_in_words_greys_by_itself_and_runs_no_script() {
        let badge = badge(Verdict::Compliant);
        let page = badge.page("http://wifi.example/badge", Some(now()));
        assert!(page.contains("2026-11-23 07:30 UTC") && page.contains("COMPLIANT") && page.contains("NË PËRPUTHJE"));
        // The browser counts from when the page was sent; what is left is half an hour.
        assert!(page.contains("animation:end 1s 1800s forwards"), "{page}");
        assert!(page.contains("<svg") && !page.contains("<script") && !page.contains("<b>Skënderbej"));
        let late = badge.page("http://wifi.example/badge", Some(now().plus_millis(USUAL_MS)));
        assert!(late.contains("class=\"card grey\"") && late.contains("EXPIRED") && late.contains("SKADUAR"));
        assert!(badge.page("x", None).contains("EXPIRED"), "without a clock nothing is claimed");
        let bad = badge_of_failure();
        assert!(bad.contains("NOT COMPLIANT") && !bad.contains("✓"));
    }

    fn badge_of_failure() -> String {
        badge(Verdict::NotCompliant).page("http://wifi.example/badge", Some(now()))
    }
}
