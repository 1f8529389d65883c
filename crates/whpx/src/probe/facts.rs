//! What the host is.

use serde::{Deserialize, Serialize};

/// The host, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `windows`, `linux` ...
    pub os: String,
    /// What this program was built for: `x86_64`, `aarch64`.
    pub arch: String,
    /// The machine's own architecture, where it is known to be another (the program runs emulated).
    pub native_arch: Option<String>,
    /// Logical processors.
    pub cpus: usize,
    /// On Windows, and under Wine.
    pub windows: Option<WindowsVersion>,
    /// Wine's version, when it is not really Windows.
    pub wine: Option<String>,
}

/// Windows' version, as the kernel says (`RtlGetVersion`) and the registry adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsVersion {
    /// 10 for Windows 10 and 11.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// 19041 is Windows 10 2004, 22000 the first Windows 11, 26100 is 24H2.
    pub build: u32,
    /// The updates' number (`UBR`), after the dot.
    pub update: Option<u32>,
    /// `ProductName`; says Windows 10 on Windows 11 too.
    pub product: Option<String>,
    /// `DisplayVersion`: `24H2`.
    pub release: Option<String>,
}

impl WindowsVersion {
    /// Whether it is at least `build` with the updates up to `update`. An unknown update number counts as 0.
    pub fn at_least(&self, build: u32, update: u32) -> bool {
        (self.build, self.update.unwrap_or(0)) >= (build, update)
    }
}

impl std::fmt::Display for WindowsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let product = self.product.as_deref().unwrap_or("Windows");
        // The registry was never told of Windows 11.
        let product = if self.build >= 22000 { product.replace("Windows 10", "Windows 11") } else { product.into() };
        write!(f, "{product}")?;
        if let Some(release) = &self.release {
            write!(f, " {release}")?;
        }
        write!(f, " (version {}.{}, build {}", self.major, self.minor, self.build)?;
        match self.update {
            Some(update) => write!(f, ".{update})"),
            None => write!(f, ")"),
        }
    }
}

impl HostFacts {
    /// Asks the system.
    pub fn of_this_host() -> Self {
        Self {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            native_arch: os::native_arch(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            windows: os::version(),
            wine: os::wine(),
        }
    }

    /// The architecture of guests that a hypervisor of this host runs.
    pub fn machine_arch(&self) -> &str {
        self.native_arch.as_deref().unwrap_or(&self.arch)
    }
}

#[cfg(not(windows))]
mod os {
    use super::WindowsVersion;

    pub(super) fn native_arch() -> Option<String> {
        None
    }
    pub(super) fn version() -> Option<WindowsVersion> {
        None
    }
    pub(super) fn wine() -> Option<String> {
        None
    }
}

#[cfg(windows)]
#[allow(unsafe_code)] // what only the system knows
mod os {
    use std::ffi::{CStr, c_char, c_void};

    use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
    use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_DWORD, RRF_RT_REG_SZ, RegGetValueW};
    use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;
    use windows_sys::Win32::System::Threading::GetCurrentProcess;
    use windows_sys::core::w;

    use super::WindowsVersion;

    const CURRENT_VERSION: *const u16 = w!("SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion");

    /// A function of a library that is loaded in every process; null when this version has none.
    fn function(library: *const u16, name: &CStr) -> *const c_void {
        // SAFETY: `library` is a constant that ends with 0.
        let module = unsafe { GetModuleHandleW(library) };
        if module.is_null() {
            return std::ptr::null();
        }
        // SAFETY: a module that stays loaded and a string that ends with 0.
        let found = unsafe { GetProcAddress(module, name.as_ptr().cast()) };
        found.map_or(std::ptr::null(), |f| f as *const c_void)
    }

    pub(super) fn wine() -> Option<String> {
        let f = function(w!("ntdll.dll"), c"wine_get_version");
        if f.is_null() {
            return None;
        }
        // SAFETY: Wine's function of this name has this type.
        let f = unsafe { std::mem::transmute::<*const c_void, unsafe extern "C" fn() -> *const c_char>(f) };
        // SAFETY: it gives a constant string.
        let text = unsafe { CStr::from_ptr(f()) };
        Some(text.to_string_lossy().into_owned())
    }

    pub(super) fn native_arch() -> Option<String> {
        type IsWow64Process2 = unsafe extern "system" fn(*mut c_void, *mut u16, *mut u16) -> i32;
        let f = function(w!("kernel32.dll"), c"IsWow64Process2");
        if f.is_null() {
            return None;
        }
        // SAFETY: the function of this name has this type.
        let f = unsafe { std::mem::transmute::<*const c_void, IsWow64Process2>(f) };
        let (mut process, mut native) = (0, 0);
        // SAFETY: the pseudo handle of this process and two places for numbers.
        let done = unsafe { f(GetCurrentProcess(), &mut process, &mut native) };
        let name = match native {
            0xAA64 => "aarch64",
            0x8664 => "x86_64",
            _ => return None,
        };
        (done != 0 && name != std::env::consts::ARCH).then(|| name.into())
    }

    fn number(name: *const u16) -> Option<u32> {
        let (mut value, mut size) = (0_u32, 4_u32);
        let at = (&raw mut value).cast();
        // SAFETY: constant strings that end with 0, and a place of `size` bytes.
        let status = unsafe {
            let none = std::ptr::null_mut();
            RegGetValueW(HKEY_LOCAL_MACHINE, CURRENT_VERSION, name, RRF_RT_REG_DWORD, none, at, &mut size)
        };
        (status == 0).then_some(value)
    }

    fn text(name: *const u16) -> Option<String> {
        let mut buffer = [0_u16; 128];
        let mut size = size_of_val(&buffer) as u32;
        // SAFETY: constant strings that end with 0, and a place of `size` bytes.
        let status = unsafe {
            let (none, at) = (std::ptr::null_mut(), buffer.as_mut_ptr().cast());
            RegGetValueW(HKEY_LOCAL_MACHINE, CURRENT_VERSION, name, RRF_RT_REG_SZ, none, at, &mut size)
        };
        let text = String::from_utf16_lossy(buffer.split(|&c| c == 0).next().unwrap_or_default());
        (status == 0 && !text.is_empty()).then_some(text)
    }

    pub(super) fn version() -> Option<WindowsVersion> {
        let mut info = OSVERSIONINFOW { dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as u32, ..Default::default() };
        // SAFETY: the structure has its size in it.
        let status = unsafe { RtlGetVersion(&mut info) };
        (status == 0).then(|| WindowsVersion {
            major: info.dwMajorVersion,
            minor: info.dwMinorVersion,
            build: info.dwBuildNumber,
            update: number(w!("UBR")),
            product: text(w!("ProductName")),
            release: text(w!("DisplayVersion")),
        })
    }
}
