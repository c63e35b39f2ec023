# The first process of a guest that is killed while the store is written. Above these lines stand
# its settings:
#   KIND    file system on the disk
#   PLACE   where to mount it
#   CACHE   `write back`: what the guest flushes reaches the disk; `write through`: flushes do
#           nothing, though a volatile cache is there
#   MODULE  the loop device's module, empty where the kernel has it built in
set -e
mount -t proc proc /proc
mount -t sysfs sys /sys
stty -F /dev/ttyS0 raw -echo
if [ -n "$MODULE" ]; then
    # By perl because its package is in every Debian and insmod's is not: 313 is finit_module.
    perl -e 'open F, "<", $ARGV[0] or die; my $no = ""; syscall(313, fileno(F), $no, 0) and die $!' \
        "$MODULE"
fi
# Nothing reaches the disk by itself: what is not flushed dies with the guest.
echo 90 >/proc/sys/vm/dirty_ratio
echo 80 >/proc/sys/vm/dirty_background_ratio
echo 360000 >/proc/sys/vm/dirty_expire_centisecs
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
# The guest's memory is this loop device's cache.
losetup /dev/loop0 /dev/ubda
echo "$CACHE" >/sys/block/loop0/queue/write_cache
mount -t "$KIND" /dev/loop0 "$PLACE"
