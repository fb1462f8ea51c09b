//! The command `orlop`.
fn main() {}
