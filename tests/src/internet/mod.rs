//! The internet of the lab: resolvers, web servers, an echo host, and a log of everything that arrives.
//!
//! It answers genuinely, so that every test of what does *not* get through has a positive control.

mod capture;
mod clock;
mod echo;
mod names;
mod resolvers;
mod stamps;
mod tls;
mod web;

use std::{fs, path::Path, sync::Arc, time::Duration};

use crate::{
    arrivals,
    error::{Doing, LabError},
    plan,
};

/// Serves the internet until the process ends.
pub(crate) fn run(folder: &Path) -> Result<(), LabError> {
    capture::start(&arrivals::packets_path(folder))?;
    let log = names::Log::create(&arrivals::names_path(folder))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .doing(|| "starting the runtime of the internet".into())?;
    runtime.block_on(async {
        let resolver = Arc::new(names::Resolver::new(log));
        let acceptor = tls::acceptor(&folder.join("ca.pem"))?;
        resolvers::start(&resolver, &acceptor).await?;
        web::start(&resolver, &acceptor, folder).await?;
        echo::start(&plan::ECHO_PORTS).await?;
        stamps::start(folder)?;
        clock::start().await?;
        let ready = folder.join("ready");
        fs::write(&ready, "").doing(|| format!("writing {}", ready.display()))?;
        loop {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    })
}
