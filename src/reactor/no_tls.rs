//! In place of `tls` where the program is built without the feature `https`: such trackers fail.

use crate::proto::output::TlsDial;
use crate::units::id::ConnId;
use mio::net::TcpStream;
use mio::Waker;
use std::io;
use std::sync::Arc;

/// There is none.
#[derive(Debug)]
pub enum Tls {}

/// There are none.
pub struct Authorities;

impl Authorities {
    /// Nothing is read.
    #[must_use]
    pub fn new(_waker: Arc<Waker>) -> Self {
        Self
    }

    /// Says why not.
    pub fn begin(&mut self, _dial: &TlsDial) -> Option<Result<Tls, String>> {
        Some(Err("this program was built without https".to_owned()))
    }

    /// No dial waits.
    pub fn poll(&mut self) -> Option<(Vec<TlsDial>, Option<String>)> {
        None
    }

    /// No dial waits.
    pub fn forget(&mut self, _conn: ConnId) {}
}

impl Tls {
    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn read(&mut self, _stream: &mut TcpStream, _into: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn write(&mut self, _stream: &mut TcpStream, _bytes: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn flush(&mut self, _stream: &mut TcpStream) -> io::Result<()> {
        match *self {}
    }
}
