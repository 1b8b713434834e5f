//! Names under the city's canary zone: what each says, and how it is spelt.

use crate::Compiled;

/// The canaries of one list of a compiled policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Position of the list in [`Compiled::lists`].
    pub list: usize,
    /// `CATEGORY.ZONE`: blocked as the category.
    pub of_category: String,
    /// `EDITION.LIST.ZONE`: blocked while this edition is in force.
    pub of_edition: String,
}

/// A label of letters, digits and hyphens.
fn label(text: &str) -> String {
    let letters = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    letters.take(63).collect()
}

/// The name that is blocked as a category.
pub(crate) fn of_category(category: &str, zone: &str) -> String {
    format!("{}.{zone}", label(category))
}

/// The name that is blocked while an edition of a list is in force.
pub(crate) fn of_edition(edition: &str, list: &str, zone: &str) -> String {
    format!("{}.{}.{zone}", label(edition), label(list))
}

impl Compiled {
    /// The canary zone, where the policy has one.
    pub fn canary_zone(&self) -> Option<&str> {
        self.meta.canary_zone.as_deref()
    }

    /// The canaries of each list that has some.
    pub fn canaries(&self) -> impl Iterator<Item = Canary> + '_ {
        let zone = self.canary_zone();
        self.lists().iter().enumerate().filter(|(_, list)| !list.order).filter_map(move |(number, list)| {
            let category = self.categories().get(usize::from(list.category?.0))?;
            Some(Canary {
                list: number,
                of_category: of_category(&category.name, zone?),
                of_edition: of_edition(&list.edition, &list.name, zone?),
            })
        })
    }
}
