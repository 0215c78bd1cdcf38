// Starts a virtual machine of VirtualBox's without its kernel module: stands in the place of `VBoxHeadless`.
//
// VirtualBox can run machines by its own interpreter, in a mode that it calls driverless, but the program that starts them without a
// window never asks for it. So this one sets the mode, and then enters the same code as that program. The flags are
// SUPR3INIT_F_DRIVERLESS and SUPR3INIT_F_DRIVERLESS_IEM_ALLOWED of VirtualBox's include/VBox/sup.h.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLDER "/usr/lib/virtualbox/"

static void *library(const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (handle) return handle;
    fprintf(stderr, "driverless: %s\n", dlerror());
    exit(1);
}

static void *function(void *library, const char *name) {
    void *address = dlsym(library, name);
    if (address) return address;
    fprintf(stderr, "driverless: %s\n", dlerror());
    exit(1);
}

static void check(const char *what, int status) {
    if (status >= 0) return;
    fprintf(stderr, "driverless: %s ended with %d\n", what, status);
    exit(1);
}

int main(int argc, char **argv, char **environment) {
    void *runtime = library(FOLDER "VBoxRT.so");
    int (*begin)(int, char ***, uint32_t) = function(runtime, "RTR3InitExe");
    check("RTR3InitExe", begin(argc, &argv, 0));
    // What the machine opens later is one more reference to this session.
    int (*open)(uint32_t, void **) = function(runtime, "SUPR3InitEx");
    void *session = NULL;
    check("SUPR3InitEx", open(4 | 8, &session));
    int (*run)(int, char **, char **) = function(library(FOLDER "VBoxHeadless.so"), "TrustedMain");
    return run(argc, argv, environment);
}
