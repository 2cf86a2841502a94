//! What goes wrong again and again is said once, and then when it changes or once a minute.

use crate::units::time::{Duration, Instant};

/// Between two lines that say the same.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Lines remembered; several trackers that fail in turn have one each.
const LINES_MAX: usize = 16;

/// The lines said of one matter.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    said: Vec<Said>,
}

#[derive(Clone, Debug)]
struct Said {
    why: String,
    at: Instant,
    /// How often it would have been said since.
    unsaid: u32,
}

impl Repeats {
    /// The line to say now, if any: `why` where it is news, with a count where it is old.
    pub fn say(&mut self, now: Instant, why: &str) -> Option<String> {
        let Some(said) = self.said.iter_mut().find(|said| said.why == why) else {
            if self.said.len() == LINES_MAX {
                self.said.remove(0);
            }
            self.said.push(Said { why: why.to_owned(), at: now, unsaid: 0 });
            return Some(why.to_owned());
        };
        said.unsaid = said.unsaid.saturating_add(1);
        if now - said.at < SAY_AGAIN_AFTER {
            return None;
        }
        let times = core::mem::take(&mut said.unsaid);
        said.at = now;
        Some(format!("{why} ({times} times more)"))
    }

    /// It went well: the next failure is news.
    pub fn clear(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_at_once_and_the_same_once_a_minute() {
        let mut repeats = Repeats::default();
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        assert_eq!(repeats.say(at(0), "refused").as_deref(), Some("refused"));
        for second in 1..60 {
            assert_eq!(repeats.say(at(second), "refused"), None);
        }
        assert_eq!(repeats.say(at(60), "refused").as_deref(), Some("refused (60 times more)"));
        assert_eq!(repeats.say(at(60), "refused"), None);
        assert_eq!(repeats.say(at(61), "timed out").as_deref(), Some("timed out"));
        repeats.clear();
        assert_eq!(repeats.say(at(62), "timed out").as_deref(), Some("timed out"));
    }
}
