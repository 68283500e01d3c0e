/* LD_PRELOAD library that remembers which writes below one folder are not synced yet.
 *
 * SIGKILL keeps the page cache, so it cannot show a missing fsync. Here every change of a file or a name below
 * $HOLDSYNC_FOLDER is noted, with what was there before, in $HOLDSYNC_LOG, before it is carried out; fsync and its like
 * only add a note. After the kill, holdsync.py takes everything back that no sync covers and puts a random part of
 * it in again: what a power cut may leave.
 *
 * Noted: write, pwrite, writev, pwritev, pwritev2, ftruncate, truncate, posix_fallocate, fallocate (as a change of
 * size), open with O_CREAT or O_TRUNC, creat, rename, link, unlink, mkdir, copy_file_range and sendfile (into a file).
 * Syncs: fsync, fdatasync, sync_file_range (the whole file), files opened with O_SYNC or O_DSYNC, sync, syncfs.
 * A name counts as synced by an fsync of its folder only, as POSIX has it.
 * Not noted: stdio streams, mappings, descriptors that fcntl duplicates, rmdir. SQLite's -shm file is a mapping, and is made anew after a crash.
 *
 *   cc -O2 -shared -fPIC -o holdsync.so holdsync.c -ldl -lpthread
 *
 * $HOLDSYNC_SYNC_US makes each sync take that many microseconds, as on a card. $HOLDSYNC_FAIL_EVERY=n makes every n-th
 * sync fail with EIO; as with a real kernel, what it should have written is then gone for good, unless it is written
 * again: a later sync succeeds without it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#undef ftruncate64
#undef open64

enum { MAX_FD = 65536 };
enum { WRITE = 1, RESIZE, SYNC, CREATE, UNLINK, RENAME, SYNC_ALL, MKDIR, FAILED };

/* One note: this head, then `first` octets, then `second` octets. The meaning of the fields depends on the kind. */
struct note {
    uint32_t magic, kind;
    uint64_t inode, offset, size, old_size, first, second;
};

static char folder[PATH_MAX], shadow[PATH_MAX];
static size_t folder_length;
static int log_fd = -1;
static long sync_us, fail_every, syncs;
static unsigned char tracked[MAX_FD]; /* 1: ours, 2: ours and every write is synced at once */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define REAL(name) static __typeof__(name) *real_##name; if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name)

static int raw_open(const char *path, int flags, int mode) { return syscall(SYS_openat, AT_FDCWD, path, flags, mode); }

static void set_up(void)
{
    const char *below = getenv("HOLDSYNC_FOLDER"), *log = getenv("HOLDSYNC_LOG"), *us = getenv("HOLDSYNC_SYNC_US");
    const char *every = getenv("HOLDSYNC_FAIL_EVERY");
    char path[PATH_MAX + 8];
    if (!below || !log || !realpath(below, folder) || !realpath(log, shadow)) return;
    folder_length = strlen(folder);
    sync_us = us ? atol(us) : 0;
    fail_every = every ? atol(every) : 0;
    snprintf(path, sizeof path, "%s/log", shadow);
    int fd = raw_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
    syscall(SYS_close, fd);
}

static int active(void) { pthread_once(&once, set_up); return log_fd >= 0; }

static int is_below(const char *path)
{
    size_t length = strlen(path);
    if (strncmp(path, folder, folder_length) != 0 || (path[folder_length] != '/' && path[folder_length] != 0)) return 0;
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static int path_of(int fd, char *out)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return 1;
}

/* The absolute path of a name whose folder exists; the name itself need not. */
static int absolute(int dirfd, const char *path, char *out)
{
    char base[PATH_MAX], joined[2 * PATH_MAX], parent[2 * PATH_MAX], real[PATH_MAX];
    if (path[0] == '/') snprintf(joined, sizeof joined, "%s", path);
    else {
        if (dirfd == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else if (!path_of(dirfd, base)) return 0;
        snprintf(joined, sizeof joined, "%s/%s", base, path);
    }
    size_t n = strlen(joined);
    while (n > 1 && joined[n - 1] == '/') joined[--n] = 0;
    snprintf(parent, sizeof parent, "%s", joined);
    char *slash = strrchr(parent, '/');
    if (!slash) return 0;
    const char *name = joined + (slash - parent) + 1;
    *slash = 0;
    if (!realpath(parent[0] ? parent : "/", real)) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", real, name) < PATH_MAX;
}

static void put_all(const void *data, size_t length)
{
    while (length) {
        ssize_t n = syscall(SYS_write, log_fd, data, length);
        if (n < 0) { if (errno == EINTR) continue; abort(); } /* without its log the test would prove nothing */
        data = (const char *)data + n;
        length -= n;
    }
}

static void put(struct note *note, const void *first, const void *second)
{
    note->magic = 0x484f4c44;
    size_t length = sizeof *note + note->first + note->second;
    char *record = malloc(length);
    if (!record) abort();
    memcpy(record, note, sizeof *note);
    if (note->first) memcpy(record + sizeof *note, first, note->first);
    if (note->second) memcpy(record + sizeof *note + note->first, second, note->second);
    put_all(record, length);
    free(record);
}

static int mine(int fd) { return active() && fd >= 0 && fd < MAX_FD ? tracked[fd] : 0; }

static void *old_octets(int fd, uint64_t offset, uint64_t length, uint64_t *found)
{
    char link[64], *data = malloc(length + 1);
    if (!data) abort();
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd); /* the descriptor itself may be for writing only */
    int reader = raw_open(link, O_RDONLY | O_CLOEXEC, 0);
    *found = 0;
    while (reader >= 0 && *found < length) {
        ssize_t n = syscall(SYS_pread64, reader, data + *found, length - *found, (loff_t)(offset + *found));
        if (n <= 0) break;
        *found += n;
    }
    if (reader >= 0) syscall(SYS_close, reader);
    return data;
}

static void note_sync(uint64_t inode) { struct note n = {.kind = SYNC, .inode = inode}; put(&n, 0, 0); }

/* Before `length` octets are written at `offset`: what they are and what they replace. Called with the lock. */
static void note_write(int fd, const void *data, size_t length, uint64_t offset)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return;
    struct note n = {.kind = WRITE, .inode = st.st_ino, .offset = offset, .old_size = st.st_size, .first = length};
    void *old = old_octets(fd, offset, length, &n.second);
    put(&n, data, old);
    free(old);
}

static void note_resize(int fd, uint64_t size)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return;
    struct note n = {.kind = RESIZE, .inode = st.st_ino, .size = size, .old_size = st.st_size};
    void *old = 0;
    if (size < (uint64_t)st.st_size) old = old_octets(fd, size, st.st_size - size, &n.first);
    put(&n, old, 0);
    free(old);
}

static void written(int fd)
{
    struct stat st;
    if (tracked[fd] == 2 && fstat(fd, &st) == 0) note_sync(st.st_ino);
}

static uint64_t parent_inode(const char *path)
{
    char parent[PATH_MAX];
    struct stat st;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return 0;
    *slash = 0;
    return stat(parent, &st) == 0 ? st.st_ino : 0;
}

/* Keep the file of a name that goes away, so that the name can be put back. */
static void keep(const char *path, uint64_t inode)
{
    char kept[PATH_MAX + 32];
    snprintf(kept, sizeof kept, "%s/%llu", shadow, (unsigned long long)inode);
    syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
}

static void note_name(int kind, const char *path, const char *other, uint64_t inode, uint64_t replaced)
{
    struct note n = {.kind = kind, .inode = inode, .offset = parent_inode(path), .size = replaced};
    n.old_size = other ? parent_inode(other) : 0;
    n.first = strlen(path);
    n.second = other ? strlen(other) : 0;
    put(&n, path, other);
}

/* ── data ───────────────────────────────────────────────────────────────────────────────────────────────────── */

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    if (!mine(fd)) return syscall(SYS_pwrite64, fd, data, length, offset);
    pthread_mutex_lock(&lock);
    note_write(fd, data, length, offset);
    ssize_t n = syscall(SYS_pwrite64, fd, data, length, offset);
    int error = errno;
    written(fd);
    pthread_mutex_unlock(&lock);
    errno = error;
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

static uint64_t place(int fd)
{
    struct stat st;
    if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &st) == 0) return st.st_size;
    return syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t length)
{
    if (!mine(fd)) return syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&lock);
    note_write(fd, data, length, place(fd));
    ssize_t n = syscall(SYS_write, fd, data, length);
    int error = errno;
    written(fd);
    pthread_mutex_unlock(&lock);
    errno = error;
    return n;
}

static void *gathered(const struct iovec *vectors, int count, size_t *length)
{
    *length = 0;
    for (int i = 0; i < count; i++) *length += vectors[i].iov_len;
    char *data = malloc(*length + 1), *at = data;
    if (!data) abort();
    for (int i = 0; i < count; i++) { memcpy(at, vectors[i].iov_base, vectors[i].iov_len); at += vectors[i].iov_len; }
    return data;
}

ssize_t writev(int fd, const struct iovec *vectors, int count)
{
    if (!mine(fd)) return syscall(SYS_writev, fd, vectors, count);
    size_t length;
    void *data = gathered(vectors, count, &length);
    ssize_t n = write(fd, data, length);
    free(data);
    return n;
}

ssize_t pwritev64(int fd, const struct iovec *vectors, int count, off64_t offset)
{
    size_t length;
    void *data = gathered(vectors, count, &length);
    ssize_t n = pwrite64(fd, data, length, offset);
    free(data);
    return n;
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t offset) { return pwritev64(fd, v, count, offset); }
ssize_t pwritev2(int fd, const struct iovec *v, int count, off_t offset, int flags)
{ (void)flags; return offset == -1 ? writev(fd, v, count) : pwritev64(fd, v, count, offset); }
ssize_t pwritev64v2(int fd, const struct iovec *v, int count, off64_t offset, int flags)
{ return pwritev2(fd, v, count, offset, flags); }

/* Copies inside the kernel become a read and a write, which are noted. */
static ssize_t copied(int in, off64_t *from, int out, off64_t *to, size_t length)
{
    char *data = malloc(length + 1);
    if (!data) abort();
    ssize_t n = from ? syscall(SYS_pread64, in, data, length, *from) : syscall(SYS_read, in, data, length);
    if (n > 0) {
        n = to ? pwrite64(out, data, n, *to) : write(out, data, n);
        if (n > 0 && from) *from += n;
        if (n > 0 && to) *to += n;
    }
    free(data);
    return n;
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags)
{
    if (!mine(out)) return syscall(SYS_copy_file_range, in, from, out, to, length, flags);
    return copied(in, from, out, to, length < (1 << 20) ? length : 1 << 20);
}

ssize_t sendfile64(int out, int in, off64_t *from, size_t length)
{
    if (!mine(out)) return syscall(SYS_sendfile, out, in, from, length);
    return copied(in, from, out, 0, length < (1 << 20) ? length : 1 << 20);
}

ssize_t sendfile(int out, int in, off_t *from, size_t length) { return sendfile64(out, in, from, length); }

int ftruncate64(int fd, off64_t size)
{
    if (!mine(fd)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    note_resize(fd, size);
    int r = syscall(SYS_ftruncate, fd, size);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int open(const char *path, int flags, ...);
int close(int fd);

int truncate64(const char *path, off64_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int r = ftruncate64(fd, size), error = errno;
    close(fd);
    errno = error;
    return r;
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

static void note_growth(int fd, uint64_t end)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && end > (uint64_t)st.st_size) note_resize(fd, end);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
    REAL(posix_fallocate64);
    if (!mine(fd)) return real_posix_fallocate64(fd, offset, length);
    pthread_mutex_lock(&lock);
    note_growth(fd, offset + length);
    int r = syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
    pthread_mutex_unlock(&lock);
    return r;
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    if (mine(fd) && mode == 0) { errno = posix_fallocate64(fd, offset, length); return errno ? -1 : 0; }
    return syscall(SYS_fallocate, fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

/* ── syncs ──────────────────────────────────────────────────────────────────────────────────────────────────── */

static int synced(int fd)
{
    struct stat st;
    if (sync_us) usleep(sync_us);
    if (fstat(fd, &st) != 0) return -1;
    pthread_mutex_lock(&lock);
    int fails = fail_every && ++syncs % fail_every == 0;
    struct note n = {.kind = fails ? FAILED : SYNC, .inode = st.st_ino};
    put(&n, 0, 0);
    pthread_mutex_unlock(&lock);
    if (fails) { errno = EIO; return -1; }
    return 0; /* nothing reaches the disk in fact: only this process dies, not the machine */
}

int fsync(int fd) { return mine(fd) ? synced(fd) : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return mine(fd) ? synced(fd) : (int)syscall(SYS_fdatasync, fd); }
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{ return mine(fd) ? synced(fd) : (int)syscall(SYS_sync_file_range, fd, offset, length, flags); }

static void all_synced(void)
{
    struct note n = {.kind = SYNC_ALL};
    if (!active()) return;
    pthread_mutex_lock(&lock);
    put(&n, 0, 0);
    pthread_mutex_unlock(&lock);
}

void sync(void) { all_synced(); }
int syncfs(int fd) { (void)fd; all_synced(); return 0; }

/* ── names ──────────────────────────────────────────────────────────────────────────────────────────────────── */

static int opened(int dirfd, const char *path, int flags, int mode)
{
    char whole[PATH_MAX];
    struct stat st;
    if (!active()) return syscall(SYS_openat, dirfd, path, flags, mode);
    int ours = (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE
        && absolute(dirfd, path, whole) && is_below(whole);
    if (ours) pthread_mutex_lock(&lock);
    int existed = ours && lstat(whole, &st) == 0;
    if (existed && (flags & O_TRUNC) && !((flags & O_CREAT) && (flags & O_EXCL))) {
        int fd = raw_open(whole, O_WRONLY | O_CLOEXEC, 0);
        if (fd >= 0) { note_resize(fd, 0); syscall(SYS_close, fd); }
    }
    int fd = syscall(SYS_openat, dirfd, path, flags, mode);
    int error = errno;
    if (ours && fd >= 0 && !existed && fstat(fd, &st) == 0) note_name(CREATE, whole, 0, st.st_ino, 0);
    if (ours) pthread_mutex_unlock(&lock);
    if (fd >= 0 && fd < MAX_FD) {
        tracked[fd] = path_of(fd, whole) && is_below(whole);
        if (tracked[fd] && (flags & (O_SYNC | O_DSYNC))) tracked[fd] = 2;
    }
    errno = error;
    return fd;
}

static int mode_of(int flags, va_list *arguments)
{ return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(*arguments, int) : 0; }

#define WITH_MODE(call) do { va_list a; va_start(a, flags); int mode = mode_of(flags, &a); va_end(a); return call; } while (0)
int open(const char *path, int flags, ...) { WITH_MODE(opened(AT_FDCWD, path, flags, mode)); }
int open64(const char *path, int flags, ...) { WITH_MODE(opened(AT_FDCWD, path, flags | O_LARGEFILE, mode)); }
int openat(int dirfd, const char *path, int flags, ...) { WITH_MODE(opened(dirfd, path, flags, mode)); }
int openat64(int dirfd, const char *path, int flags, ...) { WITH_MODE(opened(dirfd, path, flags | O_LARGEFILE, mode)); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags | O_LARGEFILE, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd)
{
    if (fd >= 0 && fd < MAX_FD) tracked[fd] = 0;
    return syscall(SYS_close, fd);
}

static void inherit(int from, int to)
{ if (from >= 0 && from < MAX_FD && to >= 0 && to < MAX_FD) tracked[to] = tracked[from]; }

int dup(int fd) { int r = syscall(SYS_dup, fd); inherit(fd, r); return r; }
int dup2(int fd, int to) { REAL(dup2); int r = real_dup2(fd, to); inherit(fd, r); return r; }
int dup3(int fd, int to, int flags) { int r = syscall(SYS_dup3, fd, to, flags); inherit(fd, r); return r; }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    char old[PATH_MAX], new[PATH_MAX];
    struct stat st, replaced = {0};
    if (!active() || !absolute(from_dir, from, old) || !absolute(to_dir, to, new) || !is_below(new) || lstat(old, &st) != 0)
        return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    if (lstat(new, &replaced) == 0) keep(new, replaced.st_ino);
    int r = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    int error = errno;
    if (r == 0) note_name(RENAME, new, old, st.st_ino, replaced.st_ino);
    pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int fd, const char *from, int td, const char *to) { return renameat2(fd, from, td, to, 0); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    char new[PATH_MAX];
    struct stat st;
    int ours = active() && absolute(to_dir, to, new) && is_below(new);
    if (ours) pthread_mutex_lock(&lock);
    int r = syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    int error = errno;
    if (ours && r == 0 && lstat(new, &st) == 0) note_name(CREATE, new, 0, st.st_ino, 0);
    if (ours) pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *path, int flags)
{
    char whole[PATH_MAX];
    struct stat st;
    if (!active() || !absolute(dirfd, path, whole) || !is_below(whole) || lstat(whole, &st) != 0 || !S_ISREG(st.st_mode))
        return syscall(SYS_unlinkat, dirfd, path, flags);
    pthread_mutex_lock(&lock);
    keep(whole, st.st_ino);
    int r = syscall(SYS_unlinkat, dirfd, path, flags);
    int error = errno;
    if (r == 0) note_name(UNLINK, whole, 0, st.st_ino, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int remove(const char *path) { int r = unlinkat(AT_FDCWD, path, 0); return r && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : r; }

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    char whole[PATH_MAX];
    struct stat st;
    int ours = active() && absolute(dirfd, path, whole) && is_below(whole);
    if (ours) pthread_mutex_lock(&lock);
    int r = syscall(SYS_mkdirat, dirfd, path, mode);
    int error = errno;
    if (ours && r == 0 && lstat(whole, &st) == 0) note_name(MKDIR, whole, 0, st.st_ino, 0);
    if (ours) pthread_mutex_unlock(&lock);
    errno = error;
    return r;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
