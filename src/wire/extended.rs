//! The extension protocol's handshake (BEP 10), with the keys of BEP 9 and 21, and the extension
//! messages that we know: names, our ids for them, and theirs.

use super::bencode::{self, Limits};
use super::compact;
use bendy::encoding::Encoder;
use core::net::IpAddr;

/// What we call ourselves to other clients (`v`).
pub const CLIENT: &str = concat!("reactor-peer ", env!("CARGO_PKG_VERSION"));
/// Longest client name that is kept.
const CLIENT_BYTES_MAX: usize = 64;
/// An honest handshake is flat and short.
const LIMITS: Limits = Limits { depth: 10, tokens: 2_000 };

/// An extension message that we know. The names are the keys of `m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `lt_donthave` (BEP 54): the sender has lost a piece.
    DontHave,
    /// `rp_peers`: our own. Who has come to the swarm or left it, told within a second; the
    /// payload is that of `ut_pex`.
    RpPeers,
    /// `ut_metadata` (BEP 9): the `info` dictionary, piece by piece.
    Metadata,
    /// `ut_pex` (BEP 11): peers that the sender is connected to, told once a minute.
    Pex,
}

impl Extension {
    /// All of them in the order of their names, as bencode wants the keys.
    pub const ALL: [Self; 4] = [Self::DontHave, Self::RpPeers, Self::Metadata, Self::Pex];

    /// Its key in `m`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DontHave => "lt_donthave",
            Self::RpPeers => "rp_peers",
            Self::Metadata => "ut_metadata",
            Self::Pex => "ut_pex",
        }
    }

    /// The id under which others send it to us; each side chooses its own (BEP 10).
    #[must_use]
    pub const fn our_id(self) -> u8 {
        self as u8 + 1
    }

    /// The message that others mean by this id of ours.
    #[must_use]
    pub fn of_our_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.our_id() == id)
    }
}

/// Ids of extension messages: the `m` of one handshake, or what several of them add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids(
    /// By [`Extension`]; `None` where nothing was said, 0 where the message is turned off.
    [Option<u8>; Extension::ALL.len()],
);

impl Ids {
    /// Our ids for those messages that `offered` lets through; the others are turned off.
    #[must_use]
    pub fn ours(offered: impl Fn(Extension) -> bool) -> Self {
        Self(Extension::ALL.map(|e| Some(if offered(e) { e.our_id() } else { 0 })))
    }

    /// The id to send this message under, if the other side takes it.
    #[must_use]
    pub fn get(&self, extension: Extension) -> Option<u8> {
        self.0[extension as usize].filter(|&id| id != 0)
    }

    /// BEP 10: a later handshake changes what it names and leaves the rest.
    pub fn update(&mut self, later: &Self) {
        for (id, later) in self.0.iter_mut().zip(later.0) {
            *id = later.or(*id);
        }
    }
}

/// What the extension handshake says, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `m`: the sender's ids for the messages it takes.
    pub ids: Ids,
    /// `metadata_size` (BEP 9): bytes of the `info` dictionary, if the sender has it.
    pub metadata_size: Option<u32>,
    /// `p`: the port on which the sender listens.
    pub listen_port: Option<u16>,
    /// `reqq`: requests that the sender queues.
    pub reqq: Option<u32>,
    /// `upload_only` (BEP 21): the sender wants nothing.
    pub upload_only: bool,
    /// `v`: the sender's name and version; remote text.
    pub client: Option<String>,
    /// `yourip`: the address under which the sender sees the receiver.
    pub your_ip: Option<IpAddr>,
}

/// The payload is no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADictionary;

impl Handshake {
    /// Reads a payload. A key of the wrong type counts as absent.
    ///
    /// # Errors
    /// When the payload is not one bencoded dictionary.
    pub fn parse(payload: &[u8]) -> Result<Self, NotADictionary> {
        let (value, _) = bencode::parse_within(payload, LIMITS).map_err(|_| NotADictionary)?;
        let dict = value.as_dict().ok_or(NotADictionary)?;
        let int = |key: &str| dict.get(key).and_then(|v| v.as_int());
        let bytes = |key: &str| dict.get(key).and_then(|v| v.as_bytes());
        let port = int("p").and_then(|p| u16::try_from(p).ok()).filter(|&p| p != 0);
        let client = bytes("v").map(|v| {
            let v = &v[..v.len().min(CLIENT_BYTES_MAX)];
            String::from_utf8_lossy(v).into_owned()
        });
        let m = dict.get("m").and_then(|m| m.as_dict());
        let id = |extension: Extension| {
            // What is no id says nothing.
            m?.get(extension.name())?.as_int().and_then(|id| u8::try_from(id).ok())
        };
        let size = int("metadata_size").and_then(|size| u32::try_from(size).ok());
        Ok(Self {
            ids: Ids(Extension::ALL.map(id)),
            metadata_size: size.filter(|&size| size != 0),
            listen_port: port,
            reqq: int("reqq").and_then(|r| u32::try_from(r).ok()),
            upload_only: int("upload_only").is_some_and(|u| u != 0),
            client,
            your_ip: bytes("yourip").and_then(compact::ip),
        })
    }

    /// The payload: keys in order, absent ones left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut dict| {
            dict.emit_pair_with(b"m", |m| {
                m.emit_dict(|mut m| {
                    let ids = Extension::ALL.into_iter().zip(self.ids.0);
                    ids.filter_map(|(extension, id)| Some((extension, id?))).try_for_each(
                        |(extension, id)| m.emit_pair(extension.name().as_bytes(), id),
                    )
                })
            })?;
            if let Some(size) = self.metadata_size {
                dict.emit_pair(b"metadata_size", size)?;
            }
            if let Some(port) = self.listen_port {
                dict.emit_pair(b"p", port)?;
            }
            if let Some(reqq) = self.reqq {
                dict.emit_pair(b"reqq", reqq)?;
            }
            if self.upload_only {
                dict.emit_pair(b"upload_only", 1)?;
            }
            if let Some(client) = &self.client {
                dict.emit_pair(b"v", client.as_str())?;
            }
            if let Some(ip) = self.your_ip {
                let mut bytes = Vec::new();
                compact::push_ip(&mut bytes, ip);
                dict.emit_pair_with(b"yourip", |e| e.emit_bytes(&bytes))?;
            }
            Ok(())
        });
        written.and_then(|()| encoder.get_output()).expect("keys are in order and nothing is deep")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes_both_ways() {
        let hello = Handshake {
            ids: Ids::ours(|extension| extension != Extension::Pex),
            metadata_size: Some(31),
            listen_port: Some(5000),
            reqq: Some(512),
            upload_only: true,
            client: Some("x".into()),
            your_ip: Some([10, 0, 0, 1].into()),
        };
        let bytes = b"d1:md11:lt_donthavei1e8:rp_peersi2e11:ut_metadatai3e6:ut_pexi0ee\
            13:metadata_sizei31e1:pi5000e4:reqqi512e11:upload_onlyi1e1:v1:x\
            6:yourip4:\x0a\0\0\x01e";
        assert_eq!(hello.to_bytes(), bytes);
        assert_eq!(Handshake::parse(bytes), Ok(hello));
    }

    #[test]
    fn wrong_types_count_as_absent_and_order_does_not_matter() {
        let odd = Handshake::parse(b"d1:vi5e1:p2:xx4:reqqi-1ee").unwrap();
        assert_eq!(odd, Handshake::default());
        assert_eq!(Handshake::parse(b"d1:pi70000ee").unwrap().listen_port, None);
        assert_eq!(Handshake::parse(b"le"), Err(NotADictionary));
        assert_eq!(Handshake::parse(b"d1:"), Err(NotADictionary));
    }

    #[test]
    fn later_handshakes_change_what_they_name() {
        let parse = |bytes: &[u8]| Handshake::parse(bytes).unwrap().ids;
        let mut ids = parse(b"d1:md11:ut_metadatai9e6:ut_pexi1e4:xxxxi7eee");
        assert_eq!((ids.get(Extension::Metadata), ids.get(Extension::Pex)), (Some(9), Some(1)));
        assert_eq!(ids.get(Extension::RpPeers), None);
        ids.update(&parse(b"d1:md6:ut_pexi0eee"));
        assert_eq!((ids.get(Extension::Metadata), ids.get(Extension::Pex)), (Some(9), None));
        ids.update(&parse(b"d1:md6:ut_pexi256eee"));
        ids.update(&parse(b"d1:m6:ut_pexe"));
        assert_eq!(ids.get(Extension::Pex), None);
        ids.update(&parse(b"d1:md6:ut_pexi5eee"));
        assert_eq!(ids.get(Extension::Pex), Some(5));
    }

    #[test]
    fn our_ids_lead_back_to_the_messages() {
        for extension in Extension::ALL {
            assert_eq!(Extension::of_our_id(extension.our_id()), Some(extension));
        }
        assert_eq!((Extension::of_our_id(0), Extension::of_our_id(200)), (None, None));
    }
}
