//! Prints the table of functions, for `cargo xtask docs`.

fn main() {
    print!("{}", winhvemulation::functions_as_markdown());
}
