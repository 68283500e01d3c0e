/* An nbdkit plugin: a disk that loses power.
 *
 * Writes stay in memory until a flush (or carry FUA). When nbdkit ends, power is gone: a random part of what was not
 * flushed reaches the file, the rest is lost, and a write of several sectors may be torn between any two of them.
 *
 * Parameters: file=PATH (changed in place), seed=N, flush_us=N (how long a flush takes; default 2000),
 * cache=SIZE (what the disk holds back at most before it writes by itself; default 64M), report=PATH (JSON, at the end),
 * panel=PATH and copy=PATH (below).
 *
 * What is durable is what a disk with a volatile cache promises, and no more:
 *   - a flush covers every write that was answered before it; a flush that was cut short covers nothing by promise;
 *   - a FUA write is durable by itself, and makes no other write durable;
 *   - a sector of 512 bytes is never torn; between sectors, and between writes, there is no order.
 *
 * The panel is a file of 64-bit numbers, mapped by us and by whoever conducts the test. There it orders the moment of a
 * cut: at a write or in a flush. The disk stands still in that moment, before that request is answered, until the guest
 * is killed or the conductor lets it go on. Meanwhile `copy`, a copy of `file`, can be given what a cut would leave.
 * There too a card can be made to lie: flushes and FUA are answered and not done.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* The log is one list in the order of the writes, so requests must come one at a time. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

#define SECTOR 512
#define PAGE 4096
#define LOOK_US 2000        /* how often a disk that stands still looks at its panel */

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

/* disk.py knows this layout. A number is written by one side only; `order` and `copy` last, as they set things off. */
struct panel {
  uint64_t order;             /* of a moment, counted up */
  uint64_t writes;            /* stand still in the so-manieth write from then on; 0: in none */
  uint64_t flushes;           /* in the so-manieth flush, before it is done; 0: in none */
  uint64_t held;              /* but not before so many writes are not flushed */
  uint64_t from, to;          /* only writes count that begin in this range of bytes */
  uint64_t release;           /* the order that may go on */
  uint64_t copy;              /* wanted loss on the copy, counted up */
  uint64_t lie;               /* every so-manieth flush and FUA write is answered and not done; 0: none */
  uint64_t lose_all;          /* 1: a cut takes all that is not flushed, instead of a random part */

  uint64_t frozen;            /* ours: the order whose moment is now */
  uint64_t copied;            /* the loss that is done; its tally: */
  uint64_t lost[5];
};

static char *file_path, *report_path, *panel_path, *copy_path;
static volatile struct panel *panel;
static uint64_t seed = 1;
static unsigned flush_us = 2000;
static int64_t cache_size = 64 << 20;

static int fd = -1;
static uint64_t disk_size;
static struct page **pages;
static size_t page_count;
static struct held *first, *last;
static int64_t held_bytes;
static uint64_t held_count;
static bool gone;             /* the moment of the cut has passed: nothing that comes now arrives */

static struct {             /* of the moment that is ordered */
  uint64_t order, writes, flushes;
} counted;

struct loss {
  uint64_t held, whole, torn, dropped, lost_bytes;
};

static struct {
  uint64_t writes, bytes, flushes, fua, overflows, lies;   /* while there was power */
  struct loss cut;
} tally;

#define PARAMETERS "file=PATH [seed=N] [flush_us=N] [cache=SIZE] [report=PATH] [panel=PATH] [copy=PATH]"

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
  if (strcmp (key, "panel") == 0) {
    free (panel_path);
    return (panel_path = nbdkit_realpath (value)) ? 0 : -1;
  }
  if (strcmp (key, "copy") == 0) {
    free (copy_path);
    return (copy_path = nbdkit_absolute_path (value)) ? 0 : -1;
  }
  if (strcmp (key, "seed") == 0)
    return nbdkit_parse_uint64_t ("seed", value, &seed);
  if (strcmp (key, "flush_us") == 0)
    return nbdkit_parse_unsigned ("flush_us", value, &flush_us);
  if (strcmp (key, "cache") == 0)
    return (cache_size = nbdkit_parse_size (value)) == -1 ? -1 : 0;
  nbdkit_error ("unknown parameter '%s=%s'; there are " PARAMETERS, key, value);
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
map_panel (void)
{
  int file = open (panel_path, O_RDWR | O_CLOEXEC);
  void *at = file == -1 ? MAP_FAILED : mmap (NULL, sizeof *panel, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file != -1)
    close (file);
  if (at == MAP_FAILED) {
    nbdkit_error ("%s: %m", panel_path);
    return -1;
  }
  panel = at;
  return 0;
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
  return panel_path ? map_panel () : 0;
}

static int
to_file (int target, const unsigned char *data, uint64_t size, uint64_t offset)
{
  while (size > 0) {
    ssize_t n = pwrite (target, data, size, offset);
    if (n == -1) {
      if (errno == EINTR)
        continue;
      nbdkit_error ("write: %m");
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
  held_count = 0;
}

/* Bring all that is held to the file, in order. */
static int
settle (void)
{
  for (struct held *h = first; h; h = h->next)
    if (to_file (fd, h->data, h->size, h->offset) == -1)
      return -1;
  forget ();
  return 0;
}

/* Keep a random part of one write's sectors. */
static void
tear (int target, const struct held *h, struct loss *loss)
{
  unsigned kept = 0, sectors = h->size / SECTOR;
  uint64_t share = chance () % 254 + 1;       /* of 256: few, half, or nearly all of them */
  for (unsigned i = 0; i < sectors; i++) {
    bool keep = (chance () & 255) < share;
    if (i == sectors - 1 && kept == sectors - 1)
      keep = false;
    if (keep && to_file (target, h->data + i * SECTOR, SECTOR, h->offset + i * SECTOR) == 0)
      kept++;
  }
  loss->lost_bytes += (uint64_t) (sectors - kept) * SECTOR;
  loss->torn++;
}

enum fate { DROP, KEEP, TEAR };

/* What becomes of the n-th of the held writes. Beside plain chance there are the moods of a disk that are the hardest
 * for a file system: all is lost or nothing, one write alone is kept or lost (the last one: a commit without what it
 * commits), the older or the newer part is kept. */
static enum fate
fate (uint64_t mood, uint64_t border, uint64_t n)
{
  switch (mood) {
  case 0: return DROP;
  case 1: return KEEP;
  case 2: return n == held_count - 1 ? KEEP : DROP;
  case 3: return n == border ? DROP : KEEP;
  case 4: return n < border ? KEEP : n == border ? TEAR : DROP;
  case 5: return n > border ? KEEP : DROP;
  default: return chance () % 3;
  }
}

/* Power goes. Writes are gone through in order, so a survivor is never covered by an older one. */
static struct loss
lose (int target)
{
  struct loss loss = { .held = held_count };
  uint64_t mood = panel && panel->lose_all ? 0 : chance () % 12;
  uint64_t border = held_count ? chance () % held_count : 0, n = 0;
  for (const struct held *h = first; h; h = h->next) {
    enum fate its = fate (mood, border, n++);
    if (h->durable || its == KEEP) {
      if (to_file (target, h->data, h->size, h->offset) == 0)
        loss.whole++;
    }
    else if (its == DROP || h->size == SECTOR) {
      loss.dropped++;
      loss.lost_bytes += h->size;
    }
    else
      tear (target, h, &loss);
  }
  return loss;
}

/* Give the copy of the file what a cut would leave now. */
static void
lose_on_copy (uint64_t wanted)
{
  struct loss loss = { 0 };
  int target = copy_path ? open (copy_path, O_WRONLY | O_CLOEXEC) : -1;
  if (target == -1) {
    nbdkit_error ("copy=%s: %m", copy_path ? copy_path : "");
    return;                                   /* whoever waits for it waits in vain, and finds the words in the log */
  }
  loss = lose (target);
  close (target);
  panel->lost[0] = loss.held;
  panel->lost[1] = loss.whole;
  panel->lost[2] = loss.torn;
  panel->lost[3] = loss.dropped;
  panel->lost[4] = loss.lost_bytes;
  __atomic_store_n (&panel->copied, wanted, __ATOMIC_RELEASE);
}

/* Stand still, if this write (or flush) is the moment that is ordered. -1: the guest was killed in it. */
static int
stand_still (bool is_flush, uint64_t offset)
{
  if (gone) {
    errno = EIO;
    return -1;
  }
  if (!panel)
    return 0;
  uint64_t order = __atomic_load_n (&panel->order, __ATOMIC_ACQUIRE);
  if (order == panel->frozen)
    return 0;
  if (order != counted.order) {
    counted.order = order;
    counted.writes = counted.flushes = 0;
  }
  if (is_flush)
    counted.flushes++;
  else if (offset >= panel->from && offset < panel->to)
    counted.writes++;
  else
    return 0;
  bool now = is_flush ? panel->flushes && counted.flushes >= panel->flushes
                      : panel->writes && counted.writes >= panel->writes;
  if (!now || held_count < panel->held)
    return 0;
  __atomic_store_n (&panel->frozen, order, __ATOMIC_RELEASE);
  while (__atomic_load_n (&panel->release, __ATOMIC_ACQUIRE) != order) {
    uint64_t wanted = __atomic_load_n (&panel->copy, __ATOMIC_ACQUIRE);
    if (wanted != panel->copied)
      lose_on_copy (wanted);
    if (nbdkit_nanosleep (0, LOOK_US * 1000) == -1) {
      gone = true;
      errno = EIO;
      return -1;
    }
  }
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

static bool
lies (void)
{
  static uint64_t asked;
  bool does = panel && panel->lie && ++asked % panel->lie == 0;
  tally.lies += does;
  return does;
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
  if (gone) {
    errno = EIO;
    return -1;
  }
  struct held *h = malloc (sizeof *h + count);
  if (!h || show (buf, count, offset) == -1) {
    free (h);
    errno = ENOMEM;
    return -1;
  }
  *h = (struct held) { .offset = offset, .size = count };
  memcpy (h->data, buf, count);
  if (last)
    last->next = h;
  else
    first = h;
  last = h;
  held_bytes += count;
  held_count++;
  tally.writes++;
  tally.bytes += count;
  if (stand_still (false, offset) == -1)      /* it is on its way, so it may be lost even with FUA */
    return -1;
  if (flags & NBDKIT_FLAG_FUA) {
    tally.fua++;
    h->durable = !lies ();
    if (h->durable && to_file (fd, buf, count, offset) == -1)
      return -1;
  }
  if (held_bytes > cache_size) {      /* a full cache writes back by itself; that promises nothing */
    tally.overflows++;
    return settle ();
  }
  return 0;
}

static int
cutdisk_flush (void *handle, uint32_t flags)
{
  if (stand_still (true, 0) == -1)
    return -1;
  /* Without a span in which a flush is on its way, a cut would hardly ever meet one. A client that is killed
   * meanwhile ends the sleep, and then this flush has not happened. */
  if (flush_us && first && nbdkit_nanosleep (flush_us / 1000000, flush_us % 1000000 * 1000) == -1) {
    gone = true;
    errno = EIO;
    return -1;
  }
  tally.flushes++;
  return lies () ? 0 : settle ();
}

static void
cutdisk_unload (void)
{
  if (fd != -1) {
    tally.cut = lose (fd);
    forget ();
  }
  FILE *report = report_path ? fopen (report_path, "w") : NULL;
  if (report) {
    fprintf (report, "{\"writes\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"flushes\": %" PRIu64 ", \"fua\": %" PRIu64
             ", \"overflows\": %" PRIu64 ", \"lies\": %" PRIu64 ", \"held\": %" PRIu64 ", \"whole\": %" PRIu64
             ", \"torn\": %" PRIu64 ", \"dropped\": %" PRIu64 ", \"lost_bytes\": %" PRIu64 "}\n",
             tally.writes, tally.bytes, tally.flushes, tally.fua, tally.overflows, tally.lies, tally.cut.held,
             tally.cut.whole, tally.cut.torn, tally.cut.dropped, tally.cut.lost_bytes);
    fclose (report);
  }
  if (fd != -1)
    close (fd);
  free (pages);
  free (file_path);
  free (report_path);
  free (panel_path);
  free (copy_path);
}

static struct nbdkit_plugin plugin = {
  .name = "cutdisk",
  .description = "A disk that loses what was not flushed when power goes",
  .config = cutdisk_config,
  .config_complete = cutdisk_config_complete,
  .config_help = PARAMETERS,
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
