/* isa.c - the rows of isa.def decoded: operand tokens, flags, and the index from opcode text to rows. */
#include "isa.h"
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

typedef struct Row {
  const char *name, *opcode, *operands, *sm;
  uint16_t version;
  const char *flags, *section;
} Row;

static const Row rows[ISA_COUNT] = {
#define ISA(id, opcode, operands, sm, version, flags, section) [ISA_##id] = {#id, opcode, operands, sm, version, flags, section},
#include "isa.def"
#undef ISA
};

static const IsaSpecial specials[ISA_SPECIALS] = {
#define SPECIAL(id, text, cls, fixed, section) [ISA_SPECIAL_##id] = {text, cls, fixed, section},
#include "special.def"
#undef SPECIAL
};

#define HASH_SLOTS 8192 /* a power of two, well above the number of rows */
_Static_assert(ISA_COUNT * 2 < HASH_SLOTS, "the opcode index is too small");

static IsaForm forms[ISA_COUNT];
static uint16_t first_of[HASH_SLOTS]; /* open addressing: the first row of an opcode; 0: free */
static uint16_t next_of[ISA_COUNT];   /* the next row with the same opcode */

/* One token of the legend in isa.h, from s to end. */
static IsaOperand decode_operand(const char *s, const char *end) {
  IsaOperand o = {.kind = ISA_OPND_REG, .count = 1, .reads = true};
  if (*s == '=') o.writes = true, o.reads = false, s++;
  else if (*s == '&') o.writes = true, s++;
  else if (*s == '?') o.writes = o.unset_ok = true, s++;
  if (*s == '!') o.negatable = true, s++;
  if (*s >= '1' && *s <= '9')
    for (o.brace = true, o.count = 0; *s >= '0' && *s <= '9'; s++) o.count = (uint8_t)(o.count * 10 + *s - '0');
  switch (*s) {
  case '[': o.kind = ISA_OPND_MEM, o.cls = s[1], o.opens = s[2] != ']', s += o.opens ? 2 : 3; break;
  case '_': o.kind = ISA_OPND_SINK, o.imm_ok = o.fixed = true, s++; break;
  case '#':
    o.kind = ISA_OPND_IMM, o.imm_ok = true, s++;
    for (; s < end && *s >= '0' && *s <= '9'; s++) o.fixed = true, o.value = (int16_t)(o.value * 10 + *s - '0');
    break;
  case '@': o.kind = ISA_OPND_LABEL, s++; break;
  case 'S': o.kind = ISA_OPND_SYMBOL, s++; break;
  case 'T': o.kind = ISA_OPND_TARGETS, s++; break;
  case 'C': o.kind = ISA_OPND_CALL, s++; break;
  case '%': o.kind = ISA_OPND_SPECIAL, s++; break;
  default: o.cls = *s++; break;
  }
  for (; s < end; s++) {
    if (*s == 'i') o.imm_ok = true;
    else if (*s == '.') o.optional = true;
    else if (*s == '|') o.pair_pred = true, s++; /* and the 'p' after it */
    else if (*s == ']') o.closes = true;
  }
  return o;
}

static uint16_t decode_flags(const char *s) {
  static const char letters[] = "PRWSCAXT"; /* in the order of IsaFlag's bits */
  uint16_t bits = 0;
  for (int i = 0; letters[i]; i++)
    if (s[i] == letters[i]) bits |= (uint16_t)(1u << i);
  return bits;
}

static void decode_row(IsaForm *f, const Row *r) {
  *f = (IsaForm){.name = r->name, .opcode = r->opcode, .operands = r->operands, .sm = r->sm, .version = r->version,
                 .flags = decode_flags(r->flags), .section = r->section};
  for (const char *s = r->operands; *s;) {
    const char *end = s + strcspn(s, " ");
    IsaOperand o = decode_operand(s, end);
    f->op[f->nops++] = o;
    f->nmin = (uint8_t)(f->nmin + !o.optional);
    f->nfixed = (uint8_t)(f->nfixed + o.fixed);
    s = *end ? end + 1 : end;
  }
}

static uint32_t hash_text(const char *s, uint32_t n) {
  uint32_t h = 2166136261u;
  for (uint32_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 16777619u;
  return (h ^ h >> 15) & (HASH_SLOTS - 1);
}

/* The slot of an opcode, or the free one where it belongs. */
static uint32_t find_slot(const char *opcode, uint32_t len) {
  uint32_t slot = hash_text(opcode, len);
  while (first_of[slot]) {
    const char *have = rows[first_of[slot]].opcode;
    if (strncmp(have, opcode, len) == 0 && have[len] == 0) break;
    slot = (slot + 1) & (HASH_SLOTS - 1);
  }
  return slot;
}

static void decode_all(void) {
  uint16_t last_of[HASH_SLOTS] = {0};
  for (int id = 1; id < ISA_COUNT; id++) {
    decode_row(&forms[id], &rows[id]);
    uint32_t slot = find_slot(rows[id].opcode, (uint32_t)strlen(rows[id].opcode));
    if (first_of[slot]) next_of[last_of[slot]] = (uint16_t)id;
    else first_of[slot] = (uint16_t)id;
    last_of[slot] = (uint16_t)id;
  }
}

/* Decodes on first use. Whoever comes second while the first is at it waits: it takes microseconds. */
static void decode_once(void) {
  static atomic_int state; /* 0 not yet, 1 somebody is at it, 2 done */
  if (atomic_load_explicit(&state, memory_order_acquire) == 2) return;
  int expected = 0;
  if (atomic_compare_exchange_strong(&state, &expected, 1)) {
    decode_all();
    atomic_store_explicit(&state, 2, memory_order_release);
    return;
  }
  while (atomic_load_explicit(&state, memory_order_acquire) != 2) sched_yield();
}

const IsaForm *isa_form(IsaId id) {
  decode_once();
  return &forms[id];
}

IsaId isa_find(const char *opcode, uint32_t len) {
  decode_once();
  return (IsaId)first_of[find_slot(opcode, len)];
}

IsaId isa_next(IsaId id) {
  decode_once();
  return (IsaId)next_of[id];
}

const IsaSpecial *isa_special(IsaSpecialId id) { return &specials[id]; }

IsaSpecialId isa_special_find(const char *text, uint32_t len) {
  int i = 0;
  while (i < ISA_SPECIALS && (strncmp(specials[i].text, text, len) != 0 || specials[i].text[len] != 0)) i++;
  return (IsaSpecialId)i;
}
