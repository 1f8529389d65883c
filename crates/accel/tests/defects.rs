//! What ends other monitors and must not end this one: exits and registers of the platform that nobody knows, interrupt
//! messages with vector 0, to nowhere, or of reserved kinds.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use accel::AccelOptions;
use common::{Board, Listener, RAM, wait};
use guest_memory::RamBlock;
use vm_core::MachineRequest;
use whp::*;
use whp_soft::{Behave, SoftOptions, SoftPlatform};

/// (16 bits) `xor ax,ax; mov ds,ax; 1: inc dword ptr [0x7100]; out 0x80,al; jmp 1b`
const COUNT: &[u8] = &[0x31, 0xC0, 0x8E, 0xD8, 0x66, 0xFF, 0x06, 0x00, 0x71, 0xE6, 0x80, 0xEB, 0xF7];

/// The built-in platform, of which one exit is replaced.
struct Odd {
    inner: SoftPlatform,
    exit: Exit,
    /// After so many others.
    after: u32,
}

struct OddPartition(Arc<dyn Partition>, Exit, u32);

struct OddProcessor(Arc<dyn VirtualProcessor>, Exit, AtomicU32);

impl Platform for Odd {
    fn name(&self) -> &str {
        "odd platform"
    }
    fn arch(&self) -> Arch {
        Arch::X64
    }
    fn capability(&self, code: CapabilityCode) -> Result<Capability> {
        self.inner.capability(code)
    }
    fn create_partition(&self) -> Result<Arc<dyn Partition>> {
        Ok(Arc::new(OddPartition(self.inner.create_partition()?, self.exit, self.after)))
    }
}

impl Partition for OddPartition {
    fn property(&self, code: PropertyCode) -> Result<Property> {
        self.0.property(code)
    }
    fn set_property(&self, property: Property) -> Result<()> {
        self.0.set_property(property)
    }
    fn setup(&self) -> Result<()> {
        self.0.setup()
    }
    fn reset(&self) -> Result<()> {
        self.0.reset()
    }
    fn map_gpa_range(&self, b: &Arc<RamBlock>, o: u64, size: u64, gpa: u64, flags: MapGpaRangeFlags) -> Result<()> {
        self.0.map_gpa_range(b, o, size, gpa, flags)
    }
    fn unmap_gpa_range(&self, gpa: u64, size: u64) -> Result<()> {
        self.0.unmap_gpa_range(gpa, size)
    }
    fn query_dirty_bitmap(&self, gpa: u64, size: u64) -> Result<Vec<u64>> {
        self.0.query_dirty_bitmap(gpa, size)
    }
    fn create_virtual_processor(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>> {
        Ok(Arc::new(OddProcessor(self.0.create_virtual_processor(index)?, self.1, AtomicU32::new(self.2))))
    }
    fn delete_virtual_processor(&self, index: u32) -> Result<()> {
        self.0.delete_virtual_processor(index)
    }
    fn request_interrupt(&self, interrupt: &InterruptControl) -> Result<()> {
        self.0.request_interrupt(interrupt)
    }
    fn suspend_time(&self) -> Result<()> {
        self.0.suspend_time()
    }
    fn resume_time(&self) -> Result<()> {
        self.0.resume_time()
    }
}

impl VirtualProcessor for OddProcessor {
    fn index(&self) -> u32 {
        self.0.index()
    }
    fn run(&self, _handler: Option<&dyn AccessHandler>) -> Result<ExitContext> {
        let exit = self.0.run(None)?;
        match self.2.fetch_sub(1, Ordering::Relaxed) {
            0 => Ok(ExitContext { exit: self.1, ..exit }),
            _ => Ok(exit),
        }
    }
    fn cancel(&self) {
        self.0.cancel();
    }
    fn registers(&self, names: &[RegisterName], values: &mut [RegisterValue]) -> Result<()> {
        self.0.registers(names, values)
    }
    fn set_registers(&self, names: &[RegisterName], values: &[RegisterValue]) -> Result<()> {
        self.0.set_registers(names, values)
    }
    fn translate_gva(&self, gva: u64, flags: TranslateGvaFlags) -> Result<TranslateGvaResult> {
        self.0.translate_gva(gva, flags)
    }
    fn xsave_state(&self) -> Result<Vec<u8>> {
        self.0.xsave_state()
    }
    fn set_xsave_state(&self, area: &[u8]) -> Result<()> {
        self.0.set_xsave_state(area)
    }
    fn interrupt_controller_state(&self) -> Result<Box<[u8; INTERRUPT_CONTROLLER_STATE_SIZE]>> {
        self.0.interrupt_controller_state()
    }
    fn set_interrupt_controller_state(&self, state: &[u8; INTERRUPT_CONTROLLER_STATE_SIZE]) -> Result<()> {
        self.0.set_interrupt_controller_state(state)
    }
    fn cpuid_output(&self, eax: u32, ecx: u32) -> Result<[u32; 4]> {
        self.0.cpuid_output(eax, ecx)
    }
    fn counters(&self) -> ProcessorCounters {
        self.0.counters()
    }
}

#[test]
fn an_unknown_exit_stops_the_guest_with_a_dump_and_the_monitor_goes_on() {
    let listener = Listener(Default::default(), "");
    let heard = listener.0.clone();
    tracing::subscriber::set_global_default(listener).unwrap();
    let unknown = Exit::Unknown { reason: ExitReason(0x4242), data: [0; 22] };
    let exits = [
        (unknown, "0x4242"),
        (Exit::InvalidVpRegisterValue, "no processor can have"),
        (Exit::UnsupportedFeature { code: 1, parameter: 2 }, "does not support"),
        (Exit::SynicSintDeliverable { sints: 1 }, "was not asked for"),
    ];
    for (exit, why) in exits {
        let platform = Odd { inner: SoftPlatform::default(), exit, after: 5 };
        let board = Board::new(&platform, AccelOptions::default(), COUNT);
        board.accel.resume();
        wait(why, || !board.requests.0.lock().unwrap().is_empty());
        assert!(matches!(board.requests.0.lock().unwrap()[..], [MachineRequest::Panicked(_)]), "{why}");
        board.accel.pause();
        let text = std::mem::take(&mut *heard.lock().unwrap()).concat();
        // At the OUT at 0x1009, with its loop around it.
        let parts =
            [why, "processor 0 stopped", "EIP=00001009", "CR0=", "CR4=", "EFER=", "<e6> 80 eb f7", "Last exits: "];
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.matches("at 0x1009").count() >= 4, "the exits before: {text}");
        // What the monitor does.
        assert_eq!(board.accel.registers(0).unwrap().rip, 0x1009);
        assert_eq!(board.accel.translate(0, 0x1009).unwrap(), Some(0x1009));
        assert!(board.accel.local_apic(0).is_ok() && !board.accel.stats().is_empty());
        board.accel.reset().unwrap();
        assert_eq!(board.accel.registers(0).unwrap().rip, 0xFFF0);
        let before = board.u32(0x7100);
        board.accel.resume();
        wait("after a reset", || board.u32(0x7100) > before);
    }
}

#[test]
fn stray_interrupts_do_no_harm() {
    for behave in [Behave::Native, Behave::Windows11, Behave::Windows10] {
        for kernel_irqchip in [true, false] {
            let platform = SoftPlatform::new(SoftOptions { behave, ..SoftOptions::default() });
            let board = Board::new(&platform, AccelOptions { kernel_irqchip, ..AccelOptions::default() }, COUNT);
            board.accel.resume();
            wait("start", || board.u32(0x7100) > 10);
            let msi = board.accel.msi();
            // Vector 0 and other reserved ones, to all, to nobody, to no local APIC at all, and every delivery mode but
            // those that are meant to stop a processor (INIT, NMI, SMI).
            for vector in [0, 1, 15] {
                for address in [0xFEE0_0000, 0xFEEF_F000, 0xFEE7_7004, 0, RAM, u64::MAX] {
                    for mode in [0, 1, 3, 6, 7] {
                        msi.signal(address, mode << 8 | vector);
                        msi.signal(address, mode << 8 | 1 << 15 | vector);
                    }
                }
            }
            for address in [0xFEE5_5000, 0xFEE0_0000] {
                msi.signal(address, 0x4F); // a good vector to nobody, and to an APIC that is not enabled
            }
            let then = board.u32(0x7100);
            wait("the guest goes on", || board.u32(0x7100) > then + 10);
            assert!(board.requests.0.lock().unwrap().is_empty(), "{behave:?} {kernel_irqchip}");
        }
    }
}
