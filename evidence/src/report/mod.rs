//! Reports for people and auditors, all from the same signed details: HTML and PDF in two languages, CSV, OSCAL.

mod badge;
mod csv;
mod font;
mod html;
mod oscal;
mod paper;
mod pdf;
mod words;

use std::collections::BTreeMap;

pub(crate) use badge::badge_page;
pub use words::Language;

use crate::{Digest, control::Catalogue, profile::Profile, statement::Details};

/// Which edition of these renderings a bundle holds.
pub const RENDERER: u8 = 1;

/// File names of all renderings.
pub(crate) const FILES: [&str; 6] =
    ["oscal-ar.json", "report.en.html", "report.en.pdf", "report.sq.html", "report.sq.pdf", "results.csv"];

/// All renderings by file name. `report` is the digest of the report statement's payload.
pub fn render(
    details: &Details,
    catalogue: &Catalogue,
    profile: &Profile,
    report: Digest,
) -> BTreeMap<String, Vec<u8>> {
    let page = |language| html::page(details, catalogue, profile, report, language).into_bytes();
    let paper = |language| pdf::page(details, catalogue, profile, report, language);
    let files = [
        oscal::results(details, catalogue),
        page(Language::English),
        paper(Language::English),
        page(Language::Albanian),
        paper(Language::Albanian),
        csv::table(details, catalogue).into_bytes(),
    ];
    FILES.into_iter().map(str::to_owned).zip(files).collect()
}
