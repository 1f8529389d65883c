//! Functions that make no sense without the hardware or the hypervisor behind them: `E_NOTIMPL`, as the capabilities
//! that go with them say. The partition handle is looked at first.

use whp::HResult;
use whp_abi::x64::*;

use crate::export::{Outcome, exports};
use crate::handle;

fn absent(partition: WHV_PARTITION_HANDLE) -> Outcome {
    handle::find(partition)?;
    Err(HResult::E_NOTIMPL)
}

exports! {
    Absent "No migration."
    fn WHvAcceptPartitionMigration(
        _migrationhandle: HANDLE,
        _partition: *mut WHV_PARTITION_HANDLE,
    ) {
        Err(HResult::E_NOTIMPL)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvAllocateVpciResource(
        _providerid: *const GUID,
        _flags: WHV_ALLOCATE_VPCI_RESOURCE_FLAGS,
        _resourcedescriptor: *const std::ffi::c_void,
        _resourcedescriptorsizeinbytes: u32,
        _vpciresource: *mut HANDLE,
    ) {
        Err(HResult::E_NOTIMPL)
    }

    Absent "No migration."
    fn WHvCancelPartitionMigration(
        partition: WHV_PARTITION_HANDLE,
    ) {
        absent(partition)
    }

    Absent "No migration."
    fn WHvCompletePartitionMigration(
        partition: WHV_PARTITION_HANDLE,
    ) {
        absent(partition)
    }

    Absent "No triggers."
    fn WHvCreateTrigger(
        partition: WHV_PARTITION_HANDLE,
        _parameters: *const WHV_TRIGGER_PARAMETERS,
        _triggerhandle: *mut WHV_TRIGGER_HANDLE,
        _eventhandle: *mut HANDLE,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvCreateVpciDevice(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _vpciresource: HANDLE,
        _flags: WHV_CREATE_VPCI_DEVICE_FLAGS,
        _notificationeventhandle: HANDLE,
    ) {
        absent(partition)
    }

    Absent "No triggers."
    fn WHvDeleteTrigger(
        partition: WHV_PARTITION_HANDLE,
        _triggerhandle: WHV_TRIGGER_HANDLE,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvDeleteVpciDevice(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvGetVpciDeviceInterruptTarget(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _index: u32,
        _multimessagenumber: u32,
        _target: *mut WHV_VPCI_INTERRUPT_TARGET,
        _targetsizeinbytes: u32,
        _byteswritten: *mut u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvGetVpciDeviceNotification(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _notification: *mut WHV_VPCI_DEVICE_NOTIFICATION,
        _notificationsizeinbytes: u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvGetVpciDeviceProperty(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _propertycode: WHV_VPCI_DEVICE_PROPERTY_CODE,
        _propertybuffer: *mut std::ffi::c_void,
        _propertybuffersizeinbytes: u32,
        _writtensizeinbytes: *mut u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvMapVpciDeviceInterrupt(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _index: u32,
        _messagecount: u32,
        _target: *const WHV_VPCI_INTERRUPT_TARGET,
        _msiaddress: *mut u64,
        _msidata: *mut u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvMapVpciDeviceMmioRanges(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _mappingcount: *mut u32,
        _mappings: *mut *mut WHV_VPCI_MMIO_MAPPING,
    ) {
        absent(partition)
    }

    Absent "The SynIC takes messages of its timers only."
    fn WHvPostVirtualProcessorSynicMessage(
        partition: WHV_PARTITION_HANDLE,
        _vpindex: u32,
        _sintindex: u32,
        _message: *const std::ffi::c_void,
        _messagesizeinbytes: u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvReadVpciDeviceRegister(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _register: *const WHV_VPCI_DEVICE_REGISTER,
        _data: *mut std::ffi::c_void,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvRequestVpciDeviceInterrupt(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _msiaddress: u64,
        _msidata: u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvRetargetVpciDeviceInterrupt(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _msiaddress: u64,
        _msidata: u32,
        _target: *const WHV_VPCI_INTERRUPT_TARGET,
    ) {
        absent(partition)
    }

    Absent "Preferred processors are no matter here."
    fn WHvSetNotificationPortProperty(
        partition: WHV_PARTITION_HANDLE,
        _porthandle: WHV_NOTIFICATION_PORT_HANDLE,
        _propertycode: WHV_NOTIFICATION_PORT_PROPERTY_CODE,
        _propertyvalue: WHV_NOTIFICATION_PORT_PROPERTY,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvSetVpciDevicePowerState(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _powerstate: DEVICE_POWER_STATE,
    ) {
        absent(partition)
    }

    Absent "The SynIC takes no events of the client."
    fn WHvSignalVirtualProcessorSynicEvent(
        partition: WHV_PARTITION_HANDLE,
        _synicevent: WHV_SYNIC_EVENT_PARAMETERS,
        _newlysignaled: *mut BOOL,
    ) {
        absent(partition)
    }

    Absent "No migration."
    fn WHvStartPartitionMigration(
        partition: WHV_PARTITION_HANDLE,
        _migrationhandle: *mut HANDLE,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvUnmapVpciDeviceInterrupt(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _index: u32,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvUnmapVpciDeviceMmioRanges(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
    ) {
        absent(partition)
    }

    Absent "No triggers."
    fn WHvUpdateTriggerParameters(
        partition: WHV_PARTITION_HANDLE,
        _parameters: *const WHV_TRIGGER_PARAMETERS,
        _triggerhandle: WHV_TRIGGER_HANDLE,
    ) {
        absent(partition)
    }

    Absent "No virtual PCI: capability VirtualPciDeviceSupport is clear."
    fn WHvWriteVpciDeviceRegister(
        partition: WHV_PARTITION_HANDLE,
        _logicaldeviceid: u64,
        _register: *const WHV_VPCI_DEVICE_REGISTER,
        _data: *const std::ffi::c_void,
    ) {
        absent(partition)
    }
}
