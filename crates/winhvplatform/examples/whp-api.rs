//! Prints the table of functions, for `cargo xtask docs`.

fn main() {
    print!("{}", winhvplatform::functions_as_markdown());
}
