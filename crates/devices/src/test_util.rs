//! What the chips' unit tests share.

use vm_core::Device;

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
