#!/bin/sh
# Before any package is unpacked (mmdebstrap's setup hook, root as $1): what the initrd is made of. It must exist before the
# kernel package's triggers build the initrd, and must not be a conffile, so that dpkg asks nothing.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d"
# Only the disk controllers of the machines we model; ext4 is built into the cloud kernel. lz4 unpacks with the fewest instructions.
printf 'MODULES=list\nCOMPRESS=lz4\nCOMPRESSLEVEL=9\nRESUME=none\nBUSYBOX=n\nFSTYPE=ext4\n' > "$1/etc/initramfs-tools/conf.d/whpx"
printf 'ata_piix\nata_generic\nsd_mod\nsr_mod\nvirtio_pci\nvirtio_blk\nvirtio_scsi\next4\n' > "$1/etc/initramfs-tools/modules"
