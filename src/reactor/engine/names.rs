//! Names become addresses: by a helper thread, as name servers may take long.

use super::Reactor;
use crate::proto::output::Asker;
use crate::reactor::sockets;
use crate::units::time::Instant;
use crate::wire::address::{unmap, Host, HostPort};
use std::net::{IpAddr, ToSocketAddrs};

/// A name to resolve, or an address to be judged.
pub(super) struct ResolveJob {
    pub(super) host: HostPort,
    pub(super) asker: Asker,
    /// The one address that is ours, if the user named one.
    pub(super) bind: Option<IpAddr>,
}

pub(super) struct Resolved {
    pub(super) host: HostPort,
    pub(super) asker: Asker,
    pub(super) answer: Result<Vec<(IpAddr, bool)>, String>,
}

impl Reactor {
    pub(super) fn resolve(&mut self, now: Instant, host: HostPort, asker: Asker) {
        // An address needs no resolver, only a look whether it is ours.
        let bind = self.options.bind;
        if let Host::Ip(ip) = host.host {
            let answer = Ok(vec![(ip, sockets::is_own(ip, bind))]);
            self.peer.handle_resolved(now, &host, &asker, answer);
        } else if let Err(job) = self.resolver.submit(ResolveJob { host, asker, bind }) {
            let busy = Err("too many names are being resolved".to_owned());
            self.peer.handle_resolved(now, &job.host, &job.asker, busy);
        }
    }
}

/// The work of the resolver helper.
pub(super) fn resolve(job: ResolveJob) -> Resolved {
    let ResolveJob { host, asker, bind } = job;
    let answer = match &host.host {
        Host::Ip(ip) => Ok(vec![*ip]),
        Host::Name(name) => (name.as_str(), host.port)
            .to_socket_addrs()
            .map(|addrs| addrs.map(|addr| unmap(addr).ip()).collect::<Vec<_>>())
            .map_err(|_| "no such host name".to_owned()),
    };
    let judge = |ip: IpAddr| (ip, sockets::is_own(ip, bind));
    let reaches = |&ip: &IpAddr| sockets::reaches(bind, ip);
    let answer = answer.and_then(|ips| {
        let ips: Vec<_> = ips.into_iter().filter(reaches).map(judge).collect();
        if ips.is_empty() {
            return Err("it has no address that --bind can reach".to_owned());
        }
        Ok(ips)
    });
    Resolved { host, asker, answer }
}
