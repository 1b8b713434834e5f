//! Profiles: which controls a city must hold (`profiles/*.toml`); a city can write its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, canon,
    control::{Catalogue, Limit, Title, check_limits},
    problem::Problems,
};

/// Which controls decide the verdict, complete: what it extends is already in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub id: String,
    /// Its edition.
    pub version: String,
    /// For people.
    pub title: Title,
    /// Ids of the controls that decide, sorted; the others are reported and change nothing.
    pub mandatory: BTreeSet<String>,
    /// Ids of controls that must not be `not applicable`, sorted.
    pub never_left_out: BTreeSet<String>,
    /// Stricter or laxer figures than the catalogue's.
    pub limits: Vec<ProbeLimit>,
}

/// A figure's bounds in one profile; they replace those of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeLimit {
    /// Control.
    pub control: String,
    /// Its probe.
    pub probe: String,
    /// The bounds.
    pub limit: Limit,
}

/// What a person writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    id: String,
    version: String,
    title: Title,
    #[serde(default)]
    extends: Vec<String>,
    #[serde(default)]
    mandatory: Vec<String>,
    #[serde(default)]
    never_left_out: Vec<String>,
    #[serde(default)]
    limits: Vec<ProbeLimit>,
}

const BUILTIN: [(&str, &str); 5] = [
    ("baseline", include_str!("../profiles/baseline.toml")),
    ("friendly-wifi", include_str!("../profiles/friendly-wifi.toml")),
    ("albania-public", include_str!("../profiles/albania-public.toml")),
    ("library", include_str!("../profiles/library.toml")),
    ("wifi4eu", include_str!("../profiles/wifi4eu.toml")),
];

impl Profile {
    /// Names of the profiles of this release.
    pub fn builtin_ids() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(id, _)| *id)
    }

    /// A profile of this release, over the built-in catalogue.
    pub fn builtin(id: &str) -> Option<Self> {
        let (_, text) = BUILTIN.iter().find(|(name, _)| *name == id)?;
        Some(Self::parse(text, Catalogue::builtin()).expect("the built-in profiles are checked by a test"))
    }

    /// Reads and checks a profile against the catalogue. It may extend built-in profiles and can only add to them.
    ///
    /// # Errors
    /// Every problem at once, with its path and a hint.
    pub fn parse(text: &str, catalogue: &Catalogue) -> Result<Self, Problems> {
        let spec: Spec = toml::from_str(text).map_err(|error| Problems::of_toml(&error))?;
        let mut problems = Problems::default();
        let mut profile = Self {
            mandatory: spec.mandatory.iter().cloned().collect(),
            never_left_out: spec.never_left_out.iter().cloned().collect(),
            id: spec.id,
            version: spec.version,
            title: spec.title,
            limits: Vec::new(),
        };
        if !crate::hash::is_id(&profile.id) {
            problems.add("id", "is not an id", "use letters, digits, dots, hyphens; at most 64");
        }
        for (path, ids) in [("mandatory", &spec.mandatory), ("never_left_out", &spec.never_left_out)] {
            for id in ids.iter().filter(|id| catalogue.control(id).is_none()) {
                problems.add(&format!("{path}.{id}"), "is no control of the catalogue", "write an id such as SH-05");
            }
        }
        for limit in &spec.limits {
            let path = format!("limits.{}.{}", limit.control, limit.probe);
            let control = catalogue.control(&limit.control);
            if !control.is_some_and(|control| control.probes.iter().any(|probe| probe.id == limit.probe)) {
                problems.add(
                    &path,
                    "is no probe of the catalogue",
                    "write a control such as SH-05 and a probe such as p4",
                );
            }
            check_limits(&path, std::slice::from_ref(&limit.limit), &mut problems);
        }
        for id in &spec.extends {
            match BUILTIN.iter().find(|(name, _)| name == id) {
                Some((_, text)) => match Self::parse(text, catalogue) {
                    Ok(base) => {
                        profile.mandatory.extend(base.mandatory);
                        profile.never_left_out.extend(base.never_left_out);
                        profile.limits.extend(base.limits);
                    }
                    Err(_) => problems.add(
                        &format!("extends.{id}"),
                        "does not fit this catalogue",
                        "extend it only with the built-in catalogue",
                    ),
                },
                None => problems.add(
                    &format!("extends.{id}"),
                    "is no built-in profile",
                    "write baseline, friendly-wifi, albania-public, library or wifi4eu",
                ),
            }
        }
        profile.limits.extend(spec.limits);
        if profile.mandatory.is_empty() {
            problems.add(
                "mandatory",
                "no control decides, so every site would comply",
                "name controls or extend baseline",
            );
        }
        for id in profile.never_left_out.iter().filter(|id| !profile.mandatory.contains(*id)) {
            problems.add(
                &format!("never_left_out.{id}"),
                "is not mandatory, so it would change nothing",
                "add it to `mandatory`",
            );
        }
        problems.none().map(|()| profile)
    }

    /// SHA-256 of its canonical JSON, by which statements name it.
    pub fn digest(&self) -> Digest {
        Digest::of(&canon::encode(self))
    }

    /// The bounds that hold for a probe's figures: the catalogue's, replaced figure by figure by the last of the profile.
    pub fn limits<'a>(&'a self, control: &str, probe: &'a crate::control::Probe) -> Vec<&'a Limit> {
        let mut limits: Vec<&Limit> = probe.limits.iter().collect();
        for own in self.limits.iter().filter(|own| own.control == control && own.probe == probe.id) {
            limits.retain(|limit| limit.figure != own.limit.figure);
            limits.push(&own.limit);
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_profiles_hold_what_the_catalogue_asks() {
        for id in Profile::builtin_ids() {
            let profile = Profile::builtin(id).unwrap();
            assert_eq!(profile.id, id);
            assert!(profile.mandatory.is_superset(&Profile::builtin("baseline").unwrap().mandatory), "{id}");
        }
        assert_eq!(Profile::builtin("baseline").unwrap().mandatory.len(), 20);
        assert!(Profile::builtin("friendly-wifi").unwrap().mandatory.contains("SH-01"));
    }

    #[test]
    fn city_writes_its_own_profile() {
        let text = r#"
            id = "tirana-2026"
            version = "1"
            title = { en = "Tirana", sq = "Tirana" }
            extends = ["albania-public"]
            mandatory = ["SH-16"]
            [[limits]]
            control = "SH-05"
            probe = "p4"
            limit = { figure = "blocked_ppm", at_least = 980000 }
        "#;
        let profile = Profile::parse(text, Catalogue::builtin()).unwrap();
        assert_eq!(profile.mandatory.len(), 23);
        let probe = &Catalogue::builtin().control("SH-05").unwrap().probes[3];
        let limits = profile.limits("SH-05", probe);
        let least: Vec<_> = limits.iter().map(|limit| (limit.figure.as_str(), limit.at_least)).collect();
        assert_eq!(least, [("asked", Some(100)), ("blocked_ppm", Some(980_000))]);
    }

    #[test]
    fn all_problems_of_a_profile_come_at_once() {
        let text = r#"
            id = "no good"
            version = "1"
            title = { en = "x", sq = "x" }
            extends = ["bassline"]
            mandatory = ["SH-99"]
            never_left_out = ["SH-03"]
            limits = [{ control = "SH-05", probe = "p9", limit = { figure = "x" } }]
        "#;
        let text = Profile::parse(text, Catalogue::builtin()).unwrap_err().to_string();
        for part in [
            "id: is not an id",
            "mandatory.SH-99: is no control",
            "limits.SH-05.p9: is no probe",
            "has no bound",
            "extends.bassline: is no built-in profile",
            "never_left_out.SH-03: is not mandatory",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
        let nothing = "id = \"x\"\nversion = \"1\"\ntitle = { en = \"x\", sq = \"x\" }";
        assert!(
            Profile::parse(nothing, Catalogue::builtin()).unwrap_err().to_string().contains("every site would comply")
        );
    }

    #[test]
    fn unknown_key_is_refused_with_its_place() {
        let problems = Profile::parse("id = \"x\"\nmandatroy = []", Catalogue::builtin()).unwrap_err();
        assert!(problems.to_string().contains("mandatroy"), "{problems}");
    }
}
