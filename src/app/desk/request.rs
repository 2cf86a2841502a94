//! What a person asks of a running peer: one line of the console, or one JSON object on the
//! control socket. docs/CONTROL.md describes both.

use crate::wire::choice::Choice;
use serde_json::{json, Value};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Take this .torrent file, or this magnet link; of its files these, if not all.
    Add(String, Option<Choice>),
    /// Which files there are.
    Files,
    /// Ask every known host for this name and download it.
    Get(String),
    /// What can be asked.
    Help,
    /// Leave this torrent for a while.
    Pause(String),
    /// Who is connected.
    Peers,
    /// End the process.
    Quit,
    /// Take the .torrent away; the content stays.
    Remove(String),
    /// Take part again.
    Resume(String),
    /// How far everything is.
    Status,
    /// Ask every known host for this name.
    Who(String),
}

/// The commands of the console, for `help`.
pub const HELP: &[(&str, &str)] = &[
    ("status", "how far every torrent is"),
    ("files", "the files, and how much of each is there"),
    ("peers", "who is connected"),
    ("who NAME", "ask every known host who has NAME"),
    ("get NAME", "the same, and download it"),
    ("add FILE|MAGNET", "take a .torrent file or a magnet link"),
    ("remove NAME", "take the torrent out; its content stays"),
    ("pause NAME", "leave the torrent for a while"),
    ("resume NAME", "and come back"),
    ("quit", "say goodbye, save, end"),
];

impl Request {
    /// Reads a line of the console: a command, and all the rest of the line as its argument.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        Self::from_parts(command, argument.trim())
    }

    /// Reads an object of the control socket: `{"command": "add", "argument": "..."}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|_| "that is not a JSON object".to_owned())?;
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let command = text("command").ok_or("there is no \"command\" in it")?;
        let request = Self::from_parts(command, text("argument").unwrap_or(""))?;
        let select = match value.get("select") {
            None | Some(Value::Null) => return Ok(request),
            Some(list) => list.as_str().unwrap_or_default(),
        };
        let bad = |error| format!("\"select\" is {error}");
        match request {
            Self::Add(what, _) => Ok(Self::Add(what, Some(Choice::parse(select).map_err(bad)?))),
            _ => Err("\"select\" goes with add only".to_owned()),
        }
    }

    /// The object that [`Request::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (command, argument) = self.parts();
        if let Self::Add(what, Some(choice)) = self {
            let select = choice.to_string();
            return json!({ "command": "add", "argument": what, "select": select }).to_string();
        }
        match argument {
            Some(argument) => json!({ "command": command, "argument": argument }),
            None => json!({ "command": command }),
        }
        .to_string()
    }

    fn from_parts(command: &str, argument: &str) -> Result<Self, String> {
        let takes = |make: fn(String) -> Self, what: &str| match argument {
            "" => Err(format!("{command} what? Write: {command} {what}")),
            _ => Ok(make(argument.to_owned())),
        };
        let alone = |request: Self| match argument {
            "" => Ok(request),
            _ => Err(format!("'{command}' stands alone")),
        };
        match command.to_ascii_lowercase().as_str() {
            "add" => takes(|what| Self::Add(what, None), "FILE or MAGNET"),
            "files" | "ls" => alone(Self::Files),
            "get" => takes(Self::Get, "NAME"),
            "help" | "?" => alone(Self::Help),
            "pause" => takes(Self::Pause, "NAME"),
            "peers" => alone(Self::Peers),
            "quit" | "exit" | "q" => alone(Self::Quit),
            "remove" | "rm" => takes(Self::Remove, "NAME"),
            "resume" => takes(Self::Resume, "NAME"),
            "status" | "st" => alone(Self::Status),
            "who" => takes(Self::Who, "NAME"),
            _ => Err(format!(
                "no command '{}'; help lists them",
                super::super::text::escape(command)
            )),
        }
    }

    fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Add(what, _) => ("add", Some(what)),
            Self::Files => ("files", None),
            Self::Get(name) => ("get", Some(name)),
            Self::Help => ("help", None),
            Self::Pause(name) => ("pause", Some(name)),
            Self::Peers => ("peers", None),
            Self::Quit => ("quit", None),
            Self::Remove(name) => ("remove", Some(name)),
            Self::Resume(name) => ("resume", Some(name)),
            Self::Status => ("status", None),
            Self::Who(name) => ("who", Some(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_objects() {
        for (line, request) in [
            ("get big file.iso ", Request::Get("big file.iso".into())),
            ("  STATUS", Request::Status),
            ("q", Request::Quit),
            ("add  magnet:?xt=1", Request::Add("magnet:?xt=1".into(), None)),
            ("who\tx", Request::Who("x".into())),
        ] {
            assert_eq!(Request::parse(line).unwrap(), request);
            assert_eq!(Request::from_json(&request.to_json()).unwrap(), request);
        }
        for (line, word) in [("get", "Write: get NAME"), ("peers x", "alone"), ("fly", "help")] {
            assert!(Request::parse(line).unwrap_err().contains(word), "{line}");
        }
        let some = Request::Add("x.torrent".into(), Choice::parse("0,2-3").ok());
        assert_eq!(Request::from_json(&some.to_json()).unwrap(), some);
        for bad in [
            r#"{"command":"add","argument":"x","select":"a"}"#,
            r#"{"command":"add","argument":"x","select":1}"#,
            r#"{"command":"get","argument":"x","select":"1"}"#,
        ] {
            assert!(Request::from_json(bad).unwrap_err().contains("select"), "{bad}");
        }
        for bad in ["", "[]", "{\"command\":1}", "{\"command\":\"get\"}"] {
            assert!(Request::from_json(bad).is_err(), "{bad}");
        }
        for (line, _) in HELP {
            assert!(Request::parse(line).is_ok(), "{line}");
        }
    }
}
