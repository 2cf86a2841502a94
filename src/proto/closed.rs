//! Why a connection ended, and what it costs.

use crate::wire::handshake::NotBitTorrent;
use crate::wire::message::Malformed;
use core::fmt;

/// The reason, said once and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Sent a piece that does not match its hash, proven.
    Banned,
    /// Both ends have everything, or all they want: nothing will ever flow.
    BothSeeders,
    /// The socket could not be connected.
    Dial(String),
    /// The same peer is connected already; both ends drop the same one of the two.
    Duplicate,
    /// The remote end closed (FIN).
    Fin,
    /// An HTTP exchange has ended as it should.
    HttpDone,
    /// Our side has no room for it, or a better use.
    MakeRoom,
    /// Octets that are no message.
    Malformed(Malformed),
    /// A message that is unlawful now.
    Misbehaved(Misbehaved),
    /// It speaks another protocol.
    NotBitTorrent,
    /// It has nothing that we lack, and its client port is wanted for a peer that may have.
    NothingNew,
    /// It offers a torrent, which was noted; it will come again.
    OfferNoted,
    /// It is ourselves.
    Own,
    /// The user has paused the torrent.
    Paused,
    /// Another host has our name: a copy of our state folder.
    SameName,
    /// The host we dialed is there, and nobody listens.
    Refused,
    /// The socket failed: reset, unreachable, timed out.
    Reset(String),
    /// We are stopping, or the torrent was removed.
    Stopping,
    /// Nothing came for too long.
    Silent,
    /// We do not have that torrent.
    UnknownInfoHash,
    /// More waits for it than we keep: it does not read.
    Unread,
    /// Our dial was answered for another torrent.
    WrongInfoHash,
}

/// A message that is well-formed, but unlawful in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaved {
    /// BEP 6: `have none` after something else was said.
    HaveNoneLate,
    /// BEP 6: a message of the fast extension that was not negotiated.
    FastNotNegotiated,
    /// BEP 3: `have` for a piece the torrent does not have.
    HaveOutOfRange,
    /// BEP 3: a bitfield of the wrong size or with spare bits set.
    BadBitfield,
    /// BEP 6: rejected a request we did not make.
    RejectedUnasked,
    /// Asked again and again for what is not in the torrent.
    RequestOutOfRange,
    /// BEP 3: asked for more than 128 KiB at once.
    RequestTooLong,
    /// BEP 10: an extension handshake that is not a dictionary.
    BadExtendedHandshake,
    /// BEP 9, 11, 54: the payload of an extension message has not its form.
    BadExtendedMessage,
    /// BEP 9: a piece of metadata that has not the size it must have.
    BadMetadata,
    /// BEP 11: told of peers again and again, far faster than allowed.
    PexFlood,
}

impl Closed {
    /// Whether the connection was lost rather than ended on purpose.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Fin | Self::Reset(_) | Self::Silent | Self::Dial(_) | Self::Refused)
    }
}

impl From<Malformed> for Closed {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Misbehaved> for Closed {
    fn from(misbehaved: Misbehaved) -> Self {
        Self::Misbehaved(misbehaved)
    }
}

impl From<NotBitTorrent> for Closed {
    fn from(NotBitTorrent: NotBitTorrent) -> Self {
        Self::NotBitTorrent
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned => f.write_str("banned: sent a bad piece"),
            Self::BothSeeders => f.write_str("both have all they want"),
            Self::Dial(why) => write!(f, "cannot connect: {why}"),
            Self::Duplicate => f.write_str("already connected to that peer"),
            Self::Fin => f.write_str("closed by peer"),
            Self::HttpDone => f.write_str("answered"),
            Self::MakeRoom => f.write_str("making room"),
            Self::NothingNew => f.write_str("making room for a peer that may have what we lack"),
            Self::Malformed(what) => what.fmt(f),
            Self::Misbehaved(what) => what.fmt(f),
            Self::NotBitTorrent => NotBitTorrent.fmt(f),
            Self::OfferNoted => f.write_str("its offer is noted"),
            Self::Own => f.write_str("that is ourselves"),
            Self::Paused => f.write_str("paused"),
            Self::SameName => f.write_str("it has our peer id, as a copy of our folders would"),
            Self::Refused => f.write_str("cannot connect: connection refused"),
            Self::Reset(why) => f.write_str(why),
            Self::Stopping => f.write_str("stopping"),
            Self::Silent => f.write_str("silent for too long"),
            Self::Unread => f.write_str("reads nothing of what we say"),
            Self::UnknownInfoHash => f.write_str("asked for a torrent we do not have"),
            Self::WrongInfoHash => f.write_str("answered for another torrent"),
        }
    }
}

impl fmt::Display for Misbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HaveNoneLate => "sent have none late",
            Self::FastNotNegotiated => "used the fast extension without agreement",
            Self::HaveOutOfRange => "has a piece that the torrent does not have",
            Self::BadBitfield => "sent a bitfield of the wrong shape",
            Self::RejectedUnasked => "rejected a request we did not make",
            Self::RequestOutOfRange => "keeps asking for what is not in the torrent",
            Self::RequestTooLong => "asked for more than 128 KiB at once",
            Self::BadExtendedHandshake => "sent an extension handshake that is not a dictionary",
            Self::BadExtendedMessage => "sent an extension message that has not its form",
            Self::BadMetadata => "sent a piece of metadata of the wrong size",
            Self::PexFlood => "tells of peers far too often",
        })
    }
}
