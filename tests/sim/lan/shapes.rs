//! Nothing is made for one lab alone: more and fewer hosts, other lines, other pieces, and hosts that
//! come one after the other.

use super::{Lab, Room};

#[test]
fn lan_other_shapes() {
    let lab = Lab { length: 32 << 20, ..Lab::new(1) };
    let shapes = [
        ("4 leechers", Lab { leechers: 4, ..lab.clone() }, 1.25),
        ("40 leechers", Lab { leechers: 40, ..lab.clone() }, 1.65),
        ("10 Mbit/s", Lab { rate: 10_000_000, ..lab.clone() }, 1.5),
        ("100 Mbit/s", Lab { rate: 100_000_000, ..lab.clone() }, 1.5),
        ("pieces of 1 MiB", Lab { piece_length: 1 << 20, ..lab.clone() }, 2.0),
        ("one each 0.2 s", Lab { stagger: 200_000, ..lab }, 1.4),
    ];
    for (name, lab, most) in shapes {
        let outcome = Room::new(lab).run();
        println!("{name}: {outcome}");
        assert!(outcome.makespan / outcome.optimum < most, "{name}: slow");
        assert!(outcome.copies_at_all_out < 1.4, "{name}: too much goes twice");
        assert!(outcome.wasted < 0.01, "{name}: blocks come twice");
    }
}
