//! What others ask of us over HTTP: announces go to our tracker, all else to whoever drives the peer.

use super::Peer;
use crate::proto::connection::{Connection, Phase};
use crate::proto::output::{Asked, Event};
use crate::units::id::ConnId;
use crate::units::limits::{
    ANSWERS_BYTES_MAX, ANSWER_BYTES_MAX, ANSWER_RATE_MIN, HTTP_HEAD_MAX, HTTP_REFUSED_MAX,
    HTTP_WITHIN,
};
use crate::units::time::{Duration, Instant};
use crate::wire::http;

impl Peer {
    /// More of an HTTP request has come; answers it once it is whole.
    pub(super) fn asked(&mut self, now: Instant, id: ConnId) {
        let Self { connections, tracker, .. } = self;
        let Some(conn) = connections.get_mut(id) else {
            return;
        };
        let Ok(Phase::Asked { bytes, .. }) = &conn.phase else { return };
        let local = conn.local.unwrap_or(conn.remote);
        let deadline = now + HTTP_WITHIN;
        let refuses = |status, why: String| {
            let phase = Phase::Refusing { deadline, left: HTTP_REFUSED_MAX };
            (http::answer(status, "text/plain", why.as_bytes()), phase)
        };
        let (answer, phase) = match http::parse_request(bytes) {
            Ok(None) if bytes.len() <= HTTP_HEAD_MAX => return,
            Ok(None) => refuses(431, "request too large\n".into()),
            Err(error) => refuses(error.status(), format!("{error}\n")),
            Ok(Some(request)) if !matches!(request.path(), "/announce" | "/scrape") => {
                log::debug!("<- {} {request}", conn.remote);
                let head = request.method == http::Method::Head;
                let asked = Asked { conn: id, local, head, target: request.target.to_owned() };
                conn.phase = Ok(Phase::Answering { deadline });
                return self.events.push_back(Event::Asked(asked));
            }
            Ok(Some(request)) => {
                let answer = tracker.respond(now, conn.remote, local, &request);
                log::debug!("<- {} {}", conn.remote, http::first_line(bytes));
                log::debug!("-> {} {}", conn.remote, http::body_shown(&answer.bytes));
                if let Some(announced) = answer.announced {
                    self.heard_announce(now, &announced);
                }
                (answer.bytes, Phase::Answering { deadline })
            }
        };
        if let Some(conn) = self.connection(id) {
            conn.outgoing.push_bytes(&answer);
            conn.phase = Ok(phase);
        }
        self.want_send(id);
        self.dial_due(now);
    }

    /// Answers a request told by [`Event::Asked`] with these bytes, head and body; the
    /// connection ends after them. An asker that is gone is no matter.
    pub fn answer(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let waiting = |conn: &Connection| match conn.phase {
            Ok(Phase::Answering { .. }) => conn.outgoing.outbox_len(),
            _ => 0,
        };
        let waiting: usize = self.connections.iter().map(waiting).sum();
        let Some(conn) = self.connection(id) else { return };
        if !matches!(conn.phase, Ok(Phase::Answering { .. })) || !conn.outgoing.is_empty() {
            return;
        }
        if bytes.len() > ANSWER_BYTES_MAX || waiting.saturating_add(bytes.len()) > ANSWERS_BYTES_MAX
        {
            conn.outgoing.push_bytes(&http::answer(503, "text/plain", b"Busy; ask again.\n"));
        } else {
            conn.outgoing.push_bytes(bytes);
        }
        let long = Duration::from_secs((bytes.len() / ANSWER_RATE_MIN) as u64);
        conn.phase = Ok(Phase::Answering { deadline: now + HTTP_WITHIN + long });
        self.arm(now, id);
        self.want_send(id);
    }
}
