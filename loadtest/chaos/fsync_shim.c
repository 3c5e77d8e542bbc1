/* Makes the disk of the gate slow or broken: preloaded into grab up, it acts in Valkey and Redis only.
   The file that GRAB_CHAOS_FSYNC names holds "delay_ms errno"; no file, no fault. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int spoil(void) {
    const char *path = getenv("GRAB_CHAOS_FSYNC");
    if (!path || (strncmp(program_invocation_short_name, "valkey", 6) != 0 &&
                  strncmp(program_invocation_short_name, "redis", 5) != 0))
        return 0;
    FILE *file = fopen(path, "r");
    int delay_ms = 0, error = 0;
    if (file) {
        if (fscanf(file, "%d %d", &delay_ms, &error) < 1) delay_ms = error = 0;
        fclose(file);
    }
    usleep(delay_ms * 1000);
    return error;
}

#define WRAP(name)                                                                       \
    int name(int fd) {                                                                   \
        static int (*real)(int);                                                         \
        int error = spoil();                                                             \
        if (error) { errno = error; return -1; }                                         \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);                         \
        return real(fd);                                                                 \
    }

WRAP(fsync)
WRAP(fdatasync)
