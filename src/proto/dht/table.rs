//! The routing table of BEP 5: nodes that answered us, in buckets of eight, more of them the
//! nearer they are to our own id. One table for each family (BEP 32).

use super::random::Random;
use super::secure::is_verified;
use crate::units::id::NodeId;
use crate::units::time::{Duration, Instant};
use crate::wire::address::is_lan;
use core::net::SocketAddr;

/// BEP 5: nodes in a bucket, and nodes in an answer.
pub(super) const K: usize = 8;
/// BEP 5: a node that was silent so long is questionable, a bucket that did not change is stale.
pub(super) const QUESTIONABLE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Pause before a node that did not answer is asked again; it doubles, four times.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Buckets: beyond 2^64 nodes nobody is so near to us by chance.
const BUCKETS_MAX: usize = 64;
/// BEP 5: a node is bad when it fails to answer several queries in a row.
const FAILURES_MAX: u8 = 2;

/// A node that has answered us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) addr: SocketAddr,
    /// Its last answer or query.
    seen: Instant,
    /// Our last query that was not answered yet: no second one meanwhile.
    tried: Instant,
    /// Queries in a row without an answer.
    failures: u8,
}

impl Node {
    /// Whether it should be asked if it is still there: a silent one, and one that failed, but
    /// that more and more rarely.
    fn is_doubtful(&self, now: Instant) -> bool {
        let pause = RETRY_FIRST * (1 << self.failures.min(4));
        (self.failures > 0 || now - self.seen >= QUESTIONABLE_AFTER) && now - self.tried >= pause
    }

    const fn is_bad(&self) -> bool {
        self.failures >= FAILURES_MAX
    }
}

/// Nodes that share a number of leading bits with our id (in the last bucket: at least so many).
#[derive(Clone, Debug)]
struct Bucket {
    /// At most [`K`].
    live: Vec<Node>,
    /// At most [`K`] that wait for a place, the newest last.
    spare: Vec<Node>,
    changed: Instant,
}

/// The nodes of one family.
#[derive(Clone, Debug)]
pub(super) struct Table {
    own: NodeId,
    buckets: Vec<Bucket>,
}

/// What the table does with a node that it is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is in.
    In,
    /// Its bucket is full; this node in it should be asked whether it is still there.
    Question(NodeId, SocketAddr),
    /// There is no place.
    Out,
}

impl Table {
    pub(super) fn new(own: NodeId, now: Instant) -> Self {
        Self { own, buckets: vec![Bucket::new(now)] }
    }

    pub(super) const fn own(&self) -> NodeId {
        self.own
    }

    /// We have another id now: every node gets its new place.
    pub(super) fn rename(&mut self, own: NodeId, now: Instant) {
        let nodes: Vec<Node> = self.nodes().copied().collect();
        *self = Self::new(own, now);
        for node in nodes {
            self.place(node, now);
        }
    }

    /// Whether nobody was ever in it.
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.live.is_empty())
    }

    /// Nodes that are not bad.
    pub(super) fn usable(&self) -> usize {
        self.nodes().filter(|node| !node.is_bad()).count()
    }

    /// A node has answered us.
    pub(super) fn answered(&mut self, now: Instant, id: NodeId, addr: SocketAddr) -> Placed {
        if id == self.own {
            return Placed::Out;
        }
        // One address, one node: it has taken another id.
        if let Some(other) = self.find(addr).filter(|node| node.id != id).map(|node| node.id) {
            self.remove(other);
        }
        if let Some(node) = self.find_id(id) {
            // Nobody else takes over the id of a node that is there.
            if node.addr == addr {
                (node.seen, node.failures) = (now, 0);
                let bucket = self.bucket_of(id);
                self.buckets[bucket].changed = now;
                return Placed::In;
            }
            if !node.is_bad() {
                return Placed::Out;
            }
            self.remove(id);
        }
        self.place(Node { id, addr, seen: now, tried: now, failures: 0 }, now)
    }

    /// A node has asked us something. Whether it would be welcome in the table, if it answers.
    pub(super) fn asked_us(&mut self, now: Instant, id: NodeId, addr: SocketAddr) -> bool {
        if let Some(node) = self.find_id(id) {
            if node.addr == addr && node.failures == 0 {
                node.seen = now;
            }
            return false;
        }
        if id == self.own {
            return false;
        }
        if self.same_host(addr) {
            // It may have taken another id (BEP 42): its answer will say.
            return self.find(addr).is_some();
        }
        let at = self.bucket_of(id);
        let bucket = &self.buckets[at];
        let splits = at + 1 == self.buckets.len() && self.buckets.len() < BUCKETS_MAX;
        bucket.live.len() < K || splits || bucket.live.iter().any(Node::is_bad)
    }

    /// A node did not answer in time.
    pub(super) fn failed(&mut self, now: Instant, id: NodeId, addr: SocketAddr) {
        let Some(node) = self.find_id(id).filter(|node| node.addr == addr) else { return };
        node.failures = node.failures.saturating_add(1);
        let bad = node.is_bad();
        let at = self.bucket_of(id);
        let bucket = &mut self.buckets[at];
        bucket.spare.retain(|spare| spare.id != id);
        if !bad {
            return;
        }
        // A bad node without a successor stays: when our own network was away, all look bad.
        if let Some(successor) = bucket.spare.pop() {
            bucket.live.retain(|live| live.id != id);
            bucket.live.push(successor);
            bucket.changed = now;
        }
    }

    /// Forgets a node.
    pub(super) fn remove(&mut self, id: NodeId) {
        let at = self.bucket_of(id);
        let bucket = &mut self.buckets[at];
        bucket.live.retain(|node| node.id != id);
        bucket.spare.retain(|node| node.id != id);
        if bucket.live.len() < K {
            bucket.live.extend(bucket.spare.pop());
        }
    }

    /// Nodes nearest to a name, for an answer: those that answered the last time. BEP 5 wants good
    /// ones; but a node that was only silent is most likely there, and to leave the nearest out
    /// would lead lookups astray.
    pub(super) fn good_near(&self, name: NodeId) -> Vec<Node> {
        nearest(self.live().filter(|node| node.failures == 0).collect(), name, K)
    }

    /// Nodes nearest to a name, for a lookup of ours.
    pub(super) fn near(&self, name: NodeId, count: usize) -> Vec<Node> {
        nearest(self.live().collect(), name, count)
    }

    /// Every node that may be worth a try after a restart, the surest first.
    pub(super) fn worth_saving(&self) -> Vec<(NodeId, SocketAddr)> {
        let mut nodes: Vec<Node> = self.live().filter(|node| !node.is_bad()).collect();
        nodes.sort_unstable_by_key(|node| (node.failures, core::cmp::Reverse(node.seen), node.id));
        nodes.into_iter().map(|node| (node.id, node.addr)).collect()
    }

    /// The doubtful node that was asked the longest ago; marked as asked.
    pub(super) fn question(&mut self, now: Instant) -> Option<(NodeId, SocketAddr)> {
        let all = self.buckets.iter_mut().flat_map(|bucket| &mut bucket.live);
        let due = all.filter(|node| node.is_doubtful(now));
        let node = due.min_by_key(|node| node.tried)?;
        node.tried = now;
        Some((node.id, node.addr))
    }

    /// A name in a bucket that has not changed for long: looking it up refreshes the bucket.
    pub(super) fn stale(&mut self, now: Instant, random: &mut Random) -> Option<NodeId> {
        let last = self.buckets.len() - 1;
        let stale = |bucket: &Bucket| now - bucket.changed >= QUESTIONABLE_AFTER;
        let at = self.buckets.iter().position(stale)?;
        self.buckets[at].changed = now;
        // The first `at` bits are ours; the next one differs, except where the rest is.
        let mut name = random.bytes();
        let own = self.own.0;
        for bit in 0..=at {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let ours = own[byte] & mask;
            let differs = bit == at && at != last;
            let value = if differs { ours ^ mask } else { ours };
            if bit < at || differs {
                name[byte] = (name[byte] & !mask) | value;
            }
        }
        Some(NodeId(name))
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.buckets.iter().flat_map(|bucket| bucket.live.iter().chain(&bucket.spare))
    }

    fn live(&self) -> impl Iterator<Item = Node> + '_ {
        self.buckets.iter().flat_map(|bucket| bucket.live.iter().copied())
    }

    fn find(&self, addr: SocketAddr) -> Option<&Node> {
        self.nodes().find(|node| node.addr == addr)
    }

    fn find_id(&mut self, id: NodeId) -> Option<&mut Node> {
        let at = self.bucket_of(id);
        let bucket = &mut self.buckets[at];
        bucket.live.iter_mut().chain(&mut bucket.spare).find(|node| node.id == id)
    }

    /// On the open internet one host has one node: nobody fills a table from one address.
    fn same_host(&self, addr: SocketAddr) -> bool {
        !is_lan(addr.ip()) && self.nodes().any(|node| node.addr.ip() == addr.ip())
    }

    fn bucket_of(&self, id: NodeId) -> usize {
        self.own.shared_bits(id).min(self.buckets.len() - 1)
    }

    fn place(&mut self, node: Node, now: Instant) -> Placed {
        if self.same_host(node.addr) {
            return Placed::Out;
        }
        loop {
            let at = self.bucket_of(node.id);
            let splits = at + 1 == self.buckets.len() && self.buckets.len() < BUCKETS_MAX;
            let bucket = &mut self.buckets[at];
            if bucket.make_room(&node) {
                bucket.live.push(node);
                bucket.changed = now;
                return Placed::In;
            }
            if !splits {
                return bucket.wait(node, now);
            }
            self.split(now);
        }
    }

    /// BEP 5: only the bucket that our own id falls into is split.
    fn split(&mut self, now: Instant) {
        let last = self.buckets.len() - 1;
        let own = self.own;
        let nearer = |node: &Node| own.shared_bits(node.id) > last;
        let mut new = Bucket::new(now);
        if let Some(bucket) = self.buckets.last_mut() {
            (new.live, bucket.live) =
                core::mem::take(&mut bucket.live).into_iter().partition(nearer);
            (new.spare, bucket.spare) =
                core::mem::take(&mut bucket.spare).into_iter().partition(nearer);
            new.changed = bucket.changed;
        }
        self.buckets.push(new);
    }
}

/// As many of these as asked for, the nearest first; bad ones only where there are no others.
fn nearest(mut nodes: Vec<Node>, name: NodeId, count: usize) -> Vec<Node> {
    nodes.sort_unstable_by_key(|node| (node.is_bad(), name.distance(node.id)));
    nodes.truncate(count);
    nodes
}

impl Bucket {
    const fn new(now: Instant) -> Self {
        Self { live: Vec::new(), spare: Vec::new(), changed: now }
    }

    /// Whether there is room for the node, if need be that of a bad one, or of one whose id does
    /// not fit its address (BEP 42) while this one's does.
    fn make_room(&mut self, node: &Node) -> bool {
        if self.live.len() < K {
            return true;
        }
        let bad = self.live.iter().position(Node::is_bad).or_else(|| {
            let forged = |node: &Node| !is_verified(node.id, node.addr.ip());
            self.live.iter().position(forged).filter(|_| !forged(node))
        });
        bad.map(|at| self.live.swap_remove(at)).is_some()
    }

    /// Keeps a node that has no place yet; it gets that of the questionable one if that is gone.
    fn wait(&mut self, node: Node, now: Instant) -> Placed {
        if self.spare.len() == K {
            self.spare.remove(0);
        }
        self.spare.push(node);
        let doubted = |node: &&mut Node| node.is_doubtful(now);
        let oldest = self.live.iter_mut().filter(doubted).min_by_key(|node| node.seen);
        oldest.map_or(Placed::Out, |node| {
            node.tried = now;
            Placed::Question(node.id, node.addr)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::rng::Rng;

    const OWN: NodeId = NodeId([0; 20]);

    fn at(minutes: u64) -> Instant {
        Instant::from_micros((60 + minutes) * 60_000_000)
    }

    /// A node whose id shares `bits` bits with ours.
    fn id(bits: usize, n: u8) -> NodeId {
        let mut id = [0; 20];
        id[bits / 8] = 0x80 >> (bits % 8);
        id[19] = n;
        NodeId(id)
    }

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn full() -> Table {
        let mut table = Table::new(OWN, at(0));
        for n in 1..=8 {
            assert_eq!(table.answered(at(0), id(0, n), addr(n.into())), Placed::In);
        }
        table
    }

    #[test]
    fn only_our_own_bucket_splits() {
        let mut table = full();
        assert_eq!(table.answered(at(0), id(0, 9), addr(9)), Placed::Out);
        for n in 1..=8 {
            assert_eq!(table.answered(at(0), id(1, n), addr(100 + u16::from(n))), Placed::In);
        }
        assert_eq!(table.buckets.len(), 2);
        assert_eq!(table.answered(at(0), id(7, 1), addr(999)), Placed::In);
        assert_eq!(table.buckets.len(), 3);
        assert!(table.buckets.iter().all(|b| b.live.len() <= K && b.spare.len() <= K));
        assert_eq!(table.near(id(1, 3), 1)[0].id, id(1, 3));
        assert_eq!(table.good_near(id(0, 3)).len(), K);
    }

    #[test]
    fn a_questionable_node_is_asked_and_a_bad_one_gives_way() {
        let mut table = full();
        assert_eq!(table.answered(at(1), id(0, 1), addr(1)), Placed::In);
        assert_eq!(table.answered(at(20), id(0, 9), addr(9)), Placed::Question(id(0, 2), addr(2)));
        table.failed(at(20), id(0, 2), addr(2));
        assert!(table.near(id(0, 2), 8).iter().any(|node| node.id == id(0, 2)));
        table.failed(at(20), id(0, 2), addr(2));
        let near = table.near(id(0, 2), 8);
        assert!(near.iter().any(|node| node.id == id(0, 9)), "the spare node has its place");
        assert!(near.iter().all(|node| node.id != id(0, 2)));
    }

    #[test]
    fn bad_nodes_stay_where_nobody_follows() {
        let mut table = full();
        for _ in 0..3 {
            table.failed(at(1), id(0, 3), addr(3));
        }
        assert_eq!(table.usable(), 7);
        assert_eq!(table.near(id(0, 3), 8).len(), 8, "but they are tried last");
        assert_eq!(table.near(id(0, 3), 8)[7].id, id(0, 3));
        assert!(table.good_near(id(0, 3)).iter().all(|node| node.id != id(0, 3)));
        assert_eq!(table.answered(at(2), id(0, 3), addr(3)), Placed::In);
        assert_eq!(table.usable(), 8);
    }

    #[test]
    fn nobody_takes_over_an_id_or_holds_two() {
        let mut table = full();
        assert_eq!(table.answered(at(1), id(0, 1), addr(77)), Placed::Out);
        assert_eq!(table.near(id(0, 1), 1)[0].addr, addr(1));
        assert_eq!(table.answered(at(1), id(5, 5), addr(1)), Placed::In);
        assert!(table.live().all(|node| node.id != id(0, 1)));
        assert_eq!(table.answered(at(1), OWN, addr(78)), Placed::Out);
    }

    #[test]
    fn one_public_host_has_one_node_and_forged_ids_give_way() {
        let mut table = Table::new(OWN, at(0));
        let public = |n: u8, port: u16| SocketAddr::from(([198, 51, 100, n], port));
        for n in 1..=8 {
            assert_eq!(table.answered(at(0), id(0, n), public(n, 1)), Placed::In);
        }
        assert_eq!(table.answered(at(0), id(3, 3), public(1, 2)), Placed::Out);
        let honest = super::super::secure::id_for(public(9, 1).ip(), [0xff; 20]);
        let mut other = Table::new(NodeId(honest.0.map(|byte| !byte)), at(0));
        for n in 1..=8 {
            let forged = NodeId(core::array::from_fn(|i| honest.0[i] ^ (u8::from(i == 1) * n)));
            other.answered(at(0), forged, public(n, 1));
        }
        assert_eq!(other.answered(at(0), honest, public(9, 1)), Placed::In);
    }

    #[test]
    fn stale_buckets_are_named_by_a_name_inside() {
        let mut table = full();
        (1..=8).for_each(|n| _ = table.answered(at(0), id(1, n), addr(100 + u16::from(n))));
        (1..=8).for_each(|n| _ = table.answered(at(0), id(2, n), addr(200 + u16::from(n))));
        let mut random = Random::new([1; 20]);
        assert_eq!(table.stale(at(14), &mut random), None);
        let names: Vec<_> = core::iter::from_fn(|| table.stale(at(15), &mut random)).collect();
        let buckets: Vec<_> = names.iter().map(|name| table.bucket_of(*name)).collect();
        assert_eq!(buckets, [0, 1, 2]);
    }

    #[test]
    fn questionable_nodes_are_asked_in_turn() {
        let mut table = full();
        assert_eq!(table.question(at(10)), None);
        assert!(!table.asked_us(at(10), id(0, 1), addr(1)));
        let asked: Vec<_> = core::iter::from_fn(|| table.question(at(16))).collect();
        assert_eq!(asked.len(), 7, "the one that asked us is still good");
    }

    #[test]
    fn any_sequence_keeps_the_bounds() {
        let mut rng = Rng::new(1);
        let mut table = Table::new(OWN, at(0));
        for step in 0..20_000_u64 {
            let id = id(rng.index(100), u8::try_from(rng.below(40)).unwrap());
            let addr = addr(u16::try_from(1 + rng.below(500)).unwrap());
            let now = Instant::from_micros(step * 500_000);
            match rng.below(4) {
                0 => table.failed(now, id, addr),
                1 => _ = table.asked_us(now, id, addr),
                2 if step % 100 == 0 => table.remove(id),
                _ => _ = table.answered(now, id, addr),
            }
        }
        assert!(table.buckets.len() <= BUCKETS_MAX);
        for (at, bucket) in table.buckets.iter().enumerate() {
            assert!(bucket.live.len() <= K && bucket.spare.len() <= K);
            assert!(bucket.live.iter().all(|node| table.bucket_of(node.id) == at));
        }
        let mut addrs: Vec<_> = table.nodes().map(|node| node.addr).collect();
        addrs.sort();
        addrs.dedup();
        assert_eq!(addrs.len(), table.nodes().count(), "one node an address");
    }
}
