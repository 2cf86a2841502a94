//! The peers' own words, for the seed that one looks at.

use std::cell::RefCell;
use std::fmt::Write;

thread_local! {
    static PREFIX: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Printer;

impl log::Log for Printer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        PREFIX.with_borrow(|prefix| eprintln!("{prefix} {}", record.args()));
    }

    fn flush(&self) {}
}

/// Prints every line of the log from now on, if `SIM_LOG` is set.
pub fn install() {
    if std::env::var_os("SIM_LOG").is_some() && log::set_logger(&Printer).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// Whose words come next, and when they are said.
pub fn speaker(micros: u64, host: usize) {
    if log::max_level() != log::LevelFilter::Off {
        PREFIX.with_borrow_mut(|prefix| {
            prefix.clear();
            let _ = write!(prefix, "{:>12.6} #{host}", micros as f64 / 1e6);
        });
    }
}
