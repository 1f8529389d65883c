//! The accelerator: a partition and its processors driven through [`whp`], whatever platform is behind it.
//!
//! [`Accelerator::new`] sets a partition up, makes the processors and their threads (stopped), and follows the
//! machine's address space. A processor's thread delivers what is pending, runs, and deals with the exit; decoded
//! accesses are served inside the run by the thread's [`Handler`](vcpu::Handler). `resume`, `pause` and `reset`
//! act on all processors; a pause returns when every thread stands outside `run`.

mod dump;
mod emulate;
mod exits;
mod extint;
mod interrupt;
mod invalid;
mod local_apic;
mod memory;
mod registers;
mod stats;
mod vcpu;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use irqchip::Pic;
use vm_core::{AddressSpace, Clock, IrqLine, MsiSink, PortSpace, RequestSink};
use whp::{
    Capability, CapabilityCode, ExtendedVmExits, LocalApicEmulationMode, MsrExitBitmap, Partition, Platform, Property,
    RegisterName, RegisterValue, SyntheticProcessorFeatures, VirtualProcessor,
};

use exits::GENERAL_PROTECTION;
use local_apic::LocalApics;

pub use registers::{CpuRegisters, format_registers};
pub use stats::{ExitStats, StatsRow};

/// What the accelerator needs to know of the machine.
pub struct AccelConfig {
    /// APIC identifier of each processor, in order; the first one boots.
    pub apic_ids: Vec<u32>,
    /// What the user chose.
    pub options: AccelOptions,
}

/// The options of `-accel whpx` that every platform has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccelOptions {
    /// `kernel-irqchip`: local APICs in the platform.
    pub kernel_irqchip: bool,
    /// `ignore-unknown-msr`: MSRs nobody knows read 0 and ignore writes; otherwise they raise #GP(0).
    pub ignore_unknown_msr: bool,
    /// `intercept-msr-gp`: #GP exits, so that MSR accesses the platform refuses can be told.
    pub intercept_msr_gp: bool,
}

impl Default for AccelOptions {
    fn default() -> Self {
        Self { kernel_irqchip: true, ignore_unknown_msr: true, intercept_msr_gp: false }
    }
}

/// What processors touch outside of RAM.
#[derive(Clone)]
pub struct Attachments {
    /// Guest-physical memory.
    pub space: Arc<AddressSpace>,
    /// Ports.
    pub ports: Arc<PortSpace>,
    /// The machine's time.
    pub clock: Clock,
    /// Where resets and shutdowns caused by the guest's processors go.
    pub requests: Arc<dyn RequestSink>,
}

/// The accelerator could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AccelError {
    /// The platform refused.
    #[error("{platform}: {step}: {source}")]
    Platform {
        /// The platform's name.
        platform: String,
        /// What was being done.
        step: &'static str,
        /// The platform's words.
        source: whp::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the thread of processor {index}: {source}")]
    Thread {
        /// The processor.
        index: usize,
        /// The system's words.
        source: std::io::Error,
    },
    /// There is no such processor.
    #[error("no processor {0}")]
    NoProcessor(usize),
}

/// Called with the vector when a local APIC broadcasts an EOI.
type EoiSink = Box<dyn Fn(u8) + Send + Sync>;

/// State shared by the processors' threads.
struct Shared {
    partition: Arc<dyn Partition>,
    attachments: Attachments,
    control: Mutex<Control>,
    changed: Condvar,
    pic: std::sync::OnceLock<Pic>,
    eoi: std::sync::OnceLock<EoiSink>,
    extint: extint::ExtInt,
    /// With `kernel-irqchip=off`.
    apics: Option<Arc<LocalApics>>,
    /// The local APICs outside of the platform have MSRs of Hyper-V's interface.
    enlightened_apics: bool,
    options: AccelOptions,
    vcpus: Vec<Vcpu>,
}

struct Control {
    running: bool,
    /// How often it has been resumed.
    resumes: u64,
    quit: bool,
    /// Threads inside their run loop.
    active: usize,
}

struct Vcpu {
    vp: Arc<dyn VirtualProcessor>,
    apic_id: u32,
    stats: ExitStats,
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A result of CPUID as the guest is to see it: with what is served here.
    fn announced(&self, leaf: u32, mut result: [u32; 4]) -> [u32; 4] {
        if leaf == local_apic::FEATURES_LEAF && self.enlightened_apics {
            local_apic::announce(&mut result);
        }
        result
    }
}

/// A partition with its processors; dropping it ends the threads.
pub struct Accelerator {
    shared: Arc<Shared>,
    platform: String,
    threads: Vec<JoinHandle<()>>,
}

impl Accelerator {
    /// Sets up a partition on `platform` with its processors, stopped in their reset state.
    ///
    /// # Errors
    /// [`AccelError`] naming the step.
    pub fn new(platform: &dyn Platform, config: &AccelConfig, attachments: Attachments) -> Result<Self, AccelError> {
        let name = platform.name().to_string();
        let step = |step| {
            let platform = name.clone();
            move |source| AccelError::Platform { platform, step, source }
        };
        let partition = platform.create_partition().map_err(step("create partition"))?;
        let wanted = wanted_enlightenments(platform, config.options.kernel_irqchip);
        let enlightened_apics = !config.options.kernel_irqchip && wanted.contains(SyntheticProcessorFeatures::HV1);
        for (what, property) in properties(platform, config, wanted) {
            partition.set_property(property).map_err(step(what))?;
        }
        partition.setup().map_err(step("set up partition"))?;
        let mut vcpus = Vec::new();
        for (index, &apic_id) in config.apic_ids.iter().enumerate() {
            let vp = partition.create_virtual_processor(index as u32).map_err(step("create virtual processor"))?;
            if apic_id as usize != index {
                let value = [RegisterValue::from(apic_id)];
                vp.set_registers(&[RegisterName::INITIAL_APIC_ID], &value).map_err(step("set APIC identifier"))?;
            }
            vcpus.push(Vcpu { vp, apic_id, stats: ExitStats::default() });
        }
        let apics = (!config.options.kernel_irqchip).then(|| {
            let vps = vcpus.iter().map(|v| (v.vp.clone(), v.apic_id));
            LocalApics::new(vps, &attachments.clock, enlightened_apics)
        });
        let shared = Arc::new(Shared {
            partition,
            attachments,
            control: Mutex::new(Control { running: false, resumes: 0, quit: false, active: 0 }),
            changed: Condvar::new(),
            pic: std::sync::OnceLock::new(),
            eoi: std::sync::OnceLock::new(),
            extint: extint::ExtInt::default(),
            apics,
            enlightened_apics,
            options: config.options,
            vcpus,
        });
        if let Some(boot) = shared.vcpus.first() {
            shared.extint.connect(&boot.vp, &shared.attachments.clock);
        }
        memory::attach(&shared);
        let mut accelerator = Self { shared, platform: name, threads: Vec::new() };
        accelerator.start_threads()?;
        Ok(accelerator)
    }

    fn start_threads(&mut self) -> Result<(), AccelError> {
        for index in 0..self.shared.vcpus.len() {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("CPU {index}/WHPX"))
                .stack_size(2 << 20)
                .spawn(move || vcpu::thread(&shared, index))
                .map_err(|source| AccelError::Thread { index, source })?;
            self.threads.push(thread);
        }
        Ok(())
    }

    /// The platform's name.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Number of processors.
    pub fn count(&self) -> usize {
        self.shared.vcpus.len()
    }

    /// APIC identifier of processor `index`.
    pub fn apic_id(&self, index: usize) -> Option<u32> {
        self.shared.vcpus.get(index).map(|v| v.apic_id)
    }

    /// The line that the 8259 pair's INTR output drives.
    pub fn intr_line(&self) -> IrqLine {
        IrqLine::new("INTR", Arc::new(extint::IntrSink(Arc::downgrade(&self.shared))), 0)
    }

    /// Tells where to acknowledge interrupts announced on [`Accelerator::intr_line`].
    pub fn connect_pic(&self, pic: Pic) {
        let _ = self.shared.pic.set(pic); // a second one is a wiring error without effect
    }

    /// Where EOI broadcasts of level-triggered interrupts go (the I/O APIC).
    pub fn connect_eoi(&self, eoi: impl Fn(u8) + Send + Sync + 'static) {
        let _ = self.shared.eoi.set(Box::new(eoi));
    }

    /// Where I/O APIC and MSI messages go.
    pub fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::new(interrupt::Msi(Arc::downgrade(&self.shared)))
    }

    /// Sends an NMI to processor `index`.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn inject_nmi(&self, index: usize) -> Result<(), AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        if let Some(apics) = &self.shared.apics {
            apics.nmi(index);
            return Ok(());
        }
        interrupt::nmi(&self.shared.partition, vcpu.apic_id).map_err(|source| self.error("inject NMI", source))
    }

    fn error(&self, step: &'static str, source: whp::Error) -> AccelError {
        AccelError::Platform { platform: self.platform.clone(), step, source }
    }

    /// Lets the processors run.
    pub fn resume(&self) {
        let mut control = self.shared.control();
        if !control.running {
            control.running = true;
            control.resumes = control.resumes.wrapping_add(1);
        }
        drop(control);
        self.shared.changed.notify_all();
    }

    /// Stops the processors; returns when all threads stand. Not to be called from a processor's thread.
    pub fn pause(&self) {
        let mut control = self.shared.control();
        control.running = false;
        while control.active > 0 {
            // A cancel is sticky, so one is enough, but a run may have taken it for another reason.
            self.shared.vcpus.iter().for_each(|v| v.vp.cancel());
            self.shared.apics.iter().for_each(|a| a.kick_all());
            let wait = self.shared.changed.wait_timeout(control, std::time::Duration::from_millis(20));
            control = wait.unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Whether the processors run.
    pub fn is_running(&self) -> bool {
        self.shared.control().running
    }

    /// Puts the processors into their reset state. They must be paused.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn reset(&self) -> Result<(), AccelError> {
        self.shared.extint.reset();
        self.shared.apics.iter().for_each(|a| a.reset());
        self.shared.partition.reset().map_err(|source| self.error("reset partition", source))
    }

    /// [`Self::reset`] at the end of a suspend to RAM: the hypervisor's own memory of the guest is not gone with the
    /// processors' state. Linux names itself to it once and expects its hypercall page to come back without.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn wake(&self) -> Result<(), AccelError> {
        let identity = self.read(0, &[RegisterName::GUEST_OS_ID]).ok();
        self.reset()?;
        if let (Some(values), Some(vcpu)) = (identity, self.shared.vcpus.first())
            && values.first().is_some_and(|v| *v != RegisterValue::default())
            && let Err(e) = vcpu.vp.set_registers(&[RegisterName::GUEST_OS_ID], &values)
        {
            tracing::warn!("the guest has to tell the hypervisor again who it is: {e}");
        }
        Ok(())
    }

    /// Reads the registers of processor `index`, which must be paused.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn registers(&self, index: usize) -> Result<CpuRegisters, AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        let mut registers = CpuRegisters::read(&*vcpu.vp).map_err(|source| self.error("read registers", source))?;
        if let Some(apics) = &self.shared.apics {
            (registers.halted, registers.waits_for_sipi) = apics.activity(index);
        }
        Ok(registers)
    }

    /// Reads any registers of processor `index`, which must be paused.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn read(&self, index: usize, names: &[RegisterName]) -> Result<Vec<RegisterValue>, AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        let mut values = vec![RegisterValue::default(); names.len()];
        vcpu.vp.registers(names, &mut values).map_err(|source| self.error("read registers", source))?;
        if let Some(base) = self.shared.apics.as_ref().and_then(|a| a.base(index)) {
            let places = names.iter().zip(&mut values).filter(|(name, _)| **name == RegisterName::APIC_BASE);
            places.for_each(|(_, value)| *value = base.into());
        }
        Ok(values)
    }

    /// The local APIC of processor `index`, which must be paused, as its xAPIC register page.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn local_apic(&self, index: usize) -> Result<Box<[u8; whp::INTERRUPT_CONTROLLER_STATE_SIZE]>, AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        if let Some(page) = self.shared.apics.as_ref().and_then(|a| a.page(index)) {
            return Ok(page);
        }
        vcpu.vp.interrupt_controller_state().map_err(|source| self.error("read local APIC", source))
    }

    /// Translates a linear address as processor `index` (paused) would for a read; `None` where nothing is mapped.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn translate(&self, index: usize, gva: u64) -> Result<Option<u64>, AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        let flags = whp::TranslateGvaFlags::PRIVILEGE_EXEMPT;
        let result = vcpu.vp.translate_gva(gva, flags).map_err(|source| self.error("translate address", source))?;
        Ok((result.code == whp::TranslateGvaResultCode::SUCCESS).then_some(result.gpa | (gva & 0xFFF)))
    }

    /// CPUID as processor `index` (standing) answers it: EAX, EBX, ECX, EDX.
    ///
    /// # Errors
    /// [`AccelError`].
    pub fn cpuid(&self, index: usize, leaf: u32, subleaf: u32) -> Result<[u32; 4], AccelError> {
        let vcpu = self.shared.vcpus.get(index).ok_or(AccelError::NoProcessor(index))?;
        let result = vcpu.vp.cpuid_output(leaf, subleaf).map_err(|source| self.error("read CPUID", source))?;
        Ok(self.shared.announced(leaf, result))
    }

    /// Exit statistics of all processors.
    pub fn stats(&self) -> Vec<StatsRow> {
        self.shared.vcpus.iter().map(|v| v.stats.row()).collect()
    }

    /// How the platform's translators do; nothing where the processors do not translate.
    pub fn translator_stats(&self) -> Vec<StatsRow> {
        self.shared.vcpus.iter().map(|v| v.vp.translator_counters()).filter(|row| !row.is_empty()).collect()
    }

    /// The processors' counters as the platform keeps them.
    pub fn counters(&self, index: usize) -> Option<whp::ProcessorCounters> {
        self.shared.vcpus.get(index).map(|v| v.vp.counters())
    }
}

impl Drop for Accelerator {
    fn drop(&mut self) {
        self.shared.control().quit = true;
        self.shared.changed.notify_all();
        self.pause();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic in it has been reported by the panic hook
        }
    }
}

/// Enlightenments (qemu-whpx-behaviour.md, 2.5). Those of interrupts need the local APICs in the platform; so do flushes,
/// and two that guests with many processors, or more than the host has, are better off with.
fn enlightenments(kernel_irqchip: bool) -> SyntheticProcessorFeatures {
    use SyntheticProcessorFeatures as S;
    let always = S::HYPERVISOR_PRESENT
        | S::HV1
        | S::ACCESS_VP_RUN_TIME_REG
        | S::ACCESS_PARTITION_REFERENCE_COUNTER
        | S::ACCESS_PARTITION_REFERENCE_TSC
        | S::ACCESS_HYPERCALL_REGS
        | S::ACCESS_VP_INDEX
        | S::FAST_HYPERCALL_OUTPUT
        | S::ACCESS_FREQUENCY_REGS;
    let with_apics = S::ACCESS_SYNIC_REGS
        | S::ACCESS_SYNTHETIC_TIMER_REGS
        | S::ACCESS_INTR_CTRL_REGS
        | S::SYNTHETIC_CLUSTER_IPI
        | S::DIRECT_SYNTHETIC_TIMERS
        | S::ACCESS_GUEST_IDLE_REG
        | S::TB_FLUSH_HYPERCALLS
        | S::ENABLE_EXTENDED_GVA_RANGES_FOR_FLUSH_VIRTUAL_ADDRESS_LIST
        | S::EXTENDED_PROCESSOR_MASKS
        | S::NOTIFY_LONG_SPIN_WAIT;
    if kernel_irqchip { always | with_apics } else { always }
}

/// Those of them that the platform has; none where it does not know of the property.
fn wanted_enlightenments(platform: &dyn Platform, kernel_irqchip: bool) -> SyntheticProcessorFeatures {
    match platform.capability(CapabilityCode::SYNTHETIC_PROCESSOR_FEATURES_BANKS) {
        Ok(Capability::SyntheticProcessorFeaturesBanks(offered)) => offered & enlightenments(kernel_irqchip),
        _ => SyntheticProcessorFeatures::empty(),
    }
}

/// The partition's properties in the order WHP wants them (qemu-whpx-behaviour.md, 2.3). What old systems do not
/// know is left out.
fn properties(
    platform: &dyn Platform,
    config: &AccelConfig,
    wanted: SyntheticProcessorFeatures,
) -> Vec<(&'static str, Property)> {
    let mut list = vec![("set processor count", Property::ProcessorCount(config.apic_ids.len() as u32))];
    if let Ok(Capability::ProcessorPerfmonFeatures(f)) = platform.capability(CapabilityCode::PROCESSOR_PERFMON_FEATURES)
    {
        list.push(("set performance monitoring features", Property::ProcessorPerfmonFeatures(f)));
    }
    let options = config.options;
    if options.kernel_irqchip {
        list.push(("enable local APIC emulation", Property::LocalApicEmulationMode(LocalApicEmulationMode::X2Apic)));
    }
    if let Ok(Capability::ProcessorFeaturesBanks(a, b)) = platform.capability(CapabilityCode::PROCESSOR_FEATURES_BANKS)
    {
        list.push(("set processor features", Property::ProcessorFeaturesBanks(a, b)));
    }
    if !wanted.is_empty() {
        list.push(("set enlightenments", Property::SyntheticProcessorFeaturesBanks(wanted)));
    }
    let mut msrs = MsrExitBitmap::UNHANDLED_MSRS;
    if !options.kernel_irqchip {
        msrs |= MsrExitBitmap::APIC_BASE_MSR_WRITE;
    }
    list.push(("set MSR exit bitmap", Property::X64MsrExitBitmap(msrs)));
    let mut exits = ExtendedVmExits::X64_MSR_EXIT;
    // The platform does not have GUEST_IDLE then (it would not know when to end it) and does not announce it: we do.
    if !options.kernel_irqchip && wanted.contains(SyntheticProcessorFeatures::HV1) {
        exits |= ExtendedVmExits::X64_CPUID_EXIT;
        list.push(("set CPUID exits", Property::CpuidExitList(vec![local_apic::FEATURES_LEAF])));
    }
    if options.intercept_msr_gp {
        exits |= ExtendedVmExits::EXCEPTION_EXIT;
        list.push(("set exception exit bitmap", Property::ExceptionExitBitmap(1 << GENERAL_PROTECTION)));
    }
    list.push(("set extended exits", Property::ExtendedVmExits(exits)));
    list
}
