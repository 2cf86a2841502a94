//! One iterative lookup (BEP 5): asks the nodes nearest to a name for nodes that are nearer yet,
//! a few at a time, until the eight nearest have answered.

use super::secure::is_verified;
use super::table::K;
use crate::units::id::{InfoHash, NodeId};
use crate::wire::address::is_lan;
use crate::wire::krpc::TOKEN_BYTES_MAX;
use core::net::SocketAddr;

/// Queries under way at a time: the α of Kademlia.
const ALPHA: usize = 4;
/// Candidates kept: the nearest of what was heard.
const CANDIDATES_MAX: usize = 64;
/// Queries in all. An honest network of millions needs half of it; a liar who names nearer and
/// nearer nodes gets no more.
const QUERIES_MAX: usize = 100;

/// What a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To know nodes around the name.
    Nodes,
    /// To find the peers of a swarm, and to announce ourselves there.
    Peers(InfoHash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Asked,
    /// Asked, and late: its place among those under way is given to another.
    Slow,
    Answered,
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    id: NodeId,
    addr: SocketAddr,
    state: State,
    /// Answers that led to it, itself included.
    round: u32,
    token: Option<Box<[u8]>>,
    /// We were announced to it.
    told: bool,
}

/// A lookup under way.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) target: NodeId,
    pub(super) purpose: Purpose,
    pub(super) v6: bool,
    /// Peers were found by it.
    pub(super) found: bool,
    /// Nodes that were told of us.
    pub(super) announced: usize,
    /// Nearest first; each address once, and on the open internet each host once.
    candidates: Vec<Candidate>,
    queries: usize,
}

/// Where to announce: a node that gave a token.
pub(super) struct Place {
    pub(super) id: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) token: Box<[u8]>,
}

impl Lookup {
    pub(super) const fn new(target: NodeId, purpose: Purpose, v6: bool) -> Self {
        let candidates = Vec::new();
        Self { target, purpose, v6, found: false, announced: 0, candidates, queries: 0 }
    }

    /// Hears of a node, from an answer of round `round` - 1.
    pub(super) fn hear(&mut self, id: NodeId, addr: SocketAddr, round: u32) {
        let same = |c: &Candidate| {
            c.addr == addr || (!is_lan(addr.ip()) && c.addr.ip() == addr.ip()) || c.id == id
        };
        if let Some(at) = self.candidates.iter().position(same) {
            // Of two names for a host that was not asked yet the nearer is tried: it may be the
            // one that a node took since (BEP 42). The node itself will say.
            let known = &self.candidates[at];
            let nearer = self.target.distance(id) < self.target.distance(known.id);
            if known.state != State::New || !nearer {
                return;
            }
            self.candidates.remove(at);
        }
        self.insert(Candidate { id, addr, state: State::New, round, token: None, told: false });
        if self.candidates.len() > CANDIDATES_MAX {
            // One that is under way must stay: its answer is still to come.
            let idle = |c: &Candidate| !matches!(c.state, State::Asked | State::Slow);
            if let Some(last) = self.candidates.iter().rposition(idle) {
                self.candidates.remove(last);
            }
        }
    }

    /// Whom to ask next, if anybody; it counts as asked.
    pub(super) fn next(&mut self) -> Option<(NodeId, SocketAddr)> {
        let under_way = self.candidates.iter().filter(|c| c.state == State::Asked).count();
        if under_way >= ALPHA || self.queries >= QUERIES_MAX {
            return None;
        }
        let at = self.nearest().find(|&at| self.candidates[at].state == State::New)?;
        let candidate = &mut self.candidates[at];
        candidate.state = State::Asked;
        self.queries += 1;
        Some((candidate.id, candidate.addr))
    }

    /// Whether nobody is left to ask or to wait for.
    pub(super) fn is_done(&self) -> bool {
        let spent = self.queries >= QUERIES_MAX;
        let open = |state| state == State::Asked || (state == State::New && !spent);
        !self.nearest().any(|at| open(self.candidates[at].state))
            && (!spent || self.candidates.iter().all(|c| c.state != State::Asked))
    }

    /// A node has answered, under an id that may be another than we were told. Returns the round
    /// of those it names; `None` if it was not asked.
    pub(super) fn answered(
        &mut self,
        addr: SocketAddr,
        id: NodeId,
        token: Option<&[u8]>,
    ) -> Option<u32> {
        let at = self.candidates.iter().position(|c| c.addr == addr)?;
        if !matches!(self.candidates[at].state, State::Asked | State::Slow) {
            return None;
        }
        let mut candidate = self.candidates.remove(at);
        candidate.id = id;
        candidate.state = State::Answered;
        candidate.token = token.filter(|t| t.len() <= TOKEN_BYTES_MAX).map(Box::from);
        let round = candidate.round + 1;
        self.insert(candidate);
        Some(round)
    }

    /// A node is late.
    pub(super) fn slow(&mut self, addr: SocketAddr) {
        self.set(addr, State::Slow);
    }

    /// A node will not answer.
    pub(super) fn failed(&mut self, addr: SocketAddr) {
        self.set(addr, State::Failed);
    }

    /// Whom to announce to now, each once: the eight nearest nodes that gave a token, those whose
    /// id fits their address first (BEP 42), as what is stored elsewhere is in the hands of
    /// whoever chose to be there. Before the end only those that most likely remain among the
    /// eight: nobody is known who is nearer and was not asked. So a node that is late or gone
    /// delays the announce to no other.
    pub(super) fn take_places(&mut self) -> Vec<Place> {
        let nearest: Vec<usize> = self.nearest().collect();
        let done = self.is_done();
        if !done && nearest.iter().any(|&at| self.candidates[at].state == State::New) {
            return Vec::new();
        }
        let gave = |at: &usize| {
            let candidate = &self.candidates[*at];
            candidate.state == State::Answered && candidate.token.is_some()
        };
        let fits = |at: &usize| {
            let candidate = &self.candidates[*at];
            is_verified(candidate.id, candidate.addr.ip())
        };
        let (mut places, others): (Vec<usize>, Vec<usize>) =
            (0..self.candidates.len()).filter(gave).partition(fits);
        places.extend(others);
        places.truncate(K);
        places.retain(|at| !self.candidates[*at].told && (done || nearest.contains(at)));
        let take = |at: usize| {
            let candidate = &mut self.candidates[at];
            candidate.told = true;
            let token = candidate.token.clone()?;
            Some(Place { id: candidate.id, addr: candidate.addr, token })
        };
        places.into_iter().filter_map(take).collect()
    }

    /// Whether `id` is nearer to the target than the eighth node that answered.
    pub(super) fn is_among_nearest(&self, id: NodeId) -> bool {
        let mut answered = self.candidates.iter().filter(|c| c.state == State::Answered);
        answered.nth(K - 1).is_none_or(|c| self.target.distance(id) < self.target.distance(c.id))
    }

    /// Rounds it took: the longest chain of answers.
    pub(super) fn rounds(&self) -> u32 {
        let answered = self.candidates.iter().filter(|c| c.state == State::Answered);
        answered.map(|c| c.round).max().unwrap_or(0)
    }

    pub(super) const fn queries(&self) -> usize {
        self.queries
    }

    /// The eight nearest that may still be there.
    fn nearest(&self) -> impl Iterator<Item = usize> + '_ {
        let alive = |&at: &usize| !matches!(self.candidates[at].state, State::Failed | State::Slow);
        (0..self.candidates.len()).filter(alive).take(K)
    }

    fn set(&mut self, addr: SocketAddr, state: State) {
        let under_way =
            |c: &&mut Candidate| c.addr == addr && matches!(c.state, State::Asked | State::Slow);
        if let Some(candidate) = self.candidates.iter_mut().find(under_way) {
            candidate.state = state;
        }
    }

    fn insert(&mut self, candidate: Candidate) {
        let distance = self.target.distance(candidate.id);
        let at = self.candidates.partition_point(|c| self.target.distance(c.id) < distance);
        self.candidates.insert(at, candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: NodeId = NodeId([0; 20]);

    fn id(distance: u8) -> NodeId {
        NodeId(core::array::from_fn(|i| if i == 0 { distance } else { 0 }))
    }

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 5000))
    }

    fn lookup(distances: impl IntoIterator<Item = u8>) -> Lookup {
        let mut lookup = Lookup::new(TARGET, Purpose::Nodes, false);
        distances.into_iter().for_each(|n| lookup.hear(id(n), addr(n), 1));
        lookup
    }

    #[test]
    fn the_nearest_first_and_four_at_a_time() {
        let mut lookup = lookup((1..=20).rev());
        let asked: Vec<_> = core::iter::from_fn(|| lookup.next()).collect();
        assert_eq!(asked, [1, 2, 3, 4].map(|n| (id(n), addr(n))));
        assert_eq!(lookup.answered(addr(2), id(2), None), Some(2));
        assert_eq!(lookup.answered(addr(2), id(2), None), None, "once");
        assert_eq!(lookup.answered(addr(9), id(9), None), None, "not asked");
        assert_eq!(lookup.next(), Some((id(5), addr(5))));
        lookup.slow(addr(1));
        assert_eq!(lookup.next(), Some((id(6), addr(6))), "a late one gives up its place");
        assert_eq!(lookup.answered(addr(1), id(1), None), Some(2), "but may still answer");
    }

    #[test]
    fn done_when_the_eight_nearest_have_answered() {
        let mut lookup = lookup(1..=20);
        let mut queries = 0;
        while let Some((node, addr)) = lookup.next() {
            queries += 1;
            assert!(!lookup.is_done());
            if queries % 3 == 0 {
                lookup.failed(addr);
            } else {
                lookup.answered(addr, node, Some(b"token"));
            }
        }
        assert!(lookup.is_done());
        assert_eq!((queries, lookup.queries()), (11, 11));
        assert_eq!(lookup.take_places().len(), 8);
        assert!(lookup.is_among_nearest(id(3)) && !lookup.is_among_nearest(id(50)));
        assert!(Lookup::new(TARGET, Purpose::Nodes, false).is_done());
    }

    #[test]
    fn the_announce_waits_for_nobody_who_is_late() {
        let mut lookup = lookup(1..=3);
        let places = |lookup: &mut Lookup| -> Vec<_> {
            lookup.take_places().iter().map(|place| place.id).collect()
        };
        while lookup.next().is_some() {}
        lookup.answered(addr(1), id(1), Some(b"t"));
        lookup.hear(id(9), addr(9), 2);
        assert_eq!(places(&mut lookup), [], "another is to be asked first");
        assert_eq!(lookup.next(), Some((id(9), addr(9))));
        assert_eq!(places(&mut lookup), [id(1)]);
        assert_eq!(places(&mut lookup), [], "once");
        lookup.answered(addr(9), id(9), Some(b"t"));
        lookup.answered(addr(2), id(2), None);
        assert_eq!(places(&mut lookup), [id(9)], "who gives no token is not told");
        lookup.slow(addr(3));
        assert!(lookup.is_done());
        assert_eq!(places(&mut lookup), []);
    }

    #[test]
    fn a_liar_who_names_nearer_nodes_for_ever_is_stopped() {
        let mut lookup = lookup([255]);
        let mut queries = 0_u32;
        while let Some((node, addr)) = lookup.next() {
            queries += 1;
            lookup.answered(addr, node, None);
            let mut nearer = [0; 20];
            nearer[16..].copy_from_slice(&(u32::MAX - queries).to_be_bytes());
            let [_, b, c, d] = queries.to_be_bytes();
            lookup.hear(NodeId(nearer), SocketAddr::from(([10, b, c, d], 1)), 2);
        }
        assert!(lookup.is_done());
        assert_eq!(queries as usize, QUERIES_MAX);
        assert!(lookup.candidates.len() <= CANDIDATES_MAX);
    }

    #[test]
    fn a_node_counts_under_the_id_it_answers_with() {
        let mut lookup = lookup([1, 2]);
        lookup.next();
        assert_eq!(lookup.answered(addr(1), id(200), Some(b"x")), Some(2));
        lookup.next();
        lookup.answered(addr(2), id(2), Some(b"y"));
        let places: Vec<_> = lookup.take_places().iter().map(|place| place.id).collect();
        assert_eq!(places, [id(2), id(200)]);
    }

    #[test]
    fn a_host_is_tried_under_its_nearest_name() {
        let mut lookup = lookup([9]);
        lookup.hear(id(5), addr(9), 2);
        lookup.hear(id(7), addr(9), 2);
        assert_eq!(lookup.candidates.len(), 1);
        assert_eq!(lookup.next(), Some((id(5), addr(9))));
        lookup.hear(id(1), addr(9), 2);
        assert_eq!(lookup.next(), None, "it is asked once");
    }

    #[test]
    fn one_public_host_counts_once_and_verified_ones_store_first() {
        let mut lookup = lookup([]);
        let public = |port| SocketAddr::from(([198, 51, 100, 1], port));
        lookup.hear(id(1), public(1), 1);
        lookup.hear(id(2), public(2), 1);
        lookup.hear(id(9), addr(9), 1);
        assert_eq!(lookup.candidates.len(), 2);
        while let Some((node, addr)) = lookup.next() {
            lookup.answered(addr, node, Some(b"t"));
        }
        let places: Vec<_> = lookup.take_places().iter().map(|place| place.addr).collect();
        assert_eq!(places, [addr(9), public(1)]);
    }
}
