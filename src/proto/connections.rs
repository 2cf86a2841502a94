//! All connections of the process. An id is a slot and which tenant of it is meant, so the id of a
//! connection that is gone finds nothing, even when another one has its slot.

use super::connection::Connection;
use crate::units::id::ConnId;
use slab::Slab;

/// The connections by their ids.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Slab<Connection>,
    /// That of the connection that came last.
    generation: u32,
}

impl Connections {
    /// Takes in the connection that `make` makes of its id.
    pub fn insert(&mut self, make: impl FnOnce(ConnId) -> Connection) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("fewer sockets than 2^32");
        let id = ConnId { slot, generation: self.generation };
        entry.insert(make(id));
        id
    }

    /// The connection, if it is still there.
    pub fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id.slot as usize).filter(|conn| conn.id == id)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.slot as usize).filter(|conn| conn.id == id)
    }

    /// Takes the connection out, if it is still there. Its id means nobody from now on.
    pub fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.get(id)?;
        self.slots.try_remove(id.slot as usize)
    }

    /// All of them, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().map(|(_, conn)| conn)
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().map(|(_, conn)| conn)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connection::Phase;
    use crate::units::time::Instant;

    #[test]
    fn the_id_of_one_that_is_gone_does_not_find_the_next_in_its_slot() {
        let mut connections = Connections::default();
        let insert = |connections: &mut Connections| {
            let phase = Phase::Answering { deadline: Instant::ORIGIN };
            let remote = "10.0.0.1:5001".parse().unwrap();
            connections.insert(|id| Connection::new(id, remote, phase, Instant::ORIGIN))
        };
        let first = insert(&mut connections);
        assert!(connections.remove(first).is_some_and(|conn| conn.id == first));
        let second = insert(&mut connections);
        assert_eq!(first.slot, second.slot);
        assert!(connections.get(first).is_none() && connections.get_mut(first).is_none());
        assert!(connections.remove(first).is_none());
        assert_eq!(
            (connections.len(), connections.get(second).map(|conn| conn.id)),
            (1, Some(second))
        );
    }
}
