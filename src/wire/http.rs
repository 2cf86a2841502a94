//! The little of HTTP/1.1 that trackers need: one request, one answer, close.
