/* Stands between a process and the system calls that change files (LD_PRELOAD).
 *
 * Only files below the watched folder count. `shim_arm` lets the n-th call of a kind go wrong;
 * `shim_record` notes every call that changes a file, in the order they were made, so that what a
 * disk may hold after a power cut can be built from it. A record is
 *
 *     u8 kind   u8 flags (1 = the file is written through)   u16 length of the name
 *     u64 offset   u64 length   name   that many bytes
 *
 * and a rename has both names, each ended by a zero byte.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { ANY, WRITE, SYNC, TRUNCATE, OPEN, RENAME, MAP, MKDIR, UNLINK, CALLS };
enum how { ONCE, STICKY, SHORT, KILL, KILL_HALF };
enum record { R_WRITE = 1, R_SYNC, R_TRUNCATE, R_CREATE, R_RENAME, R_MKDIR, R_UNLINK, R_MARK };

static char watched[PATH_MAX];
static size_t watched_length;
static int armed = -1, armed_errno, armed_how, log_fd = -1;
static long armed_at, counts[CALLS], hits;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                                                                    \
    static result (*real)(__VA_ARGS__);                                                            \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void shim_watch(const char *folder) {
    snprintf(watched, sizeof watched, "%s", folder);
    watched_length = strlen(watched);
}

void shim_arm(int call, long at, int error, int how) {
    memset(counts, 0, sizeof counts);
    hits = 0;
    armed_at = at, armed_errno = error, armed_how = how, armed = call;
}

void shim_disarm(void) { armed = -1; }
long shim_count(int call) { return counts[call]; }
long shim_hits(void) { return hits; }
void shim_record(int fd) { log_fd = fd; }

static int below(const char *path) {
    return watched_length && !strncmp(path, watched, watched_length) &&
           (path[watched_length] == '/' || !path[watched_length]);
}

/* The name of an open file, if it is watched. */
static int named(int fd, char *name) {
    char link[40];
    if (!watched_length || fd < 0 || fd == log_fd) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    if (length <= 0) return 0;
    name[length] = 0;
    return below(name);
}

static int absolute(int folder, const char *path, char *name) {
    char base[PATH_MAX];
    if (!watched_length) return 0;
    if (path[0] == '/')
        snprintf(name, PATH_MAX, "%s", path);
    else if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
        if (snprintf(name, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    } else {
        char link[40];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length <= 0) return 0;
        base[length] = 0;
        if (snprintf(name, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return below(name);
}

/* Whether this call is the one to go wrong. */
static int strikes(enum call call) {
    long mine = __atomic_add_fetch(&counts[call], 1, __ATOMIC_SEQ_CST);
    long all = __atomic_add_fetch(&counts[ANY], 1, __ATOMIC_SEQ_CST);
    if (armed != (int)call && armed != ANY) return 0;
    long number = armed == ANY ? all : mine;
    if (number != armed_at && !(armed_how == STICKY && number > armed_at)) return 0;
    __atomic_add_fetch(&hits, 1, __ATOMIC_SEQ_CST);
    if (armed_how == KILL) kill(getpid(), SIGKILL);
    return 1;
}

static void note(enum record kind, int fd, const char *name, size_t name_length, uint64_t offset,
                 uint64_t length, const struct iovec *parts, int count) {
    if (log_fd < 0) return;
    unsigned char head[20] = {kind, fd >= 0 && (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC))};
    uint16_t size = name_length;
    memcpy(head + 2, &size, 2), memcpy(head + 4, &offset, 8), memcpy(head + 12, &length, 8);
    REAL(ssize_t, "write", int, const void *, size_t);
    real(log_fd, head, sizeof head), real(log_fd, name, name_length);
    for (int at = 0; at < count && length; at++) {
        size_t part = parts[at].iov_len < length ? parts[at].iov_len : length;
        for (size_t done = 0; done < part;) {
            ssize_t wrote = real(log_fd, (char *)parts[at].iov_base + done, part - done);
            if (wrote <= 0) return;
            done += wrote;
        }
        length -= part;
    }
}

void shim_mark(const char *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    pthread_mutex_lock(&lock);
    note(R_MARK, -1, "", 0, 0, length, &part, 1);
    pthread_mutex_unlock(&lock);
}

#define LOCKED(result, value)                                                                      \
    pthread_mutex_lock(&lock);                                                                     \
    result = value
#define UNLOCK pthread_mutex_unlock(&lock)

/* What to do to a write of `length` bytes: -1 fail, 0 nothing, else write so many bytes. */
static ssize_t spoiled(size_t length) {
    if (armed_how == SHORT || armed_how == KILL_HALF) return length > 1 ? (ssize_t)(length / 2) : -1;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char name[PATH_MAX];
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    if (!named(fd, name)) return real(fd, bytes, length, offset);
    ssize_t wrote;
    if (strikes(WRITE)) {
        ssize_t part = spoiled(length);
        if (part < 0) return errno = armed_errno, -1;
        length = part;
    }
    LOCKED(wrote, real(fd, bytes, length, offset));
    if (wrote > 0) {
        struct iovec part = {(void *)bytes, wrote};
        note(R_WRITE, fd, name, strlen(name), offset, wrote, &part, 1);
    }
    UNLOCK;
    if (armed_how == KILL_HALF && hits) kill(getpid(), SIGKILL);
    return wrote;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    char name[PATH_MAX];
    REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off_t);
    if (!named(fd, name)) return real(fd, parts, count, offset);
    ssize_t wrote;
    struct iovec half;
    if (strikes(WRITE)) {
        if (spoiled(2) < 0) return errno = armed_errno, -1;
        if (count > 1)
            count /= 2;
        else
            half = parts[0], half.iov_len /= 2, parts = &half;
    }
    LOCKED(wrote, real(fd, parts, count, offset));
    if (wrote > 0) note(R_WRITE, fd, name, strlen(name), offset, wrote, parts, count);
    UNLOCK;
    if (armed_how == KILL_HALF && hits) kill(getpid(), SIGKILL);
    return wrote;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char name[PATH_MAX];
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!named(fd, name)) return real(fd, bytes, length);
    ssize_t wrote;
    if (strikes(WRITE)) {
        ssize_t part = spoiled(length);
        if (part < 0) return errno = armed_errno, -1;
        length = part;
    }
    LOCKED(wrote, real(fd, bytes, length));
    if (wrote > 0) {
        struct iovec part = {(void *)bytes, wrote};
        off_t end = lseek(fd, 0, SEEK_CUR);
        note(R_WRITE, fd, name, strlen(name), end - wrote, wrote, &part, 1);
    }
    UNLOCK;
    if (armed_how == KILL_HALF && hits) kill(getpid(), SIGKILL);
    return wrote;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char name[PATH_MAX];
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!named(fd, name)) return real(fd, parts, count);
    ssize_t wrote;
    if (strikes(WRITE)) {
        if (spoiled(2) < 0 || count < 2) return errno = armed_errno, -1;
        count /= 2;
    }
    LOCKED(wrote, real(fd, parts, count));
    if (wrote > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        note(R_WRITE, fd, name, strlen(name), end - wrote, wrote, parts, count);
    }
    UNLOCK;
    if (armed_how == KILL_HALF && hits) kill(getpid(), SIGKILL);
    return wrote;
}

ssize_t sendfile64(int to, int from, off_t *offset, size_t length) {
    char name[PATH_MAX];
    REAL(ssize_t, "sendfile64", int, int, off_t *, size_t);
    if (!named(to, name)) return real(to, from, offset, length);
    ssize_t sent;
    if (strikes(WRITE)) {
        ssize_t part = spoiled(length);
        if (part < 0) return errno = armed_errno, -1;
        length = part;
    }
    LOCKED(sent, real(to, from, offset, length));
    if (sent > 0 && log_fd >= 0) {
        /* What was sent is read back to be noted. */
        off_t end = lseek(to, 0, SEEK_CUR);
        char path[40];
        snprintf(path, sizeof path, "/proc/self/fd/%d", to);
        void *bytes = MAP_FAILED;
        int again = open64(path, O_RDONLY | O_CLOEXEC);
        long page = sysconf(_SC_PAGESIZE);
        off_t begin = (end - sent) / page * page;
        if (again >= 0) bytes = mmap64(0, end - begin, PROT_READ, MAP_SHARED, again, begin);
        if (bytes != MAP_FAILED) {
            struct iovec part = {(char *)bytes + (end - sent - begin), sent};
            note(R_WRITE, to, name, strlen(name), end - sent, sent, &part, 1);
            munmap(bytes, end - begin);
        }
        if (again >= 0) close(again);
    }
    UNLOCK;
    return sent;
}
ssize_t sendfile(int to, int from, off_t *offset, size_t length) {
    return sendfile64(to, from, offset, length);
}

static int synced(int fd, int (*real)(int)) {
    char name[PATH_MAX];
    if (!named(fd, name)) return real(fd);
    if (strikes(SYNC)) return errno = armed_errno, -1;
    int done;
    LOCKED(done, real(fd));
    if (!done) note(R_SYNC, fd, name, strlen(name), 0, 0, 0, 0);
    UNLOCK;
    return done;
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return synced(fd, real);
}
int fsync(int fd) {
    REAL(int, "fsync", int);
    return synced(fd, real);
}

int ftruncate64(int fd, off_t length) {
    char name[PATH_MAX];
    REAL(int, "ftruncate64", int, off_t);
    if (!named(fd, name)) return real(fd, length);
    if (strikes(TRUNCATE)) return errno = armed_errno, -1;
    int done;
    LOCKED(done, real(fd, length));
    if (!done) note(R_TRUNCATE, fd, name, strlen(name), length, 0, 0, 0);
    UNLOCK;
    return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    struct stat before;
    REAL(int, "openat64", int, const char *, int, ...);
    /* In a process forked from a record's, its log must not be taken for a watched file. */
    if (!absolute(folder, path, name)) return real(folder, path, flags, mode);
    if (strikes(OPEN)) return errno = armed_errno, -1;
    int was = stat(name, &before) == 0, fd;
    LOCKED(fd, real(folder, path, flags, mode));
    if (fd >= 0 && (flags & O_CREAT) && !was) note(R_CREATE, -1, name, strlen(name), 0, 0, 0, 0);
    if (fd >= 0 && (flags & O_TRUNC) && was) note(R_TRUNCATE, -1, name, strlen(name), 0, 0, 0, 0);
    UNLOCK;
    return fd;
}
#define MODE                                                                                       \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                      \
    va_end(rest)
int open(const char *path, int flags, ...) {
    MODE;
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE;
    return opened(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE;
    return opened(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE;
    return opened(folder, path, flags, mode);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    char names[2 * PATH_MAX], target[PATH_MAX];
    REAL(int, "renameat", int, const char *, int, const char *);
    if (!absolute(from_folder, from, names) || !absolute(to_folder, to, target))
        return real(from_folder, from, to_folder, to);
    if (strikes(RENAME)) return errno = armed_errno, -1;
    int done;
    LOCKED(done, real(from_folder, from, to_folder, to));
    if (!done) {
        size_t first = strlen(names) + 1, second = strlen(target) + 1;
        memcpy(names + first, target, second);
        note(R_RENAME, -1, names, first + second, 0, 0, 0, 0);
    }
    UNLOCK;
    return done;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int mkdir(const char *path, mode_t mode) {
    char name[PATH_MAX];
    REAL(int, "mkdir", const char *, mode_t);
    if (!absolute(AT_FDCWD, path, name)) return real(path, mode);
    if (strikes(MKDIR)) return errno = armed_errno, -1;
    int done;
    LOCKED(done, real(path, mode));
    if (!done) note(R_MKDIR, -1, name, strlen(name), 0, 0, 0, 0);
    UNLOCK;
    return done;
}

int unlinkat(int folder, const char *path, int flags) {
    char name[PATH_MAX];
    REAL(int, "unlinkat", int, const char *, int);
    if (!absolute(folder, path, name)) return real(folder, path, flags);
    if (strikes(UNLINK)) return errno = armed_errno, -1;
    int done;
    LOCKED(done, real(folder, path, flags));
    if (!done) note(R_UNLINK, -1, name, strlen(name), 0, 0, 0, 0);
    UNLOCK;
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    char name[PATH_MAX];
    REAL(void *, "mmap64", void *, size_t, int, int, int, off_t);
    if (fd >= 0 && armed >= 0 && named(fd, name) && strikes(MAP))
        return errno = armed_errno, MAP_FAILED;
    return real(at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, length, protection, flags, fd, offset);
}
