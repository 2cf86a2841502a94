//! Announce and scrape over HTTP: queries and answers, both ways (BEP 3, 7, 23, 48).
