//! The command line as checked values.
