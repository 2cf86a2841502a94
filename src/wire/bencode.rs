//! A lenient reader of bencode spans beside bendy's strict writer.
