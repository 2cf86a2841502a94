//! The commands that go to a running peer.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::values::file_list;
use super::Command;
use crate::app::desk::request::Request;
use crate::wire::choice::Choice;

/// A command with the options that all of these have, and what the user means by it.
macro_rules! to_a_running_peer {
    ($(#[$meta:meta])* struct $name:ident { $($own:tt)* } $request:expr) => {
        $(#[$meta])*
        pub(super) struct $name {
            /// the torrents folder of the running peer (default torrents)
            #[argh(option, default = "PathBuf::from(\"torrents\")", arg_name = "DIR")]
            torrents: PathBuf,
            /// its state folder, if that is not TORRENTS/.reactor-peer
            #[argh(option, arg_name = "DIR")]
            state: Option<PathBuf>,
            /// the answer as one JSON object, for programs
            #[argh(switch)]
            json: bool,
            $($own)*
        }

        impl $name {
            pub(super) fn into_command(self) -> Command {
                let make: fn(&Self) -> Request = $request;
                let request = make(&self);
                let state = self.state.unwrap_or_else(|| self.torrents.join(".reactor-peer"));
                Command::Control { request, state, json: self.json }
            }
        }
    };
}

to_a_running_peer! {
    /// Ask a running peer how far every torrent is.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
    struct StatusArgs {}
    |_| Request::Status
}

to_a_running_peer! {
    /// Ask a running peer who is connected.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "peers", help_triggers("-h", "--help"))]
    struct PeersArgs {}
    |_| Request::Peers
}

to_a_running_peer! {
    /// Ask a running peer for its files.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "files", help_triggers("-h", "--help"))]
    struct FilesArgs {}
    |_| Request::Files
}

to_a_running_peer! {
    /// Give a running peer a torrent.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "add", help_triggers("-h", "--help"))]
    struct AddArgs {
        /// only these files, by the indices that show prints: 0,2,4-6; of a torrent that is here
        /// already these as well (default: those of the link, or all)
        #[argh(option, from_str_fn(file_list), arg_name = "LIST")]
        select: Option<Choice>,
        /// the .torrent file, or a magnet link
        #[argh(positional, arg_name = "FILE|MAGNET")]
        what: String,
    }
    |args| Request::Add(args.what.clone(), args.select.clone())
}

to_a_running_peer! {
    /// Take a torrent out of a running peer; its content stays.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "remove", help_triggers("-h", "--help"))]
    struct RemoveArgs {
        /// the torrent's name or info-hash
        #[argh(positional, arg_name = "NAME")]
        name: String,
    }
    |args| Request::Remove(args.name.clone())
}

to_a_running_peer! {
    /// Let a running peer leave a torrent for a while: nobody is served or asked.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "pause", help_triggers("-h", "--help"))]
    struct PauseArgs {
        /// the torrent's name or info-hash
        #[argh(positional, arg_name = "NAME")]
        name: String,
    }
    |args| Request::Pause(args.name.clone())
}

to_a_running_peer! {
    /// Let a running peer come back to a paused torrent.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "resume", help_triggers("-h", "--help"))]
    struct ResumeArgs {
        /// the torrent's name or info-hash
        #[argh(positional, arg_name = "NAME")]
        name: String,
    }
    |args| Request::Resume(args.name.clone())
}

to_a_running_peer! {
    /// Let a running peer ask every host it knows who has NAME.
    #[derive(FromArgs, ArgsInfo)]
    #[argh(subcommand, name = "who", help_triggers("-h", "--help"))]
    struct WhoArgs {
        /// the name of the content
        #[argh(positional, arg_name = "NAME")]
        name: String,
    }
    |args| Request::Who(args.name.clone())
}
