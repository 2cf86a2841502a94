//! Every bound of the program with its reason, in one place.

use super::time::Duration;

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
/// Bytes of what all peers together say to have before the number of pieces is known: sixteen of
/// the largest bitfields, or those of hundreds of peers of a usual torrent.
pub const EARLY_BYTES_MAX: usize = 16 * (PIECES_MAX as usize / 8);
/// Connections accepted beyond those of peers that the user allows: to ask our tracker, to give us
/// a torrent, or to take the place of a peer of lower priority.
pub const INBOUND_SPARE: usize = 8;
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
/// Blocks gathered into one system call at least, where so many wait: twice what a socket on a slow line takes.
pub const BLOCKS_A_CALL_MIN: usize = 8;
/// Blocks gathered into one system call at most: 1 MiB, which a fast socket takes at once.
pub const BLOCKS_A_CALL: usize = 64;
/// Blocks behind those of a call that the disk is asked for, where it has to be waited for: 1 MiB, what a slow
/// disk brings in one go.
pub const BLOCKS_AHEAD: usize = 64;
/// Between two looks whether the disk has brought what is to be sent or hashed.
pub const COLD_PAUSE: Duration = Duration::from_millis(1);
/// Content that has not come by then is asked for again: perhaps it came, and went for lack of memory.
pub const COLD_AGAIN: Duration = Duration::from_millis(500);
/// Content that has not come by then is read all the same, and waited for: it ends in bytes or in an
/// error, whatever the system says of its memory.
pub const COLD_WITHIN: Duration = Duration::from_secs(5);
/// The disk is asked ahead for so long after it had to be waited for.
pub const COLD_FOR: Duration = Duration::from_secs(10);
/// Bytes asked for ahead of a check: what a slow disk brings in 40 ms.
pub const CHECK_AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes read from one connection in one system call: 16 blocks with their heads, which is where
/// more stops being cheaper, and which the processor's cache still holds when they are written.
pub const RECEIVE_BYTES: usize = 256 * 1024 + 16 * 16;
/// Bytes that all connections together move in one turn of the loop: about 2 ms.
pub const TURN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// After so long they move nothing more in this turn.
pub const MOVE_WITHIN: Duration = Duration::from_millis(1);
/// Links that have their turn in one turn of the loop, whatever they move.
pub const MOVES_A_TURN: usize = 1024;
/// Connections that send blocks at the same time, where more wait for it: so few that each piece
/// is out soon, and enough that the line is not idle between two turns.
pub const TURNS_AT_ONCE: usize = 3;
/// Peers served at once in one swarm: three regular slots and one optimistic (BEP 3).
pub const SLOTS_MIN: usize = 4;
/// Peers served at once in one swarm on the fastest line.
pub const SLOTS_MAX: usize = 500;
/// Pieces that a seeder suggests to one peer before that has asked for them (BEP 6).
pub const SUGGESTED_AHEAD: usize = 2;
/// Pieces that one peer was dealt and has not got: more it does not get on with.
pub const DEALT_MAX: usize = 32;
/// What was dealt is dealt to a second peer when this many times as many pieces are out since as are under
/// way: among peers that are equally fast it is once as many.
pub const OVERDUE_TIMES: u64 = 3;
/// Suggestions of one peer that we remember.
pub const SUGGESTED_MAX: usize = 32;
/// Bytes of one turn at most, where pieces are longer.
pub const TURN_PAYLOAD_MAX: usize = 1024 * 1024;
/// Pieces as long as this are gone on with before others begin: a host asks for less than one at a time, and
/// halves of pieces cannot be passed on. Shorter ones spread as fast without it, and beside a slow host faster.
pub const LONG_PIECE_BYTES: u32 = 512 * 1024;
/// A connection whose socket took nothing for so long does not keep others from their turn. A
/// socket takes 32 KiB at a time, which three at once wait 16 ms for at 50 Mbit/s.
pub const TURN_STANDS: Duration = Duration::from_millis(25);
/// The same for a long piece. Who is let in meanwhile slows the others down, and has only a part of one.
pub const LONG_TURN_STANDS: Duration = Duration::from_millis(40);
/// Bytes received that go on to the disk together: what a slow one takes in a quarter of a second. More often
/// costs calls, more seldom lets the disk rest meanwhile.
pub const WRITE_BACK_BYTES: u64 = 8 * 1024 * 1024;
/// The same where much may wait for the disk: that many in one go cost a tenth less.
pub const WRITE_BACK_MOST: u64 = 8 * WRITE_BACK_BYTES;
/// Bytes that may wait for the disk whatever the system says: so that it has the next ones when the ones before
/// are done.
pub const WRITE_BACK_LEAST: u64 = 2 * WRITE_BACK_BYTES;
/// Bytes that are not sent on to the disk before their pieces are verified: of large pieces, or many at once,
/// hardly one is done before much is written.
pub const UNVERIFIED_BYTES: u64 = 2 * WRITE_BACK_LEAST;
/// A write that took so long was held up by the system: what one read brings is written in a fiftieth of it.
pub const HELD_UP: Duration = Duration::from_millis(10);
/// Bytes hashed in one turn of the loop: more than come in during one, so that a piece is hashed while it is in
/// the processor's cache and its window is mapped; about 1.2 ms with SHA instructions.
pub const HASH_SLICE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes hashed between two looks at the clock.
pub const HASH_STEP_BYTES: usize = 768 * 1024;
/// After so long no more is hashed in this turn.
pub const HASH_WITHIN: Duration = Duration::from_millis(1);
/// Whole handshake, from the accepted or connected socket on.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A dialed socket must be connected by then.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// A tracker on the LAN must be connected by then: a handshake takes a millisecond there.
pub const LAN_DIAL_WITHIN: Duration = Duration::from_secs(1);
/// An HTTP request must have arrived, and its answer be taken, by then.
pub const HTTP_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a request we do not take that are read and dropped, so that our refusal is not lost to a reset.
pub const HTTP_REFUSED_MAX: usize = 1024 * 1024;
/// Who was refused has hung up by then, or we do.
pub const HTTP_REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// A tracker must have answered by then.
pub const ANNOUNCE_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of the largest HTTP request head.
pub const HTTP_HEAD_MAX: usize = 8 * 1024;
/// Bytes of the largest answer of a tracker.
pub const HTTP_BODY_MAX: usize = 1024 * 1024;
/// Bytes of the longest datagram read: KRPC and tracker messages fit one Ethernet frame.
pub const DATAGRAM_BYTES_MAX: usize = 4 * 1024;
/// A catalogue must have answered by then, its 10 MiB torrents included.
pub const FETCH_WITHIN: Duration = Duration::from_secs(30);
/// Requests to other peers' catalogues at once: one for each host of a large class.
pub const FETCHES_MAX: usize = 256;
/// Bytes of one HTTP answer of ours or of another peer: a .torrent and its head.
pub const ANSWER_BYTES_MAX: usize = TORRENT_BYTES_MAX as usize + HTTP_HEAD_MAX;
/// Bytes of all HTTP answers that wait for their askers.
pub const ANSWERS_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;
/// Bytes a second at which an asker must take a long answer.
pub const ANSWER_RATE_MIN: usize = 128 * 1024;
/// Bytes of a connection for an unknown torrent in which its extension handshake must come:
/// behind the largest bitfield.
pub const OFFER_BYTES_MAX: usize = PIECES_MAX as usize / 8 + 2 * MESSAGE_BYTES_MAX as usize;
/// Programs connected to the control socket at once.
pub const CONTROL_CLIENTS_MAX: usize = 8;
/// Bytes of a line on the control socket: the longest magnet link, escaped.
pub const CONTROL_LINE_MAX: usize = 128 * 1024;
/// Bytes that wait for one client of the control socket: the files of a large torrent.
pub const CONTROL_OUT_MAX: usize = 64 * 1024 * 1024;
/// Bytes read from standard input at once.
pub const CONSOLE_READ_BYTES: usize = 4 * 1024;
/// Bytes of a line of the console.
pub const CONSOLE_LINE_MAX: usize = 64 * 1024;
/// Hosts that one search asks, those included that others name: all of a /24 network.
pub const SEARCH_HOSTS_MAX: usize = 254;
/// Names looked for at once.
pub const SEARCHES_MAX: usize = 16;
/// Torrents offered by others and fetched at once.
pub const OFFERS_MAX: usize = 8;
/// Torrents in one catalogue.
pub const CATALOGUE_ENTRIES_MAX: usize = 10_000;
/// Hosts that one catalogue names: a class has forty.
pub const CATALOGUE_HOSTS_MAX: usize = 64;
/// Names like the asked one in one catalogue.
pub const CATALOGUE_NEAR_MAX: usize = 5;
/// Hosts of this program remembered from the local network: a large lab.
pub const LAN_HOSTS_MAX: usize = 256;
/// Peers remembered from the local network for one swarm, so that each is answered once.
pub const LSD_KNOWN_MAX: usize = 256;
/// BEP 3: keep-alives are generally sent once every two minutes.
pub const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(110);
/// How much earlier some say it, so that connections that began together do not all wake the loop
/// in the same turn.
pub const KEEP_ALIVE_SPREAD: Duration = Duration::from_secs(16);
/// A peer that has said nothing of its pieces by then is asked whether it has some.
pub const UNTOLD_AFTER: Duration = Duration::from_secs(1);
/// Between two times that our tracker hears who is connected: far shorter than an entry lives.
pub const LISTED_AGAIN: Duration = Duration::from_secs(30);
/// A connection that was silent so long is lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(150);
/// A peer that owes us blocks and sent none for so long is snubbing us (BEP 3).
pub const SNUBBED_AFTER: Duration = Duration::from_secs(60);
/// Between two rounds of choking (BEP 3).
pub const CHOKE_ROUND: Duration = Duration::from_secs(10);
/// Rounds for which one optimistic unchoke lasts (BEP 3: 30 seconds).
pub const OPTIMISTIC_ROUNDS: u32 = 3;
/// A tracker must have been told by then that we have left a swarm.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether a disk that was full takes data again.
pub const DISK_AGAIN: Duration = Duration::from_secs(10);
/// Addresses remembered for one swarm.
pub const CONTACTS_MAX: usize = 2_000;
/// Addresses in the resume record.
pub const CONTACTS_SAVED_MAX: usize = 200;
/// Entries of one swarm in our tracker.
pub const TRACKER_ENTRIES_MAX: usize = 10_000;
/// Peers in one answer of our tracker.
pub const TRACKER_NUMWANT_MAX: usize = 200;
/// Between two dialed peers that give way to others, while a piece is with no connected peer: a
/// hundred addresses are tried in a quarter of an hour, and nobody is called in vain for long.
pub const TURN_OVER_AFTER: Duration = Duration::from_secs(10);
/// Between two dialed peers that give way to announces of one swarm: who has no free port has peers,
/// and is in no hurry for more.
pub const ROOM_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Pause before a client port that was busy is tried again.
pub const PORTS_REST: Duration = Duration::from_secs(1);
/// First pause before a known host is dialed again.
pub const REDIAL_FIRST: Duration = Duration::from_secs(1);
/// Dials of a LAN host that refuses, that pause apart, before the pause grows: it is up, and its program may be
/// started again within a minute.
pub const REDIAL_REFUSED_TRIES: u32 = 60;
/// Longest pause before a known host is dialed again.
pub const REDIAL_KNOWN_MAX: Duration = Duration::from_secs(5);
/// Longest pause before another address is dialed again.
pub const REDIAL_OTHER_MAX: Duration = Duration::from_secs(300);
/// Dials of an address nobody vouched for before it is forgotten.
pub const REDIAL_OTHER_TRIES: u32 = 6;
/// Bytes of a request, an answer or an extended handshake that one line of the log quotes.
pub const LOGGED_BYTES_MAX: usize = 512;
/// Of the log, the results or the log file, what waits for a reader that is late or a disk that is
/// full: some seconds of a busy log at debug level. What comes then is left out, and counted.
pub const OUTLET_WAITING_MAX: usize = 4 << 20;
/// Peers or counts of a tracker's answer over UDP that one line of the log quotes: about as much.
pub const LOGGED_PEERS_MAX: usize = 20;

const _: () = assert!((METADATA_BYTES_MAX as u64) < TORRENT_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES <= REQUEST_BYTES_MAX);
const _: () = assert!(REQUESTS_OUT_START <= REQUESTS_OUT_MAX);
const _: () = assert!(BLOCKS_A_CALL_MIN <= BLOCKS_A_CALL);
const _: () = assert!(BLOCKS_A_CALL * (BLOCK_BYTES as usize) <= TURN_BYTES_MAX);
const _: () = assert!(REDIAL_FIRST.as_micros() <= REDIAL_KNOWN_MAX.as_micros());
const _: () = assert!(HTTP_REFUSED_WITHIN.as_micros() <= HTTP_WITHIN.as_micros());
const _: () = assert!(COLD_AGAIN.as_micros() < COLD_WITHIN.as_micros());
const _: () = assert!(KEEP_ALIVE_SPREAD.as_secs() < KEEP_ALIVE_AFTER.as_secs());
const _: () = assert!(KEEP_ALIVE_AFTER.as_secs() < SILENCE_MAX.as_secs());
