#pragma once
#include <features.h>
#include <stdint.h>
#include <time.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <et/com_err.h>

// Swift does not import macros with casts, nor the GNU inline functions of ext2fs.h.
static const blk64_t av_all_blocks = ~0ULL;

static inline void av_mark_super_dirty(ext2_filsys fs) {
    fs->flags |= EXT2_FLAG_DIRTY | EXT2_FLAG_CHANGED;
}
static inline struct ext2_inode *av_inode(void *bytes) { return (struct ext2_inode *)bytes; }
static inline struct ext2_inode_large *av_inode_large(void *bytes) { return (struct ext2_inode_large *)bytes; }

// Nanoseconds since 1970.
static inline int64_t av_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}
