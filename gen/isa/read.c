/* read.c - opcodes as PTX text writes them: with the words of modifier.def in them, or with a type that reads as another. */
#include "isa.h"
#include <string.h>

static const IsaModifier modifiers[] = {
#define MODIFIER(word, group, opcodes, last, sm, version, section) {#word, group, opcodes, last, sm, version, section},
#define SPELLING(written, row, version)
#define SAME(opcodes, written, row)
#include "modifier.def"
#undef MODIFIER
#undef SPELLING
#undef SAME
};
enum { MODIFIERS = sizeof modifiers / sizeof modifiers[0] };

static const IsaSpelling spellings[] = {
#define MODIFIER(word, group, opcodes, last, sm, version, section)
#define SPELLING(written, row, version) {written, row, version},
#define SAME(opcodes, written, row)
#include "modifier.def"
#undef MODIFIER
#undef SPELLING
#undef SAME
};
enum { SPELLINGS = sizeof spellings / sizeof spellings[0] };

typedef struct Same { const char *opcodes, *written, *row; } Same;
static const Same sames[] = {
#define MODIFIER(word, group, opcodes, last, sm, version, section)
#define SPELLING(written, row, version)
#define SAME(opcodes, written, row) {opcodes, written, row},
#include "modifier.def"
#undef MODIFIER
#undef SPELLING
#undef SAME
};
enum { SAMES = sizeof sames / sizeof sames[0] };

const IsaModifier *isa_modifier(uint32_t i) { return i < MODIFIERS ? &modifiers[i] : NULL; }

static bool is_text(const char *s, uint32_t n, const char *word) { return strlen(word) == n && memcmp(s, word, n) == 0; }

/* Is text one of the blank-separated words of list, or begins with one and a dot? An empty list holds every text. */
static bool in_list(const char *list, const char *text, uint32_t n, bool begins) {
  if (!*list) return true;
  for (const char *s = list; *s;) {
    uint32_t k = (uint32_t)strcspn(s, " ");
    if (k <= n && memcmp(s, text, k) == 0 && (k == n || (begins && text[k] == '.'))) return true;
    s += s[k] ? k + 1 : k;
  }
  return false;
}

static const char *last_part(const char *s, uint32_t n) {
  const char *at = s + n;
  while (at > s && at[-1] != '.') at--;
  return at;
}

/* May the word stand in that opcode? */
static bool fits(const IsaModifier *m, const char *opcode, uint32_t n) {
  const char *last = last_part(opcode, n);
  return in_list(m->opcodes, opcode, n, true) && in_list(m->last, last, (uint32_t)(opcode + n - last), false);
}

static const IsaModifier *find_modifier(const char *word, uint32_t k, const char *opcode, uint32_t n) {
  for (int i = 0; i < MODIFIERS; i++)
    if (is_text(word, k, modifiers[i].word) && fits(&modifiers[i], opcode, n)) return &modifiers[i];
  return NULL;
}

const IsaSpelling *isa_spelling(const char *word, uint32_t k) {
  for (int i = 0; i < SPELLINGS; i++)
    if (is_text(word, k, spellings[i].written)) return &spellings[i];
  return NULL;
}

/* opcode without its modifiers, in r->text. False: too long, too many, or two of a group. */
static bool strip(IsaReading *r, const char *opcode, uint32_t n) {
  r->n = 0;
  r->nmodifiers = 0;
  for (uint32_t at = 0; at < n;) {
    uint32_t k = 0;
    while (at + k < n && opcode[at + k] != '.') k++;
    const IsaSpelling *other = isa_spelling(opcode + at, k);
    const char *word = other ? other->row : opcode + at;
    uint32_t length = other ? (uint32_t)strlen(word) : k;
    if (other && other->version > r->version) r->version = other->version;
    const IsaModifier *m = at ? find_modifier(word, length, opcode, n) : NULL;
    if (m) {
      for (uint32_t i = 0; i < r->nmodifiers; i++)
        if (r->modifier[i]->group == m->group) return false;
      if (r->nmodifiers == ISA_MAX_MODIFIERS) return false;
      r->modifier[r->nmodifiers++] = m;
    } else {
      if (r->n + length + 2 > sizeof r->text) return false;
      if (r->n) r->text[r->n++] = '.';
      memcpy(r->text + r->n, word, length);
      r->n += length;
    }
    at += k + 1;
  }
  r->text[r->n] = 0;
  return true;
}

/* The text with another last part, if `which` says one. */
static bool replace_last(IsaReading *r, uint32_t which) {
  const Same *s = &sames[which];
  char *last = r->text + (last_part(r->text, r->n) - r->text);
  uint32_t head = (uint32_t)(last - r->text), k = (uint32_t)strlen(s->row);
  if (!is_text(last, r->n - head, s->written) || !in_list(s->opcodes, r->text, r->n, true) || head + k + 1 > sizeof r->text) return false;
  memcpy(last, s->row, k + 1);
  r->n = head + k;
  return true;
}

IsaId isa_read(IsaReading *r, const char *opcode, uint32_t n) {
  if (r->step == 0) { /* as it stands */
    r->step++;
    r->nmodifiers = 0;
    IsaId id = isa_find(opcode, n);
    if (id != ISA_NONE) return id;
  }
  if (!strip(r, opcode, n)) return ISA_NONE;
  if (r->step == 1) {
    r->step++;
    IsaId id = r->nmodifiers || r->version ? isa_find(r->text, r->n) : ISA_NONE;
    if (id != ISA_NONE) return id;
  }
  for (; r->step < 2 + SAMES; r->step++) {
    if (!replace_last(r, r->step - 2)) continue;
    IsaId id = isa_find(r->text, r->n);
    if (id == ISA_NONE) {
      strip(r, opcode, n); /* the text again, for the next that reads alike */
      continue;
    }
    r->step++;
    return id;
  }
  return ISA_NONE;
}
