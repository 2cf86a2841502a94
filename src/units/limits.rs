//! The bounds of the program with their reasons: what a torrent may be, what a stranger may make us
//! keep or wait for. A pace that a single module keeps stands there.

use super::time::Duration;

// The torrent.

/// Bytes of the blocks we ask for (BEP 3: what everybody serves).
pub const BLOCK_BYTES: u32 = 16 * 1024;
/// Bytes of the largest block we serve; a request for more ends the connection.
pub const REQUEST_BYTES_MAX: u32 = 128 * 1024;
/// Bytes of the largest piece a torrent may have: it is verified as one.
pub const PIECE_BYTES_MAX: u32 = 512 * 1024 * 1024;
/// Pieces a torrent may have: 2^21, as the largest in use have a tenth of that.
pub const PIECES_MAX: u32 = 1 << 21;
/// Bytes of the largest .torrent file read.
pub const TORRENT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Bytes of the largest metadata fetched for a magnet link, so that its .torrent with trackers can
/// be read again.
pub const METADATA_BYTES_MAX: u32 = 9 * 1024 * 1024;

// Memory that one connection may make us take.

/// Bytes of the largest message that is not a block or a bitfield: extension handshakes.
pub const MESSAGE_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of small messages that may wait for one remote end: 100,000 times `have`, or the largest
/// bitfield and the peers of the largest swarm. Who makes us say more and reads nothing is left.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Requests of one remote end that we keep queued (the `reqq` of BEP 10).
pub const REQUESTS_IN_MAX: usize = 512;
/// Requests of ours that one remote end may owe us.
pub const REQUESTS_OUT_MAX: usize = 512;
/// Requests of ours before a rate is known: 256 KiB, so that a slow peer is not owed much.
pub const REQUESTS_OUT_START: usize = 16;
/// Suggestions of one peer that we remember.
pub const SUGGESTED_MAX: usize = 32;
/// Bytes of a connection for an unknown torrent in which its extension handshake must come:
/// behind the largest bitfield.
pub const OFFER_BYTES_MAX: usize = PIECES_MAX as usize / 8 + 2 * MESSAGE_BYTES_MAX as usize;
/// Bytes of the longest datagram read: KRPC and tracker messages fit one Ethernet frame.
pub const DATAGRAM_BYTES_MAX: usize = 4 * 1024;

// Memory that all connections together may make us take.

/// Connections accepted beyond those of peers that the user allows: to ask our tracker, to give us
/// a torrent, or to take the place of a peer of lower priority.
pub const INBOUND_SPARE: usize = 8;
/// Bytes of what all peers together say to have before the number of pieces is known: sixteen of
/// the largest bitfields, or those of hundreds of peers of a usual torrent.
pub const EARLY_BYTES_MAX: usize = 16 * (PIECES_MAX as usize / 8);
/// Bytes read from one connection in one system call: 16 blocks with their heads, which is where
/// more stops being cheaper, and which the processor's cache still holds when they are written.
pub const RECEIVE_BYTES: usize = 256 * 1024 + 16 * 16;

// HTTP: announces, catalogues, torrents.

/// Bytes of a request we do not take that are read and dropped, so that our refusal is not lost to a reset.
pub const HTTP_REFUSED_MAX: usize = 1024 * 1024;
/// Bytes of the largest HTTP request head.
pub const HTTP_HEAD_MAX: usize = 8 * 1024;
/// Bytes of the largest answer of a tracker.
pub const HTTP_BODY_MAX: usize = 1024 * 1024;
/// Bytes of one HTTP answer of ours or of another peer: a .torrent and its head.
pub const ANSWER_BYTES_MAX: usize = TORRENT_BYTES_MAX as usize + HTTP_HEAD_MAX;
/// Bytes of all HTTP answers that wait for their askers.
pub const ANSWERS_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;
/// Bytes a second at which an asker must take a long answer.
pub const ANSWER_RATE_MIN: usize = 128 * 1024;
/// Requests to other peers' catalogues at once: one for each host of a large class.
pub const FETCHES_MAX: usize = 256;

// Addresses and entries that are remembered.

/// Addresses remembered for one swarm.
pub const CONTACTS_MAX: usize = 2_000;
/// Addresses in the resume record.
pub const CONTACTS_SAVED_MAX: usize = 200;
/// Entries of one swarm in our tracker.
pub const TRACKER_ENTRIES_MAX: usize = 10_000;
/// Peers in one answer of our tracker.
pub const TRACKER_NUMWANT_MAX: usize = 200;
/// Hosts of this program remembered from the local network: a large lab.
pub const LAN_HOSTS_MAX: usize = 256;
/// Peers remembered from the local network for one swarm, so that each is answered once.
pub const LSD_KNOWN_MAX: usize = 256;

// Searches and the catalogue.

/// Names looked for at once.
pub const SEARCHES_MAX: usize = 16;
/// Hosts that one search asks, those included that others name: all of a /24 network.
pub const SEARCH_HOSTS_MAX: usize = 254;
/// Torrents offered by others and fetched at once.
pub const OFFERS_MAX: usize = 8;
/// Torrents in one catalogue.
pub const CATALOGUE_ENTRIES_MAX: usize = 10_000;
/// Hosts that one catalogue names: a class has forty.
pub const CATALOGUE_HOSTS_MAX: usize = 64;
/// Names like the asked one in one catalogue.
pub const CATALOGUE_NEAR_MAX: usize = 5;

// The user's side: console, control socket, log.

/// Bytes of a line of the console.
pub const CONSOLE_LINE_MAX: usize = 64 * 1024;
/// Programs connected to the control socket at once.
pub const CONTROL_CLIENTS_MAX: usize = 8;
/// Bytes of a line on the control socket: the longest magnet link, escaped.
pub const CONTROL_LINE_MAX: usize = 128 * 1024;
/// Bytes that wait for one client of the control socket: the files of a large torrent.
pub const CONTROL_OUT_MAX: usize = 64 * 1024 * 1024;
/// Of the log, the results or the log file, what waits for a reader that is late or a disk that is
/// full: some seconds of a busy log at debug level. What comes then is left out, and counted.
pub const OUTLET_WAITING_MAX: usize = 4 << 20;
/// Bytes of a request, an answer or an extended handshake that one line of the log quotes.
pub const LOGGED_BYTES_MAX: usize = 512;
/// Peers or counts of a tracker's answer over UDP that one line of the log quotes: about as much.
pub const LOGGED_PEERS_MAX: usize = 20;

// By when a connection must have got on.

/// A dialed socket must be connected by then.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// A tracker on the LAN must be connected by then: a handshake takes a millisecond there.
pub const LAN_DIAL_WITHIN: Duration = Duration::from_secs(1);
/// Whole handshake, from the accepted or connected socket on.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// An HTTP request must have arrived, and its answer be taken, by then.
pub const HTTP_WITHIN: Duration = Duration::from_secs(5);
/// Who was refused has hung up by then, or we do.
pub const HTTP_REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// A tracker must have answered by then.
pub const ANNOUNCE_WITHIN: Duration = Duration::from_secs(15);
/// A catalogue must have answered by then, its 10 MiB torrents included.
pub const FETCH_WITHIN: Duration = Duration::from_secs(30);
/// A peer that has said nothing of its pieces by then is asked whether it has some.
pub const UNTOLD_AFTER: Duration = Duration::from_secs(1);
/// BEP 3: keep-alives are generally sent once every two minutes.
pub const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(110);
/// How much earlier some say it, so that connections that began together do not all wake the loop
/// in the same turn.
pub const KEEP_ALIVE_SPREAD: Duration = Duration::from_secs(16);
/// A peer that owes us blocks and sent none for so long is snubbing us (BEP 3).
pub const SNUBBED_AFTER: Duration = Duration::from_secs(60);
/// A connection that was silent so long is lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(150);

// Pauses that several modules keep.

/// Pause before a client port that was busy is tried again.
pub const PORTS_REST: Duration = Duration::from_secs(1);
/// Between two times that our tracker hears who is connected: far shorter than an entry lives.
pub const LISTED_AGAIN: Duration = Duration::from_secs(30);
/// Between two looks whether a disk that was full takes data again.
pub const DISK_AGAIN: Duration = Duration::from_secs(10);
/// Between two looks whether the disk has brought what is to be sent or hashed.
pub const COLD_PAUSE: Duration = Duration::from_millis(1);
/// Content that has not come by then is asked for again: perhaps it came, and went for lack of memory.
pub const COLD_AGAIN: Duration = Duration::from_millis(500);
/// Content that has not come by then is read all the same, and waited for: it ends in bytes or in an
/// error, whatever the system says of its memory.
pub const COLD_WITHIN: Duration = Duration::from_secs(5);

const _: () = assert!((METADATA_BYTES_MAX as u64) < TORRENT_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES <= REQUEST_BYTES_MAX);
const _: () = assert!(REQUESTS_OUT_START <= REQUESTS_OUT_MAX);
const _: () = assert!(HTTP_REFUSED_WITHIN.as_micros() <= HTTP_WITHIN.as_micros());
const _: () = assert!(COLD_AGAIN.as_micros() < COLD_WITHIN.as_micros());
const _: () = assert!(KEEP_ALIVE_SPREAD.as_secs() < KEEP_ALIVE_AFTER.as_secs());
const _: () = assert!(KEEP_ALIVE_AFTER.as_secs() < SILENCE_MAX.as_secs());
