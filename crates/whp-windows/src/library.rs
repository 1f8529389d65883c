//! Loading the DLL and finding its functions.

use std::ffi::{CStr, c_void};
use std::path::{Path, PathBuf};

/// Microsoft's name of the DLL.
#[cfg_attr(not(windows), allow(dead_code))] // there is nothing to look for elsewhere
const NAME: &str = "WinHvPlatform.dll";

/// The platform's library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Only Windows has it.
    #[error("the Windows Hypervisor Platform exists on Windows only")]
    NotWindows,
    /// It is not there, or does not load.
    #[error("cannot load {}: {reason}", .path.display())]
    Library {
        /// What was tried.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A function that every version has is missing.
    #[error("{} has no function {name}", .path.display())]
    Function {
        /// The library.
        path: PathBuf,
        /// The function.
        name: &'static str,
    },
}

/// A loaded library; never unloaded, because its threads and callbacks may outlive any handle.
pub(crate) struct Library {
    handle: *mut c_void,
    pub(crate) path: PathBuf,
}

// SAFETY: the handle is only given to thread-safe look-up functions.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// The system's: beside the program, or in System32.
    pub(crate) fn system() -> Result<Self, OpenError> {
        #[cfg(windows)]
        {
            Self::load(Path::new(NAME))
        }
        #[cfg(not(windows))]
        {
            Err(OpenError::NotWindows)
        }
    }

    #[cfg(windows)]
    pub(crate) fn load(path: &Path) -> Result<Self, OpenError> {
        use std::os::windows::ffi::OsStrExt;
        use windows_sys::Win32::System::LibraryLoader::{
            LOAD_LIBRARY_SEARCH_APPLICATION_DIR, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32,
            LoadLibraryExW,
        };
        let wide: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        // Not the current directory and not PATH: nobody else's DLL is to be picked up.
        let mut flags = LOAD_LIBRARY_SEARCH_APPLICATION_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
        if path.is_absolute() {
            flags |= LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR;
        }
        // SAFETY: `wide` is a string that ends with 0.
        let handle = unsafe { LoadLibraryExW(wide.as_ptr(), std::ptr::null_mut(), flags) };
        if handle.is_null() {
            let reason = std::io::Error::last_os_error().to_string();
            return Err(OpenError::Library { path: path.into(), reason });
        }
        Ok(Self { handle, path: path.into() })
    }

    #[cfg(windows)]
    pub(crate) fn symbol(&self, name: &CStr) -> *mut c_void {
        use windows_sys::Win32::System::LibraryLoader::GetProcAddress;
        // SAFETY: a module that stays loaded, and a string that ends with 0.
        let found = unsafe { GetProcAddress(self.handle, name.as_ptr().cast()) };
        found.map_or(std::ptr::null_mut(), |f| f as *mut c_void)
    }

    #[cfg(unix)]
    pub(crate) fn load(path: &Path) -> Result<Self, OpenError> {
        use std::os::unix::ffi::OsStrExt;
        let error = |reason: String| OpenError::Library { path: path.into(), reason };
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|e| error(e.to_string()))?;
        // SAFETY: a string that ends with 0; initialisers of a library the caller chose run.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: `dlerror` gives null or a string that lives until the next call on this thread.
            let message = unsafe { libc::dlerror() };
            let text = if message.is_null() {
                "no reason given".into()
            } else {
                // SAFETY: as above.
                unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
            };
            return Err(error(text));
        }
        Ok(Self { handle, path: path.into() })
    }

    #[cfg(unix)]
    pub(crate) fn symbol(&self, name: &CStr) -> *mut c_void {
        // SAFETY: a library that stays loaded, and a string that ends with 0.
        unsafe { libc::dlsym(self.handle, name.as_ptr()) }
    }
}
