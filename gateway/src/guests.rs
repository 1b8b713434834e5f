//! What an admin does to guests of a running gateway: lengthen, move and end sessions; make codes; show and erase records of
//! consent. Here are the answers of the gateway; the commands that ask are in `commands` and `vouchers`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sheshi_captive_portal::{Batch, Error, Portal, Settings};
use sheshi_policy::{Compiled, Mac};

use crate::control::Reply;

/// What may be asked about guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Let a session last this long from now.
    Extend {
        /// Whose.
        mac: Mac,
        /// In seconds.
        seconds: u64,
    },
    /// Move a session to another group.
    Move {
        /// Whose.
        mac: Mac,
        /// Where to.
        group: String,
    },
    /// The batches of codes.
    Vouchers,
    /// Make codes.
    NewVouchers {
        /// What they give.
        batch: Batch,
        /// How many.
        count: u32,
    },
    /// Make the codes of a batch invalid.
    EndVouchers {
        /// Its name.
        name: String,
    },
    /// The records of consent.
    Consents,
    /// Erase a record of consent.
    EraseConsent {
        /// Its pseudonym.
        pseudonym: String,
    },
}

/// Codes just made, and what is printed with them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewCodes {
    /// The codes. Nobody can read them again.
    pub codes: Vec<String>,
    /// What they give.
    pub batch: Batch,
    /// Where they are typed in.
    pub portal: String,
    /// Where they are good.
    pub venue: String,
    /// Who gives them out.
    pub organisation: String,
}

/// The answer of a running gateway.
pub async fn answer(portal: &Portal, settings: &Settings, policy: &Compiled, ask: Ask) -> Reply {
    let no_session = |mac| Reply::Refused(format!("{mac} has no session: `sheshi guests` lists those who have"));
    let done = |changed: Result<bool, Error>, refused: Reply| match changed {
        Ok(true) => value(()),
        Ok(false) => refused,
        Err(error) => Reply::Failed(error.to_string()),
    };
    match ask {
        // As long as the longest session that may be configured.
        Ask::Extend { seconds, .. } if !(60..=7 * 86_400).contains(&seconds) => {
            Reply::Refused("the time is out of bounds: want 1m to 168h".into())
        }
        Ask::Extend { mac, seconds } => done(portal.extend(mac, Duration::from_secs(seconds)).await, no_session(mac)),
        Ask::Move { group, .. } if policy.group(&group).is_none() => {
            let known: Vec<_> = policy.groups().iter().map(|group| &*group.name).collect();
            Reply::Refused(format!("{group:?} is no group of the policy: want one of {}", known.join(", ")))
        }
        Ask::Move { mac, group } => done(portal.regroup(mac, &group).await, no_session(mac)),
        Ask::Vouchers => portal.vouchers().await.map_or_else(|error| Reply::Failed(error.to_string()), value),
        Ask::NewVouchers { batch, count } => match portal.new_vouchers(batch.clone(), count).await {
            Ok(codes) => value(NewCodes {
                codes,
                batch,
                portal: match settings.port {
                    80 => format!("http://{}/", settings.name),
                    port => format!("http://{}:{port}/", settings.name),
                },
                venue: settings.venue.clone(),
                organisation: settings.organisation.clone(),
            }),
            Err(error @ Error::Batch(_)) => Reply::Refused(error.to_string()),
            Err(error) => Reply::Failed(error.to_string()),
        },
        Ask::EndVouchers { name } => {
            let refused = Reply::Refused(format!("there is no batch {name:?}: `sheshi vouchers` lists them"));
            done(portal.end_vouchers(&name).await, refused)
        }
        Ask::Consents => portal.consents().await.map_or_else(|error| Reply::Failed(error.to_string()), value),
        Ask::EraseConsent { pseudonym } => {
            let refused = Reply::Refused("there is no such record: `sheshi consents` lists them".into());
            done(portal.erase_consent(&pseudonym).await, refused)
        }
    }
}

fn value(value: impl Serialize) -> Reply {
    serde_json::to_value(value).map_or_else(|error| Reply::Failed(error.to_string()), Reply::Done)
}
