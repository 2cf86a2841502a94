//! `get`: download one torrent, verify it, exit. Named by its .torrent file, a magnet link, or the
//! name of the content, for which every known host is asked.

use super::cli::Network;
use super::run::{make_folder, start_log};
use super::session::Session;
use super::{Ending, Failure};
use crate::reactor::engine::Reactor;
use crate::reactor::folders::shown;
use crate::units::id::SwarmId;
use crate::wire::choice::Choice;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Patience where every tracker and host has answered, and nobody has it.
const WAIT_ANSWERED: Duration = Duration::from_secs(30);
/// Patience with a tracker or a host that does not answer: in a class they start minutes apart.
const WAIT_UNANSWERED: Duration = Duration::from_secs(90);

/// Downloads the content of `torrent`, a .torrent file, a magnet link or the name of what some host
/// shares, into `output`. Returns the
/// exit code: 0 when all of it is there, or of `select` all, 7 when stopped before. `wait`: how
/// long to wait for somebody who has it; zero is for ever. Without it a name is asked for once.
///
/// # Errors
/// When the torrent is bad, the port or a folder cannot be used, or nobody has it.
pub fn get(
    torrent: &str,
    output: &Path,
    network: &Network,
    wait: Option<Duration>,
    select: Option<Choice>,
) -> Result<u8, Failure> {
    start_log(network)?;
    let wanted = Wanted::read(torrent)?;
    let choice = match &wanted {
        Wanted::Magnet(magnet) => select.or_else(|| magnet.select.clone()),
        Wanted::Torrent(..) | Wanted::Name(_) => select,
    };
    let mut swarm = None;
    make_folder(output)?;
    let state = network.state.clone().unwrap_or_else(|| output.join(".reactor-peer"));
    let network = Network { exit_when_complete: true, ..network.clone() };
    let mut session = Session::open(&network, output, state, None, &mut |reactor| {
        reactor.choose_for_all(choice.clone());
        let added = match &wanted {
            Wanted::Torrent(source, bytes) => {
                reactor.add_torrent(source, bytes).map_err(String::from)
            }
            Wanted::Magnet(magnet) => reactor.add_magnet(magnet.clone()),
            Wanted::Name(_) => return Ok(()),
        };
        let failed = |why| match reactor.refused_choice() {
            Some(why) => wanted.refused(why),
            None => Failure::Failed(format!("{}: {why}", wanted.shown())),
        };
        swarm = Some(added.map_err(failed)?);
        Ok(())
    })?;
    if let Wanted::Name(name) = &wanted {
        log::info!("asking the hosts of this LAN for {}", wanted.shown());
        session.desk.get(session.reactor.now(), name, wait);
    }
    session.serve(&mut |reactor| {
        if let Some(why) = reactor.refused_choice() {
            return Some(Ending::Failed(wanted.refused(why)));
        }
        swarm = swarm.or_else(|| reactor.contents().next().map(|(id, _)| id));
        if let Some(why) = swarm.and_then(|swarm| nobody_has_it(reactor, swarm, wait)) {
            let why = format!("{}: {why}", wanted.shown());
            return Some(Ending::Failed(Failure::NobodyHasIt(why)));
        }
        (swarm.is_some() && reactor.is_at_rest()).then_some(Ending::Done)
    })
}

/// Why to wait no longer: nobody who has a missing piece was ever met. Whoever was met and lost is
/// waited for without end.
fn nobody_has_it(reactor: &mut Reactor, swarm: SwarmId, wait: Option<Duration>) -> Option<String> {
    let now = reactor.now();
    let search = reactor.peer().search(swarm)?;
    let usual = if search.unanswered { WAIT_UNANSWERED } else { WAIT_ANSWERED };
    let wait = wait.unwrap_or(usual);
    (!wait.is_zero() && now - search.since >= wait).then(|| {
        let (seconds, asked) = (wait.as_secs(), search.asked);
        format!(
            "nobody has it: in {seconds} s no peer with a missing piece was met ({asked}); name a \
             host with --peer ADDR, or wait longer with --wait TIME (0: for ever)"
        )
    })
}

/// What is to be downloaded.
enum Wanted {
    Torrent(PathBuf, Vec<u8>),
    Magnet(Magnet),
    Name(String),
}

impl Wanted {
    /// What ends in .torrent or has a folder in it is a file, so that a mistyped path is told of
    /// at once; another file counts only if it is a torrent: the content itself may lie here from
    /// an earlier run.
    fn read(text: &str) -> Result<Self, Failure> {
        if Magnet::is_magnet(text) {
            let magnet = Magnet::parse(text);
            return magnet.map(Self::Magnet).map_err(|error| Failure::Refused(error.to_string()));
        }
        match Self::read_file(text) {
            Err(_) if !text.ends_with(".torrent") && !text.contains('/') && !text.is_empty() => {
                Ok(Self::Name(text.to_owned()))
            }
            read => read,
        }
    }

    fn read_file(text: &str) -> Result<Self, Failure> {
        let source = PathBuf::from(text);
        let bytes = super::read_torrent(&source)?;
        Metainfo::parse(&bytes)
            .map_err(|error| Failure::Refused(format!("{}: {error}", shown(&source))))?;
        Ok(Self::Torrent(source, bytes))
    }

    /// The list of files names none: wrong usage.
    fn refused(&self, why: &str) -> Failure {
        Failure::Refused(format!("{}: {why}", self.shown()))
    }

    fn shown(&self) -> String {
        match self {
            Self::Torrent(source, _) => shown(source),
            Self::Magnet(magnet) => magnet.shown_name(),
            Self::Name(name) => super::text::escape(name),
        }
    }
}
