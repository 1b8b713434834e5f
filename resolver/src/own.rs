//! Replies of our own making: to strangers, for local names, and what a verdict other than "allow" leads to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sheshi_policy::{Action, BlockAnswer, Reason, Verdict};

use crate::{
    local::{LOOPBACK4, LOOPBACK6, Local},
    pipeline::{Core, Ended, Step, Turn},
    reply::{BLOCK_TTL, LOCAL_TTL, Reply, STRANGER_TTL},
    stats::Count,
    wire::{Name, Query, rcode, rtype},
};

impl Core {
    /// Every name is the portal, for a moment; nothing else exists, and nothing is said not to exist: a "no such name" would be
    /// remembered past admission.
    pub(crate) fn stranger(&self, turn: &mut Turn<'_>, query: &Query<'_>, out: &mut [u8]) -> Step {
        turn.step("stranger");
        turn.counts.count(Count::Stranger);
        let reply = Reply::new(query, out);
        if self.locals.is_signal(query.question.name) {
            // No address is as good as no name to who looks for a signal.
            return Step::Reply(no_data(reply, STRANGER_TTL));
        }
        Step::Reply(self.portal(reply, query.question.qtype, STRANGER_TTL))
    }

    /// The portal's address of the type asked for, or no data.
    fn portal(&self, mut reply: Reply<'_>, qtype: u16, ttl: u32) -> usize {
        let address = match qtype {
            rtype::A => self.portal.v4.map(IpAddr::V4),
            rtype::AAAA => self.portal.v6.map(IpAddr::V6),
            _ => None,
        };
        match address {
            Some(address) => {
                reply.address(address, ttl);
                reply.finish(rcode::NOERROR)
            }
            None => no_data(reply, ttl),
        }
    }

    pub(crate) fn local(&self, turn: &mut Turn<'_>, query: &Query<'_>, out: &mut [u8]) -> Ended<()> {
        turn.step("local");
        let name = query.question.name;
        if let Some(services) = self.designation.as_ref().and_then(|designation| designation.answer(query)) {
            turn.counts.count(Count::Local);
            let mut reply = Reply::new(query, out);
            services.iter().for_each(|service| reply.service(service, BLOCK_TTL));
            return Err(Step::Reply(reply.finish(rcode::NOERROR)));
        }
        // The name in our certificate leads to the same addresses as the portal's, and mostly is the same.
        let is_ours = self.designation.as_ref().is_some_and(|designation| designation.name == *name);
        let is_portal = self.portal_name.as_ref() == Some(name) || is_ours;
        let local = if is_portal { None } else { self.locals.find(name, query.last_label) };
        if !is_portal && local.is_none() {
            return Ok(());
        }
        turn.counts.count(Count::Local);
        let mut reply = Reply::new(query, out);
        Err(Step::Reply(match local {
            None => self.portal(reply, query.question.qtype, BLOCK_TTL),
            Some(Local::NoName) => {
                reply.own_soa(LOCAL_TTL);
                reply.finish(rcode::NXDOMAIN)
            }
            Some(Local::Loopback) if matches!(query.question.qtype, rtype::A | rtype::AAAA) => {
                let v4 = query.question.qtype == rtype::A;
                reply.address(if v4 { LOOPBACK4.into() } else { LOOPBACK6.into() }, LOCAL_TTL);
                reply.finish(rcode::NOERROR)
            }
            Some(Local::NoData | Local::Loopback) => no_data(reply, LOCAL_TTL),
        }))
    }

    /// Does what the verdict says. Goes on with the name whose answer is wanted, when it is not the question's own.
    pub(crate) fn carry_out(
        &self,
        turn: &mut Turn<'_>,
        query: &Query<'_>,
        verdict: &Verdict,
        out: &mut [u8],
    ) -> Ended<Option<Box<Name>>> {
        turn.step("carry out");
        match &verdict.action {
            Action::Allow => Ok(None),
            Action::Block(how) => Err(self.block(turn, query, *how, &verdict.reason, out)),
            Action::Addresses(addresses) => Err(self.fixed(turn, query, addresses, out)),
            Action::Alias(target) => match Name::parse(target) {
                // An alias to itself is the name itself.
                Some(target) if target == *query.question.name => Ok(None),
                // A safe mode that does not exist: without it the engine would be a broken name, and nobody would know why.
                Some(target) if self.targets.is_missing(&target) => {
                    Err(self.block(turn, query, BlockAnswer::Nxdomain, &verdict.reason, out))
                }
                Some(target) => Ok(Some(Box::new(target))),
                // A target that is not a name comes from a broken policy: closed.
                None => Err(self.block(turn, query, BlockAnswer::Nxdomain, &verdict.reason, out)),
            },
        }
    }

    /// The block answer of `reason`'s category, the same for every type, with the reason for clients that can read it.
    pub(crate) fn block(
        &self,
        turn: &mut Turn<'_>,
        query: &Query<'_>,
        how: BlockAnswer,
        reason: &Reason,
        out: &mut [u8],
    ) -> Step {
        turn.counts.count(Count::Blocked);
        if let Some(category) = reason.category {
            turn.counts.count_category(turn.snapshot.place(category));
        }
        let mut reply = Reply::new(query, out);
        let qtype = query.question.qtype;
        let portal = match qtype {
            rtype::A => self.portal.v4.map(IpAddr::V4),
            rtype::AAAA => self.portal.v6.map(IpAddr::V6),
            _ => None,
        };
        let (code, address) = match (how, qtype) {
            (BlockAnswer::Nxdomain, _) => (rcode::NXDOMAIN, None),
            (BlockAnswer::NullAddress, rtype::A) => (rcode::NOERROR, Some(Ipv4Addr::UNSPECIFIED.into())),
            (BlockAnswer::NullAddress, rtype::AAAA) => (rcode::NOERROR, Some(Ipv6Addr::UNSPECIFIED.into())),
            (BlockAnswer::NullAddress, _) => (rcode::NOERROR, None),
            (BlockAnswer::BlockPage, _) => (rcode::NOERROR, portal),
        };
        match address {
            Some(address) => reply.address(address, BLOCK_TTL),
            None => reply.own_soa(BLOCK_TTL),
        }
        if query.edns.is_some() {
            let (ede, text) = turn.texts.get(turn.snapshot, reason);
            reply.explain(ede, text);
        }
        Step::Reply(reply.finish(code))
    }

    /// Fixed addresses of the policy; other types have no data.
    fn fixed(&self, turn: &Turn<'_>, query: &Query<'_>, addresses: &[IpAddr], out: &mut [u8]) -> Step {
        turn.counts.count(Count::Rewritten);
        let mut reply = Reply::new(query, out);
        let wanted = addresses.iter().filter(|address| match query.question.qtype {
            rtype::A => address.is_ipv4(),
            rtype::AAAA => address.is_ipv6(),
            _ => false,
        });
        let mut any = false;
        for address in wanted {
            reply.address(*address, BLOCK_TTL);
            any = true;
        }
        Step::Reply(if any { reply.finish(rcode::NOERROR) } else { no_data(reply, BLOCK_TTL) })
    }
}

/// The name exists, the type does not.
fn no_data(mut reply: Reply<'_>, ttl: u32) -> usize {
    reply.own_soa(ttl);
    reply.finish(rcode::NOERROR)
}
