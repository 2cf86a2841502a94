//! What happens between two hosts: dialing, bytes under way, ends, datagrams.

use super::*;

impl World {
    /// Datagrams get lost while there are faults, and none comes twice.
    pub(super) fn send_datagram(&mut self, host: usize, via: Via, to: SocketAddr, bytes: Vec<u8>) {
        let from = self.hosts[host].addr();
        let lost = self.faulty && self.rng.below(10) == 0;
        let target = self.hosts.iter().position(|h| h.ip == to.ip() && to.port() == LISTEN);
        if let Some(target) = target.filter(|_| !lost) {
            let at = self.now + 1 + self.rng.below(self.plan.latency);
            self.schedule(at, Happening::Datagram(target, via, from, bytes));
        }
    }

    pub(super) fn dial(
        &mut self,
        host: usize,
        conn: ConnId,
        remote: SocketAddr,
        port: Option<u16>,
    ) {
        let now = Instant::from_micros(self.now);
        let client_port = self.hosts[host].dials(conn, port);
        assert_ne!(remote, self.hosts[host].addr(), "dials itself");
        if self.faulty && self.rng.below(15) == 0 {
            let error = match self.rng.below(2) {
                0 => DialError::PortBusy,
                _ => DialError::Failed("network is unreachable".into()),
            };
            if let Some(peer) = &mut self.hosts[host].peer {
                peer.handle_dial_failed(now, conn, error);
            }
            return;
        }
        let to = self.hosts.iter().position(|h| h.ip == remote.ip());
        let to = to.filter(|_| remote.port() == LISTEN);
        let to = to.unwrap_or_else(|| panic!("dials {remote}, where nobody can be"));
        let latency = 1 + self.rng.below(self.plan.latency);
        let dialer = End { host, conn: Some(conn), dialing: true, ..End::default() };
        let listener = End { host: to, ..End::default() };
        let link = self.links.len();
        self.links.push(Link { ends: [dialer, listener], latency, client_port, dark: false });
        self.hosts[host].conns.insert(conn, (link, 0));
        self.schedule(self.now + latency, Happening::Called(link));
    }

    pub(super) fn called(&mut self, link: usize) {
        let [dialer, listener] = &self.links[link].ends;
        let (from, to) = (dialer.host, listener.host);
        let at = self.now + self.links[link].latency;
        if dialer.conn.is_none() {
            return;
        }
        let lost = self.faulty && self.rng.below(30) == 0;
        if lost {
            return;
        }
        let refused = self.faulty && self.rng.below(10) == 0;
        if refused || self.hosts[to].peer.is_none() {
            return self.schedule(at, Happening::Answered(link, Err(DialError::Refused)));
        }
        self.links[link].ends[1].arrives_at = at;
        self.schedule(at, Happening::Answered(link, Ok(())));
        let remote = SocketAddr::new(self.hosts[from].ip, self.links[link].client_port);
        let local = self.hosts[to].addr();
        let mut accepted = None;
        self.input(to, |peer, now, _| accepted = peer.handle_accepted(now, remote, local));
        match accepted {
            Some(conn) => {
                self.links[link].ends[1].conn = Some(conn);
                self.hosts[to].conns.insert(conn, (link, 1));
            }
            None => self.schedule(at, Happening::Ended(link, 0, None)),
        }
    }

    pub(super) fn answered(&mut self, link: usize, answer: Result<(), DialError>) {
        let client_port = self.links[link].client_port;
        let end = &mut self.links[link].ends[0];
        let (host, Some(conn)) = (end.host, end.conn) else { return };
        end.dialing = false;
        let local = SocketAddr::new(self.hosts[host].ip, client_port);
        self.input(host, |peer, now, _| match answer {
            Ok(()) => peer.handle_connected(now, conn, local),
            Err(why) => peer.handle_dial_failed(now, conn, why),
        });
    }

    /// This end closes: what it has sent still arrives, then the other end is told.
    pub(super) fn close(&mut self, host: usize, conn: ConnId, words: Option<&'static str>) {
        self.hosts[host].ports.remove(&conn);
        let Some((link, end)) = self.hosts[host].conns.remove(&conn) else { return };
        let l = &mut self.links[link];
        // Closing with unread bytes resets.
        let unread = !l.ends[end].inbox.is_empty();
        l.ends[end].conn = None;
        l.ends[end].inbox = Default::default();
        let words = words.or(unread.then_some("connection reset by peer"));
        let at = l.ends[end].arrives_at.max(self.now + l.latency);
        let dark = l.dark;
        if !dark {
            self.schedule(at, Happening::Ended(link, 1 - end, words));
        }
    }

    pub(super) fn ended(&mut self, link: usize, end: usize, words: Option<&'static str>) {
        let End { host, conn, .. } = self.links[link].ends[end];
        let Some(conn) = conn else { return };
        let error = words.map(str::to_owned);
        self.input(host, |peer, now, _| peer.handle_closed(now, conn, error));
        let left = self.hosts[host].conns.contains_key(&conn);
        assert!(!left, "#{host} keeps a connection that has ended");
    }

    pub(super) fn arrived(&mut self, link: usize, end: usize, bytes: Vec<u8>) {
        let l = &mut self.links[link];
        if l.dark {
            return;
        }
        let (sender, receiver) = (1 - end, &mut l.ends[end]);
        let (host, conn) = (receiver.host, receiver.conn);
        let count = bytes.len();
        if conn.is_some() {
            receiver.inbox.extend(bytes);
        }
        l.ends[sender].in_flight -= count;
        // RFC 1122: a window that opens by little is not told of.
        let open = l.ends[sender].in_flight * 4 <= self.plan.window * 3;
        let wants = open && std::mem::take(&mut l.ends[sender].wants_window);
        let (other, other_conn) = (l.ends[sender].host, l.ends[sender].conn);
        if let Some(conn) = conn {
            self.receive(host, conn, link, end);
        }
        if let (true, Some(conn)) = (wants, other_conn) {
            self.pump(other, conn);
            self.drain(other);
        }
    }

    /// As many bytes as one call moves.
    pub(super) fn share(&mut self, most: usize) -> usize {
        let most = match self.rng.below(self.plan.tiny) {
            0 => most.min(40),
            1 => most.min(3_000),
            _ => return most,
        };
        1 + self.rng.index(most)
    }

    pub(super) fn receive(&mut self, host: usize, conn: ConnId, link: usize, end: usize) {
        loop {
            let waiting = self.links[link].ends[end].inbox.len();
            if waiting == 0 || self.links[link].ends[end].conn != Some(conn) {
                return;
            }
            let room = self.hosts[host].peer.as_ref().map_or(0, |p| p.receive_room(conn));
            assert!(room > 0, "an open connection can receive");
            let count = self.share(waiting.min(room));
            let bytes: Vec<u8> = self.links[link].ends[end].inbox.drain(..count).collect();
            self.input(host, |peer, now, disk| peer.handle_received(now, conn, &bytes, disk));
        }
    }

    /// Sends until nothing waits or the window is full.
    pub(super) fn pump(&mut self, host: usize, conn: ConnId) {
        while let Some(&(link, end)) = self.hosts[host].conns.get(&conn) {
            let sender = &mut self.links[link].ends[end];
            let room = self.plan.window.saturating_sub(sender.in_flight);
            if sender.dialing || room == 0 {
                sender.wants_window = true;
                return;
            }
            let mut plan = std::mem::take(&mut self.send_plan);
            let planned =
                self.hosts[host].peer.as_mut().is_some_and(|p| p.send_plan(conn, &mut plan));
            if planned {
                let count = self.share(room);
                let bytes = self.gather(host, &plan, count);
                let count = bytes.len();
                assert!(count > 0, "a plan of nothing");
                self.travel(link, end, bytes);
                log::speaker(self.now, host);
                let now = Instant::from_micros(self.now);
                if let Some(peer) = &mut self.hosts[host].peer {
                    peer.handle_sent(now, conn, count);
                }
                while let Some(action) = self.hosts[host].peer.as_mut().and_then(Peer::poll_action)
                {
                    self.hosts[host].count_action(self.now);
                    self.obey(host, action);
                }
            }
            self.send_plan = plan;
            if !planned {
                return;
            }
        }
    }

    pub(super) fn gather(&mut self, host: usize, plan: &SendPlan, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in &plan.segments {
            let left = most - bytes.len();
            match *segment {
                Piece::Bytes(from, to) => {
                    bytes.extend_from_slice(&plan.bytes[from..to.min(from + left)]);
                }
                Piece::Content { offset, len } => {
                    let h = &self.hosts[host];
                    let from = bytes.len();
                    bytes.extend_from_slice(h.disk.serve(offset, len.min(left)));
                    if h.poisons && bytes.len() > from && self.rng.below(3) == 0 {
                        let at = from + self.rng.index(bytes.len() - from);
                        bytes[at] ^= 1 << self.rng.below(8);
                    }
                }
            }
            if bytes.len() == most {
                break;
            }
        }
        bytes
    }

    pub(super) fn travel(&mut self, link: usize, end: usize, bytes: Vec<u8>) {
        let l = &mut self.links[link];
        let (latency, sender) = (l.latency, &mut l.ends[end]);
        sender.in_flight += bytes.len();
        let takes = bytes.len() as u64 * 1_000_000 / self.plan.bandwidth;
        sender.free_at = sender.free_at.max(self.now) + takes;
        sender.arrives_at = sender.arrives_at.max(sender.free_at + latency);
        let at = sender.arrives_at;
        self.schedule(at, Happening::Bytes(link, 1 - end, bytes));
    }

    /// Both ends learn, each in its time, that the link is gone.
    pub(super) fn cut(&mut self, link: usize, words: Option<&'static str>) {
        let latency = self.links[link].latency;
        self.schedule(self.now, Happening::Ended(link, 0, words));
        self.schedule(self.now + latency, Happening::Ended(link, 1, words));
    }
}
