//! The command line as checked values.
//!
//! argh does the reading and the help; [`normalise`] first gives it what it cannot read itself:
//! `--option=value`, `-o5`, options before the command. Every number is checked here, in words.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs};
use log::LevelFilter;

mod control;
mod files;
mod values;

use super::desk::request::Request;
use crate::proto::peer::goal::Goal;
use crate::wire::choice::Choice;
use crate::wire::text::escape;
use values::{address, client_ports, count, file_list, log_level, port, rate, ratio, span};

/// Client sockets on a lab's network: the course's ports 5001 to 5006.
const MAX_CONNS: u16 = 6;
/// Client sockets on the open internet, where most addresses lead nowhere.
const MAX_CONNS_PUBLIC: u16 = 50;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the peer.
    Run(Run),
    /// Share a file or a folder.
    Share {
        /// What to share.
        path: PathBuf,
        /// Hosts to push it to, as written.
        to: Vec<String>,
        /// The rest as in the main form.
        run: Run,
    },
    /// Ask a running peer.
    Control {
        /// What.
        request: Request,
        /// Its state folder.
        state: PathBuf,
        /// For programs.
        json: bool,
    },
    /// Download one torrent and exit.
    Get {
        /// The .torrent file, or the name of what a host of the LAN shares.
        torrent: String,
        /// Folder to put the content in.
        output: PathBuf,
        /// How to reach others.
        network: Network,
        /// How long to wait for somebody who has it, if the user says; zero is for ever.
        wait: Option<Duration>,
        /// The files wanted, if not all.
        select: Option<Choice>,
    },
    /// Print what a .torrent says.
    Show {
        /// The .torrent file.
        file: PathBuf,
        /// For programs.
        json: bool,
        /// A piece whose hash is asked for.
        piece: Option<u32>,
    },
    /// Make a .torrent.
    Create {
        /// File or folder to share.
        path: PathBuf,
        /// Trackers, each a tier.
        announces: Vec<String>,
        /// Bytes of a piece, if not chosen by the length.
        piece_length: Option<u32>,
        /// Peers from the trackers only.
        private: bool,
        /// A note.
        comment: Option<String>,
        /// Where to write it, if not beside.
        output: Option<PathBuf>,
    },
    /// Give a .torrent other trackers.
    SetAnnounce {
        /// The .torrent file.
        file: PathBuf,
        /// Trackers, at least one.
        addresses: Vec<String>,
    },
    /// Verify content against a .torrent.
    Check {
        /// The .torrent file.
        file: PathBuf,
        /// Folder that holds the content.
        shareable: PathBuf,
    },
    /// Print this text.
    Help(String),
    /// Print the version.
    Version,
}

/// Values of the main form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How to reach others.
    pub network: Network,
    /// Folder of .torrent files.
    pub torrents: PathBuf,
    /// Folder of the content.
    pub shareable: PathBuf,
}

impl Run {
    /// Where the records and the control socket are.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.network.state.clone().unwrap_or_else(|| self.torrents.join(".reactor-peer"))
    }
}

/// How a peer reaches others, and what it says meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The one listening port, 1 to 65535.
    pub listen: u16,
    /// Most client sockets, at least 1. Unless `client_ports_any` their ports are the
    /// `max_conns` after `listen`, all below 65536.
    pub max_conns: u16,
    /// The one local address to use.
    pub bind: Option<IpAddr>,
    /// Where the records are kept, if not below the torrents folder.
    pub state: Option<PathBuf>,
    /// Known hosts as written.
    pub peers: Vec<String>,
    /// A file of known hosts.
    pub peers_file: Option<PathBuf>,
    /// Let the system choose the client ports.
    pub client_ports_any: bool,
    /// Most accepted connections, at least 1.
    pub max_inbound: usize,
    /// Discover peers on the local network.
    pub lsd: bool,
    /// Take part in the DHT.
    pub dht: bool,
    /// Hosts where the DHT can be entered, as written.
    pub dht_bootstrap: Vec<String>,
    /// On the open internet: enter the DHT at its public routers, too.
    pub public: bool,
    /// Dial also for swarms that are complete here.
    pub seed_dials: bool,
    /// Remote ends served at once, at least 1.
    pub upload_slots: Option<usize>,
    /// Bytes of blocks a second that go out, if limited.
    pub max_up: Option<u64>,
    /// Bytes of blocks a second that are asked for, if limited.
    pub max_down: Option<u64>,
    /// When a torrent has been given enough.
    pub goal: Goal,
    /// Tell peers of each other.
    pub pex: bool,
    /// Take torrents that other peers offer.
    pub accept_torrents: bool,
    /// End when every torrent is complete.
    pub exit_when_complete: bool,
    /// What happens goes to stdout as JSON, one object a line.
    pub json: bool,
    /// Bytes of content mapped at once.
    pub map_budget: usize,
    /// Say how long the turns of the loop were.
    pub stats: bool,
    /// No progress display.
    pub quiet: bool,
    /// What is logged.
    pub log_level: LevelFilter,
    /// Log into this file as well.
    pub log_file: Option<PathBuf>,
}

/// Why the command line makes no sense, in one line. The exit code is 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments, the program's own name left out.
///
/// # Errors
/// [`UsageError`] with what is wrong.
pub fn parse(args: &[OsString]) -> Result<Command, UsageError> {
    let args = args.iter().map(|arg| {
        let lossy = || escape(&arg.to_string_lossy());
        arg.to_str().ok_or_else(|| UsageError(format!("argument '{}' is not UTF-8", lossy())))
    });
    let Words { line, version } = normalise(&args.collect::<Result<Vec<_>, _>>()?)?;
    if version {
        return Ok(Command::Version);
    }
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    match Args::from_args(&["reactor-peer"], &line) {
        Ok(args) => args.into_command(),
        Err(early) if early.status.is_ok() => Ok(Command::Help(early.output)),
        Err(early) => Err(UsageError(one_line(&early.output))),
    }
}

/// argh's reasons have several lines; the help is offered once, by `main`.
fn one_line(output: &str) -> String {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    escape(&lines.collect::<Vec<_>>().join(" "))
}

/// Arguments in the order and form that argh reads.
struct Words {
    /// The command, then options and their values, then `--` and the positional arguments.
    line: Vec<String>,
    version: bool,
}

fn normalise(args: &[&str]) -> Result<Words, UsageError> {
    let info = Args::get_args_info();
    let flags: Vec<&FlagInfo<'_>> =
        info.commands.iter().flat_map(|sub| sub.command.flags).chain(info.flags).collect();
    let (mut command, mut options, mut positional) = (None, Vec::new(), Vec::new());
    let (mut help, mut version) = (false, false);
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        if arg == "--" {
            positional.extend(args.by_ref().map(String::from));
        } else if arg.starts_with('-') && arg.len() > 1 {
            let (name, value) = split_option(arg);
            help |= matches!(name, "-h" | "--help");
            version |= matches!(name, "-V" | "--version");
            options.push(name.to_string());
            let bad = |what| Err(UsageError(format!("{}: {what}", escape(arg))));
            match (takes_value(&flags, name), value) {
                (None, _) => return bad("no such option"),
                (Some(true), _) => options.extend(value.or_else(|| args.next()).map(String::from)),
                (Some(false), Some(_)) => return bad("it takes no value"),
                (Some(false), None) => {}
            }
        } else if command.is_none() && positional.is_empty() {
            let known: Vec<_> = info.commands.iter().map(|sub| sub.name).collect();
            if !known.contains(&arg) {
                let (arg, known) = (escape(arg), known.join(", "));
                return Err(UsageError(format!("no command '{arg}'; there are: {known}")));
            }
            command = Some(arg.to_string());
        } else {
            positional.push(arg.to_string());
        }
    }
    let mut line = Vec::from_iter(command);
    if help {
        line.push("--help".into());
        return Ok(Words { line, version: false });
    }
    line.append(&mut options);
    if !positional.is_empty() {
        line.push("--".into());
        line.append(&mut positional);
    }
    Ok(Words { line, version })
}

/// `--name=value` and `-nvalue` in their two parts.
fn split_option(arg: &str) -> (&str, Option<&str>) {
    if arg.starts_with("--") {
        return arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
    }
    let end = arg.chars().take(2).map(char::len_utf8).sum();
    let (name, value) = arg.split_at(end);
    (name, Some(value).filter(|value| !value.is_empty()))
}

/// Whether the option of that name takes a value; `None` if no command has it.
fn takes_value(flags: &[&FlagInfo<'_>], name: &str) -> Option<bool> {
    if matches!(name, "-h" | "--help") {
        return Some(false);
    }
    let short = name.strip_prefix('-').and_then(|rest| rest.chars().next());
    let flag = flags.iter().find(|flag| {
        flag.long == name
            || (!name.starts_with("--") && flag.short.is_some() && flag.short == short)
    })?;
    Some(matches!(flag.kind, FlagInfoKind::Option { .. }))
}

/// A struct for argh with the options of [`Network`] before its own.
macro_rules! with_network {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        struct $name {
            /// the listening port, which is also the tracker's (default 5000)
            #[argh(option, short = 'l', default = "5000", from_str_fn(port), arg_name = "PORT")]
            listen: u16,
            /// most client sockets; they use the ports after the listening one, 5001-5006 by
            /// default (default 6)
            #[argh(option, short = 'm', from_str_fn(count), arg_name = "N")]
            max_conns: Option<u16>,
            /// listen on and dial from this local address only
            #[argh(option, from_str_fn(address), arg_name = "ADDR")]
            bind: Option<IpAddr>,
            /// folder for resume records (default .reactor-peer in the torrents folder; of get in --output)
            #[argh(option, arg_name = "DIR")]
            state: Option<PathBuf>,
            /// a host to connect to, and again whenever it is lost: HOST, HOST:PORT, IP/PORT or
            /// [IPV6]:PORT; may be given several times (default port 5000)
            #[argh(option, short = 'p', arg_name = "ADDR")]
            peer: Vec<String>,
            /// a file of such hosts, one a line, with # before comments
            #[argh(option, arg_name = "FILE")]
            peers_file: Option<PathBuf>,
            /// local ports of client sockets: range (those after the listening port) or any
            /// (default range)
            #[argh(option, from_str_fn(client_ports), arg_name = "range|any")]
            client_ports: Option<bool>,
            /// most accepted connections (default 8000)
            #[argh(option, default = "8000", from_str_fn(count), arg_name = "N")]
            max_inbound: u16,
            /// dial also for torrents that are complete here; a seeder dials only hosts named by
            /// --peer and --peers-file otherwise
            #[argh(switch)]
            seed_dials: bool,
            /// peers served at once in each torrent (default by the upload rate: 4 where it is low, 24 at
            /// 1 MiB/s, 78 at 10 MiB/s)
            #[argh(option, from_str_fn(count), arg_name = "N")]
            upload_slots: Option<u16>,
            /// bytes a second sent at most, all torrents together: 500K, 2.5M; 0 is no limit (default 0)
            #[argh(option, default = "None", from_str_fn(rate), arg_name = "RATE")]
            max_up: Option<u64>,
            /// bytes a second received at most, all torrents together (default 0)
            #[argh(option, default = "None", from_str_fn(rate), arg_name = "RATE")]
            max_down: Option<u64>,
            /// do not look for other peers on the local network by multicast
            #[argh(switch)]
            no_lsd: bool,
            /// take no part in the DHT
            #[argh(switch)]
            no_dht: bool,
            /// a host where the DHT can be entered; may be given several times (default port 5000)
            #[argh(option, arg_name = "HOST:PORT")]
            dht_bootstrap: Vec<String>,
            /// for the open internet: enter the DHT at its public routers, and unless --client-ports
            /// and --max-conns say otherwise take any client port and 50 client sockets
            #[argh(switch)]
            public: bool,
            /// tell connected peers nothing of each other, and take nothing of the kind from them
            #[argh(switch)]
            no_pex: bool,
            /// tell what happens on stdout as JSON, one object a line, for programs
            #[argh(switch)]
            json: bool,
            /// how much content is mapped at once, in MiB (default 16)
            #[argh(option, default = "16", from_str_fn(count), arg_name = "MIB")]
            map_budget: u16,
            /// say at the end, and at SIGUSR1, how long the turns of the loop were
            #[argh(switch)]
            stats: bool,
            /// no progress display
            #[argh(switch, short = 'q')]
            quiet: bool,
            /// off, error, warn, info or debug (default info)
            #[argh(option, default = "LevelFilter::Info", from_str_fn(log_level), arg_name = "LEVEL")]
            log_level: LevelFilter,
            /// log into this file as well
            #[argh(option, arg_name = "FILE")]
            log_file: Option<PathBuf>,
            $($own)*
        }

        impl $name {
            fn network(&mut self, exit_when_complete: bool) -> Result<Network, UsageError> {
                let max_conns_default = if self.public { MAX_CONNS_PUBLIC } else { MAX_CONNS };
                let max_conns = self.max_conns.unwrap_or(max_conns_default);
                let (listen, any_port) = (self.listen, self.client_ports.unwrap_or(self.public));
                if !any_port && listen.checked_add(max_conns).is_none() {
                    return Err(UsageError(format!(
                        "there are no {max_conns} client ports after port {listen}: take a lower \
                         --listen, a lower --max-conns, or --client-ports any"
                    )));
                }
                Ok(Network {
                    listen,
                    max_conns,
                    bind: self.bind,
                    state: self.state.take(),
                    peers: std::mem::take(&mut self.peer),
                    peers_file: self.peers_file.take(),
                    client_ports_any: any_port,
                    max_inbound: self.max_inbound.into(),
                    lsd: !self.no_lsd,
                    dht: !self.no_dht,
                    dht_bootstrap: std::mem::take(&mut self.dht_bootstrap),
                    public: self.public,
                    seed_dials: self.seed_dials,
                    upload_slots: self.upload_slots.map(Into::into),
                    max_up: self.max_up,
                    max_down: self.max_down,
                    goal: Goal::default(),
                    pex: !self.no_pex,
                    accept_torrents: false,
                    exit_when_complete,
                    json: self.json,
                    map_budget: usize::from(self.map_budget) << 20,
                    stats: self.stats,
                    quiet: self.quiet || self.json,
                    log_level: self.log_level,
                    log_file: self.log_file.take(),
                })
            }
        }
    };
}

with_network! {
    /// A BitTorrent peer: client, server and tracker in one process. Without a command it shares
    /// what the torrents folder names: what is complete in the shareable folder is served, the
    /// rest is downloaded into it.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(
        help_triggers("-h", "--help"),
        example = "{command_name} --listen 5000 --max-conns 6",
        example = "{command_name} create age.txt --announce 10.0.0.248",
        note = "Options may stand before or after the command, as --option VALUE or --option=VALUE.",
        error_code(0, "done"),
        error_code(1, "not complete, or failed"),
        error_code(2, "the command line or the torrent is no good"),
        error_code(3, "nobody has it"),
        error_code(4, "cannot listen"),
        error_code(7, "stopped before complete")
    )]
    struct Args {
        /// folder of .torrent files (default torrents)
        #[argh(option, default = "PathBuf::from(\"torrents\")", arg_name = "DIR")]
        torrents: PathBuf,
        /// folder of the content (default shareable)
        #[argh(option, default = "PathBuf::from(\"shareable\")", arg_name = "DIR")]
        shareable: PathBuf,
        /// pause a torrent when so many times its length was uploaded: 2, or 1.5 (default: never)
        #[argh(option, from_str_fn(ratio), arg_name = "R")]
        seed_ratio: Option<u32>,
        /// pause a torrent when it was complete for so long: 90s, 5m, 1h (default: never)
        #[argh(option, from_str_fn(span), arg_name = "TIME")]
        seed_time: Option<Duration>,
        /// end as soon as every torrent is complete, and was given what --seed-ratio or --seed-time says
        #[argh(switch)]
        exit_when_complete: bool,
        /// take torrents that other peers push to us (share --to)
        #[argh(switch)]
        accept_torrents: bool,
        /// print the version
        #[argh(switch, short = 'V')]
        #[allow(dead_code)]
        version: bool,
        #[argh(subcommand)]
        command: Option<Sub>,
    }
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Sub {
    Get(GetArgs),
    Share(ShareArgs),
    Status(control::StatusArgs),
    Peers(control::PeersArgs),
    Files(control::FilesArgs),
    Add(control::AddArgs),
    Remove(control::RemoveArgs),
    Pause(control::PauseArgs),
    Resume(control::ResumeArgs),
    Who(control::WhoArgs),
    Show(files::ShowArgs),
    Create(files::CreateArgs),
    SetAnnounce(files::SetAnnounceArgs),
    Check(files::CheckArgs),
}

with_network! {
    /// Download one torrent, verify it, and exit. Instead of a .torrent file the name of the content
    /// will do: then every known host is asked for it.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "get", help_triggers("-h", "--help"))]
    struct GetArgs {
        /// folder to put the content in (default: the current one)
        #[argh(option, short = 'o', default = "PathBuf::from(\".\")", arg_name = "DIR")]
        output: PathBuf,
        /// give up when nobody who has it was met for so long: 90, 90s, 5m, 1h; 0 waits for ever
        /// (default 30s, or 90s while a tracker or a host does not answer; a name is asked for once)
        #[argh(option, from_str_fn(span), arg_name = "TIME")]
        wait: Option<Duration>,
        /// only these files, by the indices that show prints: 0,2,4-6; more can be got later, also
        /// without this option (default: those of the link, or all)
        #[argh(option, from_str_fn(file_list), arg_name = "LIST")]
        select: Option<Choice>,
        /// the .torrent file, a magnet link, or the name of what a host shares
        #[argh(positional, arg_name = "TORRENT|MAGNET|NAME")]
        torrent: String,
    }
}

with_network! {
    /// Share a file or a folder: make its torrent, announce it at this host, and run. Content
    /// outside the shareable folder is linked into it, not copied.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "share", help_triggers("-h", "--help"))]
    struct ShareArgs {
        /// folder of .torrent files (default torrents)
        #[argh(option, default = "PathBuf::from(\"torrents\")", arg_name = "DIR")]
        torrents: PathBuf,
        /// folder of the content (default shareable)
        #[argh(option, default = "PathBuf::from(\"shareable\")", arg_name = "DIR")]
        shareable: PathBuf,
        /// pause a torrent when so many times its length was uploaded: 2, or 1.5 (default: never)
        #[argh(option, from_str_fn(ratio), arg_name = "R")]
        seed_ratio: Option<u32>,
        /// pause a torrent when it was complete for so long: 90s, 5m, 1h (default: never)
        #[argh(option, from_str_fn(span), arg_name = "TIME")]
        seed_time: Option<Duration>,
        /// push it to this host, which must run with --accept-torrents or have the torrent; may be
        /// given several times (default port 5000)
        #[argh(option, arg_name = "ADDR")]
        to: Vec<String>,
        /// file or folder to share
        #[argh(positional, arg_name = "PATH")]
        path: PathBuf,
    }
}

impl Args {
    fn into_command(mut self) -> Result<Command, UsageError> {
        Ok(match self.command.take() {
            None => Command::Run(Run {
                network: Network {
                    accept_torrents: self.accept_torrents,
                    goal: Goal { per_mille: self.seed_ratio, time: self.seed_time },
                    ..self.network(self.exit_when_complete)?
                },
                torrents: self.torrents,
                shareable: self.shareable,
            }),
            Some(Sub::Get(mut get)) => {
                let network = get.network(true)?;
                let GetArgs { torrent, output, wait, select, .. } = get;
                Command::Get { torrent, output, network, wait, select }
            }
            Some(Sub::Share(mut share)) => {
                let goal = Goal { per_mille: share.seed_ratio, time: share.seed_time };
                let network = Network { goal, ..share.network(false)? };
                let ShareArgs { torrents, shareable, to, path, .. } = share;
                Command::Share { path, to, run: Run { network, torrents, shareable } }
            }
            Some(Sub::Status(args)) => args.into_command(),
            Some(Sub::Peers(args)) => args.into_command(),
            Some(Sub::Files(args)) => args.into_command(),
            Some(Sub::Add(args)) => args.into_command(),
            Some(Sub::Remove(args)) => args.into_command(),
            Some(Sub::Pause(args)) => args.into_command(),
            Some(Sub::Resume(args)) => args.into_command(),
            Some(Sub::Who(args)) => args.into_command(),
            Some(Sub::Show(files::ShowArgs { json, piece, file })) => {
                Command::Show { file, json, piece }
            }
            Some(Sub::Create(create)) => Command::Create {
                path: create.path,
                announces: create.announce,
                piece_length: create.piece_length,
                private: create.private,
                comment: create.comment,
                output: create.output,
            },
            Some(Sub::SetAnnounce(files::SetAnnounceArgs { file, address, more })) => {
                let addresses = std::iter::once(address).chain(more).collect();
                Command::SetAnnounce { file, addresses }
            }
            Some(Sub::Check(files::CheckArgs { shareable, file })) => {
                Command::Check { file, shareable }
            }
        })
    }
}

#[cfg(test)]
mod tests;
