//! The console: commands typed on a terminal or written into a pipe, while the peer runs.
//!
//! On a terminal the line that is being typed is part of the foot below the log, so that neither
//! bars nor log lines tear it; for that the terminal's own line editing is off, and a small one
//! is here. In a pipe, a file or /dev/null there are only lines.

use super::logging;
use crate::units::limits::CONSOLE_LINE_MAX;
use rustix::termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions, Termios};
use std::io::{self, IsTerminal};

/// What stands before the line that is being typed.
const PROMPT: &str = "> ";

/// The lines of standard input as they come.
#[derive(Debug)]
pub struct Console {
    line: Vec<u8>,
    /// The line is longer than any command; the rest of it is passed over.
    too_long: bool,
    /// What the terminal was before; `None` where we do not edit.
    before: Option<Termios>,
    escape: Escape,
}

/// Keys that send several bytes: the line editing knows none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Within,
}

impl Console {
    /// Takes over the terminal, if standard input and the log are on one.
    #[must_use]
    pub fn open() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let edits = io::stdin().is_terminal() && io::stderr().is_terminal() && !dumb;
        let before = if edits { take_over().ok() } else { None };
        let console = Self { line: Vec::new(), too_long: false, before, escape: Escape::No };
        console.draw();
        console
    }

    /// Bytes that were typed; none at the end of the input. Returns the lines they complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if self.before.is_some() {
                self.key(byte, &mut lines);
            } else if byte == b'\n' {
                self.end_line(&mut lines);
            } else {
                self.push(byte);
            }
        }
        if bytes.is_empty() {
            self.end_line(&mut lines);
        }
        self.draw();
        lines
    }

    /// Whether the typed line is to be repeated above its answer.
    #[must_use]
    pub fn echoes(&self) -> bool {
        self.before.is_some()
    }

    fn key(&mut self, byte: u8, lines: &mut Vec<String>) {
        match (self.escape, byte) {
            (Escape::No, 0x1b) => self.escape = Escape::Begun,
            // ESC [ and ESC O begin the long ones.
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Within,
            (Escape::Begun, _) => self.escape = Escape::No,
            (Escape::Within, 0x40..=0x7e) => self.escape = Escape::No,
            (Escape::Within, _) => {}
            (Escape::No, b'\r' | b'\n') => self.end_line(lines),
            (Escape::No, 0x7f | 0x08) => self.rub_out(),
            (Escape::No, 0x15) => self.line.clear(),
            (Escape::No, 0x17) => {
                while self.line.last() == Some(&b' ') {
                    self.line.pop();
                }
                while self.line.last().is_some_and(|&byte| byte != b' ') {
                    self.line.pop();
                }
            }
            (Escape::No, 0..0x20) => {}
            (Escape::No, byte) => self.push(byte),
        }
    }

    fn push(&mut self, byte: u8) {
        if self.line.len() < CONSOLE_LINE_MAX {
            self.line.push(byte);
        } else {
            self.too_long = true;
        }
    }

    /// Takes the last character away, all its bytes.
    fn rub_out(&mut self) {
        while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }

    fn end_line(&mut self, lines: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line).trim().to_owned();
        self.line.clear();
        let too_long = std::mem::take(&mut self.too_long);
        if too_long {
            let most = CONSOLE_LINE_MAX >> 10;
            log::warn!("console: a line of more than {most} KiB is no command: passed over");
        }
        if !line.is_empty() && !too_long {
            lines.push(line);
        }
    }

    fn draw(&self) {
        if self.before.is_some() {
            let typed = super::text::escape(&String::from_utf8_lossy(&self.line));
            // One row: what does not fit stands to the left, where it has been read.
            let room = super::progress::width().saturating_sub(PROMPT.len());
            logging::set_prompt(&format!("{PROMPT}{}", super::text::tail(&typed, room)));
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            logging::set_prompt("");
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Turns the terminal's line editing and echo off; Ctrl-C and Ctrl-Z keep working.
fn take_over() -> io::Result<Termios> {
    let before = tcgetattr(io::stdin())?;
    let mut ours = before.clone();
    ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console {
        Console { line: Vec::new(), too_long: false, before: None, escape: Escape::No }
    }

    #[test]
    fn lines_of_a_pipe_however_they_are_split() {
        let input = "status\r\n\nget b\u{e9}e\nlast".as_bytes();
        for split in 0..=input.len() {
            let mut console = console();
            let mut lines = Vec::new();
            // An empty portion would be the end.
            for part in [&input[..split], &input[split..]].into_iter().filter(|p| !p.is_empty()) {
                lines.extend(console.take(part));
            }
            assert_eq!(lines, ["status", "get b\u{e9}e"]);
            assert_eq!(console.take(b""), ["last"]);
            assert_eq!(console.take(b""), [""; 0]);
        }
    }

    #[test]
    fn an_endless_line_is_passed_over() {
        let mut console = console();
        for _ in 0..100 {
            assert!(console.take(&[b'x'; 4096]).is_empty());
        }
        assert_eq!(console.take(b"\nstatus\n"), ["status"]);
    }

    #[test]
    fn keys_edit_the_line() {
        let mut console = console();
        let mut lines = Vec::new();
        let typed = "\x1b[Awho\u{e9}\x7f a b\x17c\x15peers\x1bOP x\x08\x08\x1b[1;5D\r";
        typed.bytes().for_each(|byte| console.key(byte, &mut lines));
        assert_eq!(lines, ["peers"]);
        let typed = "who a \x1bxb c  \x17\x17d\u{e9}\x7f\n";
        typed.bytes().for_each(|byte| console.key(byte, &mut lines));
        assert_eq!(lines[1], "who a d");
    }
}
