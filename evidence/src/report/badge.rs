//! The badge as a page and QR code. What it claims ends by itself: a style sheet's animation greys it, no script is needed.

use qrcodegen::{QrCode, QrCodeEcc};

use super::{
    html::{esc, minute},
    words::{self, Language},
};
use crate::{Time, badge::Standing, rollup::Verdict};

const STYLE: &str = "\
body{font:16px/1.4 system-ui,sans-serif;color:#111;background:#fff;margin:1rem;text-align:center}
.card{border:4px solid #064;border-radius:1rem;max-width:22rem;margin:0 auto;padding:1rem}
.card.bad{border-color:#a00}.card.unproven{border-color:#850}
.card.grey{border-color:#777;color:#555;border-style:dashed}
.mark{font-size:2.2rem;font-weight:700;margin:.2rem 0}.lab{border:2px dashed #a00;font-weight:700}
.late{max-height:0;overflow:hidden;visibility:hidden;font-weight:700}
.live .late{animation:show 1s LEFTs forwards}.live{animation:end 1s LEFTs forwards}
@keyframes end{to{border-color:#777;color:#555;border-style:dashed;filter:grayscale(1)}}
@keyframes show{to{max-height:10rem;visibility:visible}}
svg{width:10rem;height:10rem}small{overflow-wrap:anywhere}
";

/// The page in all of these languages at once: guests and passers-by see it without choosing. `now` only where it holds.
pub(crate) fn badge_page(
    standing: &Standing,
    link: &str,
    now: Option<Time>,
    digest: &str,
    languages: [Language; 2],
) -> String {
    let each = |pair| languages.map(|language| language.of(pair)).join(" · ");
    let left = now.map_or(0, |now| (standing.valid_to.millis() - now.millis()) / 1_000);
    let (class, mark) = match (now, standing.verdict) {
        (None, _) => ("card grey", "–"),
        (_, Verdict::Compliant | Verdict::WithFindings) => ("card live", "✓"),
        (_, Verdict::NotProven) => ("card live unproven", "?"),
        (_, Verdict::NotCompliant) => ("card live bad", "✗"),
    };
    let said = if now.is_none() { each(words::EXPIRED) } else { each(words::verdict(standing.verdict)) };
    let lab = if standing.lab { format!("<p class=\"lab\">{}</p>\n", each(words::LAB)) } else { String::new() };
    let failing = if standing.failing.is_empty() {
        String::new()
    } else {
        format!("<p>{}: {}</p>\n", each(words::FAILED), esc(&standing.failing.join(", ")))
    };
    let style = STYLE.replace("LEFT", &left.to_string());
    format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{lab}<div class=\"{class}\">\n<h1>{}</h1>\n\
         <p class=\"mark\">{mark} {said}</p>\n<p class=\"late\">{}</p>\n{failing}\
         <p>{}: <time datetime=\"{}\">{} UTC</time></p>\n<p>{}</p>\n{}\n\
         <p><small>{} · {} · sha256 {digest}</small></p>\n</div>\n</body>\n</html>\n",
        languages[1].code(),
        esc(&standing.site),
        esc(&standing.site),
        each(words::EXPIRED),
        each(words::HOLDS_UNTIL),
        standing.valid_to,
        minute(standing.valid_to),
        each(words::BADGE_LIMIT),
        qr(link),
        esc(&standing.gateway),
        esc(&standing.profile),
    )
}

/// A QR code as one path; an empty text where the link is too long for one.
pub(crate) fn qr(link: &str) -> String {
    let Ok(code) = QrCode::encode_text(link, QrCodeEcc::Medium) else { return String::new() };
    let side = code.size();
    let squares = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let path: String = squares
        .filter(|(x, y)| code.get_module(*x, *y))
        .map(|(x, y)| format!("M{},{}h1v1h-1z", x + 4, y + 4))
        .collect();
    let full = side + 8;
    format!(
        "<svg viewBox=\"0 0 {full} {full}\" role=\"img\" aria-label=\"QR: {}\"><rect width=\"{full}\" height=\"{full}\" fill=\"#fff\"/>\
         <path d=\"{path}\" fill=\"#000\"/></svg>",
        esc(link)
    )
}
