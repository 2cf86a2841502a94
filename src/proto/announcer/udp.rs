//! One announce over UDP (BEP 15): a connection id first, then the announce, each said again until
//! it is answered or given up.

use super::{Announcer, Progress, State, Stats};
use crate::units::time::{Duration, Instant};
use crate::wire::announce::{AnnounceAnswer, Event, INTERVAL_MAX, INTERVAL_MIN};
use crate::wire::udp_tracker::{self as udp, Request, Response};
use core::net::SocketAddr;

/// First pause before a datagram is said again (BEP 15); each is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_secs(15);
/// Times a datagram is said before the next tracker has its turn. BEP 15 goes on for an hour;
/// here its later pauses are those between the attempts.
const TRIES: u32 = 2;
/// The pause on a LAN and when we leave: an answer takes milliseconds there, and whoever leaves
/// has two seconds.
const PAUSE_EAGER: Duration = Duration::from_secs(1);
/// Times a datagram is said there.
const TRIES_EAGER: u32 = 3;
/// A client may use a connection id for one minute (BEP 15).
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// What a URL without a path of its own means; not worth an option (BEP 41).
const PATH_USUAL: &str = "/announce";

/// Where an announce over UDP stands.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    to: SocketAddr,
    transaction: u32,
    /// The tracker's connection id; without it the next datagram asks for one.
    connection: Option<u64>,
    /// The id is of an earlier announce, and good until then: the tracker may have forgotten it.
    remembered: Option<Instant>,
    /// On a LAN, or leaving.
    eager: bool,
    /// Times this datagram was said.
    tries: u32,
    pub(super) due: Instant,
}

/// A connection id to be used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    of: SocketAddr,
    connection: u64,
    until: Instant,
}

/// What an announce over UDP wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// To be sent.
    Send(SocketAddr, Vec<u8>),
    /// There is no answer; the next tracker's turn, or a pause.
    GaveUp(String),
}

impl Exchange {
    fn pause(&self) -> Duration {
        if self.eager {
            PAUSE_EAGER
        } else {
            PAUSE_FIRST * (1 << self.tries.saturating_sub(1).min(8))
        }
    }

    const fn tries_max(&self) -> u32 {
        if self.eager {
            TRIES_EAGER
        } else {
            TRIES
        }
    }

    /// Begins with the next datagram, at once.
    fn step(&mut self, now: Instant, transaction: u32) {
        self.transaction = transaction;
        self.tries = 0;
        self.due = now;
    }
}

impl Announcer {
    /// The tracker of the attempt in flight is at this address; [`Announcer::poll_datagram`] has
    /// the datagrams. `lan`: it is near.
    pub fn open_udp(&mut self, now: Instant, to: SocketAddr, lan: bool) {
        let transaction = self.transaction();
        let State::InFlight(flight) = &mut self.state else { return };
        let (tier, index) = flight.place;
        let remembered = self.tiers[tier][index].connection;
        let known = remembered.filter(|known| known.of == to && now < known.until);
        flight.exchange = Some(Exchange {
            to,
            transaction,
            connection: known.map(|known| known.connection),
            remembered: known.map(|known| known.until),
            eager: lan || flight.event == Event::Stopped,
            tries: 0,
            due: now,
        });
    }

    /// What the announce over UDP in flight has to send now, if anything.
    pub fn poll_datagram(&mut self, now: Instant, stats: &Stats) -> Option<Datagram> {
        let State::InFlight(flight) = &mut self.state else { return None };
        let exchange = flight.exchange.as_mut().filter(|exchange| exchange.due <= now)?;
        if exchange.tries >= exchange.tries_max() {
            self.failed(now, "no answer over UDP");
            return Some(Datagram::GaveUp(String::from("no answer over UDP")));
        }
        if exchange.remembered.is_some_and(|until| until <= now) {
            // BEP 15: a datagram said again may be later than the id is good.
            (exchange.remembered, exchange.connection) = (None, None);
        }
        exchange.tries += 1;
        exchange.due = now + exchange.pause();
        let (to, transaction, connection) =
            (exchange.to, exchange.transaction, exchange.connection);
        let request = match connection {
            None => Request::Connect { transaction },
            Some(connection) => {
                let url_data = match flight.path.as_str() {
                    PATH_USUAL | "/" => String::new(),
                    path => path.to_owned(),
                };
                let event = flight.event;
                let mut announce = self.announce(stats, event);
                announce.key = Some(self.key.to_be_bytes().to_vec());
                Request::Announce { connection, transaction, announce, url_data }
            }
        };
        log::debug!("-> {to} UDP {request}");
        Some(Datagram::Send(to, udp::build_request(&request)))
    }

    /// Takes a datagram, if it is the answer that the attempt in flight waits for.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Progress> {
        let next = self.transaction();
        let State::InFlight(flight) = &mut self.state else { return None };
        let exchange = flight.exchange.as_mut().filter(|exchange| exchange.to == from)?;
        let response = udp::parse_response(bytes, from.is_ipv6()).ok()?;
        // Before the first datagram is sent nothing can be its answer.
        if response.transaction() != exchange.transaction || exchange.tries == 0 {
            return None;
        }
        log::debug!("<- {from} UDP {response}");
        match (response, exchange.connection) {
            (Response::Connect { connection, .. }, None) => {
                exchange.connection = Some(connection);
                exchange.step(now, next);
                let (tier, index) = flight.place;
                let until = now + CONNECTION_LIFE;
                let remembered = Remembered { of: from, connection, until };
                self.tiers[tier][index].connection = Some(remembered);
                Some(Progress::NeedMore)
            }
            (Response::Announce { interval, leechers, seeders, mut peers, .. }, Some(_)) => {
                peers.truncate(crate::units::limits::CONTACTS_MAX);
                let interval = Duration::from_secs(interval.into());
                Some(self.succeeded(
                    now,
                    AnnounceAnswer {
                        interval: interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
                        min_interval: None,
                        peers,
                        complete: Some(seeders.into()),
                        incomplete: Some(leechers.into()),
                        warning: None,
                        external_ip: None,
                        tracker_id: None,
                    },
                ))
            }
            (Response::Error { .. }, Some(_)) if exchange.remembered.is_some() => {
                // Most likely the id; a new one shows.
                exchange.remembered = None;
                exchange.connection = None;
                exchange.step(now, next);
                Some(Progress::NeedMore)
            }
            (Response::Error { message, .. }, _) => Some(self.refused(now, &message, None)),
            _ => None,
        }
    }

    fn transaction(&mut self) -> u32 {
        (self.rng.next_u64() >> 32) as u32
    }
}
