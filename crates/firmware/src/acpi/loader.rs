//! The table loader's script: 128-byte commands (QEMU's bios-linker-loader interface, as SeaBIOS and OVMF read it).

pub(super) const TABLES: &str = "etc/acpi/tables";
pub(super) const RSDP: &str = "etc/acpi/rsdp";
pub(super) const LOADER: &str = "etc/table-loader";

const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
const COMMAND: usize = 128;
const NAME: usize = 56;

/// Where a file is to be put.
#[derive(Clone, Copy)]
pub(super) enum Zone {
    High = 1,
    FSegment = 2,
}

/// A script being written.
#[derive(Default)]
pub(super) struct Script(pub(super) Vec<u8>);

impl Script {
    fn command(&mut self, code: u32, files: &[&str], rest: &[u8]) {
        let mut c = code.to_le_bytes().to_vec();
        for f in files {
            let mut field = [0; NAME];
            field[..f.len()].copy_from_slice(f.as_bytes());
            c.extend(field);
        }
        c.extend(rest);
        c.resize(COMMAND, 0);
        self.0.extend(c);
    }

    pub(super) fn allocate(&mut self, file: &str, align: u32, zone: Zone) {
        let mut rest = align.to_le_bytes().to_vec();
        rest.push(zone as u8);
        self.command(ALLOCATE, &[file], &rest);
    }

    /// The `size`-byte field at `offset` of `file` gets the address of `target` added.
    pub(super) fn pointer(&mut self, file: &str, target: &str, offset: usize, size: u8) {
        let mut rest = (offset as u32).to_le_bytes().to_vec();
        rest.push(size);
        self.command(ADD_POINTER, &[file, target], &rest);
    }

    /// The byte at `offset` makes `length` bytes from `start` sum to zero.
    pub(super) fn checksum(&mut self, file: &str, offset: usize, start: usize, length: usize) {
        let rest: Vec<u8> = [offset, start, length].iter().flat_map(|v| (*v as u32).to_le_bytes()).collect();
        self.command(ADD_CHECKSUM, &[file], &rest);
    }
}

/// Does what firmware does with the script, tables at `high` and the RSDP at `fseg`.
#[cfg(test)]
pub(super) fn run_for_test(built: &super::tables::Built, high: u32, fseg: u32) -> (Vec<u8>, Vec<u8>) {
    let mut files = [built.tables.clone(), built.rsdp.clone()];
    let word = |c: &[u8], at: usize| u32::from_le_bytes(c[at..at + 4].try_into().unwrap()) as usize;
    let index = |name: &[u8]| usize::from(name.starts_with(RSDP.as_bytes()));
    for c in built.script.chunks(COMMAND) {
        match word(c, 0) as u32 {
            ALLOCATE => assert!(high.is_multiple_of(word(c, 60) as u32) || index(&c[4..]) == 1),
            ADD_POINTER => {
                assert_eq!(c[120], 4);
                let base = if index(&c[60..]) == 0 { high } else { fseg };
                let f = &mut files[index(&c[4..])];
                let at = word(c, 116);
                let v = word(f, at) as u32 + base;
                f[at..at + 4].copy_from_slice(&v.to_le_bytes());
            }
            ADD_CHECKSUM => {
                let f = &mut files[index(&c[4..])];
                let (at, start, len) = (word(c, 60), word(c, 64), word(c, 68));
                f[at] = 0;
                f[at] = f[start..start + len].iter().fold(0u8, |s, b| s.wrapping_sub(*b));
            }
            other => panic!("unknown command {other}"),
        }
    }
    let [tables, rsdp] = files;
    (tables, rsdp)
}
