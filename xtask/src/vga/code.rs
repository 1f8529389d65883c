//! Real-mode code for the agent, assembled instruction by instruction (Intel SDM volume 2), and the agent's boot sector.

/// Where the agent puts code that it gets.
pub(super) const CODE: u16 = 0x8000;
/// A word buffer for results.
pub(super) const RESULTS: u16 = 0x7000;
const PUTC: u16 = 0x7C20;
const GETC: u16 = 0x7C10;

/// Code for the agent; it is called with DS = 0 and CLD, and may use every register.
#[derive(Debug, Default, Clone)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn word(self, opcode: u8, value: u16) -> Self {
        let [low, high] = value.to_le_bytes();
        self.bytes(&[opcode, low, high])
    }

    pub(crate) fn ax(self, v: u16) -> Self {
        self.word(0xB8, v)
    }
    pub(crate) fn cx(self, v: u16) -> Self {
        self.word(0xB9, v)
    }
    pub(crate) fn dx(self, v: u16) -> Self {
        self.word(0xBA, v)
    }
    pub(crate) fn bx(self, v: u16) -> Self {
        self.word(0xBB, v)
    }
    pub(crate) fn di(self, v: u16) -> Self {
        self.word(0xBF, v)
    }
    pub(crate) fn si(self, v: u16) -> Self {
        self.word(0xBE, v)
    }
    pub(crate) fn es(self, v: u16) -> Self {
        self.ax(v).bytes(&[0x8E, 0xC0])
    }

    /// The BIOS's video service.
    pub(crate) fn int10(self) -> Self {
        self.bytes(&[0xCD, 0x10])
    }

    /// Sets a mode. SeaBIOS uses the port that resets the attribute controller's flip-flop in colour modes always, and the CRT controller's
    /// port of the new mode before it is there: so a monochrome mode is set again for the one, and set from a colour mode for the other.
    pub(crate) fn mode(self, mode: u8) -> Self {
        let set = |code: Self| code.ax(mode.into()).int10();
        // mov dx, 3CCh; in al, dx; or al, 1; mov dx, 3C2h; out dx, al
        let colour = |code: Self| code.dx(0x3CC).bytes(&[0xEC, 0x0C, 1]).dx(0x3C2).bytes(&[0xEE]);
        match mode {
            // Its last write, which turns the screen on, goes to palette register 0 as the index is 0.
            7 => {
                let code = colour(set(set(self))).dx(0x3DA).bytes(&[0xEC]).out(0x3C0, 0);
                set(code).dx(0x3BA).bytes(&[0xEC]).out(0x3C0, 0x20).out(0x3C0, 0)
            }
            _ => set(colour(self)),
        }
    }

    /// Writes a byte to a port.
    pub(crate) fn out(self, port: u16, value: u8) -> Self {
        self.dx(port).bytes(&[0xB0, value, 0xEE])
    }

    /// Writes an index and its register.
    pub(crate) fn reg(self, port: u16, index: u8, value: u8) -> Self {
        self.dx(port).ax(u16::from_le_bytes([index, value])).bytes(&[0xEF])
    }

    /// A sequencer register.
    pub(crate) fn seq(self, index: u8, value: u8) -> Self {
        self.reg(0x3C4, index, value)
    }

    /// A graphics controller register.
    pub(crate) fn gc(self, index: u8, value: u8) -> Self {
        self.reg(0x3CE, index, value)
    }

    /// A CRT controller register (of a colour mode).
    pub(crate) fn crtc(self, index: u8, value: u8) -> Self {
        self.reg(0x3D4, index, value)
    }

    /// Makes the CRT controller's first registers writable.
    pub(crate) fn unlock(self) -> Self {
        self.crtc_change(0x11, 0x7F, 0)
    }

    /// A CRT controller register: bits kept, bits set.
    pub(crate) fn crtc_change(self, index: u8, keep: u8, set: u8) -> Self {
        // in al, dx; and al, keep; or al, set; out dx, al
        self.out(0x3D4, index).bytes(&[0x42, 0xEC, 0x24, keep, 0x0C, set, 0xEE])
    }

    /// An attribute controller register; the screen stays on.
    pub(crate) fn attr(self, index: u8, value: u8) -> Self {
        self.dx(0x3DA).bytes(&[0xEC]).out(0x3C0, index | 0x20).out(0x3C0, value)
    }

    /// Fills `count` bytes (65536 for 0) at `segment:offset`.
    pub(crate) fn fill(self, segment: u16, offset: u16, count: u16, value: u8) -> Self {
        let code = self.es(segment).di(offset).cx(count.wrapping_sub(1)).bytes(&[0xB0, value]);
        code.bytes(&[0xF3, 0xAA, 0xAA]) // and the last one
    }

    /// Writes `noise(seed, count)`.
    pub(crate) fn noise(self, segment: u16, offset: u16, count: u16, seed: u16) -> Self {
        let code = self.es(segment).di(offset).cx(count).ax(seed);
        // imul ax, ax, 25173; add ax, 13849; mov es:[di], ah; inc di; loop
        code.bytes(&[0x69, 0xC0, 0x55, 0x62, 0x05, 0x19, 0x36, 0x26, 0x88, 0x25, 0x47, 0xE2, 0xF3])
    }

    /// Sends `count` bytes of memory to the host.
    pub(crate) fn send(self, segment: u16, offset: u16, count: u16) -> Self {
        let mut code = self.ax(segment).bytes(&[0x8E, 0xD8]).si(offset).cx(count);
        // lodsb; call putc; loop; xor ax, ax; mov ds, ax
        let next = CODE.wrapping_add(code.0.len() as u16 + 4);
        let [low, high] = PUTC.wrapping_sub(next).to_le_bytes();
        code = code.bytes(&[0xAC, 0xE8, low, high, 0xE2, 0xFA, 0x31, 0xC0, 0x8E, 0xD8]);
        code
    }

    /// With the return to the agent.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(0xC3);
        self.0
    }
}

/// The bytes that [`Code::noise`] writes.
pub(crate) fn noise(seed: u16, count: usize) -> Vec<u8> {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(25173).wrapping_add(13849);
        x.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

/// The boot sector: takes a length and that much code from COM2, calls it, says `K`, and again.
pub(crate) fn boot_sector() -> Vec<u8> {
    let mut sector = vec![0x90; 512];
    let mut put = |at: u16, bytes: &[u8]| {
        let at = usize::from(at - 0x7C00);
        sector[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0x7C00, &[0xEB, 0x3E]); // jmp start
    // mov dx, 2FDh; wait for data; mov dx, 2F8h; in al, dx; ret
    put(GETC, &[0xBA, 0xFD, 0x02, 0xEC, 0xA8, 0x01, 0x74, 0xFB, 0xBA, 0xF8, 0x02, 0xEC, 0xC3]);
    put(PUTC, &[0x50, 0xBA, 0xFD, 0x02, 0xEC, 0xA8, 0x20, 0x74, 0xFB, 0x58, 0xBA, 0xF8, 0x02, 0xEE, 0xC3]);
    let start: u16 = 0x7C40;
    let call = |from: usize, to: u16| to.wrapping_sub(start + from as u16 + 3).to_le_bytes();
    let mut code = Code::new()
        .bytes(&[0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C, 0xFB])
        .out(0x2FB, 0x80)
        .out(0x2F8, 1)
        .out(0x2F9, 0)
        .out(0x2FB, 3)
        .out(0x2FA, 7)
        .out(0x2FC, 3);
    let main = code.0.len();
    code = code.bytes(&[0xB0, b'K']);
    for step in [&[][..], &[0x31, 0xC0, 0x8E, 0xC0, 0x8E, 0xD8, 0xFC, 0xBF, 0x00, 0x80], &[0x88, 0xC1], &[0x88, 0xC5]] {
        let first = code.0.len() < main + 3;
        code = code.bytes(step);
        let [low, high] = call(code.0.len(), if first { PUTC } else { GETC });
        code = code.bytes(&[0xE8, low, high]);
    }
    // The last call got the first byte of the code already: stosb, and loop to that call.
    let again = code.0.len() - 3;
    code = code.bytes(&[0xAA]);
    let back = (again as i64 - (code.0.len() as i64 + 2)) as u8;
    code = code.bytes(&[0xE2, back]).bx(CODE).bytes(&[0xFF, 0xD3]);
    let back = (main as i64 - (code.0.len() as i64 + 2)) as u8;
    code = code.bytes(&[0xEB, back]);
    put(start, &code.0);
    put(0x7DFE, &[0x55, 0xAA]);
    sector
}
