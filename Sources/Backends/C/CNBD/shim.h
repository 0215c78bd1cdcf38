#pragma once
// The one struct of libnbd's ABI (libnbd(3), stable since 1.0) that cannot be spelled in Swift. The library itself is loaded
// with dlopen when the first image needs it, so neither its header nor a link is wanted.
#include <stddef.h>
#include <stdint.h>

// nbd_extent_callback: gets length and flags in turn for each run of a metadata context.
typedef struct {
    int (*callback)(void *user, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error);
    void *user;
    void (*release)(void *user);
} av_nbd_extent_callback;
