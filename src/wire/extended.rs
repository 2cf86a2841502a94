//! The extension protocol's handshake (BEP 10).
