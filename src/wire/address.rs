//! Addresses as people write them: hosts to dial and announces (URL or bare).
