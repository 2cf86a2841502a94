//! The commands that only read or rewrite files.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::values::{index, piece_length};

/// Print everything a .torrent says.
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
pub(super) struct ShowArgs {
    /// one JSON object, for programs
    #[argh(switch)]
    pub(super) json: bool,
    /// also the SHA-1 of the piece with this index; the first is 0
    #[argh(option, from_str_fn(index), arg_name = "N")]
    pub(super) piece: Option<u32>,
    /// the .torrent file, or a magnet link
    #[argh(positional, arg_name = "FILE|MAGNET")]
    pub(super) file: PathBuf,
}

/// Give a .torrent other trackers; the info-hash stays, and a running peer goes on with the same peers.
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

/// Make a .torrent for a file or a folder; the same content gives the same bytes.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "create",
    help_triggers("-h", "--help"),
    note = "In a folder these are left out: names that begin with a dot, Thumbs.db, desktop.ini, \
            names that end in .part, symbolic links, and what is neither a file nor a folder."
)]
pub(super) struct CreateArgs {
    /// a tracker: URL, or IP or IP:PORT of a peer; may be given several times, each is a tier
    #[argh(option, short = 'a', arg_name = "ADDR")]
    pub(super) announce: Vec<String>,
    /// bytes of a piece, or 256K or 1M (default: a power of two chosen by the length)
    #[argh(option, from_str_fn(piece_length), arg_name = "N")]
    pub(super) piece_length: Option<u32>,
    /// peers shall come from the trackers only
    #[argh(switch)]
    pub(super) private: bool,
    /// a note for people
    #[argh(option, arg_name = "TEXT")]
    pub(super) comment: Option<String>,
    /// the file to write, or a folder for it; - is stdout (default: NAME.torrent in the current folder,
    /// without a dot that NAME begins with)
    #[argh(option, short = 'o', arg_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// file or folder to share
    #[argh(positional, arg_name = "PATH")]
    pub(super) path: PathBuf,
}
