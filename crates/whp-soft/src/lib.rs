//! The built-in platform: the WHP API implemented in software.
