//! Looking for a hypervisor platform of the host: Microsoft's DLL, or the library that `WHPX_WINHVPLATFORM` names, as
//! `-accel whpx` looks for it.

use whp_windows::{OpenError, WindowsPlatform};

use super::report::{Found, FoundPlatform};
use crate::accel_options::LIBRARY_VARIABLE;

/// What was opened.
pub struct Hardware {
    opened: Result<WindowsPlatform, OpenError>,
    library: Option<String>,
    foreign: bool,
}

impl Hardware {
    /// Looks for it.
    pub fn open() -> Self {
        if let Some(path) = std::env::var_os(LIBRARY_VARIABLE) {
            let opened = WindowsPlatform::open_library(path.as_ref());
            return Self { opened, library: Some(path.to_string_lossy().into_owned()), foreign: true };
        }
        let opened = WindowsPlatform::open();
        let library = os::library();
        let foreign = library.as_ref().zip(os::system_directory()).is_some_and(|(library, system)| {
            let parent = std::path::Path::new(library).parent().map(|p| p.to_string_lossy().to_lowercase());
            parent != Some(system.to_lowercase())
        });
        Self { opened, library, foreign }
    }

    /// For the report.
    pub fn found(&self) -> Found<'_> {
        match &self.opened {
            Ok(platform) => Found::Platform(FoundPlatform {
                platform,
                library: self.library.clone(),
                foreign: self.foreign,
                functions: platform.optional_functions(),
            }),
            Err(OpenError::NotWindows) => Found::NotOnThisSystem,
            Err(e @ OpenError::Library { .. }) => Found::NotInstalled(e.to_string()),
            Err(e @ OpenError::Function { .. }) => Found::Incomplete(e.to_string()),
        }
    }
}

#[cfg(not(windows))]
mod os {
    pub(super) fn library() -> Option<String> {
        None
    }
    pub(super) fn system_directory() -> Option<String> {
        None
    }
}

#[cfg(windows)]
#[allow(unsafe_code)] // where a library was loaded from
mod os {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleFileNameW, GetModuleHandleW};
    use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
    use windows_sys::core::w;

    fn text(buffer: &[u16], length: u32) -> Option<String> {
        let text = buffer.get(..length as usize).filter(|t| !t.is_empty())?;
        Some(String::from_utf16_lossy(text))
    }

    pub(super) fn library() -> Option<String> {
        // SAFETY: a constant that ends with 0.
        let module = unsafe { GetModuleHandleW(w!("WinHvPlatform.dll")) };
        if module.is_null() {
            return None;
        }
        let mut buffer = [0; 1024];
        // SAFETY: a module that stays loaded, and a buffer with its length.
        let length = unsafe { GetModuleFileNameW(module, buffer.as_mut_ptr(), buffer.len() as u32) };
        text(&buffer, length)
    }

    pub(super) fn system_directory() -> Option<String> {
        let mut buffer = [0; 1024];
        // SAFETY: a buffer with its length.
        let length = unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), buffer.len() as u32) };
        text(&buffer, length)
    }
}
