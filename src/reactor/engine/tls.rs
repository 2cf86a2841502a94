//! Dials with TLS: those that wait for the certificates, and the others.

use super::Reactor;
use crate::proto::output::TlsDial;
use crate::proto::peer::DialError;
use crate::reactor::sockets;
use crate::reactor::tls::Tls;

impl Reactor {
    pub(super) fn dial_tls(&mut self, dial: TlsDial) {
        match self.authorities.begin(&dial) {
            None => {}
            Some(Ok(tls)) => self.dial_with(dial, tls),
            Some(Err(why)) => self.tls_failed(&dial, why),
        }
    }

    /// The certificates have been read.
    pub(super) fn take_certificates(&mut self) {
        match self.authorities.poll() {
            None => return,
            Some((dials, None)) => dials.into_iter().for_each(|dial| self.dial_tls(dial)),
            Some((dials, Some(why))) => {
                dials.iter().for_each(|dial| self.tls_failed(dial, why.clone()));
            }
        }
        self.drain();
    }

    fn dial_with(&mut self, dial: TlsDial, tls: Tls) {
        match sockets::dial(dial.remote, self.options.bind, dial.local_port) {
            Ok(stream) => {
                self.attach(dial.conn, stream, true);
                if let Some(link) = self.link(dial.conn) {
                    link.tls = Some(tls);
                }
            }
            Err(error) => self.peer.handle_dial_failed(self.clock.now(), dial.conn, error),
        }
    }

    fn tls_failed(&mut self, dial: &TlsDial, why: String) {
        self.peer.handle_dial_failed(self.clock.now(), dial.conn, DialError::Failed(why));
    }
}
