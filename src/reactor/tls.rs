//! TLS for announces to `https://` trackers: rustls between a link and its socket, without
//! waiting. The certificates of the authorities are the system's (or those of `SSL_CERT_FILE`);
//! a helper thread reads them when the first such tracker is dialed.

use crate::proto::output::TlsDial;
use crate::reactor::helper::Helper;
use crate::units::id::ConnId;
use crate::wire::address::Host;
use mio::net::TcpStream;
use mio::Waker;
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Dials that may wait for the certificates: a second's worth of announces.
const WAITING_MAX: usize = 256;

/// One connection's TLS.
#[derive(Debug)]
pub struct Tls(Box<ClientConnection>);

/// What is needed to begin TLS, once it was read.
pub struct Authorities {
    reader: Helper<(), Result<Arc<ClientConfig>, String>>,
    known: Option<Arc<ClientConfig>>,
    waiting: Vec<TlsDial>,
}

impl Authorities {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            reader: Helper::spawn("certificates", waker, |()| read()),
            known: None,
            waiting: Vec::new(),
        }
    }

    /// Begins TLS for this dial. `None`: the certificates are being read, and the dial comes back
    /// from [`Authorities::poll`].
    ///
    /// # Errors
    /// When it cannot be.
    pub fn begin(&mut self, dial: &TlsDial) -> Option<Result<Tls, String>> {
        if let Some(config) = &self.known {
            return Some(Tls::new(Arc::clone(config), &dial.host));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Some(Err("too many dials wait for certificates".to_owned()));
        }
        if self.reader.pending() == 0 && self.reader.submit(()).is_err() {
            return Some(Err("no thread for reading certificates".to_owned()));
        }
        self.waiting.push(dial.clone());
        None
    }

    /// The dials that waited, once the certificates are read; and why they cannot be, if so.
    pub fn poll(&mut self) -> Option<(Vec<TlsDial>, Option<String>)> {
        let read = self.reader.poll()?;
        let waiting = std::mem::take(&mut self.waiting);
        match read {
            Ok(config) => {
                self.known = Some(config);
                Some((waiting, None))
            }
            // The next dial reads again: the user may have mended it.
            Err(why) => Some((waiting, Some(why))),
        }
    }

    /// A dial is no longer wanted.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|dial| dial.conn != conn);
    }
}

fn read() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "no certificates of authorities on this system{why}; install ca-certificates or set \
             SSL_CERT_FILE"
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// ring, without what reads and uses keys of our own: 30 KiB of program.
fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &NoKeys, ..default_provider() }
}

/// A client of trackers has no key of its own to sign with.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no key of our own is used".to_owned()))
    }
}

/// Why TLS has come to nothing, with the mend where there is one.
fn words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let known = match error {
        InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is signed by no authority known here; if you trust it, name a file \
             with its authority in SSL_CERT_FILE"
        }
        InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; is the clock of this host right?"
        }
        InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        // An authority's own certificate, shown as a server's: so most tools make self-signed ones.
        InvalidCertificate(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is self-signed as an authority's own; it needs one that an authority has \
             signed, or one with CA:FALSE, named in SSL_CERT_FILE"
        }
        InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "it does not speak TLS there; is it http:// and not https://?"
        }
        AlertReceived(alert) => return format!("it ends TLS: {alert:?}"),
        other => return format!("TLS: {other}"),
    };
    known.to_owned()
}

impl Tls {
    fn new(config: Arc<ClientConfig>, host: &Host) -> Result<Self, String> {
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|error| error.to_string())?
            }
        };
        let conn = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(Self(Box::new(conn)))
    }

    /// Reads what the other end says within TLS. 0 is its end, said within TLS too.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has no more; others end the connection.
    pub fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // The end without a farewell shows with the next look at the reader.
            self.0.read_tls(stream)?;
            let processed = self.0.process_new_packets();
            // The handshake goes on, or an alert says why it does not.
            let flushed = self.flush(stream);
            processed.map_err(|error| io::Error::other(words(&error)))?;
            flushed?;
        }
    }

    /// Takes bytes to be sent within TLS, as many as it has room for.
    ///
    /// # Errors
    /// As the socket says; `WouldBlock` is none, what is taken goes out later.
    pub fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.writer().write(bytes)?;
        self.flush(stream)?;
        Ok(taken)
    }

    /// Sends what is waiting, as far as the socket takes it.
    ///
    /// # Errors
    /// As the socket says, except `WouldBlock`.
    pub fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, Error, OtherError};

    #[test]
    fn what_is_wrong_is_one_clear_line() {
        let certificate = |error| words(&Error::InvalidCertificate(error));
        let line = certificate(CertificateError::UnknownIssuer);
        assert!(line.ends_with("name a file with its authority in SSL_CERT_FILE"), "{line}");
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self:?}")
            }
        }
        impl std::error::Error for CaUsedAsEndEntity {}
        let other = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        assert!(certificate(other).starts_with("its certificate is self-signed"));
        let plain = words(&Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType));
        assert!(plain.starts_with("it does not speak TLS"), "{plain}");
        // The line goes through the system's words, and is left as it is.
        assert_eq!(crate::reactor::sockets::words(&io::Error::other(line.clone())), line);
    }
}
