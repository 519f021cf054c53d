/* options.c - see options.h. */
#include "options.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Message { char *at; size_t bytes; } Message;

#define SAY(m, ...) (snprintf((m).at, (m).bytes, __VA_ARGS__), false)

static const struct OptionRow { const char *spelling, *value; } rows[] = {
#define OPTION_ROW(id, spelling, value) {spelling, value},
    OPTION_TABLE(OPTION_ROW)
#undef OPTION_ROW
};

/* A copy that lives as long as the options; NULL: they are full. */
static char *keep(Options *o, const char *s, size_t n) {
  if (n >= sizeof o->store - o->used) return NULL;
  char *at = o->store + o->used;
  memcpy(at, s, n);
  at[n] = 0;
  o->used += n + 1;
  return at;
}

static bool is_name(const char *s, size_t n) {
  if (n == 0 || !(isalpha((unsigned char)s[0]) || s[0] == '_')) return false;
  for (size_t i = 1; i < n; i++)
    if (!(isalnum((unsigned char)s[i]) || s[i] == '_' || s[i] == '.')) return false;
  return true;
}

/* ---- k=v,k=v ---- */

static bool add_pair(Options *o, const char *what, const char *word, size_t n, kiln_gen_pair *pairs, int *count, Message m) {
  const char *equals = memchr(word, '=', n);
  if (!equals) return SAY(m, "%s: expected NAME=VALUE, got \"%.*s\"", what, (int)n, word);
  size_t key = (size_t)(equals - word), value = n - key - 1;
  if (!is_name(word, key)) return SAY(m, "%s: expected a name before \"=\", got \"%.*s\"", what, (int)n, word);
  if (value == 0) return SAY(m, "%s: \"%.*s\" has no value after \"=\"", what, (int)n, word);
  for (int i = 0; i < *count; i++)
    if (strlen(pairs[i].key) == key && memcmp(pairs[i].key, word, key) == 0)
      return SAY(m, "%s: \"%.*s\" is given twice", what, (int)key, word);
  if (*count == OPTIONS_MAX_PAIRS) return SAY(m, "%s: more than %d settings", what, OPTIONS_MAX_PAIRS);
  kiln_gen_pair pair = {keep(o, word, key), keep(o, equals + 1, value)};
  if (!pair.key || !pair.value) return SAY(m, "%s: too long", what);
  pairs[(*count)++] = pair;
  return true;
}

bool options_pairs(Options *o, const char *what, const char *text, kiln_gen_pair *pairs, int *n, char *message, size_t bytes) {
  Message m = {message, bytes};
  if (!*text) return SAY(m, "%s: expected NAME=VALUE,.., got nothing", what);
  for (const char *at = text;;) {
    size_t length = strcspn(at, ", ");
    if (length == 0) return SAY(m, "%s: a setting is empty in \"%s\"", what, text);
    if (!add_pair(o, what, at, length, pairs, n, m)) return false;
    if (!at[length]) return true;
    at += length + 1;
  }
}

/* ---- M=2048,N=4096 ---- */

static bool read_number(const char *s, size_t n, int64_t *value) {
  if (n == 0 || n > 18) return false; /* 18 digits always fit */
  int64_t x = 0;
  for (size_t i = 0; i < n; i++) {
    if (!isdigit((unsigned char)s[i])) return false;
    x = x * 10 + (s[i] - '0');
  }
  *value = x;
  return true;
}

/* "2048", or "2x3x5"; word: the whole of it, for messages. */
static bool read_size(Size *s, const char *at, size_t n, const char *word, size_t word_bytes, Message m) {
  const char *end = at + n;
  memset(s, 0, sizeof *s);
  s->value = 1;
  for (;;) {
    const char *x = memchr(at, 'x', (size_t)(end - at));
    if (s->nparts == OPTIONS_MAX_LEADS)
      return SAY(m, "--size: \"%.*s\" has more than %d factors", (int)word_bytes, word, OPTIONS_MAX_LEADS);
    if (!read_number(at, (size_t)((x ? x : end) - at), &s->part[s->nparts])) {
      const char *equals = memchr(word, '=', word_bytes);
      return SAY(m, "--size: expected a number from 0 on, of at most 18 digits (or 2x3x5 for leading dims), after \"%.*s=\", got \"%.*s\"",
                 (int)(equals - word), word, (int)(word + word_bytes - equals - 1), equals + 1);
    }
    if (__builtin_mul_overflow(s->value, s->part[s->nparts++], &s->value))
      return SAY(m, "--size: %.*s is too large", (int)word_bytes, word);
    if (!x) return true;
    at = x + 1;
  }
}

static bool read_dim(const char *word, size_t n, const char **equals, Message m) {
  *equals = memchr(word, '=', n);
  if (*equals && is_name(word, (size_t)(*equals - word))) return true;
  return SAY(m, "--size: expected DIM=NUMBER, got \"%.*s\"", (int)n, word);
}

static bool add_size(Options *o, const char *word, size_t n, Message m) {
  const char *equals;
  if (!read_dim(word, n, &equals, m)) return false;
  size_t key = (size_t)(equals - word);
  for (int i = 0; i < o->nsizes; i++)
    if (strlen(o->size[i].name) == key && memcmp(o->size[i].name, word, key) == 0)
      return SAY(m, "--size: %.*s is given twice", (int)key, word);
  if (o->nsizes == DEF_MAX_DIMS) return SAY(m, "--size: more than %d dims", DEF_MAX_DIMS);
  Size *s = &o->size[o->nsizes];
  if (!read_size(s, equals + 1, n - key - 1, word, n, m)) return false;
  s->name = keep(o, word, key);
  if (!s->name) return SAY(m, "--size: too long");
  o->nsizes++;
  return true;
}

bool options_sizes(Options *o, const char *text, char *message, size_t bytes) {
  Message m = {message, bytes};
  for (const char *at = text;;) {
    size_t length = strcspn(at, ",");
    if (length == 0) return SAY(m, "--size: expected DIM=NUMBER,.., got \"%s\"", text);
    if (!add_size(o, at, length, m)) return false;
    if (!at[length]) return true;
    at += length + 1;
  }
}

/* ---- N=1024..8192*2 ---- */

static bool add_ranged(Options *o, const char *name, const Size *s, Message m) {
  for (int i = 0; i < o->nranged; i++) {
    const Size *known = &o->ranged[i];
    if (strcmp(known->name, name) == 0 && known->nparts == s->nparts && memcmp(known->part, s->part, sizeof s->part) == 0) return true;
  }
  if (o->nranged == OPTIONS_MAX_RANGED) return SAY(m, "--size: more than %d values", OPTIONS_MAX_RANGED);
  o->ranged[o->nranged] = *s;
  o->ranged[o->nranged++].name = name;
  return true;
}

/* "1024..8192*2" or "64..256+64"; a number may be the last one without being hit. */
static bool add_steps(Options *o, const char *name, const char *at, size_t n, const char *dots, Message m) {
  const char *end = at + n, *sign = dots + 2;
  int64_t low, high, by;
  while (sign < end && *sign != '*' && *sign != '+') sign++;
  bool times = sign < end && *sign == '*';
  if (sign == end || !read_number(at, (size_t)(dots - at), &low) || !read_number(dots + 2, (size_t)(sign - dots - 2), &high) ||
      !read_number(sign + 1, (size_t)(end - sign - 1), &by) || low < 1 || high < low || by < (times ? 2 : 1))
    return SAY(m, "--size: expected %s=LOW..HIGH*FACTOR or %s=LOW..HIGH+STEP, such as 1024..8192*2; got \"%.*s\"", name, name, (int)n, at);
  for (int64_t x = low; x <= high;) {
    if (!add_ranged(o, name, &(Size){.value = x, .part = {x}, .nparts = 1}, m)) return false;
    if (times ? __builtin_mul_overflow(x, by, &x) : __builtin_add_overflow(x, by, &x)) break;
  }
  return true;
}

static bool add_range(Options *o, const char *word, size_t n, Message m) {
  const char *equals, *end = word + n;
  if (!read_dim(word, n, &equals, m)) return false;
  const char *name = keep(o, word, (size_t)(equals - word));
  if (!name) return SAY(m, "--size: too long");
  for (const char *at = equals + 1;;) {
    const char *bar = memchr(at, '|', (size_t)(end - at)), *stop = bar ? bar : end;
    const char *dots = memmem(at, (size_t)(stop - at), "..", 2);
    Size s;
    bool done = dots ? add_steps(o, name, at, (size_t)(stop - at), dots, m)
                     : read_size(&s, at, (size_t)(stop - at), word, n, m) && add_ranged(o, name, &s, m);
    if (!done || !bar) return done;
    at = bar + 1;
  }
}

/* N=64, N=1024..8192*2, N=64..256+64, N=64|80; repeated. */
static bool read_ranges(Options *o, const char *text, char *message, size_t bytes) {
  Message m = {message, bytes};
  for (const char *at = text;;) {
    size_t length = strcspn(at, ",");
    if (!add_range(o, at, length, m)) return false;
    if (!at[length]) return true;
    at += length + 1;
  }
}

/* ---- cuda:0,sim:sm_80,sms=4 ---- */

static bool check_device(const Options *o, const char *word, size_t n, Message m) {
  if (n >= 3 && memcmp(word, "sim", 3) == 0 && (n == 3 || word[3] == ':')) {
    if (n == 3) return true;
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)(n - 4), word + 4);
    if (o->foreign || target_for(name)) return true;
    return SAY(m, "--device: unknown target \"%s\"; there are %s", name, target_names());
  }
  int64_t ordinal;
  if (n >= 5 && memcmp(word, "cuda:", 5) == 0 && read_number(word + 5, n - 5, &ordinal)) return true;
  return SAY(m, "--device: expected cuda:N, sim:TARGET or sim, got \"%.*s\"", (int)n, word);
}

/* Whether the device that begins there has an option of this name before at. */
static bool is_repeated(const char *begin, const char *at, size_t name) {
  for (const char *word = begin; word < at; word += strcspn(word, ",") + 1)
    if (strcspn(word, "=,") == name && memcmp(word, at, name) == 0) return true;
  return false;
}

/* A word with "=" is an option of the device before it; one without begins the next device. */
static bool read_devices(Options *o, const char *text, char *message, size_t bytes) {
  Message m = {message, bytes};
  const char *begin = NULL;
  for (const char *at = text;;) {
    size_t length = strcspn(at, ",");
    bool is_option = memchr(at, '=', length) != NULL;
    if (length == 0) return SAY(m, "--device: expected cuda:N, sim:TARGET or sim, got \"%s\"", text);
    if (is_option && !begin) return SAY(m, "--device: \"%.*s\" stands before any device", (int)length, at);
    if (is_option && strncmp(begin, "cuda", 4) == 0)
      return SAY(m, "--device: a GPU takes no options, got \"%.*s\"", (int)length, at);
    if (is_option && is_repeated(begin, at, strcspn(at, "=")))
      return SAY(m, "--device: %.*s is given twice in \"%s\"", (int)strcspn(at, "="), at, text);
    if (!is_option) {
      if (!check_device(o, at, length, m)) return false;
      begin = at;
    }
    const char *next = at + length + 1;
    if (!at[length] || !memchr(next, '=', strcspn(next, ","))) { /* the device ends here */
      if (o->ndevices == OPTIONS_MAX_DEVICES) return SAY(m, "--device: more than %d devices", OPTIONS_MAX_DEVICES);
      char *copy = keep(o, begin, (size_t)(at + length - begin));
      if (!copy) return SAY(m, "--device: too long");
      o->device[o->ndevices++] = copy;
    }
    if (!at[length]) return true;
    at = next;
  }
}

/* ---- one option ---- */

static bool take_text(Options *o, const char **field, const char *spelling, const char *value, Message m) {
  if (!*value) return SAY(m, "%s: expected a value, got nothing", spelling);
  *field = keep(o, value, strlen(value));
  return *field || SAY(m, "%s: too long", spelling);
}

static bool take_target(Options *o, const char *value, Message m) {
  if (o->foreign) return take_text(o, &o->target, "--target", value, m);
  const Target *t = target_for(value);
  if (!t) return SAY(m, "--target: unknown target \"%s\"; there are %s", value, target_names());
  return take_text(o, &o->target, "--target", t->name, m);
}

static bool take_seconds(Options *o, const char *value, Message m) {
  int64_t n;
  if (!read_number(value, strlen(value), &n) || n < 1 || n > 86400)
    return SAY(m, "--seconds: expected a number from 1 to 86400, got \"%s\"", value);
  o->seconds = (int)n;
  return true;
}

static bool take_seed(Options *o, const char *value, Message m) {
  char *end;
  errno = 0;
  o->seed = strtoull(value, &end, 0);
  if (!isdigit((unsigned char)value[0]) || *end || errno) return SAY(m, "--seed: expected a number from 0 on, got \"%s\"", value);
  return true;
}

/* 1,132: at least two counts, or there is nothing to compare. */
static bool take_sms(Options *o, const char *value, Message m) {
  for (const char *at = value;;) {
    size_t length = strcspn(at, ",");
    int64_t n;
    if (!read_number(at, length, &n) || n < 1 || n > 1024)
      return SAY(m, "--sms: expected numbers of SMs from 1 to 1024, such as 1,132; got \"%s\"", value);
    if (o->nsms == OPTIONS_MAX_SMS) return SAY(m, "--sms: more than %d numbers", OPTIONS_MAX_SMS);
    o->sms[o->nsms++] = (int)n;
    if (!at[length]) break;
    at += length + 1;
  }
  return o->nsms > 1 || SAY(m, "--sms: expected two numbers of SMs or more, such as 1,132; got \"%s\"", value);
}

static bool take_seeds(Options *o, const char *value, Message m) {
  int64_t n;
  if (!read_number(value, strlen(value), &n) || n < 2 || n > OPTIONS_MAX_SEEDS)
    return SAY(m, "--seeds: expected how many, from 2 to %d, got \"%s\"", OPTIONS_MAX_SEEDS, value);
  o->seeds = (int)n;
  return true;
}

static bool take(Options *o, OptionId id, const char *value, Message m) {
  switch (id) {
  case OPTION_LUA: return take_text(o, &o->lua, "--lua", value, m);
  case OPTION_PTX: return take_text(o, &o->ptx, "--ptx", value, m);
  case OPTION_OUT: return take_text(o, &o->out, "-o", value, m);
  case OPTION_DUMP: return take_text(o, &o->dump, "--dump", value, m);
  case OPTION_SIZE: return options_sizes(o, value, m.at, m.bytes);
  case OPTION_SIZES: return read_ranges(o, value, m.at, m.bytes);
  case OPTION_SECONDS: return take_seconds(o, value, m);
  case OPTION_SET: return options_pairs(o, "--set", value, o->set, &o->nset, m.at, m.bytes);
  case OPTION_SCHEDULE: return options_pairs(o, "--schedule", value, o->schedule, &o->nschedule, m.at, m.bytes);
  case OPTION_DEVICE: return read_devices(o, value, m.at, m.bytes);
  case OPTION_SEED: return take_seed(o, value, m);
  case OPTION_SMS: return take_sms(o, value, m);
  case OPTION_SEEDS: return take_seeds(o, value, m);
  case OPTION_TARGET:
    return take_target(o, value, m);
  case OPTION_AS:
    if (strcmp(value, "ptx") && strcmp(value, "c")) return SAY(m, "--as: expected ptx or c, got \"%s\"", value);
    return take_text(o, &o->as, "--as", value, m);
  default: return true;
  }
}

/* Of two with one spelling the one that the command takes. */
static int find_option(const char *arg, uint32_t allowed, const char **value) {
  int found = -1;
  size_t n = strcspn(arg, "=");
  *value = NULL;
  if (strcmp(arg, "-h") == 0) return OPTION_HELP;
  for (int i = 0; i < OPTION_COUNT; i++) {
    if (strlen(rows[i].spelling) != n || memcmp(rows[i].spelling, arg, n) != 0) continue;
    if (arg[n]) *value = arg + n + 1;
    if (found < 0 || (allowed >> i & 1 && !(allowed >> found & 1))) found = i;
  }
  return found;
}

bool options_parse(Options *o, const char *command, uint32_t allowed, int most, int argc, char **argv, char *message,
                   size_t bytes) {
  Message m = {message, bytes};
  memset(o, 0, sizeof *o);
  o->foreign = most == OPTIONS_REST;
  bool only_operands = false;
  for (int i = 0; i < argc; i++) {
    const char *arg = argv[i], *value;
    if (!only_operands && strcmp(arg, "--") == 0) {
      only_operands = true;
      continue;
    }
    if (only_operands || arg[0] != '-' || !arg[1]) {
      if (most == OPTIONS_REST) return o->rest = argv + i, o->noperands = argc - i, true;
      if (o->noperands == most || o->noperands == 4) return SAY(m, "unexpected \"%s\"", arg);
      if (!*arg) return SAY(m, "an operand is empty");
      o->operand[o->noperands++] = arg;
      continue;
    }
    int id = find_option(arg, allowed, &value);
    if (id < 0) return SAY(m, "unknown option \"%s\"", arg);
    if (!(allowed >> id & 1)) return SAY(m, "%s is not an option of %s", rows[id].spelling, command);
    bool repeats = id == OPTION_DEVICE || id == OPTION_SET || id == OPTION_SCHEDULE || id == OPTION_SIZE || id == OPTION_SIZES;
    if (options_has(o, (OptionId)id) && !repeats) return SAY(m, "%s is given twice", rows[id].spelling);
    if (!rows[id].value && value) return SAY(m, "%s takes no value, got \"%s\"", rows[id].spelling, value);
    if (rows[id].value && !value) {
      if (i + 1 == argc) return SAY(m, "%s: expected %s after it", rows[id].spelling, rows[id].value);
      value = argv[++i];
    }
    if (value && !take(o, (OptionId)id, value, m)) return false;
    o->given |= 1u << id;
  }
  return true;
}
