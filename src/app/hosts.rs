//! The hosts that the user names: by flag, in a file, and where the DHT is entered.

use super::cli::Network;
use super::text::shown;
use super::Failure;
use crate::wire::address::{HostPort, PORT_DEFAULT};

/// Nodes that everybody begins at who knows no other.
const PUBLIC_ROUTERS: &[&str] = &[
    "dht.libtorrent.org:25401",
    "dht.transmissionbt.com:6881",
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
];

/// Where the DHT is entered: the hosts of `--dht-bootstrap`, and with `--public` its routers.
pub(super) fn dht_hosts(network: &Network) -> Result<Vec<HostPort>, Failure> {
    let routers = if network.public { PUBLIC_ROUTERS } else { &[] };
    let named = network.dht_bootstrap.iter().map(String::as_str);
    let parse = |text: &str| {
        HostPort::parse(text, PORT_DEFAULT).map_err(|error| {
            Failure::Refused(format!("--dht-bootstrap {}: {error}", text.escape_debug()))
        })
    };
    named.chain(routers.iter().copied()).map(parse).collect()
}

/// The hosts of `--peer` and `--peers-file`. A bad one is an error: the user meant something.
pub(super) fn known_hosts(network: &Network) -> Result<Vec<HostPort>, Failure> {
    let parse = |text: &str, place: &str| {
        HostPort::parse(text, PORT_DEFAULT)
            .map_err(|error| Failure::Refused(format!("{place}{}: {error}", text.escape_debug())))
    };
    let mut hosts: Vec<HostPort> =
        network.peers.iter().map(|text| parse(text, "peer ")).collect::<Result<_, _>>()?;
    if let Some(path) = &network.peers_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Refused(format!("{}: {error}", shown(path))))?;
        // Some editors begin a text with a byte order mark.
        let lines = text.trim_start_matches('\u{feff}').lines();
        let lines = lines.map(|line| line.split('#').next().unwrap_or("").trim());
        for (number, line) in (1..).zip(lines).filter(|(_, line)| !line.is_empty()) {
            hosts.push(parse(line, &format!("{}, line {number}: ", shown(path)))?);
        }
    }
    Ok(hosts)
}
