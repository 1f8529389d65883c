#!/bin/sh
# Finishes the root file system of the demo image: runs once, outside the chroot, as mmdebstrap's
# customize hook with the root as $1. WHPX_BENCH names the folder with the compiled bench programs.
# Only files are written here: no service starts, nothing is fetched.
set -eu
root=$1

# root logs in with an empty password (PAM's nullok): a password hash costs an interpreted CPU seconds.
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
echo whpx-demo > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\twhpx-demo\n::1\tlocalhost\n' > "$root/etc/hosts"
printf 'LABEL=whpx-root / ext4 errors=remount-ro 0 0\n' > "$root/etc/fstab"
# A set machine id: otherwise every boot of a fresh copy is a "first boot" with presets and generators.
echo 5768707864656d6f5768707864656d6f > "$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/apt/sources.list"
rm -f "$root"/etc/apt/sources.list.d/*

# Journal in memory only: the disk is for the tests' own writes.
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' > "$root/etc/systemd/journald.conf.d/whpx.conf"
# A slow (interpreted) guest must not run into systemd's time limits.
printf '[Manager]\nDefaultTimeoutStartSec=600s\nDefaultDeviceTimeoutSec=600s\n' > "$root/etc/systemd/system.conf.d/whpx.conf"

mask() { ln -sf /dev/null "$root/etc/systemd/system/$1"; }
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer man-db.timer motd-news.timer systemd-networkd-wait-online.service \
    systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-pstore.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service ldconfig.service \
    systemd-journal-catalog-update.service systemd-update-done.service systemd-machine-id-commit.service \
    systemd-firstboot.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
    modprobe@fuse.service modprobe@loop.service getty-static.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount systemd-journal-flush.service systemd-modules-load.service \
    systemd-initctl.socket systemd-fsckd.socket sys-fs-fuse-connections.mount sys-kernel-config.mount; do
    mask "$unit"
done
# Units generated for hardware and set-ups that this image does not have; each generator is a process at every boot.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
    case ${generator##*/} in
    systemd-fstab-generator | systemd-getty-generator | systemd-debug-generator | systemd-run-generator) ;;
    *) ln -sf /dev/null "$root/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# Drivers that udev would load for CPU features and controllers nobody uses in the demo.
for module in kvm kvm_amd kvm_intel powernow_k8 acpi_cpufreq sg serio_raw qemu_fw_cfg pcspkr i2c_piix4; do
    printf 'blacklist %s\n' "$module"
done > "$root/etc/modprobe.d/whpx.conf"
rm -f "$root/etc/motd" "$root"/etc/update-motd.d/*

# Login on screen and on the serial line.
mkdir -p "$root/etc/systemd/system/getty.target.wants"
ln -sf /lib/systemd/system/getty@.service "$root/etc/systemd/system/getty.target.wants/getty@tty1.service"
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"

mkdir -p "$root/opt/bench"
cp "$WHPX_BENCH"/int-loop "$WHPX_BENCH"/fp-loop "$root/opt/bench/"

kernel=$(cd "$root/boot" && ls vmlinuz-*-cloud-amd64 | sort -V | tail -n 1)
generic=$(cd "$root/boot" && ls vmlinuz-* | grep -v cloud | sort -V | tail -n 1)
initrd=initrd.img-${kernel#vmlinuz-}
test -s "$root/boot/$initrd"
rm -f "$root/boot/initrd.img-${generic#vmlinuz-}"
mkdir -p "$root/boot/grub"
# The controllers: ICH9's EHCI and UHCI, PIIX3's UHCI, NEC's and QEMU's xHCI.
cat > "$root/boot/grub/grub.cfg" <<CFG
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=2
set default=0
for controller in 8086:293a 8086:2934 8086:2935 8086:2936 8086:7020 1033:0194 1b36:000d; do
    setpci -d \$controller -v usb 0.w
done
if [ -n "\$usb" ]; then set default=2; fi
menuentry "Debian GNU/Linux 12 (bookworm)" {
    echo "Loading $kernel"
    linux /boot/$kernel root=LABEL=whpx-root ro console=tty0 console=ttyS0,115200
    initrd /boot/initrd.whpx
}
menuentry "Debian GNU/Linux 12 (bookworm), with Debian's own initrd" {
    echo "Loading $kernel"
    linux /boot/$kernel root=LABEL=whpx-root ro console=tty0 console=ttyS0,115200
    initrd /boot/$initrd
}
menuentry "Debian GNU/Linux 12 (bookworm), with USB" {
    echo "Loading $generic"
    linux /boot/$generic root=LABEL=whpx-root ro console=tty0 console=ttyS0,115200
    initrd /boot/initrd-generic
}
CFG
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
