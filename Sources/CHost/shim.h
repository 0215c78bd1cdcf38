#pragma once
// GNU extensions of the C library and Linux system calls that Swift's Glibc overlay does not show.
#include <features.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <unistd.h>

extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *, int);
extern int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *, const char *);
extern int pipe2(int[2], int);
extern int fallocate(int, int, off_t, off_t);
extern void *memmem(const void *, size_t, const void *, size_t);
extern int prctl(int, ...);
extern int syncfs(int);
extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern long syscall(long, ...);
extern int sync_file_range(int, off_t, off_t, unsigned int);
extern int renameat2(int, const char *, int, const char *, unsigned int);

static inline int av_prctl(int option, unsigned long value) { return prctl(option, value, 0UL, 0UL, 0UL); }

// sched_setaffinity(2) of a thread, 0 for the calling one, by bit mask; getting returns the mask's bytes.
static inline int av_get_affinity(int thread, unsigned long *mask, size_t bytes) {
    return (int)syscall(SYS_sched_getaffinity, thread, bytes, mask);
}
static inline int av_set_affinity(int thread, const unsigned long *mask, size_t bytes) {
    return (int)syscall(SYS_sched_setaffinity, thread, bytes, mask);
}

// openat2(2): struct open_how of linux/openat2.h, spelled out since older headers lack it.
struct av_open_how { uint64_t flags; uint64_t mode; uint64_t resolve; };
#define AV_O_PATH 010000000
#define AV_RESOLVE_NO_SYMLINKS 0x04
#define AV_RESOLVE_BENEATH 0x08
#define AV_RESOLVE_NO_MAGICLINKS 0x02
#define AV_RESOLVE_IN_ROOT 0x10
static inline int av_openat2(int folder, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct av_open_how how = { flags, mode, resolve };
    return (int)syscall(437, folder, path, &how, sizeof how);
}

static inline int av_renameat2(int from, const char *old, int to, const char *name, unsigned flags) {
    return renameat2(from, old, to, name, flags);
}

// Loop devices, see loop(4). The device frees itself with its last user (LO_FLAGS_AUTOCLEAR).
static inline int av_loop_free(int control) { return ioctl(control, LOOP_CTL_GET_FREE); }
static inline int av_loop_release(int device) { return ioctl(device, LOOP_CLR_FD, 0); }
static inline int av_loop_configure(int device, int file, const char *name, int readOnly) {
    struct loop_config config;
    memset(&config, 0, sizeof config);
    config.fd = (unsigned)file;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (readOnly ? LO_FLAGS_READ_ONLY : 0);
    strncpy((char *)config.info.lo_file_name, name, LO_NAME_SIZE - 1);
    return ioctl(device, LOOP_CONFIGURE, &config);
}

// A descriptor that is readable once somebody asks this process to end; the signals are blocked from then on.
static inline int av_ending_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC) : -1;
}
