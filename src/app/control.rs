//! The commands `status`, `peers`, `files`, `who`, `add`, `remove`, `pause` and `resume`: one question to
//! the peer that runs on a state folder. docs/CONTROL.md describes the lines.

use super::desk::request::Request;
use super::desk::tables;
use super::{read_torrent, text, Failure, DONE};
use crate::reactor::control::connect;
use crate::units::limits::CONTROL_OUT_MAX;
use crate::wire::magnet::Magnet;
use crate::wire::metainfo::Metainfo;
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

/// Exit code: nobody has it.
const NOBODY_HAS_IT: u8 = 3;
/// A running peer answers within a turn of its loop, or after the six seconds of a search; one that
/// does not has stopped (Ctrl-Z).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Asks the peer that runs on `state` and prints its answer.
///
/// # Errors
/// When no peer runs there, or it refuses: then with its sentence.
pub fn control(
    request: &Request,
    state: &Path,
    json: bool,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let result = ask(&from_here(request)?, state)?;
    match json {
        true => writeln!(out, "{result}")?,
        false => write!(out, "{}", tables::render(&result))?,
    }
    out.flush()?;
    let none =
        |key: &str| result[key].is_null() || result[key].as_array().is_some_and(Vec::is_empty);
    let in_vain = matches!(request, Request::Who(_)) && none("torrents") && none("here");
    Ok(if in_vain { NOBODY_HAS_IT } else { DONE })
}

/// One question, one answer.
///
/// # Errors
/// When no peer runs there, or it refuses: then with its sentence.
pub fn ask(request: &Request, state: &Path) -> Result<Value, Failure> {
    let stream = connect(state).map_err(|_| {
        Failure::Failed(format!(
            "no peer runs on {}: start one with reactor-peer, or name its folder with --torrents \
             or --state",
            text::shown(state)
        ))
    })?;
    let failed = |what: &dyn std::fmt::Display| {
        Failure::Failed(format!("the peer that runs on {} {what}", text::shown(state)))
    };
    let mut line = String::new();
    let asked = stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .and_then(|()| (&stream).write_all(format!("{}\n", request.to_json()).as_bytes()))
        .and_then(|()| {
            BufReader::new(&stream).take(2 * CONTROL_OUT_MAX as u64).read_line(&mut line)
        });
    let hung_up = || failed(&"has hung up: too many ask it, or it is stopping");
    asked.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => hung_up(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => failed(&format_args!(
            "has not answered for {} s: is it stopped, or does it wait for a disk?",
            ANSWER_WITHIN.as_secs()
        )),
        _ => failed(&format_args!("does not answer: {error}")),
    })?;
    let reply: Value = serde_json::from_str(&line).map_err(|_| hung_up())?;
    match (reply.get("result"), reply.get("error").and_then(Value::as_str)) {
        (Some(result), _) => Ok(result.clone()),
        (None, Some(why)) => Err(Failure::Failed(why.to_owned())),
        (None, None) => Err(failed(&"gives an answer that makes no sense")),
    }
}

/// A path is meant from the folder we are in, which need not be that of the running peer.
fn from_here(request: &Request) -> Result<Request, Failure> {
    match request {
        Request::Add(what, select) if !Magnet::is_magnet(what) => {
            let path = std::path::absolute(what)
                .map_err(|error| Failure::Refused(format!("{}: {error}", text::escape(what))))?;
            let path = path.to_str().ok_or_else(|| {
                Failure::Refused(format!("{}: its path is not UTF-8", text::shown(&path)))
            })?;
            let bad = |why| Failure::Refused(format!("{}: {why}", text::escape(what)));
            let metainfo = Metainfo::parse(&read_torrent(Path::new(path))?);
            let metainfo = metainfo.map_err(|error| bad(error.to_string()))?;
            select.as_ref().map_or(Ok(()), |choice| choice.check(&metainfo)).map_err(bad)?;
            Ok(Request::Add(path.to_owned(), select.clone()))
        }
        Request::Add(link, _) => match Magnet::parse(link) {
            Ok(_) => Ok(request.clone()),
            Err(error) => Err(Failure::Refused(error.to_string())),
        },
        other => Ok(other.clone()),
    }
}
