//! SMBIOS tables, 2.8 (DMTF DSP0134): types 0, 1, 3, 4, 16, 17, 19, 32 and 127.

/// What the tables tell.
#[derive(Clone, Debug)]
pub struct SmbiosConfig {
    /// Product name, for example "Standard PC (i440FX + PIIX, 1996)".
    pub product: String,
    /// UUID as 32 digits with dashes; zeros when absent.
    pub uuid: Option<String>,
    /// Sockets.
    pub sockets: u32,
    /// Cores a socket.
    pub cores: u32,
    /// Threads a core.
    pub threads: u32,
    /// CPUID leaf 1 EAX and EDX.
    pub processor_id: (u32, u32),
    /// RAM in bytes.
    pub memory: u64,
    /// RAM ranges (start, length).
    pub ram_ranges: Vec<(u64, u64)>,
}

const MAKER: &str = "whpx";

struct Table {
    bytes: Vec<u8>,
    count: u16,
    longest: usize,
}

impl Table {
    /// Appends a structure; `body` follows the 4-byte header, `strings` are numbered from 1.
    fn add(&mut self, kind: u8, handle: u16, body: &[u8], strings: &[&str]) {
        let start = self.bytes.len();
        self.bytes.extend([kind, body.len() as u8 + 4]);
        self.bytes.extend(handle.to_le_bytes());
        self.bytes.extend(body);
        for s in strings {
            self.bytes.extend(s.bytes().filter(|b| *b != 0));
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.count += 1;
        self.longest = self.longest.max(self.bytes.len() - start);
    }
}

/// Bytes of a UUID as SMBIOS wants them: the first three fields little-endian.
fn uuid_bytes(text: Option<&str>) -> [u8; 16] {
    let digits: Vec<u8> = text.unwrap_or("").bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut b = [0u8; 16];
    for (byte, pair) in b.iter_mut().zip(digits.chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(0);
    }
    b[..4].reverse();
    b[4..6].reverse();
    b[6..8].reverse();
    b
}

/// Returns the contents of `etc/smbios/smbios-anchor` and `etc/smbios/smbios-tables`.
pub fn build(c: &SmbiosConfig) -> (Vec<u8>, Vec<u8>) {
    let mut t = Table { bytes: Vec::new(), count: 0, longest: 0 };
    let bios = [1, 2, 0x00, 0xE8, 3, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x1C, 0, 0, 0xFF, 0xFF];
    t.add(0, 0, &bios, &[MAKER, env!("CARGO_PKG_VERSION"), "04/01/2014"]);
    let mut system = vec![1, 2, 3, 0];
    system.extend(uuid_bytes(c.uuid.as_deref()));
    system.extend([6, 0, 0]);
    t.add(1, 0x100, &system, &[MAKER, &c.product, env!("CARGO_PKG_VERSION")]);
    t.add(3, 0x300, &[1, 1, 2, 0, 0, 3, 3, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[MAKER, env!("CARGO_PKG_VERSION")]);
    for socket in 0..c.sockets {
        processor(&mut t, c, socket);
    }
    memory(&mut t, c);
    t.add(32, 0x2000, &[0; 7], &[]);
    t.add(127, 0x7F00, &[], &[]);
    (anchor(&t), t.bytes)
}

fn processor(t: &mut Table, c: &SmbiosConfig, socket: u32) {
    let count = |n: u32| n.min(255) as u8;
    let mut p = vec![1, 3, 0xFE, 2];
    p.extend(c.processor_id.0.to_le_bytes());
    p.extend(c.processor_id.1.to_le_bytes());
    p.extend([3, 0, 0, 0]); // version string; voltage, external clock unknown
    p.extend(2000u16.to_le_bytes());
    p.extend(2000u16.to_le_bytes());
    p.extend([0x41, 1]); // enabled, upgrade: other
    p.extend([0xFF; 6]); // no cache handles
    p.extend([0, 0, 0, count(c.cores), count(c.cores), count(c.cores.saturating_mul(c.threads))]);
    p.extend(2u16.to_le_bytes()); // characteristics: unknown
    p.extend(0xFEu16.to_le_bytes()); // family 2
    t.add(4, 0x400 + socket as u16, &p, &[&format!("CPU {socket}"), MAKER, "virtual"]);
}

fn memory(t: &mut Table, c: &SmbiosConfig) {
    let kib = c.memory >> 10;
    let mut array = vec![1, 3, 6];
    array.extend(u32::try_from(kib).unwrap_or(0x8000_0000).min(0x8000_0000).to_le_bytes());
    array.extend(0xFFFEu16.to_le_bytes());
    array.extend(1u16.to_le_bytes());
    array.extend(if kib > 0x8000_0000 { c.memory } else { 0 }.to_le_bytes());
    t.add(16, 0x1000, &array, &[]);
    let mib = c.memory >> 20;
    let mut dimm = Vec::new();
    dimm.extend(0x1000u16.to_le_bytes());
    dimm.extend(0xFFFEu16.to_le_bytes());
    dimm.extend([0xFF, 0xFF, 0xFF, 0xFF]); // widths unknown
    dimm.extend(if mib < 0x7FFF { mib as u16 } else { 0x7FFF }.to_le_bytes());
    dimm.extend([9, 0, 1, 0, 7]); // DIMM, locator "DIMM 0", type RAM
    dimm.extend([2, 0, 0, 0, 2, 0, 0, 0, 0]);
    dimm.extend((if mib >= 0x7FFF { mib.min(0x7FFF_FFFF) as u32 } else { 0 }).to_le_bytes());
    dimm.extend([0; 8]); // speeds and voltages unknown
    t.add(17, 0x1100, &dimm, &["DIMM 0", MAKER]);
    for (i, (start, len)) in c.ram_ranges.iter().enumerate() {
        let mut map = Vec::new();
        let end = start + len - 1;
        let small = end >> 10 < 0xFFFF_FFFF;
        let kib = |v: u64| if small { (v >> 10) as u32 } else { 0xFFFF_FFFF };
        map.extend(kib(*start).to_le_bytes());
        map.extend(kib(end).to_le_bytes());
        map.extend(0x1000u16.to_le_bytes());
        map.push(1);
        for v in [*start, end] {
            map.extend(if small { 0 } else { v }.to_le_bytes());
        }
        t.add(19, 0x1300 + i as u16, &map, &[]);
    }
}

fn anchor(t: &Table) -> Vec<u8> {
    let mut a = b"_SM_\0\x1F\x02\x08".to_vec();
    a.extend((t.longest as u16).to_le_bytes());
    a.extend([0; 6]); // entry point revision, formatted area
    a.extend(b"_DMI_\0");
    a.extend((t.bytes.len() as u16).to_le_bytes());
    a.extend([0; 4]); // the firmware puts the tables' address here and corrects the sums
    a.extend(t.count.to_le_bytes());
    a.push(0x28);
    a[0x15] = sum(&a[0x10..]).wrapping_neg();
    a[4] = sum(&a).wrapping_neg();
    a
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |s, b| s.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_walk_to_the_end_marker_and_sums_are_zero() {
        let c = SmbiosConfig {
            product: "pc".into(),
            uuid: Some("00112233-4455-6677-8899-aabbccddeeff".into()),
            sockets: 2,
            cores: 1,
            threads: 1,
            processor_id: (1, 2),
            memory: 2 << 30,
            ram_ranges: vec![(0, 2 << 30)],
        };
        let (anchor, table) = build(&c);
        assert_eq!((anchor.len(), sum(&anchor), sum(&anchor[0x10..])), (0x1F, 0, 0));
        let (mut at, mut kinds) = (0, vec![]);
        while at < table.len() {
            kinds.push(table[at]);
            let mut end = at + table[at + 1] as usize;
            while table[end..end + 2] != [0, 0] {
                end += 1;
            }
            at = end + 2;
        }
        assert_eq!(kinds, [0, 1, 3, 4, 4, 16, 17, 19, 32, 127]);
        assert_eq!(uuid_bytes(c.uuid.as_deref())[..8], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
    }
}
