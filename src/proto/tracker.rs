//! The tracker that every peer is: who is in which swarm, and the answers to announce and scrape.
