//! Parses, runs, prints one error line, picks the exit code.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use reactor_peer::app::cli::{self, Command};
use reactor_peer::app::create::Request;
use reactor_peer::app::{check, control, create, get, logging, run, share, show, Failure, DONE};

/// Exit codes from here on: ended by the signal of that number less this.
const INTERRUPTED: u8 = 128;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match cli::parse(&args) {
        Ok(command) => obey(command),
        Err(error) => Err(Failure::Refused(format!("{error} (--help tells more)"))),
    };
    let code = done.unwrap_or_else(|failure| {
        if failure != Failure::StdoutClosed {
            logging::say_last(&format!("reactor-peer: {failure}\n"));
        }
        failure.code()
    });
    // Interrupted twice means at once.
    if code < INTERRUPTED {
        logging::finish();
    }
    ExitCode::from(code)
}

fn obey(command: Command) -> Result<u8, Failure> {
    let out = &mut BufWriter::new(io::stdout().lock());
    match command {
        Command::Help(text) => {
            write!(out, "{text}")?;
            out.flush()?;
            Ok(DONE)
        }
        Command::Version => {
            writeln!(out, concat!("reactor-peer ", env!("CARGO_PKG_VERSION")))?;
            out.flush()?;
            Ok(DONE)
        }
        Command::Show { file, json, piece } => show::show(&file, json, piece, out),
        Command::Create { path, announces, piece_length, private, comment, output } => {
            let request = Request {
                path: &path,
                announces: &announces,
                piece_length,
                private,
                comment: comment.as_deref(),
                output: output.as_deref(),
            };
            create::create(&request, out)
        }
        Command::SetAnnounce { file, addresses } => create::set_announce(&file, &addresses, out),
        Command::Check { file, shareable } => check::check(&file, &shareable, out),
        Command::Get { torrent, output, network, wait, select } => {
            get::get(&torrent, &output, &network, wait, select)
        }
        Command::Control { request, state, json } => control::control(&request, &state, json, out),
        Command::Share { path, to, run } => share::share(&path, &to, &run, out),
        Command::Run(wishes) => run::run(&wishes),
    }
}
