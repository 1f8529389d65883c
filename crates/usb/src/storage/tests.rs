//! Bulk-only transport: commands, data both ways, residues, stalls, reset recovery.

use super::*;
use crate::test_util::{disk, setup};
use block::BlockBackend;

struct Bench {
    device: Shared<UsbDevice>,
    queue: Arc<BlockQueue>,
    backend: Arc<dyn BlockBackend>,
}

fn bench() -> Bench {
    let (backend, queue) = disk(1024);
    let config = StorageConfig { queue: queue.clone(), serial: "S1".into(), removable: true, write_cache: true };
    let b = Bench { device: device("disk", Speed::High, config), queue, backend };
    lock(&b.device).bus_reset(Speed::High);
    b.control(setup(0, 9, 1, 0, 0));
    b
}

impl Bench {
    fn control(&self, packet: [u8; 8]) {
        let mut d = lock(&self.device);
        d.setup(packet);
        assert_eq!(d.data_in(0, 0), Ok(vec![]));
    }

    fn command(&self, to_host: bool, expected: u32, cdb: &[u8]) -> Result<(), Fault> {
        let mut w = b"USBC".to_vec();
        w.extend(*b"TAG!");
        w.extend(expected.to_le_bytes());
        w.extend([u8::from(to_host) << 7, 0, cdb.len() as u8]);
        w.extend(cdb);
        w.resize(31, 0);
        self.out(&w)
    }

    fn retry<T>(&self, mut f: impl FnMut(&mut UsbDevice) -> Result<T, Fault>) -> Result<T, Fault> {
        loop {
            let result = f(&mut lock(&self.device));
            match result {
                Err(Fault::Nak) => self.queue.drain(),
                other => return other,
            }
        }
    }

    fn out(&self, data: &[u8]) -> Result<(), Fault> {
        self.retry(|d| d.data_out(2, data))
    }

    fn get(&self, max: usize) -> Result<Vec<u8>, Fault> {
        self.retry(|d| d.data_in(1, max))
    }

    /// Residue and status.
    fn status(&self) -> (u32, u8) {
        let w = self.get(13).unwrap();
        assert_eq!((&w[..8], w.len()), (b"USBSTAG!".as_slice(), 13));
        (u32::from_le_bytes([w[8], w[9], w[10], w[11]]), w[12])
    }

    fn sense(&self) -> [u8; 2] {
        self.command(true, 18, &[3, 0, 0, 0, 18, 0]).unwrap();
        let d = self.get(18).unwrap();
        assert_eq!(self.status(), (0, 0));
        [d[2], d[12]]
    }
}

#[test]
fn inquiry_and_capacity() {
    let b = bench();
    b.command(true, 64, &[0x12, 0, 0, 0, 64, 0]).unwrap();
    let d = b.get(64).unwrap();
    assert_eq!(
        (d.len(), &d[..5], &d[8..32]),
        (36, [0, 0x80, 5, 2, 31].as_slice(), b"QEMU    QEMU HARDDISK   ".as_slice())
    );
    assert_eq!(b.status(), (28, 0), "what did not come is the residue");
    b.command(true, 8, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(b.get(8), Ok(vec![0, 0, 3, 0xFF, 0, 0, 2, 0]));
    assert_eq!(b.status(), (0, 0));
    b.command(true, 32, &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]).unwrap();
    assert_eq!(b.get(32).unwrap()[..12], [0, 0, 0, 0, 0, 0, 3, 0xFF, 0, 0, 2, 0]);
    assert_eq!(b.status(), (0, 0));
}

#[test]
fn read_in_pieces_and_write() {
    let b = bench();
    let blocks = 600u16;
    let [h, l] = blocks.to_be_bytes();
    b.command(true, u32::from(blocks) * 512, &[0x28, 0, 0, 0, 0, 1, 0, h, l, 0]).unwrap();
    let mut data = vec![];
    while data.len() < usize::from(blocks) * 512 {
        data.extend(b.get(20480).unwrap());
    }
    assert!(data.chunks(512).enumerate().all(|(i, c)| c.iter().all(|x| *x == (i + 1) as u8)));
    assert_eq!(b.status(), (0, 0));
    b.command(false, 1024, &[0x2A, 0, 0, 0, 0, 9, 0, 0, 2, 0]).unwrap();
    b.out(&[0xAB; 512]).unwrap();
    b.out(&[0xCD; 512]).unwrap();
    assert_eq!(b.status(), (0, 0));
    let mut back = [0; 1024];
    b.backend.read_at(9 * 512, &mut back).unwrap();
    assert_eq!((back[0], back[511], back[512], back[1023]), (0xAB, 0xAB, 0xCD, 0xCD));
}

#[test]
fn errors_are_sensed() {
    let b = bench();
    b.command(true, 512, &[0x28, 0, 0, 0, 4, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(b.get(512), Err(Fault::Stall));
    assert_eq!(b.get(512), Err(Fault::Stall), "until the halt is cleared");
    b.control(setup(2, 1, 0, 0x81, 0));
    assert_eq!(b.status(), (512, 1));
    assert_eq!(b.sense(), [5, 0x21]);
    assert_eq!(b.sense(), [0, 0], "sense is told once");
    b.command(false, 0, &[0xEE, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(b.status(), (0, 1));
    assert_eq!(b.sense(), [5, 0x20]);
    b.command(false, 512, &[0x2A, 0, 0xFF, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    b.out(&[0; 512]).unwrap();
    assert_eq!(b.status().1, 1, "data of a refused write is thrown away");
}

#[test]
fn wrong_directions_are_phase_errors() {
    let b = bench();
    b.command(false, 512, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    b.out(&[0; 512]).unwrap();
    assert_eq!(b.status().1, 2);
    b.command(true, 512, &[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0]).unwrap();
    assert_eq!(b.get(512), Err(Fault::Stall), "the device has more than the host expects");
    b.control(setup(2, 1, 0, 0x81, 0));
    assert_eq!(b.status().1, 2);
}

#[test]
fn a_bad_wrapper_needs_reset_recovery() {
    let b = bench();
    assert_eq!(b.out(&[0; 31]), Err(Fault::Stall));
    b.control(setup(2, 1, 0, 2, 0));
    assert_eq!(b.command(false, 0, &[0; 6]), Err(Fault::Stall), "clearing the halt is not enough");
    b.control(setup(0x21, 0xFF, 0, 0, 0));
    b.control(setup(2, 1, 0, 2, 0));
    b.command(false, 0, &[0; 6]).unwrap();
    assert_eq!(b.status(), (0, 0));
}

#[test]
fn random_wrappers() {
    let b = bench();
    let mut r = crate::test_util::Random(3);
    for _ in 0..3000 {
        let cdb: Vec<u8> = (0..16)
            .map(|i| match (i, r.next() % 3) {
                (0, 0) => [0x28, 0x2A, 0x1A, 0x88, 0x12][r.next() as usize % 5],
                (_, 0) => 0,
                _ => r.next() as u8,
            })
            .collect();
        let _ = b.command(r.next().is_multiple_of(2), r.next() as u32 & 0x3FFF, &cdb);
        for _ in 0..4 {
            b.queue.drain();
            let mut d = lock(&b.device);
            let _ = if r.next().is_multiple_of(2) { d.data_in(1, 512).map(drop) } else { d.data_out(2, &[1; 512]) };
        }
        if r.next().is_multiple_of(4) {
            b.queue.drain();
            let saved = vm_core::Device::save(&*lock(&b.device)).unwrap();
            vm_core::Device::restore(&mut *lock(&b.device), &saved).unwrap();
        }
        b.control(setup(0x21, 0xFF, 0, 0, 0));
        b.control(setup(2, 1, 0, 2, 0));
        b.control(setup(2, 1, 0, 0x81, 0));
    }
}
