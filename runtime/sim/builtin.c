/* builtin.c - what the driver defines for device code: vprintf, assertions, the heap of malloc and free.
 *
 * Output of a launch is collected by CTA, in order of their numbers, and waits in a buffer of the device until a call of the driver
 * synchronises; then it goes to the program's standard output, or to whom kilnsim_print names. The buffer holds the last megabyte. */
#include "api.h"
#include "../number.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRINT_BYTES = 1 << 20, MAX_FORMAT = 4096, MAX_PIECE = 1024 };
#define HEAP_BYTES ((uint64_t)8 << 20)

SimBuiltin sim_builtin_find(const char *name, size_t n) {
  static const char *const names[] = {"", "vprintf", "__assertfail", "malloc", "free"};
  for (int i = 1; i < (int)(sizeof names / sizeof names[0]); i++)
    if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) return (SimBuiltin)i;
  return BUILTIN_NONE;
}

/* ---- a lane's view of memory ---- */

static const char *host_address(const SimWarp *w, uint64_t address, uint32_t lane, uint32_t bytes) {
  uint64_t window = address & ~SIM_WINDOW_MASK, at = address & SIM_WINDOW_MASK;
  if (window == SIM_LOCAL_BASE) return sim_frame_local(w, at, lane, bytes);
  if (window == SIM_SHARED_BASE)
    return at >= w->shared_first && at <= w->shared_end && w->shared_end - at >= bytes ? w->shared + at : NULL;
  SimAlloc *a = sim_memory_range(&w->cta->launch->dev->memory, address, bytes);
  return a ? a->host + (address - a->base) : NULL;
}

/* A text that ends in 0; false: it leaves memory, or is too long. */
static bool read_text(const SimWarp *w, uint64_t address, uint32_t lane, char *out, size_t size) {
  for (size_t n = 0; n < size; n++) {
    const char *p = host_address(w, address + n, lane, 1);
    if (!p) return false;
    out[n] = *p;
    if (!*p) return true;
  }
  return false;
}

/* The value of an argument of the call, of at most 8 bytes. */
static uint64_t argument(const SimWarp *w, const SimInstr *in, const SimArg *a, uint32_t lane) {
  const SimFrame *f = &w->frames[w->depth];
  const char *p = a->operand < 0 ? f->stack + (size_t)lane * f->fn->stack_bytes + a->offset
                                 : w->regs + in->o[a->operand] + lane * (a->bytes == 8 ? 8 : 4);
  uint64_t v = 0;
  memcpy(&v, p, a->bytes < 8 ? a->bytes : 8);
  return v;
}

static void set_result(const SimWarp *w, const SimInstr *in, const SimArg *a, uint32_t lane, uint64_t v) {
  const SimFrame *f = &w->frames[w->depth];
  char *p = a->operand < 0 ? f->stack + (size_t)lane * f->fn->stack_bytes + a->offset
                           : w->regs + in->o[a->operand] + lane * (a->bytes == 8 ? 8 : 4);
  memcpy(p, &v, a->bytes < 8 ? a->bytes : 8);
}

/* ---- vprintf ---- */

typedef struct Printing {
  const SimWarp *w;
  uint32_t lane;
  uint64_t args;   /* generic address of the next argument */
  SimBuf *out;
  int wrong;       /* 0; 1: an argument that cannot be read; 2: out of memory */
} Printing;

static void put_bytes(Printing *p, const char *s, size_t n) {
  char *at = n ? sim_push(p->out, n) : NULL;
  if (at) memcpy(at, s, n);
  else if (n) p->wrong = 2;
}

static uint64_t take_argument(Printing *p, uint32_t bytes) { /* each lies at a multiple of its size */
  uint64_t v = 0;
  p->args = (p->args + bytes - 1) / bytes * bytes;
  const char *at = host_address(p->w, p->args, p->lane, bytes);
  if (at) memcpy(&v, at, bytes);
  else p->wrong = 1;
  p->args += bytes;
  return v;
}

/* The specification from '%' to its letter goes to the host's snprintf with the length of the value that was taken. */
static const char *put_conversion(Printing *p, const char *s) {
  char spec[40], piece[MAX_PIECE] = "", text[MAX_FORMAT];
  size_t n = 0;
  int length = 0;
  spec[n++] = *s++;
  while (*s && strchr("-+ #0123456789.*", *s) && n < sizeof spec - 12) {
    if (*s == '*') n += (size_t)snprintf(spec + n, 12, "%d", (int)take_argument(p, 4));
    else spec[n++] = *s;
    s++;
  }
  for (; *s && strchr("hljzt", *s); s++) length += *s == 'h' ? 0 : 1;
  char letter = *s;
  if (letter) s++;
  if (letter == '%' || !letter) {
    put_bytes(p, "%", 1);
    return s;
  }
  if (strchr("diouxX", letter)) {
    uint64_t v = take_argument(p, length ? 8 : 4);
    snprintf(spec + n, sizeof spec - n, "ll%c", letter);
    snprintf(piece, sizeof piece, spec, strchr("di", letter) && !length ? (long long)(int32_t)v : (long long)v);
  } else if (strchr("fFeEgGaA", letter)) {
    uint64_t bits = take_argument(p, 8);
    double v;
    memcpy(&v, &bits, 8);
    snprintf(spec + n, sizeof spec - n, "%c", letter);
    number_text(piece, sizeof piece, spec, v); /* a GPU knows nothing of the host's locale */
  } else if (letter == 'c') {
    snprintf(spec + n, sizeof spec - n, "c");
    snprintf(piece, sizeof piece, spec, (int)take_argument(p, 4));
  } else if (letter == 'p') {
    snprintf(piece, sizeof piece, "0x%llx", (unsigned long long)take_argument(p, 8));
  } else if (letter == 's') {
    if (!read_text(p->w, take_argument(p, 8), p->lane, text, sizeof text)) p->wrong = p->wrong ? p->wrong : 1;
    else {
      snprintf(spec + n, sizeof spec - n, "s");
      snprintf(piece, sizeof piece, spec, text);
    }
  } else {
    piece[0] = letter, piece[1] = 0; /* as the manual has it: an unknown one is undefined; it is shown */
  }
  if (!p->wrong) put_bytes(p, piece, strlen(piece));
  return s;
}

typedef struct Record { uint64_t cta; size_t at, n; } Record; /* of SimLaunch.prints: text in SimLaunch.printed */

static int print_lane(SimWarp *w, const SimInstr *in, uint32_t lane, uint64_t format, uint64_t args) {
  char text[MAX_FORMAT];
  if (!read_text(w, format, lane, text, sizeof text))
    return sim_fault(w, in, (int)lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "global", format, "vprintf reads a format where none lies");
  SimLaunch *l = w->cta->launch;
  Record *r = sim_push(&l->prints, sizeof *r);
  if (r) *r = (Record){w->cta->index, l->printed.n, 0};
  Printing p = {w, lane, args, &l->printed, r ? 0 : 2};
  for (const char *s = text; *s && !p.wrong;) {
    size_t n = strcspn(s, "%");
    put_bytes(&p, s, n);
    s += n;
    if (*s) s = put_conversion(&p, s);
  }
  if (r) SIM_AT(&l->prints, Record, SIM_COUNT(&l->prints, Record) - 1).n = l->printed.n - SIM_AT(&l->prints, Record, SIM_COUNT(&l->prints, Record) - 1).at;
  if (p.wrong == 2) return sim_fault(w, in, -1, DRV_OUT_OF_MEMORY, "memory", "", 0, "the simulator is out of memory");
  if (p.wrong)
    return sim_fault(w, in, (int)lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "", p.args, "vprintf reads an argument where none lies");
  return STEP_NEXT;
}

/* ---- the output of a device ---- */

static int compare_records(const void *a, const void *b) { /* by CTA, then as they came */
  const Record *x = a, *y = b;
  if (x->cta != y->cta) return x->cta < y->cta ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

void sim_print_collect(SimLaunch *l) {
  SimBuf *out = &l->dev->print;
  uint32_t n = SIM_COUNT(&l->prints, Record);
  if (n) qsort(l->prints.at, n, sizeof(Record), compare_records);
  for (uint32_t i = 0; i < n; i++) {
    const Record *r = &SIM_AT(&l->prints, Record, i);
    if (r->n > PRINT_BYTES) continue;
    if (out->n + r->n > PRINT_BYTES) { /* the oldest go, as in a ring */
      size_t drop = out->n + r->n - PRINT_BYTES;
      memmove(out->at, (char *)out->at + drop, out->n - drop);
      out->n -= drop;
    }
    char *at = r->n ? sim_push(out, r->n) : NULL;
    if (at) memcpy(at, (char *)l->printed.at + r->at, r->n);
  }
  sim_buf_free(&l->prints);
  sim_buf_free(&l->printed);
}

static void (*print_fn)(void *user, const char *text, size_t bytes);
static void *print_user;

void sim_print_flush(SimDevice *dev) {
  if (!dev->print.n) return;
  if (print_fn) print_fn(print_user, dev->print.at, dev->print.n);
  else {
    fwrite(dev->print.at, 1, dev->print.n, stdout);
    fflush(stdout);
  }
  sim_buf_free(&dev->print);
}

DRV_EXPORT void kilnsim_print(void (*fn)(void *user, const char *text, size_t bytes), void *user) {
  sim_enter();
  print_fn = fn;
  print_user = user;
  sim_leave(DRV_SUCCESS);
}

/* ---- the heap: a piece of global memory; blocks one after the other, each behind its size; a free one has the lowest bit set ---- */

enum { HEAP_STEP = 16 };

static uint64_t *heap_word(const SimAlloc *a, uint64_t at) { return (uint64_t *)(void *)(a->host + at); }

static SimAlloc *heap_of(const SimDevice *dev) { return sim_memory_range(&dev->memory, dev->heap, HEAP_BYTES); } /* NULL: none */

/* The bytes of the block at `at`; 0: a kernel has written over them. */
static uint64_t block_bytes(const SimAlloc *a, uint64_t at) {
  uint64_t n = *heap_word(a, at) & ~(uint64_t)1;
  return n % HEAP_STEP || n > HEAP_BYTES - at ? 0 : n;
}

/* First fit; 0: none. False: the books are overwritten. Whoever gets memory that others have freed begins anew with it. */
static bool heap_take(const SimLaunch *l, uint64_t bytes, uint64_t *address) {
  SimAlloc *a = heap_of(l->dev);
  uint64_t need = (bytes + HEAP_STEP - 1) / HEAP_STEP * HEAP_STEP + HEAP_STEP, have;
  *address = 0;
  if (!a || bytes == 0 || bytes > HEAP_BYTES) return true;
  for (uint64_t at = 0; at < HEAP_BYTES; at += have) {
    uint64_t *size = heap_word(a, at);
    have = block_bytes(a, at);
    if (!have) return false;
    if (!(*size & 1)) continue;
    for (uint64_t next = at + have; next < HEAP_BYTES && *heap_word(a, next) & 1; next = at + have) { /* neighbours that are free become one */
      if (!block_bytes(a, next)) return false;
      *size += block_bytes(a, next);
      have = block_bytes(a, at);
    }
    if (have < need) continue;
    if (have > need) *heap_word(a, at + need) = (have - need) | 1;
    *size = need;
    *address = a->base + at + HEAP_STEP;
    sim_memory_unmark(a, *address, need - HEAP_STEP);
    sim_race_forget(l, a, at + HEAP_STEP, need - HEAP_STEP);
    return true;
  }
  return true;
}

typedef enum { HEAP_GIVEN, HEAP_UNKNOWN, HEAP_OVERWRITTEN } HeapResult;

static HeapResult heap_give(SimDevice *dev, uint64_t address) {
  SimAlloc *a = heap_of(dev);
  if (address == 0) return HEAP_GIVEN;
  for (uint64_t at = 0; a && at < HEAP_BYTES; at += block_bytes(a, at)) {
    if (!block_bytes(a, at)) return HEAP_OVERWRITTEN;
    if (a->base + at + HEAP_STEP != address) continue;
    if (*heap_word(a, at) & 1) return HEAP_UNKNOWN;
    *heap_word(a, at) |= 1;
    return HEAP_GIVEN;
  }
  return HEAP_UNKNOWN;
}

bool sim_heap_open(SimDevice *dev) {
  if (heap_of(dev)) return true;
  if (sim_memory_alloc(&dev->memory, HEAP_BYTES, &dev->heap)) return false;
  SimAlloc *a = sim_memory_find(&dev->memory, dev->heap);
  *heap_word(a, 0) = HEAP_BYTES | 1;
  return true;
}

/* ---- what cooperative groups find in %envreg1 and %envreg2: a piece of memory that is 0 when the launch begins; without it, in a
 * launch that is not cooperative, the grid's barrier executes trap ---- */

enum { WORKSPACE_BYTES = 4096 };

bool sim_workspace_open(SimDevice *dev) {
  SimAlloc *a = sim_memory_range(&dev->memory, dev->workspace, WORKSPACE_BYTES);
  if (!a && sim_memory_alloc(&dev->memory, WORKSPACE_BYTES, &dev->workspace)) return false;
  if (!a) a = sim_memory_find(&dev->memory, dev->workspace);
  memset(a->host, 0, WORKSPACE_BYTES);
  sim_memory_mark(a, a->base, WORKSPACE_BYTES);
  return true;
}

/* ---- the call ---- */

static int heap_overwritten(SimWarp *w, const SimInstr *in, uint32_t lane) {
  return sim_fault(w, in, (int)lane, DRV_ILLEGAL_ADDRESS, "out_of_bounds", "global", w->cta->launch->dev->heap,
                   "finds the heap of malloc overwritten: somebody has written beyond a block");
}

static int call_lane(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t lane) {
  const SimArg *args = w->fn->args + call->first, *result = args + call->nargs;
  SimDevice *dev = w->cta->launch->dev;
  uint64_t a[5] = {0}, value = 0;
  char message[200] = "", file[200] = "", function[200] = "";
  for (uint32_t i = 0; i < call->nargs && i < 5; i++) a[i] = argument(w, in, &args[i], lane);
  switch (callee->builtin) {
  case BUILTIN_VPRINTF: {
    int step = print_lane(w, in, lane, a[0], a[1]);
    if (step != STEP_NEXT) return step;
    break;
  }
  case BUILTIN_ASSERTFAIL: /* message, file, line, function, bytes of a character */
    read_text(w, a[0], lane, message, sizeof message);
    read_text(w, a[1], lane, file, sizeof file);
    read_text(w, a[3], lane, function, sizeof function);
    return sim_fault(w, in, (int)lane, DRV_ASSERT, "assert", "", 0, "%.150s:%u: %.100s: assertion `%.150s' failed", file, (unsigned)a[2],
                     function, message);
  case BUILTIN_MALLOC:
    if (!heap_take(w->cta->launch, a[0], &value)) return heap_overwritten(w, in, lane);
    break;
  default: {
    HeapResult r = heap_give(dev, a[0]);
    if (r == HEAP_OVERWRITTEN) return heap_overwritten(w, in, lane);
    if (r == HEAP_UNKNOWN)
      return sim_fault(w, in, (int)lane, DRV_ILLEGAL_ADDRESS, "use_after_free", "global", a[0], "frees what malloc has not given, or a second time");
  }
  }
  if (call->nresults) set_result(w, in, result, lane, value);
  return STEP_NEXT;
}

int sim_builtin_call(SimWarp *w, const SimInstr *in, const SimCall *call, const SimFunction *callee, uint32_t mask) {
  int step = STEP_NEXT;
  SimLaunch *l = w->cta->launch;
  pthread_mutex_lock(&l->lock);
  for (uint32_t m = mask; m && step == STEP_NEXT; m &= m - 1) step = call_lane(w, in, call, callee, (uint32_t)__builtin_ctz(m));
  pthread_mutex_unlock(&l->lock);
  return step;
}
