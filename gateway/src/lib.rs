//! The daemon and command line of a sheshi gateway.
//!
//! [`cli`] says what can be asked for, [`commands`] holds what ends by itself and [`daemon`] what runs: it reads the
//! [`config`], follows the [`network`], makes the [`plan`] of the firewall, keeps compiled policies in [`generations`] and
//! lists by URL up to date ([`subscriptions`]), and starts the rooms; [`city`] calls the dashboard. What is measured from the
//! guest's side ([`probe`]) is kept in [`evidence_log`], [`report`] hands it out. [`control`] is the socket between daemon and
//! command line. [`doctor`] looks at everything from outside.

pub mod advertise;
pub mod certifier;
pub mod city;
pub mod cli;
pub mod commands;
pub mod config;
pub mod confine;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod dnsmasq;
pub mod doctor;
pub mod evidence_log;
pub mod gate;
pub mod generations;
pub mod guests;
pub mod impostors;
pub mod metrics;
pub mod network;
pub mod notify;
pub mod plan;
pub mod probe;
pub mod report;
pub mod resolve;
pub mod status;
pub mod subnet;
pub mod subscriptions;
pub mod time_stamp;
pub mod vouchers;
pub mod watchdog;
