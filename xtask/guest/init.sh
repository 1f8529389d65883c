#!/bin/sh
# /init of the direct-boot initramfs: a shell on the console, as soon as possible. A new shell follows one that ends.
export PATH=/bin:/sbin HOME=/root TERM=linux PS1='# '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
cd /root
echo "WHPX-SHELL-READY cpus=$(nproc)"
while true; do
    setsid cttyhack sh
done
