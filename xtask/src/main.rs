//! Developer commands: `cargo xtask demo | test | bench | boot`.
fn main() {}
