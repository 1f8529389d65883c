#!/bin/busybox sh
# /init of the demo disk's own initrd: load the disk driver, find the root file system by its label, go on there. Debian's initrd (the
# second entry of the boot menu) does the same with udev in several times as many instructions.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev 2>/dev/null
load() {
    for module in "$@"; do $bb insmod /lib/modules/$module.ko; done
}
load scsi_common scsi_mod libata ata_piix sd_mod
# (The generic kernel's are loaded by then.)
if $bb grep -q 0x1af4 /sys/bus/pci/devices/*/vendor && [ ! -e /sys/bus/virtio ]; then
    load virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
fi
tries=0
until root=$($bb findfs LABEL=whpx-root 2>/dev/null); do
    tries=$((tries + 1))
    if [ $tries -gt 1200 ]; then
        echo "demo initrd: no file system has the label whpx-root; a shell"
        exec $bb sh
    fi
    $bb usleep 50000
done
$bb mount -t ext4 -o ro "$root" /root || exec $bb sh
for folder in dev proc sys; do $bb mount --move /$folder /root/$folder; done
exec $bb switch_root /root /sbin/init "$@"
