//! A block has one writer. One that comes late on another connection (end game, choke, snub) must
//! never be written into what was received elsewhere, verified or finished.

use super::*;

const BLOCK: u32 = 16 * 1024;
/// Where the slow block is cut: within its head, between head and bytes, within the bytes.
const CUTS: [usize; 9] = [1, 4, 5, 9, 12, 13, 14, 5000, 13 + BLOCK as usize - 1];

/// Two pieces of two blocks and a short third. A slow peer, that lacks the third piece, has sent
/// `cut` bytes of a block; a quick one is asked for the same block in the end game.
fn half_sent(cut: usize) -> (Bench, ConnId, ConnId, Block, Vec<u8>) {
    let mut bench = Bench::new(4 * u64::from(BLOCK) + 100, 2 * BLOCK);
    let slow = bench.serves(1, &[0, 1]);
    let block = bench.asked(slow)[0];
    let bad = bench.bad_block(block);
    bench.receive(slow, &bad[..cut]);
    let quick = bench.serves(2, &[0, 1, 2]);
    // Two ticks: the first asks for what is left, the second for what others owe.
    let third = bench.asked(quick);
    for block in third {
        let bytes = bench.block(block);
        bench.receive(quick, &bytes);
    }
    bench.hash();
    bench.wait(2);
    assert!(bench.asked(quick).contains(&block), "the end game asks for it again");
    (bench, slow, quick, block, bad[cut..].to_vec())
}

fn send(bench: &mut Bench, from: ConnId, block: Block) {
    let bytes = bench.block(block);
    bench.receive(from, &bytes);
}

fn both_of(bench: &Bench, piece: PieceIndex) -> [Block; 2] {
    [bench.geometry.nth_block(piece, 0), bench.geometry.nth_block(piece, 1)]
}

#[test]
fn block_received_elsewhere() {
    for cut in CUTS {
        let (mut bench, slow, quick, block, rest) = half_sent(cut);
        send(&mut bench, quick, block);
        bench.receive(slow, &rest);
        let from = bench.geometry.block_offset(block) as usize;
        let range = from..from + block.length as usize;
        assert_eq!(bench.store.bytes[range.clone()], bench.truth[range], "cut {cut}");
        assert!(bench.is_open(slow), "cut {cut}: a late block is no crime");
    }
}

#[test]
fn block_received_elsewhere_in_two_parts() {
    // The quick one has begun, the slow one goes on, the quick one ends.
    for cut in CUTS {
        let (mut bench, slow, quick, block, rest) = half_sent(cut);
        let good = bench.block(block);
        bench.receive(quick, &good[..6000]);
        bench.receive(slow, &rest);
        bench.receive(quick, &good[6000..]);
        for other in both_of(&bench, block.piece).into_iter().filter(|&b| b != block) {
            send(&mut bench, quick, other);
        }
        bench.hash();
        // Whoever writes last writes all of it: the slow one only where its head came last.
        let taken_over = cut < 13;
        assert_eq!(bench.have().contains(&block.piece.get()), !taken_over, "cut {cut}");
    }
}

#[test]
fn piece_verified() {
    for cut in CUTS {
        let (mut bench, slow, quick, block, rest) = half_sent(cut);
        for block in both_of(&bench, block.piece) {
            send(&mut bench, quick, block);
        }
        bench.hash();
        assert!(bench.have().contains(&block.piece.get()), "cut {cut}");
        bench.receive(slow, &rest);
        assert!(bench.is_right(block.piece), "cut {cut}: verified bytes are overwritten");
    }
}

#[test]
fn piece_waits_for_its_hash() {
    for cut in CUTS {
        let (mut bench, slow, quick, block, rest) = half_sent(cut);
        for block in both_of(&bench, block.piece) {
            send(&mut bench, quick, block);
        }
        bench.receive(slow, &rest);
        bench.hash();
        assert!(bench.have().contains(&block.piece.get()), "cut {cut}");
    }
}

#[test]
fn piece_failed_and_asked_again() {
    for cut in CUTS {
        let (mut bench, slow, quick, block, rest) = half_sent(cut);
        let third = bench.serves(3, &[0, 1, 2]);
        for block in both_of(&bench, block.piece) {
            let bad = bench.bad_block(block);
            bench.receive(quick, &bad);
        }
        bench.hash();
        assert!(!bench.is_open(quick), "cut {cut}: all of a bad piece is proof");
        bench.wait(2);
        assert!(bench.asked(third).contains(&block), "cut {cut}: it is asked for again");
        send(&mut bench, third, block);
        bench.receive(slow, &rest);
        for other in both_of(&bench, block.piece).into_iter().filter(|&b| b != block) {
            send(&mut bench, third, other);
        }
        bench.hash();
        assert!(bench.have().contains(&block.piece.get()), "cut {cut}");
        assert!(bench.is_right(block.piece), "cut {cut}");
    }
}

#[test]
fn content_finished() {
    for cut in CUTS {
        let (mut bench, slow, quick, _, rest) = half_sent(cut);
        for piece in bench.geometry.pieces().take(2) {
            for block in both_of(&bench, piece) {
                send(&mut bench, quick, block);
            }
        }
        bench.hash();
        assert!(bench.finished, "cut {cut}");
        assert!(bench.is_open(slow), "it lacks a piece, so it stays");
        // The store is read-only now and says so loudly.
        bench.receive(slow, &rest);
        assert!(bench.geometry.pieces().all(|piece| bench.is_right(piece)), "cut {cut}");
    }
}

#[test]
fn swarm_removed_failed_or_paused_meanwhile() {
    for cut in CUTS {
        let (mut bench, slow, ..) = half_sent(cut);
        let (now, swarm) = (bench.now, bench.swarm);
        bench.peer.handle_store_error(now, swarm, &StoreError::new("disk full"));
        bench.drain();
        assert_eq!(bench.peer.receive_room(slow), 0, "cut {cut}");
        assert!(bench.peer.swarm(swarm).unwrap().members.is_empty());

        // Paused, and on again: that connection is gone, the block is asked for anew.
        let (mut bench, slow, quick, block, _) = half_sent(cut);
        bench.peer.pause(now, swarm);
        bench.drain();
        assert_eq!(bench.peer.receive_room(slow), 0, "cut {cut}");
        assert!(!bench.is_open(quick));
        bench.peer.resume(now, swarm);
        let third = bench.serves(3, &[0, 1, 2]);
        assert!(bench.asked(third).contains(&block), "cut {cut}");

        let (mut bench, slow, ..) = half_sent(cut);
        bench.peer.remove_swarm(now, swarm);
        bench.drain();
        assert_eq!(bench.peer.receive_room(slow), 0, "cut {cut}");
        // The same torrent again: another swarm, and nobody's old bytes reach it.
        let geometry = bench.geometry;
        let fresh = start(Bitfield::new(geometry.piece_count()));
        let again = bench.peer.add_swarm(now, torrent(geometry), fresh).unwrap();
        assert_ne!(again, swarm);
        assert_eq!(bench.peer.receive_room(slow), 0, "cut {cut}");
    }
}

#[test]
fn a_handshake_that_ends_after_the_torrent_failed_joins_nothing() {
    let mut bench = Bench::new(100, BLOCK);
    let local = SocketAddr::from(([10, 0, 0, 99], 5000));
    let id = bench.peer.handle_accepted(bench.now, addr(1), local).unwrap();
    let bytes = Handshake::ours(HASH, PeerId([1; 20])).to_bytes();
    bench.receive(id, &bytes[..60]);
    bench.peer.handle_store_error(bench.now, bench.swarm, &StoreError::new("disk full"));
    bench.receive(id, &bytes[60..]);
    assert!(bench.peer.swarm(bench.swarm).unwrap().members.is_empty());
}

#[test]
fn cancel_sent_while_the_head_is_half_received() {
    for cut in 1..13 {
        let (mut bench, slow, quick, block, mut rest) = half_sent(cut);
        send(&mut bench, quick, block);
        assert_eq!(bench.named(slow, 8), [block], "cut {cut}: it is cancelled");
        // What comes behind the late block is read as what it is.
        rest.extend(bytes_of(&Message::Choke));
        bench.receive(slow, &rest);
        let from = bench.geometry.block_offset(block) as usize;
        let range = from..from + block.length as usize;
        assert_eq!(bench.store.bytes[range.clone()], bench.truth[range], "cut {cut}");
        assert!(bench.is_open(slow));
        let choked = bench.peer.with_peering(slow, |peering, _, _, _| peering.peer_choking);
        assert_eq!(choked, Some(true), "cut {cut}");
    }
}

#[test]
fn block_of_a_choked_or_snubbed_peer_comes_late() {
    for cut in CUTS {
        let mut bench = Bench::new(4 * u64::from(BLOCK), 2 * BLOCK);
        let slow = bench.serves(1, &[0]);
        let blocks = bench.asked(slow);
        let bad = bench.bad_block(blocks[0]);
        bench.receive(slow, &bytes_of(&Message::Choke));
        let quick = bench.serves(2, &[0, 1]);
        bench.receive(slow, &bad[..cut]);
        for &block in &blocks {
            send(&mut bench, quick, block);
        }
        bench.receive(slow, &bad[cut..]);
        bench.hash();
        // Its head may come last; never is a block made of two.
        assert!(bench.have().contains(&0), "cut {cut}");
    }
}

/// What remote ends do, at random: blocks in any order and in parts, good and bad, asked for or
/// not, chokes, rejects, losses.
fn any_course(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut bench = Bench::new(11 * u64::from(BLOCK) + 77, 2 * BLOCK + 100);
    let pieces: Vec<u32> = (0..bench.geometry.piece_count()).collect();
    let mut ends: Vec<(ConnId, Vec<u8>)> = Vec::new();
    let mut next = 1_u8;
    for _ in 0..600 {
        match rng.below(20) {
            0 | 1 if next < 200 && ends.len() < 4 => {
                let fast = [0, 0, 0, 0, 0, 0, 0, 4];
                let reserved = if rng.below(2) == 0 { fast } else { [0; 8] };
                let mut field = Bitfield::new(bench.geometry.piece_count());
                for &piece in &pieces {
                    if rng.below(4) > 0 {
                        field.set(piece);
                    }
                }
                let mut then = bytes_of(&Message::Bitfield(field.as_bytes()));
                then.extend(bytes_of(&Message::Unchoke));
                ends.push((bench.accept(next, reserved, &then), Vec::new()));
                next += 1;
            }
            2 => bench.wait(rng.below(3)),
            3 if rng.below(10) == 0 => bench.wait(61),
            4 => bench.hash(),
            n if !ends.is_empty() => {
                let at = rng.index(ends.len());
                let (id, unsent) = &mut ends[at];
                act(&mut bench, &mut rng, n, *id, unsent);
                if n == 5 && rng.below(8) == 0 {
                    bench.peer.handle_closed(bench.now, *id, None);
                    bench.drain();
                }
            }
            _ => {}
        }
        ends.retain(|(id, _)| bench.is_open(*id));
        assert_counts(&bench, seed);
    }
}

fn act(bench: &mut Bench, rng: &mut Rng, n: u64, id: ConnId, unsent: &mut Vec<u8>) {
    if unsent.is_empty() {
        let asked = bench.asked(id);
        let block = match asked.len() {
            0 => None,
            len => Some(asked[len - 1 - rng.index(len.min(12))]),
        };
        match (n, block) {
            (6, _) => unsent.extend(bytes_of(&Message::Choke)),
            (7 | 8, _) => unsent.extend(bytes_of(&Message::Unchoke)),
            (9, Some(block)) => unsent.extend(bytes_of(&Message::Reject(span_of(block)))),
            (10, Some(block)) if rng.below(6) == 0 => unsent.extend(bench.bad_block(block)),
            (_, Some(block)) => unsent.extend(bench.block(block)),
            _ => {}
        }
    }
    let len = if rng.below(2) == 0 { unsent.len() } else { rng.index(unsent.len() + 1) };
    let part: Vec<u8> = unsent.drain(..len).collect();
    bench.receive(id, &part);
}

/// The picker counts what the connections owe, and a block has one writer.
fn assert_counts(bench: &Bench, seed: u64) {
    let swarm = bench.peer.swarm(bench.swarm).unwrap();
    for piece in bench.geometry.pieces() {
        let verified = swarm.picker.have().get(piece.get());
        assert!(!verified || bench.is_right(piece), "seed {seed}: verified bytes are overwritten");
        for n in 0..bench.geometry.block_count(piece) {
            let block = bench.geometry.nth_block(piece, n);
            let ends = bench.peer.connections.iter().filter_map(|c| c.peering());
            let (mut owed, mut writers) = (0, 0);
            for peering in ends {
                owed += peering.requests.iter().filter(|&&b| b == block).count();
                writers += usize::from(peering.incoming.filling() == Some(block));
            }
            assert!(writers < 2, "seed {seed}: {writers} writers of {block:?}");
            let counted = usize::from(swarm.picker.times_asked(block));
            assert_eq!(counted, owed + writers, "seed {seed}: {block:?}");
        }
    }
}

#[test]
fn any_course_keeps_one_writer_and_the_counts() {
    (0..60).for_each(any_course);
}

#[test]
fn chokes_without_end_keep_no_more_than_is_under_way() {
    let mut bench = Bench::new(200 * u64::from(BLOCK), 2 * BLOCK);
    let all: Vec<u32> = (0..100).collect();
    let peer = bench.serves(1, &all);
    let late = |bench: &mut Bench| bench.peer.with_peering(peer, |p, _, _, _| p.late.len());

    for _ in 0..20 {
        bench.receive(peer, &bytes_of(&Message::Choke));
        let dropped = late(&mut bench).unwrap();
        assert!((1..=64).contains(&dropped), "{dropped}");
        bench.receive(peer, &bytes_of(&Message::Unchoke));
        assert_eq!(late(&mut bench), Some(0), "what came before the choke has come");
    }
}
