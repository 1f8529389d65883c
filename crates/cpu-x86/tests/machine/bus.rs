//! The system that processors in tests sit in: RAM, a device that notes what is asked of it, ports. Unit tests of the
//! crate have it too (`test_bus` in `lib.rs`).
#![allow(dead_code, missing_docs, unreachable_pub)] // each test program uses a part

use std::sync::Arc;

use cpu_x86::bus::Leave;
use cpu_x86::{Bus, CpuidAction, MsrAction, PhysPage};
use guest_memory::RamBlock;

pub struct TestBus {
    pub ram: Arc<RamBlock>,
    /// Guest-physical address of `ram`.
    pub base: u64,
    /// More RAM, and where it is.
    pub others: Vec<(u64, Arc<RamBlock>)>,
    /// What is not RAM: loads give bytes of the address, stores are noted.
    pub device_writes: Vec<(u64, Vec<u8>)>,
    pub device_reads: Vec<(u64, usize)>,
    /// How many elements of a string instruction the device takes at once; 0: it wants them one by one.
    pub at_once: usize,
    /// Times that it took several.
    pub pieces: usize,
    /// All of the device's accesses in order, of which it is told one by one or several at once: address, length, store.
    pub order: Vec<(u64, usize, bool)>,
    /// The device does not serve.
    pub leave: bool,
    /// Page numbers of RAM that may not be executed or written.
    pub readonly: Vec<u64>,
    pub no_exec: Vec<u64>,
    pub interrupt: Option<u8>,
    /// Stores to ports, of which so many are served.
    pub port_writes: Vec<(u16, Vec<u8>)>,
    pub port_room: usize,
    /// The port that is not served.
    pub closed_port: Option<u16>,
    /// What ports give: the next number for each byte, or always 0xFF.
    pub port_counter: Option<u8>,
}

impl TestBus {
    /// RAM from address 0.
    pub fn new(ram: Arc<RamBlock>) -> Self {
        Self::at(0, ram)
    }

    /// RAM elsewhere.
    pub fn at(base: u64, ram: Arc<RamBlock>) -> Self {
        Self {
            ram,
            base,
            others: vec![],
            device_writes: vec![],
            device_reads: vec![],
            at_once: 0,
            pieces: 0,
            order: vec![],
            leave: false,
            readonly: vec![],
            no_exec: vec![],
            interrupt: None,
            port_writes: vec![],
            port_room: usize::MAX,
            closed_port: None,
            port_counter: None,
        }
    }

    /// RAM and nothing else: what is not there is not served.
    pub fn only(base: u64, len: u64) -> Self {
        Self { leave: true, ..Self::at(base, RamBlock::new("ram", len).expect("host memory")) }
    }

    pub fn read64(&self, gpa: u64) -> u64 {
        let mut b = [0; 8];
        assert!(self.ram.read(gpa.wrapping_sub(self.base), &mut b));
        u64::from_le_bytes(b)
    }

    pub fn write64(&self, gpa: u64, v: u64) {
        assert!(self.ram.write(gpa.wrapping_sub(self.base), &v.to_le_bytes()));
    }

    pub fn write32(&self, gpa: u64, v: u32) {
        assert!(self.ram.write(gpa.wrapping_sub(self.base), &v.to_le_bytes()));
    }
}

impl Bus for TestBus {
    fn page(&mut self, gpa: u64) -> PhysPage {
        let all = std::iter::once((self.base, &self.ram)).chain(self.others.iter().map(|(at, ram)| (*at, ram)));
        let found = all.filter_map(|(at, ram)| Some((gpa.checked_sub(at)?, ram))).find(|(at, ram)| *at < ram.len());
        found.map_or(PhysPage::None, |(offset, ram)| PhysPage::Ram {
            block: ram.clone(),
            offset,
            writable: !self.readonly.contains(&(gpa >> 12)),
            executable: !self.no_exec.contains(&(gpa >> 12)),
        })
    }

    fn mem_read(&mut self, gpa: u64, data: &mut [u8]) -> Result<(), Leave> {
        if self.leave {
            return Err(Leave);
        }
        self.device_reads.push((gpa, data.len()));
        self.order.push((gpa, data.len(), false));
        for (i, b) in data.iter_mut().enumerate() {
            *b = (gpa as u8).wrapping_add(i as u8);
        }
        Ok(())
    }

    fn mem_write(&mut self, gpa: u64, data: &[u8]) -> Result<(), Leave> {
        if self.leave {
            return Err(Leave);
        }
        self.device_writes.push((gpa, data.to_vec()));
        self.order.push((gpa, data.len(), true));
        Ok(())
    }

    fn mem_read_elements(&mut self, gpa: u64, size: usize, data: &mut [u8]) -> usize {
        let n = self.at_once.min(data.len() / size) * size;
        self.pieces += usize::from(n != 0);
        for (at, element) in (gpa..).step_by(size).zip(data[..n].chunks_mut(size)) {
            self.mem_read(at, element).unwrap();
        }
        n
    }

    fn mem_write_elements(&mut self, gpa: u64, size: usize, data: &[u8]) -> usize {
        let n = self.at_once.min(data.len() / size) * size;
        self.pieces += usize::from(n != 0);
        for (at, element) in (gpa..).step_by(size).zip(data[..n].chunks(size)) {
            self.mem_write(at, element).unwrap();
        }
        n
    }

    fn mem_copy_elements(&mut self, from: u64, to: u64, size: usize, count: usize) -> usize {
        let n = self.at_once.min(count);
        self.pieces += usize::from(n != 0);
        for i in 0..n as u64 * size as u64 {
            if i % size as u64 == 0 {
                let mut element = vec![0; size];
                self.mem_read(from + i, &mut element).unwrap();
                self.mem_write(to + i, &element).unwrap();
            }
        }
        n * size
    }

    fn port_read(&mut self, port: u16, data: &mut [u8]) -> Result<(), Leave> {
        if self.closed_port == Some(port) {
            return Err(Leave);
        }
        match &mut self.port_counter {
            None => data.fill(0xFF),
            Some(count) => data.iter_mut().for_each(|b| {
                *count = count.wrapping_add(1);
                *b = *count;
            }),
        }
        Ok(())
    }

    fn port_write(&mut self, port: u16, data: &[u8]) -> Result<(), Leave> {
        if self.closed_port == Some(port) || self.port_writes.len() >= self.port_room {
            return Err(Leave);
        }
        self.port_writes.push((port, data.to_vec()));
        Ok(())
    }

    fn port_read_elements(&mut self, port: u16, size: usize, data: &mut [u8]) -> usize {
        let most = self.at_once.min(data.len() / size);
        let done = data.chunks_mut(size).take(most).map_while(|element| self.port_read(port, element).ok()).count();
        self.pieces += usize::from(done != 0);
        done * size
    }

    fn port_write_elements(&mut self, port: u16, size: usize, data: &[u8]) -> usize {
        let most = self.at_once.min(data.len() / size);
        let done = data.chunks(size).take(most).map_while(|element| self.port_write(port, element).ok()).count();
        self.pieces += usize::from(done != 0);
        done * size
    }

    fn msr_read(&mut self, _msr: u32) -> MsrAction {
        MsrAction::Fault
    }

    fn msr_write(&mut self, _msr: u32, _value: u64) -> MsrAction {
        MsrAction::Fault
    }

    fn cpuid(&mut self, _leaf: u32, _subleaf: u32, _regs: &mut [u32; 4]) -> CpuidAction {
        CpuidAction::Done
    }

    fn tsc(&mut self) -> u64 {
        0
    }

    fn cr8(&mut self) -> u64 {
        0
    }

    fn set_cr8(&mut self, _value: u64) {}

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.interrupt.take()
    }
}
