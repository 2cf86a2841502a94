//! Parses, runs, prints one error line, picks the exit code.

use reactor_peer::app::cli::{self, Command};
use reactor_peer::app::{self, Failure};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match cli::parse(&args) {
        Ok(command) => obey(command),
        Err(error) => {
            eprintln!("reactor-peer: {error}");
            return USAGE.into();
        }
    };
    match outcome {
        Ok(code) => code.into(),
        Err(Failure::StdoutClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("reactor-peer: {failure}");
            failure.code().into()
        }
    }
}

fn obey(command: Command) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Run(run) => app::run::run(&run),
        Command::Get { torrent, output, network } => app::get::get(&torrent, &output, &network),
        Command::Show { file, json, piece } => app::show::show(&mut out, &file, json, piece),
        Command::Create { path, announces, piece_length, private, comment, output } => {
            let wishes = app::create::Wishes { announces, piece_length, private, comment, output };
            app::create::create(&mut out, &path, &wishes)
        }
        Command::SetAnnounce { file, addresses } => {
            app::create::set_announce(&mut out, &file, &addresses)
        }
        Command::Check { file, shareable } => app::check::check(&mut out, &file, &shareable),
        Command::Help(text) => {
            out.write_all(text.as_bytes())?;
            Ok(app::DONE)
        }
        Command::Version => {
            writeln!(out, "reactor-peer {}", env!("CARGO_PKG_VERSION"))?;
            Ok(app::DONE)
        }
    }
}
