/* An nbdkit plugin: a disk that loses power.
 *
 * Writes stay in memory until a flush (or carry FUA). When nbdkit ends, power is gone: a random part of what was not
 * flushed reaches the file, the rest is lost, and a write of several sectors may be torn between any two of them.
 *
 * Parameters: file=PATH (changed in place), seed=N, flush_us=N (how long a flush takes; default 2000),
 * cache=SIZE (what the disk holds back at most before it writes by itself; default 64M), report=PATH (JSON, at the end).
 *
 * What is durable is what a disk with a volatile cache promises, and no more:
 *   - a flush covers every write that was answered before it; a flush that was cut short covers nothing by promise;
 *   - a FUA write is durable by itself, and makes no other write durable;
 *   - a sector of 512 bytes is never torn; between sectors, and between writes, there is no order.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* The log is one list in the order of the writes, so requests must come one at a time. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

#define SECTOR 512
#define PAGE 4096

struct held {               /* a write that no flush has covered yet */
  uint64_t offset;
  uint32_t size;
  bool durable;             /* FUA: in the file already; kept here so that older writes cannot come back over it */
  struct held *next;
  unsigned char data[];
};

struct page {               /* what a read must see: the newest held sectors of one page */
  unsigned char data[PAGE];
  uint8_t valid;            /* one bit a sector */
};

static char *file_path, *report_path;
static uint64_t seed = 1;
static unsigned flush_us = 2000;
static int64_t cache_size = 64 << 20;

static int fd = -1;
static uint64_t disk_size;
static struct page **pages;
static size_t page_count;
static struct held *first, *last;
static int64_t held_bytes;

static struct {
  uint64_t writes, bytes, flushes, fua, overflows;   /* while there was power */
  uint64_t held, whole, torn, dropped, lost_bytes;   /* at the cut */
} tally;

/* splitmix64: the same seed must lose the same sectors everywhere. */
static uint64_t
chance (void)
{
  uint64_t z = (seed += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

static int
cutdisk_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0) {
    free (file_path);
    return (file_path = nbdkit_realpath (value)) ? 0 : -1;
  }
  if (strcmp (key, "report") == 0) {
    free (report_path);
    return (report_path = nbdkit_absolute_path (value)) ? 0 : -1;
  }
  if (strcmp (key, "seed") == 0)
    return nbdkit_parse_uint64_t ("seed", value, &seed);
  if (strcmp (key, "flush_us") == 0)
    return nbdkit_parse_unsigned ("flush_us", value, &flush_us);
  if (strcmp (key, "cache") == 0)
    return (cache_size = nbdkit_parse_size (value)) == -1 ? -1 : 0;
  nbdkit_error ("unknown parameter '%s'; there are file, report, seed, flush_us, cache", key);
  return -1;
}

static int
cutdisk_config_complete (void)
{
  if (file_path)
    return 0;
  nbdkit_error ("file=PATH is missing");
  return -1;
}

static int
cutdisk_get_ready (void)
{
  struct stat st;
  fd = open (file_path, O_RDWR | O_CLOEXEC);
  if (fd == -1 || fstat (fd, &st) == -1) {
    nbdkit_error ("%s: %m", file_path);
    return -1;
  }
  disk_size = st.st_size;
  if (disk_size % SECTOR != 0) {
    nbdkit_error ("%s: %" PRIu64 " bytes are no whole number of sectors", file_path, disk_size);
    return -1;
  }
  page_count = (disk_size + PAGE - 1) / PAGE;
  pages = calloc (page_count, sizeof *pages);
  if (!pages) {
    nbdkit_error ("calloc: %m");
    return -1;
  }
  return 0;
}

static int
to_file (const unsigned char *data, uint64_t size, uint64_t offset)
{
  while (size > 0) {
    ssize_t n = pwrite (fd, data, size, offset);
    if (n == -1) {
      if (errno == EINTR)
        continue;
      nbdkit_error ("%s: %m", file_path);
      return -1;
    }
    data += n; size -= n; offset += n;
  }
  return 0;
}

static void
forget (void)
{
  for (struct held *h = first, *next; h; h = next) {
    next = h->next;
    for (uint64_t p = h->offset / PAGE; p <= (h->offset + h->size - 1) / PAGE; p++) {
      free (pages[p]);
      pages[p] = NULL;
    }
    free (h);
  }
  first = last = NULL;
  held_bytes = 0;
}

/* Bring all that is held to the file, in order. */
static int
settle (void)
{
  for (struct held *h = first; h; h = h->next)
    if (to_file (h->data, h->size, h->offset) == -1)
      return -1;
  forget ();
  return 0;
}

static void *
cutdisk_open (int readonly)
{
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
cutdisk_get_size (void *handle)
{
  return disk_size;
}

static int
cutdisk_block_size (void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
  *minimum = SECTOR;
  *preferred = PAGE;
  *maximum = 32 << 20;
  return 0;
}

static int
cutdisk_can_fua (void *handle)
{
  return NBDKIT_FUA_NATIVE;
}

static int
cutdisk_pread (void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
  unsigned char *out = buf;
  for (uint32_t got = 0; got < count;) {
    ssize_t n = pread (fd, out + got, count - got, offset + got);
    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0) {
      nbdkit_error ("%s: %m", file_path);
      return -1;
    }
    got += n;
  }
  if (!first)
    return 0;
  for (uint32_t at = 0; at < count; at += SECTOR) {
    uint64_t place = offset + at;
    const struct page *page = pages[place / PAGE];
    if (page && page->valid & (1 << place % PAGE / SECTOR))
      memcpy (out + at, page->data + place % PAGE, SECTOR);
  }
  return 0;
}

/* Let reads see `data`. Memory for all pages is there or nothing was changed. */
static int
show (const unsigned char *data, uint32_t count, uint64_t offset)
{
  for (uint64_t p = offset / PAGE; p <= (offset + count - 1) / PAGE; p++)
    if (!pages[p] && !(pages[p] = calloc (1, sizeof (struct page)))) {
      nbdkit_error ("calloc: %m");
      return -1;
    }
  for (uint32_t at = 0; at < count; at += SECTOR) {
    uint64_t place = offset + at;
    struct page *page = pages[place / PAGE];
    memcpy (page->data + place % PAGE, data + at, SECTOR);
    page->valid |= 1 << place % PAGE / SECTOR;
  }
  return 0;
}

static int
cutdisk_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
  if (count % SECTOR || offset % SECTOR) {
    nbdkit_error ("write of %" PRIu32 " bytes at %" PRIu64 " is not whole sectors", count, offset);
    errno = EINVAL;
    return -1;
  }
  if (count == 0)
    return 0;
  struct held *h = malloc (sizeof *h + count);
  if (!h || show (buf, count, offset) == -1) {
    free (h);
    errno = ENOMEM;
    return -1;
  }
  *h = (struct held) { .offset = offset, .size = count, .durable = flags & NBDKIT_FLAG_FUA };
  memcpy (h->data, buf, count);
  if (last)
    last->next = h;
  else
    first = h;
  last = h;
  held_bytes += count;
  tally.writes++;
  tally.bytes += count;
  tally.fua += h->durable;
  if (h->durable && to_file (buf, count, offset) == -1)
    return -1;
  if (held_bytes > cache_size) {      /* a full cache writes back by itself; that promises nothing */
    tally.overflows++;
    return settle ();
  }
  return 0;
}

static int
cutdisk_flush (void *handle, uint32_t flags)
{
  /* Without a span in which a flush is on its way, a cut would hardly ever meet one. A client that is killed
   * meanwhile ends the sleep, and then this flush has not happened. */
  if (flush_us && first && nbdkit_nanosleep (flush_us / 1000000, flush_us % 1000000 * 1000) == -1) {
    errno = EIO;
    return -1;
  }
  tally.flushes++;
  return settle ();
}

/* Keep a random part of one write's sectors. */
static void
tear (const struct held *h)
{
  unsigned kept = 0, sectors = h->size / SECTOR;
  uint64_t share = chance () % 254 + 1;       /* of 256: few, half, or nearly all of them */
  for (unsigned i = 0; i < sectors; i++) {
    bool keep = (chance () & 255) < share;
    if (i == sectors - 1 && kept == sectors - 1)
      keep = false;
    if (keep && to_file (h->data + i * SECTOR, SECTOR, h->offset + i * SECTOR) == 0)
      kept++;
  }
  tally.lost_bytes += (uint64_t) (sectors - kept) * SECTOR;
  tally.torn++;
}

/* Power goes. Writes are gone through in order, so a survivor is never covered by an older one. */
static void
cut (void)
{
  uint64_t mood = chance () % 8;              /* now and then all is lost, or nothing */
  for (const struct held *h = first; h; h = h->next) {
    uint64_t fate = mood == 0 ? 0 : mood == 1 ? 1 : chance () % 3;
    tally.held++;
    if (h->durable || fate == 1) {
      if (to_file (h->data, h->size, h->offset) == 0)
        tally.whole++;
    }
    else if (fate == 0 || h->size == SECTOR) {
      tally.dropped++;
      tally.lost_bytes += h->size;
    }
    else
      tear (h);
  }
  forget ();
}

static void
cutdisk_unload (void)
{
  if (fd != -1)
    cut ();
  FILE *report = report_path ? fopen (report_path, "w") : NULL;
  if (report) {
    fprintf (report, "{\"writes\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"flushes\": %" PRIu64 ", \"fua\": %" PRIu64
             ", \"overflows\": %" PRIu64 ", \"held\": %" PRIu64 ", \"whole\": %" PRIu64 ", \"torn\": %" PRIu64
             ", \"dropped\": %" PRIu64 ", \"lost_bytes\": %" PRIu64 "}\n",
             tally.writes, tally.bytes, tally.flushes, tally.fua, tally.overflows, tally.held, tally.whole, tally.torn,
             tally.dropped, tally.lost_bytes);
    fclose (report);
  }
  if (fd != -1)
    close (fd);
  free (pages);
  free (file_path);
  free (report_path);
}

static struct nbdkit_plugin plugin = {
  .name = "cutdisk",
  .description = "A disk that loses what was not flushed when power goes",
  .config = cutdisk_config,
  .config_complete = cutdisk_config_complete,
  .config_help = "file=PATH [seed=N] [flush_us=N] [cache=SIZE] [report=PATH]",
  .magic_config_key = "file",
  .get_ready = cutdisk_get_ready,
  .unload = cutdisk_unload,
  .open = cutdisk_open,
  .get_size = cutdisk_get_size,
  .block_size = cutdisk_block_size,
  .can_fua = cutdisk_can_fua,
  .pread = cutdisk_pread,
  .pwrite = cutdisk_pwrite,
  .flush = cutdisk_flush,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
