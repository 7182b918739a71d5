/*
 * watched_file: a file that is read again when it has changed.
 *
 * Whoever owns it asks now and then. A change counts once the file has looked the same twice in a row, so that one which is still being
 * written is not read half. Reads block. Thread: one at a time.
 */
#ifndef PLUGINS_LIB_WATCHED_FILE_H
#define PLUGINS_LIB_WATCHED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What tells one state of a file from another; all zero: it is not there. */
struct file_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t modified_ns;
    int64_t changed_ns; /* of its inode: a copy may keep the other */
};

struct watched_file {
    const char *path; /* borrowed */
    struct file_mark known;
    struct file_mark seen;
};

/* Nothing is read yet. */
void watched_file_init(struct watched_file *file, const char *path);

/* Does it differ from what was last read (or could not be read), and has it come to rest? */
bool watched_file_changed(struct watched_file *file);

/* Reads all of it, a zero behind. The caller frees it, with secrets wiped. -EFBIG: more than `size_max` bytes; -EINVAL: not a plain file;
 * -ENOMEM, and what open() and read() say. After an error it counts as known, too. */
int watched_file_read(struct watched_file *file, size_t size_max, char **out_text, size_t *out_len);

#endif
