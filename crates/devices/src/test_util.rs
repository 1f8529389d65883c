//! What the chips' unit tests share.

use vm_core::{Device, MachineRequest, RequestSink};

/// Save, reset, restore, save: the two saved states are the same, and reset made a difference in between. Broken
/// bytes are refused and change nothing.
pub(crate) fn round_trip(device: &mut dyn Device) {
    let saved = device.save().expect("save");
    device.reset();
    let fresh = device.save().expect("save after reset");
    assert_ne!(fresh, saved, "the test should bring the device out of its reset state first");
    assert!(device.restore(&saved[..saved.len() - 1]).is_err());
    assert_eq!(device.save().expect("save"), fresh);
    device.restore(&saved).expect("restore");
    assert_eq!(device.save().expect("save after restore"), saved);
}

/// Remembers requests.
#[derive(Default)]
pub(crate) struct Requests(std::sync::Mutex<Vec<MachineRequest>>);

impl Requests {
    pub(crate) fn take(&self) -> Vec<MachineRequest> {
        std::mem::take(&mut *vm_core::lock(&self.0))
    }
}

impl RequestSink for Requests {
    fn request(&self, request: MachineRequest) {
        vm_core::lock(&self.0).push(request);
    }
}
