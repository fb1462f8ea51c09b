//! The runtime as a library.
