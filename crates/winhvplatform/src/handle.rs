//! Partition handles: numbers, never used twice, so that a wrong or old one is found out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use cpu_x86::model::{CpuSpec, Topology};
use whp::{HResult, Partition, Platform, VirtualProcessor};
use whp_abi::x64::WHV_PARTITION_HANDLE;
use whp_soft::{Behave, DoorbellMatch, SoftOptions, SoftPartition, SoftPlatform};
use whp_trace::record::Call;
use whp_trace::{TracePartition, TracePlatform};

/// A partition and what the C API keeps of it.
pub(crate) struct Entry {
    pub(crate) partition: Arc<SoftPartition>,
    /// The same, traced when the environment asks for a trace: for all that the traits have.
    pub(crate) api: Arc<dyn Partition>,
    trace: Option<Arc<TracePartition>>,
    /// By index.
    vps: RwLock<Vec<Option<Arc<dyn VirtualProcessor>>>>,
    /// For the processors' topology; the property of that name.
    pub(crate) processor_count: Arc<AtomicU32>,
    /// Doorbells with a notification port.
    pub(crate) ports: Mutex<HashMap<usize, DoorbellMatch>>,
}

impl Entry {
    /// `WHvUnmapGpaRange`.
    pub(crate) fn unmap(&self, gpa: u64, size: u64) -> whp::Result<()> {
        let unmap = || self.partition.unmap_whatever_is_mapped(gpa, size);
        match &self.trace {
            Some(trace) => trace.record(Call::UnmapGpaRange { gpa, size }, unmap),
            None => unmap(),
        }
    }

    /// The processor of this index.
    pub(crate) fn vp(&self, index: u32) -> Result<Arc<dyn VirtualProcessor>, HResult> {
        let vps = self.vps.read().unwrap_or_else(|e| e.into_inner());
        vps.get(index as usize).cloned().flatten().ok_or(HResult::WHV_E_VP_DOES_NOT_EXIST)
    }

    /// Notes, or forgets, a processor.
    pub(crate) fn set_vp(&self, index: u32, vp: Option<Arc<dyn VirtualProcessor>>) {
        let mut vps = self.vps.write().unwrap_or_else(|e| e.into_inner());
        let at = index as usize;
        if vps.len() <= at && vp.is_some() {
            vps.resize(at + 1, None);
        }
        if let Some(slot) = vps.get_mut(at) {
            *slot = vp;
        }
    }

    /// Makes all processors leave.
    pub(crate) fn cancel_all(&self) {
        let vps = self.vps.read().unwrap_or_else(|e| e.into_inner());
        vps.iter().flatten().for_each(|vp| vp.cancel());
    }
}

#[derive(Default)]
struct Table {
    entries: RwLock<HashMap<usize, Arc<Entry>>>,
    /// The number of the newest handle.
    last: AtomicU32,
}

/// Statics are not dropped: processors may run while the process ends.
fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::default)
}

/// A number that looks like no address and no other kind of handle.
pub(crate) fn number() -> usize {
    const TAG: usize = 0x5748;
    (table().last.fetch_add(1, Ordering::Relaxed) as usize).wrapping_add(1) << 16 | TAG
}

fn model_name() -> String {
    std::env::var("WHPX_DLL_CPU").unwrap_or_else(|_| "max".into())
}

/// Which Windows this library behaves like.
pub(crate) fn behave() -> Result<Behave, HResult> {
    static BEHAVE: OnceLock<Result<Behave, HResult>> = OnceLock::new();
    *BEHAVE.get_or_init(|| {
        let name = std::env::var("WHPX_DLL_BEHAVE").unwrap_or_else(|_| "native".into());
        name.parse().map_err(|why| {
            eprintln!("winhvplatform: WHPX_DLL_BEHAVE={name}: {why}");
            HResult::E_INVALIDARG
        })
    })
}

/// For functions that Windows 10 does not have.
pub(crate) fn since_build_20348() -> Result<(), HResult> {
    if behave()? == Behave::Windows10 { Err(HResult::E_NOTIMPL) } else { Ok(()) }
}

/// The platform with the processor model that was asked for.
fn platform_of(processors: Arc<AtomicU32>) -> Result<SoftPlatform, HResult> {
    let name = model_name();
    let spec = CpuSpec::parse(&name).map_err(|why| {
        tracing::error!(target: "winhvplatform", "WHPX_DLL_CPU={name}: {why}");
        HResult::E_INVALIDARG
    })?;
    let model = move |index| {
        let topology = Topology { sockets: 1, cores: processors.load(Ordering::Relaxed).max(1), threads: 1 };
        Arc::new(spec.model(topology, index))
    };
    Ok(SoftPlatform::new(SoftOptions { model: Arc::new(model), behave: behave()?, ..SoftOptions::default() }))
}

/// The platform, for its capabilities.
pub(crate) fn platform() -> Result<&'static dyn Platform, HResult> {
    static PLATFORM: OnceLock<Result<SoftPlatform, HResult>> = OnceLock::new();
    let soft = PLATFORM.get_or_init(|| platform_of(Arc::default())).as_ref().map_err(|code| *code)?;
    Ok(match tracer(soft) {
        Some(tracer) => tracer,
        None => soft,
    })
}

type Tracer = TracePlatform<SoftPlatform>;

static TRACER: OnceLock<Option<Tracer>> = OnceLock::new();

/// The tracer, when `WHPX_TRACE` asks for one. A file that cannot be made is said once; the client goes on without.
fn tracer(soft: &SoftPlatform) -> Option<&'static Tracer> {
    let open = || whp_trace::tracer_from_env(soft.clone()).map_err(|e| eprintln!("winhvplatform: {e}"));
    TRACER.get_or_init(|| open().ok().flatten()).as_ref()
}

/// The same, also before the first platform was made.
pub(crate) fn open_tracer() -> Option<&'static Tracer> {
    match TRACER.get() {
        Some(tracer) => tracer.as_ref(),
        None => tracer(&platform_of(Arc::default()).ok()?),
    }
}

/// A new partition's handle.
pub(crate) fn create() -> Result<WHV_PARTITION_HANDLE, HResult> {
    let processor_count = Arc::<AtomicU32>::default();
    let platform = platform_of(processor_count.clone())?;
    let partition = platform.partition();
    let trace = tracer(&platform).map(|t| t.adopt(partition.clone()));
    let api: Arc<dyn Partition> = match &trace {
        Some(trace) => trace.clone(),
        None => partition.clone(),
    };
    let entry = Entry { partition, api, trace, vps: RwLock::default(), processor_count, ports: Mutex::default() };
    let handle = number();
    table().entries.write().unwrap_or_else(|e| e.into_inner()).insert(handle, Arc::new(entry));
    Ok(handle as WHV_PARTITION_HANDLE)
}

/// The partition behind a handle.
pub(crate) fn find(handle: WHV_PARTITION_HANDLE) -> Result<Arc<Entry>, HResult> {
    let entries = table().entries.read().unwrap_or_else(|e| e.into_inner());
    entries.get(&(handle as usize)).cloned().ok_or(HResult::E_HANDLE)
}

/// Takes a handle out of use.
pub(crate) fn remove(handle: WHV_PARTITION_HANDLE) -> Result<Arc<Entry>, HResult> {
    let mut entries = table().entries.write().unwrap_or_else(|e| e.into_inner());
    entries.remove(&(handle as usize)).ok_or(HResult::E_HANDLE)
}
