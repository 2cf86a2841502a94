//! Verifies pieces in slices, so that the loop keeps turning.
