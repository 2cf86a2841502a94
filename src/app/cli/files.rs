//! The commands that only read or rewrite files.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

/// Give a .torrent other trackers; the info-hash stays.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "set-announce", help_triggers("-h", "--help"))]
pub(super) struct SetAnnounceArgs {
    /// the .torrent file
    #[argh(positional, arg_name = "FILE")]
    pub(super) file: PathBuf,
    /// the first tracker: URL, or IP or IP:PORT of a peer
    #[argh(positional, arg_name = "ADDR")]
    pub(super) address: String,
    /// further trackers
    #[argh(positional, arg_name = "ADDR")]
    pub(super) more: Vec<String>,
}

/// Verify content against its .torrent: 0 if complete, 1 if not.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "check", help_triggers("-h", "--help"))]
pub(super) struct CheckArgs {
    /// folder that holds the content (default shareable)
    #[argh(option, default = "PathBuf::from(\"shareable\")", arg_name = "DIR")]
    pub(super) shareable: PathBuf,
    /// the .torrent file
    #[argh(positional, arg_name = "FILE")]
    pub(super) file: PathBuf,
}
