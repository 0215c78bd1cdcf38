#pragma once
// features.h first: a _FILE_OFFSET_BITS defined before it gives flock and statvfs two definitions in two modules.
#include <features.h>
#define FUSE_USE_VERSION 314
#define _FILE_OFFSET_BITS 64
#include <fuse3/fuse.h>
#include <fuse3/fuse_lowlevel.h>
