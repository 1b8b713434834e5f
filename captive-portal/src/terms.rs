//! What a guest reads before accepting. The text as a whole is what the record of consent has the hash of.

use sheshi_policy::Compiled;

use crate::{
    portal::Inner,
    words::{Words, fill},
};

/// The kinds of content that guests do not get at this moment, by title and without repetition.
pub(crate) fn blocked_categories(inner: &Inner, compiled: &Compiled, words: &'static Words) -> Vec<String> {
    let view = inner.view(compiled, None);
    let mut titles = Vec::new();
    for (n, category) in compiled.categories().iter().enumerate().take(128) {
        let title = words.category(&category.name, &category.title);
        // Without a list a category blocks nothing, whatever the policy says; a legal order blocks whatever a group chose.
        let lists = compiled.lists().iter().filter(|list| list.category.is_some_and(|of| usize::from(of.0) == n));
        let (mut any, mut ordered) = (false, false);
        for list in lists.filter(|list| list.entries > 0) {
            (any, ordered) = (true, ordered || list.order);
        }
        let blocked = any && (ordered || view.blocked & 1 << n != 0);
        if blocked && !titles.iter().any(|known| known == title) {
            titles.push(title.to_owned());
        }
    }
    titles
}

/// The paragraphs of the terms of use.
pub(crate) fn paragraphs(inner: &Inner, words: &'static Words) -> Vec<String> {
    let text = inner.settings.terms.get(&words.code).unwrap_or(&words.terms.full_text);
    split(text)
}

/// Paragraphs are separated by empty lines; a line break inside one is a space.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in text.lines().map(str::trim) {
        let last = paragraphs.len() - 1;
        match (line.is_empty(), paragraphs[last].is_empty()) {
            (true, false) => paragraphs.push(String::new()),
            (true, true) => {}
            (false, true) => paragraphs[last].push_str(line),
            (false, false) => {
                paragraphs[last].push(' ');
                paragraphs[last].push_str(line);
            }
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

/// What is kept and what rights a guest has: the lines of the page, filled in.
pub(crate) struct Notice {
    pub(crate) kept: [String; 3],
    pub(crate) rights: String,
    pub(crate) contact: String,
    pub(crate) time: String,
}

pub(crate) fn notice(inner: &Inner, words: &'static Words) -> Notice {
    let settings = &inner.settings;
    let terms = &words.terms;
    let authority = settings.authority.as_deref().unwrap_or(&terms.authority);
    Notice {
        kept: [
            terms.kept_session.clone(),
            fill(&terms.kept_consent, &[("days", &words.days(settings.keep_consent_days))]),
            terms.kept_never.clone(),
        ],
        rights: fill(&terms.rights_text, &[("authority", authority)]),
        contact: format!("{} {}", words.common.contact, settings.contact),
        time: fill(&terms.time_text, &[("time", &words.span(settings.session))]),
    }
}

/// Who has certified this network, and how the filter's last test of itself went.
pub(crate) fn checked(inner: &Inner, words: &'static Words) -> [String; 2] {
    let terms = &words.terms;
    let certified = match &inner.settings.certifier {
        Some(certifier) => fill(&terms.checked_by, &[("certifier", certifier)]),
        None => terms.checked_none.clone(),
    };
    let test = match inner.self_test() {
        None => terms.test_none.clone(),
        Some(test) => {
            let when = jiff::Timestamp::from_second(test.at).map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
            let text = if test.passed { &terms.test_good } else { &terms.test_bad };
            fill(text, &[("when", &when.unwrap_or_default())])
        }
    };
    [certified, test]
}

/// All of it as one text, line by line.
pub(crate) fn text(inner: &Inner, compiled: &Compiled, words: &'static Words) -> String {
    let notice = notice(inner, words);
    let mut lines = vec![
        fill(&words.terms.intro, &[("organisation", &inner.settings.organisation)]),
        inner.settings.venue.clone(),
        words.terms.filter_text.clone(),
    ];
    lines.extend(blocked_categories(inner, compiled, words));
    lines.extend(notice.kept);
    // Not the last test: who reads while a test ends has still read these terms.
    let [certified, _] = checked(inner, words);
    lines.push(certified);
    lines.extend([notice.rights, notice.contact, notice.time]);
    lines.extend(paragraphs(inner, words));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn paragraphs_are_separated_by_empty_lines() {
        assert_eq!(split("\n a\n b \n\n\n c\r\n\r\n"), ["a b", "c"]);
        assert_eq!(split(" \n"), [""; 0]);
    }
}
