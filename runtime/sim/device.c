/* device.c - simulated devices and the driver's state: options, the lock, this thread's contexts and message. */
#include "api.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

SimState sim_state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char message[1600];

void sim_enter(void) {
  pthread_mutex_lock(&lock);
  message[0] = 0;
}

DrvResult sim_leave(DrvResult code) {
  pthread_mutex_unlock(&lock);
  return code;
}

DrvResult sim_say(DrvResult code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(message, sizeof message, fmt, ap);
  va_end(ap);
  return code;
}

const char *sim_message(void) { return message; }

DrvResult sim_refuse(const char *why) {
  sim_enter();
  sim_report_hand('r', why);
  return sim_leave(sim_say(DRV_NOT_SUPPORTED, "%s", why));
}

/* ---- handles ---- */

bool sim_handle_add(SimBuf *list, void *h) {
  void **slot = sim_push(list, sizeof *slot);
  if (!slot) return false;
  *slot = h;
  return true;
}

bool sim_handle_known(const SimBuf *list, const void *h) {
  for (uint32_t i = 0; i < SIM_COUNT(list, void *); i++)
    if (SIM_AT(list, void *, i) == h) return h != NULL;
  return false;
}

void sim_handle_drop(SimBuf *list, const void *h) {
  uint32_t n = SIM_COUNT(list, void *);
  for (uint32_t i = 0; i < n; i++)
    if (SIM_AT(list, void *, i) == h) {
      SIM_AT(list, void *, i) = SIM_AT(list, void *, n - 1);
      list->n -= sizeof(void *);
      if (!list->n) sim_buf_free(list);
      return;
    }
}

/* ---- options ---- */

static bool read_number(const char *s, size_t n, uint64_t max, uint64_t *v) {
  *v = 0;
  if (n == 0 || n > 19) return false;
  for (size_t i = 0; i < n; i++) {
    if (s[i] < '0' || s[i] > '9') return false;
    *v = *v * 10 + (uint64_t)(s[i] - '0');
  }
  return *v <= max;
}

static bool is_word(const char *s, size_t n, const char *w) { return strlen(w) == n && memcmp(s, w, n) == 0; }

static bool read_option(SimDevice *d, const char *s, size_t n) {
  const char *eq = memchr(s, '=', n);
  if (!eq) return false;
  size_t k = (size_t)(eq - s), m = n - k - 1;
  const char *v = eq + 1;
  uint64_t x;
  if (is_word(s, k, "sms")) return read_number(v, m, 1024, &x) && x && (d->sms = (int)x);
  if (is_word(s, k, "cores")) return read_number(v, m, 64, &x) && x && (d->cores = (int)x);
  if (is_word(s, k, "seed")) return read_number(v, m, UINT64_MAX, &d->seed);
  if (is_word(s, k, "limit")) return read_number(v, m, UINT64_MAX, &d->limit) && d->limit;
  if (is_word(s, k, "level")) return (d->level = sim_level(v, m)) != NULL;
  if (is_word(s, k, "meter")) {
    d->meter = is_word(v, m, "on");
    return d->meter || is_word(v, m, "off");
  }
  if (is_word(s, k, "mma")) {
    d->mma_exact = is_word(v, m, "exact");
    return d->mma_exact || is_word(v, m, "fast");
  }
  if (is_word(s, k, "checks")) {
    d->checks = is_word(v, m, "on");
    return d->checks || is_word(v, m, "off");
  }
  if (!is_word(s, k, "policy")) return false;
  static const char *const names[] = {"lazy", "eager", "random", "alternate"};
  for (int i = 0; i < 4; i++)
    if (is_word(v, m, names[i])) return d->policy = (SimPolicy)i, true;
  return false;
}

static DrvResult read_options(SimDevice *d, const char *options) {
  size_t n = strcspn(options, ",");
  d->target = n ? sim_target_find(options, n) : sim_target_default();
  if (!d->target) return sim_say(DRV_INVALID_VALUE, "no target '%.*s'; there are %s", (int)(n > 40 ? 40 : n), options, sim_target_names());
  for (const char *s = options + n; *s;) {
    s++;
    n = strcspn(s, ",");
    if (!read_option(d, s, n))
      return sim_say(DRV_INVALID_VALUE, "option '%.*s': expected sms=N (1 to 1024) cores=N (1 to 64) checks=on|off meter=on|off seed=N limit=N "
                     "policy=lazy|eager|random|alternate mma=fast|exact level=base|v3|v4 (of this host)",
                     (int)(n > 60 ? 60 : n), s);
    s += n;
  }
  return DRV_SUCCESS;
}

static DrvResult add_device(const char *options, int *ordinal) {
  for (int i = 0; i < sim_state.ndevices; i++)
    if (strcmp(sim_state.device[i]->options, options) == 0) return *ordinal = i, DRV_SUCCESS;
  if (sim_state.ndevices == SIM_MAX_DEVICES) return sim_say(DRV_OUT_OF_MEMORY, "there are %d devices already", SIM_MAX_DEVICES);
  SimDevice *d = sim_new(sizeof *d);
  char *text = d ? sim_copy_text(options, strlen(options)) : NULL;
  if (!text) {
    sim_delete(d, sizeof *d);
    return sim_say(DRV_OUT_OF_MEMORY, "out of memory");
  }
  *d = (SimDevice){.options = text, .ordinal = sim_state.ndevices, .sms = 4, .checks = true, .policy = POLICY_ALTERNATE,
                   .limit = 20000000000ull, .level = sim_level(NULL, 0),
                   .memory = {.total_bytes = (uint64_t)64 << 30,
                              .next_base = SIM_GLOBAL_BASE + (uint64_t)sim_state.ndevices * SIM_DEVICE_STEP + SIM_GUARD_BYTES}};
  _Static_assert(SIM_MAX_DEVICES * SIM_DEVICE_STEP <= SIM_SHARED_BASE - SIM_GLOBAL_BASE, "devices' parts of the global window");
  DrvResult code = read_options(d, options);
  if (code) {
    sim_delete(text, strlen(text) + 1);
    sim_delete(d, sizeof *d);
    return code;
  }
  sim_state.device[sim_state.ndevices++] = d;
  *ordinal = d->ordinal;
  return DRV_SUCCESS;
}

/* A program that knows nothing of the simulator gets the device of KILN_SIM_DEVICE, which `kiln sim` sets, or the default. */
DrvResult sim_device_default(void) {
  int ordinal;
  if (sim_state.ndevices) return DRV_SUCCESS;
  const char *options = getenv("KILN_SIM_DEVICE");
  DrvResult code = add_device(options ? options : "", &ordinal);
  if (code == DRV_INVALID_VALUE && options) { /* a program's user may not know that it is set */
    char why[sizeof message];
    memcpy(why, message, sizeof why);
    sim_say(code, "KILN_SIM_DEVICE in the environment: %s", why);
  }
  return code;
}

SimDevice *sim_device_at(int ordinal) {
  if (ordinal >= 0 && ordinal < sim_state.ndevices) return sim_state.device[ordinal];
  sim_say(DRV_INVALID_DEVICE, "no device %d; there are %d", ordinal, sim_state.ndevices);
  return NULL;
}

DrvResult sim_pending(SimDevice *dev) {
  DrvResult code = dev->pending;
  dev->pending = DRV_SUCCESS;
  sim_print_flush(dev);
  if (code) sim_say(code, "%s", dev->finding.text);
  return code;
}

DRV_EXPORT unsigned kilnsim_configure(const char *options, int *ordinal) {
  sim_enter();
  if (!ordinal) return sim_leave(sim_say(DRV_INVALID_VALUE, "ordinal is NULL"));
  return sim_leave(add_device(options ? options : "", ordinal));
}

DRV_EXPORT unsigned kilnsim_message(const char **text) {
  if (!text) return DRV_INVALID_VALUE;
  *text = message;
  return DRV_SUCCESS;
}

DRV_EXPORT unsigned kilnsim_report(int ordinal, kilnsim_finding *out) {
  sim_enter();
  SimDevice *d = out ? sim_device_at(ordinal) : NULL;
  if (!d) return sim_leave(out ? DRV_INVALID_DEVICE : DRV_INVALID_VALUE);
  if (!d->found) return sim_leave(DRV_NOT_FOUND);
  *out = d->finding;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT unsigned kilnsim_count(int ordinal, kilnsim_counters *out) {
  sim_enter();
  SimDevice *d = out ? sim_device_at(ordinal) : NULL;
  if (!d) return sim_leave(out ? DRV_INVALID_DEVICE : DRV_INVALID_VALUE);
  *out = d->counters;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT unsigned kilnsim_total(int ordinal, kilnsim_counters *out) {
  sim_enter();
  SimDevice *d = out ? sim_device_at(ordinal) : NULL;
  if (!d) return sim_leave(out ? DRV_INVALID_DEVICE : DRV_INVALID_VALUE);
  *out = d->total;
  return sim_leave(DRV_SUCCESS);
}

DRV_EXPORT unsigned kilnsim_count_form(int ordinal, int index, const char **opcode, uint64_t *lanes) {
  sim_enter();
  SimDevice *d = opcode && lanes ? sim_device_at(ordinal) : NULL;
  if (!d) return sim_leave(opcode && lanes ? DRV_INVALID_DEVICE : DRV_INVALID_VALUE);
  if (index < 0 || (uint32_t)index >= SIM_COUNT(&d->forms, SimFormCount)) return sim_leave(DRV_NOT_FOUND);
  *opcode = SIM_AT(&d->forms, SimFormCount, index).opcode;
  *lanes = SIM_AT(&d->forms, SimFormCount, index).lanes;
  return sim_leave(DRV_SUCCESS);
}
