//! What reports say, in English and Albanian: one table, so that no language can lag behind.

use crate::{
    record::{Note, Outcome},
    rollup::{Verdict, Why},
    statement::Details,
};

/// A language of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Albanian.
    Albanian,
}

/// English, Albanian.
pub(super) type Pair = [&'static str; 2];

impl Language {
    /// How many of the deciding controls failed or were not proven.
    pub(super) fn findings(self, details: &Details) -> String {
        let count =
            |state| details.controls.iter().filter(|control| control.mandatory && control.state == state).count();
        let some = |(state, pair)| {
            Some(count(state)).filter(|count| *count > 0).map(|count| format!("{count} {}", self.of(pair)))
        };
        let parts: Vec<_> =
            [(Outcome::Fail, FAILED), (Outcome::Inconclusive, UNPROVEN)].into_iter().filter_map(some).collect();
        if parts.is_empty() { self.of(NO_FINDING).to_owned() } else { parts.join(", ") }
    }

    /// All of them.
    pub const BOTH: [Self; 2] = [Self::Albanian, Self::English];

    /// The text in this language.
    pub(super) fn of(self, pair: Pair) -> &'static str {
        pair[usize::from(self == Self::Albanian)]
    }

    /// For the `lang` attribute.
    pub(super) fn code(self) -> &'static str {
        self.of(["en", "sq"])
    }

    pub(super) fn title(self, title: &crate::control::Title) -> &str {
        if self == Self::English { &title.en } else { &title.sq }
    }
}

pub(super) const TITLE: Pair =
    ["Public Wi-Fi content-filter report", "Raport i filtrit të përmbajtjes në Wi-Fi publik"];
pub(super) const LAB: Pair = [
    "LAB: measured on a test bed, not on a hotspot. Shows nothing about any site.",
    "LAB: matur në një mjedis prove, jo në një pikë publike. Nuk tregon asgjë për asnjë vend.",
];
pub(super) const SITE: Pair = ["Site", "Vendi"];
pub(super) const GATEWAY: Pair = ["Gateway", "Porta"];
pub(super) const KEY: Pair = ["key", "çelësi"];
pub(super) const PERIOD: Pair = ["Period", "Periudha"];
pub(super) const PROFILE: Pair = ["Profile", "Profili"];
pub(super) const NETWORKS: Pair = ["Networks", "Rrjetet"];
pub(super) const VERDICT: Pair = ["Verdict", "Përfundimi"];
pub(super) const MEASURED: Pair = ["measured", "matur"];
pub(super) const OF_THE_TIME: Pair = ["of the time", "e kohës"];
pub(super) const ATTEMPTS: Pair = ["probes", "prova"];
pub(super) const GAP: Pair = ["longest gap", "ndërprerja më e gjatë"];
pub(super) const MINUTES: Pair = ["min", "min"];
pub(super) const NO_FINDING: Pair = ["no finding", "asnjë gjetje"];
pub(super) const FAILED: Pair = ["failed", "dështuar"];
pub(super) const UNPROVEN: Pair = ["not proven", "të paprovuara"];
pub(super) const MANDATORY: Pair = ["decides", "vendimtar"];
pub(super) const SHOWN_ONLY: Pair = ["shown only", "vetëm informues"];
pub(super) const CHANGES: Pair = ["Changes in this period", "Ndryshimet në këtë periudhë"];
pub(super) const NO_CHANGES: Pair = ["none", "asnjë"];
pub(super) const LISTS: Pair = ["Lists", "Listat"];
pub(super) const NO_LISTS: Pair = ["no list is on record", "asnjë listë e regjistruar"];
pub(super) const ENFORCED: Pair = ["enforced", "të zbatuara"];
pub(super) const CANNOT_ENFORCE: Pair = [
    "entries are single pages, which a DNS filter CANNOT enforce",
    "zëra janë faqe të veçanta, të cilat një filtër DNS NUK mund t'i zbatojë",
];
pub(super) const LIMITS: Pair = ["What a DNS filter cannot do", "Çfarë nuk mund të bëjë një filtër DNS"];
pub(super) const EACH_LIMIT: [Pair; 7] = [
    ["single pages on mixed sites", "faqe të veçanta në sajte me përmbajtje të përzier"],
    [
        "apps with built-in addresses, and addresses typed by hand",
        "aplikacione me adresa të brendshme dhe adresa të shkruara me dorë",
    ],
    ["unknown resolvers over HTTPS, VPNs and relays", "serverë të panjohur DNS mbi HTTPS, VPN dhe ndërmjetës"],
    ["content inside chat apps and social media", "përmbajtje brenda aplikacioneve të bisedave dhe rrjeteve sociale"],
    ["mobile data instead of this Wi-Fi", "të dhënat celulare në vend të këtij Wi-Fi"],
    ["images that a search engine's own safe mode lets through", "imazhe që i lejon vetë kërkimi i sigurt i motorit"],
    [
        "a gateway whose software lies: evidence shows what it said, and when",
        "një portë me program të rremë: provat tregojnë çfarë tha dhe kur",
    ],
];
pub(super) const NOTES: Pair = ["Notes", "Shënime"];
pub(super) const ANNEX: Pair = ["Annex: each probe on each network", "Shtojca: çdo provë në çdo rrjet"];
pub(super) const CONTROL: Pair = ["Control", "Kontrolli"];
pub(super) const PROBE: Pair = ["Probe", "Prova"];
pub(super) const NETWORK: Pair = ["Network", "Rrjeti"];
pub(super) const WHOLE_SITE: Pair = ["whole site", "i gjithë vendi"];
pub(super) const STATE: Pair = ["State", "Gjendja"];
pub(super) const COUNTS: Pair = ["pass / fail / inconclusive / n.a.", "kaloi / dështoi / e paqartë / s'zbatohet"];
pub(super) const FIRST_FAIL: Pair = ["First and last failure", "Dështimi i parë dhe i fundit"];
pub(super) const LAST: Pair = ["Last told (record)", "E fundit (regjistrimi)"];
pub(super) const FIGURES: Pair = ["Figures", "Shifrat"];
pub(super) const WITNESS: Pair = ["Witness runs", "Prova me dëshmitar"];
pub(super) const HITS: Pair = ["hits", "goditje"];
pub(super) const SIGNED: Pair = ["signed report sha256", "raporti i nënshkruar sha256"];
pub(super) const ENTRY: Pair = ["log entry", "zëri në ditar"];
pub(super) const CHECK: Pair = ["check offline", "verifikoje pa internet"];
pub(super) const PAGE: Pair = ["page", "faqe"];
pub(super) const EXPIRED: Pair = ["EXPIRED: nothing is claimed", "SKADUAR: nuk pohohet asgjë"];
pub(super) const HOLDS_UNTIL: Pair = ["holds until", "vlen deri më"];
pub(super) const BADGE_LIMIT: Pair = [
    "Measured by the gateway itself, from a guest's side. A DNS filter does not see single pages, VPNs or mobile data.",
    "Matur nga vetë porta, nga ana e përdoruesit. Një filtër DNS nuk sheh faqe të veçanta, VPN apo të dhëna celulare.",
];
pub(super) const UNKNOWN: Pair = ["time unknown", "koha e panjohur"];

pub(super) fn verdict(verdict: Verdict) -> Pair {
    match verdict {
        Verdict::Compliant => ["COMPLIANT", "NË PËRPUTHJE"],
        Verdict::WithFindings => ["COMPLIANT WITH FINDINGS", "NË PËRPUTHJE ME GJETJE"],
        Verdict::NotProven => ["NOT PROVEN", "E PAPROVUAR"],
        Verdict::NotCompliant => ["NOT COMPLIANT", "JO NË PËRPUTHJE"],
    }
}

/// With a sign of its own: colour is never the only one.
pub(super) fn outcome(outcome: Outcome) -> Pair {
    match outcome {
        Outcome::Pass => ["✓ PASS", "✓ KALOI"],
        Outcome::Fail => ["✗ FAIL", "✗ DËSHTOI"],
        Outcome::Inconclusive => ["? INCONCLUSIVE", "? E PAQARTË"],
        Outcome::NotApplicable => ["– N/A", "– S'ZBATOHET"],
    }
}

pub(super) fn why(why: Why) -> Pair {
    match why {
        Why::NeverMeasured => ["never measured", "nuk është matur kurrë"],
        Why::TooOld => ["too old", "shumë e vjetër"],
        Why::NotConfirmed => ["failure not confirmed yet", "dështim ende i pakonfirmuar"],
        Why::MayNotBeLeftOut => ["may not be left out in this profile", "nuk lihet jashtë në këtë profil"],
    }
}

pub(super) fn note(note: Note) -> Pair {
    match note {
        Note::Lab => LAB,
        Note::NoCsamList => [
            "No list of child sexual abuse material is shown to be in force.",
            "Nuk është provuar që një listë e materialeve të abuzimit seksual të fëmijëve është në fuqi.",
        ],
        Note::NoList => {
            ["No such list is open to this city.", "Asnjë listë e tillë nuk është në dispozicion të këtij qyteti."]
        }
        Note::NotCertified => ["This site is not certified.", "Ky vend nuk është i certifikuar."],
        Note::TimeUnknown => [
            "Some records were written before the clock was set; they prove nothing good.",
            "Disa regjistrime u shkruan para vendosjes së orës; ato nuk provojnë asgjë të mirë.",
        ],
        Note::Transient => [
            "Some failures were not confirmed by their repeats; they are counted in the annex.",
            "Disa dështime nuk u konfirmuan nga përsëritjet; ato numërohen në shtojcë.",
        ],
        Note::UpstreamAppliesOrders => [
            "National orders are applied by the upstream provider.",
            "Urdhrat kombëtarë zbatohen nga ofruesi i internetit.",
        ],
        Note::VpnAllowed => {
            ["VPNs are allowed: a guest using one is not filtered.", "VPN lejohen: një përdorues me VPN nuk filtrohet."]
        }
    }
}
