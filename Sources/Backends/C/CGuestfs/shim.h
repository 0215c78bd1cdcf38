#pragma once
#include <guestfs.h>
#include <string.h>

// Variadic calls and macro bit masks, which Swift cannot see.

// Without environment: what the library takes from it is passed by guestfs_parse_environment_list.
static inline guestfs_h *av_guestfs_create(void) {
    return guestfs_create_flags(GUESTFS_CREATE_NO_ENVIRONMENT | GUESTFS_CREATE_NO_CLOSE_ON_EXIT);
}

static inline int av_guestfs_tar_in(guestfs_h *g, const char *archive, const char *folder) {
    struct guestfs_tar_in_opts_argv options;
    memset(&options, 0, sizeof options);
    return guestfs_tar_in_opts_argv(g, archive, folder, &options);
}

static inline uint64_t av_guestfs_log_events(void) {
    return GUESTFS_EVENT_APPLIANCE | GUESTFS_EVENT_LIBRARY | GUESTFS_EVENT_WARNING;
}

static inline uint64_t av_guestfs_progress_event(void) { return GUESTFS_EVENT_PROGRESS; }
