//! Bytes off the wire: a stream of messages whole and in splinters, a large .torrent, datagrams of
//! the DHT.

use criterion::{Criterion, Throughput};
use reactor_peer::proto::incoming::{Incoming, Item, Received};
use reactor_peer::units::geometry::Geometry;
use reactor_peer::wire::krpc::Message as Krpc;
use reactor_peer::wire::message::{Message, Span};
use reactor_peer::wire::metainfo::Metainfo;
use std::hint::black_box;

const PIECES: u32 = 100_000;
const PIECE_BYTES: u32 = 256 * 1024;
/// A packet's payload.
const PACKET: usize = 1448;

pub fn all(c: &mut Criterion) {
    messages(c);
    metainfo(c);
    krpc(c);
}

fn messages(c: &mut Criterion) {
    let block = vec![1; 16 * 1024];
    let mut stream = Vec::new();
    for n in 0..64 {
        Message::Piece(n, 0, &block).write_to(&mut stream);
        Message::Have(n).write_to(&mut stream);
        let span = Span { index: n, begin: 0, length: 16 * 1024 };
        Message::Request(span).write_to(&mut stream);
        stream.extend([0; 4]);
    }
    let mut haves = Vec::new();
    (0..10_000).for_each(|n| Message::Have(n).write_to(&mut haves));
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("a MiB of blocks and small messages", |b| {
        b.iter(|| read(black_box(&stream), stream.len()));
    });
    group.bench_function("the same packet by packet", |b| {
        b.iter(|| read(black_box(&stream), PACKET));
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("10,000 have", |b| b.iter(|| read(black_box(&haves), haves.len())));
    group.finish();
}

/// Reads all messages; how many there were.
fn read(stream: &[u8], split: usize) -> usize {
    let geometry = Geometry::new(u64::from(PIECES) * u64::from(PIECE_BYTES), PIECE_BYTES).unwrap();
    let (mut incoming, mut placed, mut count) = (Incoming::default(), Vec::new(), 0);
    for part in stream.chunks(split) {
        placed.clear();
        let mut received = Received::new(part, 0, &mut placed);
        loop {
            let head = match incoming.next(&mut received, PIECES).unwrap() {
                None => break,
                Some(Item::Head(span)) => Some(span),
                Some(item) => {
                    black_box(item);
                    None
                }
            };
            count += 1;
            if let Some(span) = head {
                let block = geometry.block(span.index, span.begin, span.length).unwrap();
                incoming.fill(block, geometry.block_offset(block));
            }
        }
    }
    count
}

fn metainfo(c: &mut Criterion) {
    let length = u64::from(PIECES) * u64::from(PIECE_BYTES);
    let mut torrent = format!(
        "d8:announce22:http://10.0.0.1:5000/a4:infod6:lengthi{length}e4:name4:data\
         12:piece lengthi{PIECE_BYTES}e6:pieces{}:",
        PIECES * 20
    )
    .into_bytes();
    torrent.resize(torrent.len() + PIECES as usize * 20, 7);
    torrent.extend(b"ee");
    c.bench_function("parse/metainfo of 100,000 pieces", |b| {
        b.iter(|| Metainfo::parse(black_box(&torrent)).unwrap());
    });
}

fn krpc(c: &mut Criterion) {
    let id = "abcdefghij0123456789";
    let query =
        format!("d1:ad2:id20:{id}9:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe");
    let mut answer = format!("d1:rd2:id20:{id}5:nodes208:").into_bytes();
    answer.extend([3; 208]);
    answer.extend(b"5:token8:aoeusnthe1:t2:aa1:y1:re");
    let mut group = c.benchmark_group("parse");
    group.bench_function("a DHT query", |b| {
        b.iter(|| Krpc::parse(black_box(query.as_bytes())).unwrap())
    });
    group.bench_function("a DHT answer of 8 nodes", |b| {
        b.iter(|| Krpc::parse(black_box(&answer)).unwrap());
    });
    group.finish();
}
