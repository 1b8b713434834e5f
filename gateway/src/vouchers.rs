//! `sheshi vouchers`: codes on a page to be printed, with a QR code that opens the portal with the code filled in.

use std::{fmt::Write, fs, io::Write as _, os::unix::fs::OpenOptionsExt, path::Path};

use qrcodegen::{QrCode, QrCodeEcc};
use sheshi_captive_portal::{Batch, BatchState};

use crate::{
    cli::{VouchersAction, VouchersArgs},
    commands::{Failure, failed, print, print_json},
    control::{self, Request},
    guests::{Ask, NewCodes},
    status::span,
};

/// `sheshi vouchers`.
pub fn run(args: &VouchersArgs) -> Result<(), Failure> {
    match &args.action {
        None => {
            let batches: Vec<BatchState> = control::ask(&args.control, &Request::About(Ask::Vouchers))?;
            if args.json {
                return print_json(&batches);
            }
            let lines: Vec<_> = batches.iter().map(line).collect();
            if lines.is_empty() { print("no codes") } else { print(&lines.join("\n")) }
        }
        Some(VouchersAction::End { name }) => {
            control::ask::<()>(&args.control, &Request::About(Ask::EndVouchers { name: name.clone() }))?;
            print(&format!("the codes of {name} admit nobody any more; `sheshi guests` lists who is online"))
        }
        Some(VouchersAction::New { name, count, time, devices, group, until, page }) => {
            let seconds =
                u32::try_from(time.as_secs()).map_err(|_| Failure::Refused("--time: want 1m to 90 days".into()))?;
            let valid_until = match until {
                None => None,
                // The whole of that day, by the clock of whoever makes the codes.
                Some(day) => {
                    let end = day.tomorrow().and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()));
                    Some(end.map_err(failed)?.timestamp().as_second())
                }
            };
            let batch = Batch { name: name.clone(), group: group.clone(), seconds, devices: *devices, valid_until };
            let ask = Request::About(Ask::NewVouchers { batch, count: *count });
            let new: NewCodes = control::ask(&args.control, &ask)?;
            if let Some(path) = page {
                save(path, &render(&new)).map_err(|error| failed(format!("write {}: {error}", path.display())))?;
                return print(&format!(
                    "{} codes are on {}; print it, then delete it",
                    new.codes.len(),
                    path.display()
                ));
            }
            if args.json { print_json(&new) } else { print(&new.codes.join("\n")) }
        }
    }
}

fn line(state: &BatchState) -> String {
    let Batch { name, group, seconds, devices, valid_until } = &state.batch;
    let until = valid_until.and_then(|until| jiff::Timestamp::from_second(until).ok());
    format!(
        "{name}  {} codes, used by {} devices; {} for each of {devices} a code{}{}",
        state.codes,
        state.used,
        span(u64::from(*seconds)),
        group.as_ref().map_or_else(String::new, |group| format!("; group {group}")),
        until.map_or_else(String::new, |until| format!("; until {until}")),
    )
}

/// For its owner only: who reads the page has the codes.
fn save(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:1cm;color:#000;background:#fff}ul{display:grid;\
     grid-template-columns:repeat(3,1fr);gap:.4cm;margin:0;padding:0;list-style:none}li{border:1px dashed #555;padding:.4cm;\
     text-align:center;break-inside:avoid}svg{width:3cm;height:3cm}p{margin:.1cm 0}.code{font:700 17px ui-monospace,monospace}";

/// The page: a card a code. It says nothing in words of one language, so that every guest can read it.
fn render(new: &NewCodes) -> String {
    let (venue, organisation, portal) = (escape(&new.venue), escape(&new.organisation), escape(&new.portal));
    let until = new.batch.valid_until.and_then(|until| jiff::Timestamp::from_second(until - 1).ok());
    let until = until.map(|until| until.to_zoned(jiff::tz::TimeZone::system()).date().to_string());
    let time = [Some(span(u64::from(new.batch.seconds))), until.map(|until| format!("≤ {until}"))];
    let time = time.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{venue} · {}</title><style>{STYLE}</style></head><body><ul>\n",
        escape(&new.batch.name)
    );
    for code in &new.codes {
        let url = format!("{}?code={code}", new.portal);
        let qr = QrCode::encode_text(&url, QrCodeEcc::Medium).map_or_else(|_| String::new(), |qr| svg(&qr));
        let _ = writeln!(
            page,
            "<li><p><strong>{venue}</strong><br>{organisation}</p>{qr}<p class=\"code\">{}</p><p>{portal}<br>{time}</p></li>",
            escape(code)
        );
    }
    page.push_str("</ul></body></html>\n");
    page
}

/// With the quiet zone of four modules that readers need (ISO/IEC 18004).
fn svg(qr: &QrCode) -> String {
    let mut path = String::new();
    for y in 0..qr.size() {
        for x in (0..qr.size()).filter(|x| qr.get_module(*x, y)) {
            let _ = write!(path, "M{} {}h1v1h-1z", x + 4, y + 4);
        }
    }
    let side = qr.size() + 8;
    format!("<svg viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR\"><path d=\"{path}\"/></svg>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_a_card_for_each_code_and_no_markup_of_others() {
        let batch =
            Batch { name: "desk".into(), group: None, seconds: 7200, devices: 1, valid_until: Some(1_795_474_800) };
        let new = NewCodes {
            codes: vec!["abcd-efgh-jkmn".into(), "0123-4567-89ab".into()],
            batch,
            portal: "http://wifi.tirana.example/".into(),
            venue: "<b>Sheshi</b>".into(),
            organisation: "Bashkia & Co".into(),
        };
        let page = render(&new);
        assert_eq!((page.matches("<li>").count(), page.matches("<svg ").count()), (2, 2));
        assert!(page.contains("&lt;b&gt;Sheshi") && !page.contains("<b>") && page.contains("abcd-efgh-jkmn"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.html");
        save(&path, &page).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(save(&path, "other").is_err(), "a page that is there is not overwritten");
    }
}
