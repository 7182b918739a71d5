/*
 * disk_fault: regular files of this process that cannot be written or synced, on demand. Linked as a source file of its own,
 * so that write(), fsync() and fdatasync() of the C library are not taken. Thread: any.
 */
#ifndef TESTS_STORE_DISK_FAULT_H
#define TESTS_STORE_DISK_FAULT_H

enum disk_fault {
    DISK_WORKS,
    DISK_WRITES_FAIL, /* with the errno given */
    DISK_WRITES_STOP, /* half of it is written, then it fails */
    DISK_SYNCS_FAIL,
    DISK_SOME_FAIL, /* writes and syncs, now and then */
};

/* From now on; `error` is the errno of what fails. */
void disk_fault_set(enum disk_fault kind, int error);

#endif
