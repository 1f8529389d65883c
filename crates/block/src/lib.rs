//! Disk images behind one small trait.
