/* mutate_text.c - see mutate_text.h. */
#include "mutate_text.h"
#include "cli.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };

typedef struct Label { int name, at; } Label;
typedef struct Class { MutSpan prefix; char cls; } Class; /* of registers declared as %r<40>, or of one by its name */
enum { CLASSES_MAX = 256, CHUNK = 8192, STAGE = MUT_OPERANDS * MUT_ELEMENTS };
typedef struct Reader {
  MutProgram *p;
  size_t at;
  int line, depth, src_line, src_file;
  Label *label;
  int nlabels, label_room;
  bool label_here;
  Class class[CLASSES_MAX];
  int nclasses;
  MutElement stage[STAGE]; /* elements of the instruction that is being read */
  int nstaged;
  MutEntry *entry; /* being read, or NULL */
} Reader;

static void *grown(void *at, int n, int *room, size_t bytes) {
  if (n < *room) return at;
  int wider = *room ? 2 * *room : 256;
  void *to = cli_alloc((size_t)wider * bytes);
  if (n) memcpy(to, at, (size_t)n * bytes);
  cli_free(at);
  *room = wider;
  return to;
}

static int intern(MutProgram *p, MutSpan s) {
  uint32_t h = 2166136261u;
  for (uint32_t i = 0; i < s.bytes; i++) h = (h ^ (uint8_t)p->text[s.at + i]) * 16777619u;
  h %= BUCKETS;
  for (int i = p->bucket[h]; i; i = p->chain[i - 1])
    if (strlen(p->name[i - 1]) == s.bytes && memcmp(p->name[i - 1], p->text + s.at, s.bytes) == 0) return i - 1;
  int room = p->name_room;
  p->name = grown(p->name, p->nnames, &p->name_room, sizeof *p->name);
  p->chain = grown(p->chain, p->nnames, &room, sizeof *p->chain);
  p->name[p->nnames] = cli_text_n(p->text + s.at, s.bytes);
  p->chain[p->nnames] = p->bucket[h];
  p->bucket[h] = ++p->nnames;
  return p->nnames - 1;
}

/* ---- characters ---- */

static char peek(const Reader *r, size_t ahead) { return r->at + ahead < r->p->bytes ? r->p->text[r->at + ahead] : 0; }

static void step(Reader *r) {
  r->line += peek(r, 0) == '\n';
  r->at++;
}

static void skip_line(Reader *r) {
  while (peek(r, 0) && peek(r, 0) != '\n') r->at++;
}

static void skip_blank(Reader *r) {
  for (;;) {
    char c = peek(r, 0);
    if (c == '/' && peek(r, 1) == '/') {
      skip_line(r);
    } else if (c == '/' && peek(r, 1) == '*') {
      while (peek(r, 0) && !(peek(r, 0) == '*' && peek(r, 1) == '/')) step(r);
      if (peek(r, 0)) r->at += 2;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      step(r);
    } else {
      return;
    }
  }
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.' || c == ':'; }

/* A word; "::" belongs to it, a single ":" ends a label. */
static MutSpan take_word(Reader *r) {
  MutSpan s = {(uint32_t)r->at, 0};
  while (is_word(peek(r, 0))) {
    if (peek(r, 0) == ':' && peek(r, 1) != ':') break;
    r->at += peek(r, 0) == ':' ? 2 : 1;
  }
  s.bytes = (uint32_t)r->at - s.at;
  return s;
}

static bool span_is(const Reader *r, MutSpan s, const char *word) {
  return strlen(word) == s.bytes && memcmp(r->p->text + s.at, word, s.bytes) == 0;
}

static long take_number(Reader *r) {
  while (peek(r, 0) == ' ' || peek(r, 0) == '\t' || peek(r, 0) == ',') r->at++;
  long x = 0;
  while (isdigit((unsigned char)peek(r, 0)) && x < 100000000) x = x * 10 + (r->p->text[r->at++] - '0');
  return x;
}

/* ---- operands ---- */

static MutSpan trimmed(const Reader *r, uint32_t from, uint32_t to) {
  const char *s = r->p->text;
  while (from < to && isspace((unsigned char)s[from])) from++;
  while (to > from && isspace((unsigned char)s[to - 1])) to--;
  return (MutSpan){from, to - from};
}

/* Pieces of [from, to) between `mark` outside of brackets; at most `room`; their number, or -1 if there are more. */
static int split(const Reader *r, uint32_t from, uint32_t to, char mark, MutSpan *piece, int room) {
  int n = 0, depth = 0;
  uint32_t begin = from;
  if (trimmed(r, from, to).bytes == 0) return 0;
  for (uint32_t i = from; i <= to; i++) {
    char c = i < to ? r->p->text[i] : mark;
    depth += c == '{' || c == '[';
    depth -= c == '}' || c == ']';
    if (c != mark || (depth > 0 && i < to)) continue;
    if (n == room) return -1;
    piece[n++] = trimmed(r, begin, i);
    begin = i + 1;
  }
  return n;
}

static void take_element(Reader *r, MutOperand *o, MutSpan s) {
  bool reg = r->p->text[s.at] == '%' && o->is->kind != ISA_OPND_SPECIAL && o->is->kind != ISA_OPND_LABEL;
  if (r->nstaged == STAGE) return;
  r->stage[r->nstaged++] = (MutElement){intern(r->p, s), reg, s};
  o->n++;
}

/* [reg], [reg+imm], [symbol], [symbol+imm], [imm]; in: what stands in the brackets. */
static bool take_address(Reader *r, MutOperand *o, MutSpan in) {
  const char *s = r->p->text;
  uint32_t n = 0;
  while (n < in.bytes && is_word(s[in.at + n])) n++;
  MutSpan base = {in.at, n};
  if (n && s[in.at] == '%') {
    take_element(r, o, base);
  } else if (n && !isdigit((unsigned char)s[in.at])) {
    o->symbol = intern(r->p, base);
  } else {
    n = 0;
  }
  MutSpan rest = trimmed(r, in.at + n, in.at + in.bytes);
  if (rest.bytes == 0) return true;
  char *end, number[32];
  if (rest.bytes >= sizeof number) return false;
  bool plus = s[rest.at] == '+';
  MutSpan digits = trimmed(r, rest.at + plus, rest.at + rest.bytes);
  snprintf(number, sizeof number, "%.*s", (int)digits.bytes, s + digits.at);
  o->offset = strtoll(number, &end, 0);
  return end != number && *end == 0;
}

static bool take_operand(Reader *r, MutOperand *o, const IsaOperand *is, MutSpan s) {
  const char *text = r->p->text;
  *o = (MutOperand){.is = is, .all = s, .symbol = MUT_NONE, .e = r->stage + r->nstaged};
  if (s.bytes == 0) return false;
  if (is->kind == ISA_OPND_SINK) return s.bytes == 1 && text[s.at] == '_';
  if (is->opens) return take_address(r, o, s);
  bool brace = text[s.at] == '{', bracket = text[s.at] == '[';
  if (brace != is->brace || bracket != (is->kind == ISA_OPND_MEM)) return false;
  if (bracket) return take_address(r, o, trimmed(r, s.at + 1, s.at + s.bytes - 1));
  MutSpan piece[MUT_ELEMENTS];
  if (brace) {
    int n = split(r, s.at + 1, s.at + s.bytes - 1, ',', piece, MUT_ELEMENTS);
    for (int i = 0; i < n; i++) take_element(r, o, piece[i]);
    return n == is->count;
  }
  o->negated = text[s.at] == '!';
  if (o->negated) s = trimmed(r, s.at + 1, s.at + s.bytes);
  int n = split(r, s.at, s.at + s.bytes, '|', piece, 2);
  if (n < 1 || (n == 2) != is->pair_pred || (o->negated && !is->negatable)) return false;
  for (int i = 0; i < n; i++) take_element(r, o, piece[i]);
  bool reg = o->n && o->e[0].reg;
  if (is->kind == ISA_OPND_SPECIAL) return text[s.at] == '%';
  if (is->kind == ISA_OPND_LABEL || is->kind == ISA_OPND_SYMBOL) return !reg;
  if (reg) return is->kind == ISA_OPND_REG;
  if (text[s.at] == '_') return is->writes; /* a sink */
  o->offset = strtoll(text + s.at, NULL, 0);
  return is->imm_ok && (!is->fixed || o->offset == is->value);
}

/* The class letter of a register, as isa.h has it; 0: its declaration was not understood. */
static char class_of(const Reader *r, MutSpan name) {
  const char *s = r->p->text;
  for (int i = r->nclasses; i-- > 0;) {
    MutSpan p = r->class[i].prefix;
    if (p.bytes > name.bytes || memcmp(s + p.at, s + name.at, p.bytes) != 0) continue;
    uint32_t k = p.bytes;
    while (k < name.bytes && isdigit((unsigned char)s[name.at + k])) k++;
    if (k == name.bytes) return r->class[i].cls;
  }
  return 0;
}

/* Are its registers of just the classes that the form names? ptxas takes others of the same width, too. */
static bool is_strict(const Reader *r, const MutOperand *o) {
  if (o->is->kind != ISA_OPND_REG) return true;
  for (int i = 0; i < o->n; i++) {
    char cls = o->e[i].reg ? class_of(r, o->e[i].span) : 0;
    if (cls && cls != (i && o->is->pair_pred ? 'p' : o->is->cls)) return false;
  }
  return true;
}

static bool fits(Reader *r, MutInstr *in, const IsaForm *form, const MutSpan *piece, int n, bool strict) {
  MutSpan part[MUT_OPERANDS], two[2];
  int m = 0;
  for (int i = 0; i < n; i++) { /* an address and a vector may share their brackets */
    bool shares = m < form->nops && form->op[m].opens;
    if (m + shares >= MUT_OPERANDS) return false;
    if (!shares) {
      part[m++] = piece[i];
      continue;
    }
    if (piece[i].bytes < 2 || split(r, piece[i].at + 1, piece[i].at + piece[i].bytes - 1, ',', two, 2) != 2) return false;
    part[m++] = two[0];
    part[m++] = two[1];
  }
  if (m < form->nmin || m > form->nops) return false;
  r->nstaged = 0;
  for (int i = 0; i < m; i++)
    if (!take_operand(r, &in->op[i], &form->op[i], part[i]) || (strict && !is_strict(r, &in->op[i]))) return false;
  in->n = m;
  return true;
}

static const IsaForm *find_form(Reader *r, MutInstr *in, const MutSpan *piece, int n) {
  for (int strict = 1; strict >= 0 && in->opcode.bytes && n >= 0; strict--) {
    IsaReading reading = {0};
    for (IsaId first; (first = isa_read(&reading, r->p->text + in->opcode.at, in->opcode.bytes)) != ISA_NONE;)
      for (in->id = first; in->id; in->id = isa_next(in->id))
        if (fits(r, in, isa_form(in->id), piece, n, strict)) return isa_form(in->id);
  }
  return NULL;
}

/* The staged elements get a place of their own. */
static void keep_elements(Reader *r, MutInstr *in) {
  MutProgram *p = r->p;
  if (!p->nchunks || p->chunk_used + r->nstaged > CHUNK) {
    p->chunk = grown(p->chunk, p->nchunks, &p->chunk_room, sizeof *p->chunk);
    p->chunk[p->nchunks++] = cli_alloc(CHUNK * sizeof **p->chunk);
    p->chunk_used = 0;
  }
  MutElement *to = p->chunk[p->nchunks - 1] + p->chunk_used;
  memcpy(to, r->stage, (size_t)r->nstaged * sizeof *to);
  for (int i = 0; i < in->n; i++) in->op[i].e = to + (in->op[i].e - r->stage);
  p->chunk_used += r->nstaged;
}

/* ---- statements ---- */

static void take_label(Reader *r, MutSpan word) {
  r->label = grown(r->label, r->nlabels, &r->label_room, sizeof *r->label);
  r->label[r->nlabels++] = (Label){intern(r->p, word), r->p->ninstr};
  r->label_here = true;
  r->at++;
}

static void take_instruction(Reader *r) {
  MutInstr in = {.line = r->line, .src_line = r->src_line, .src_file = r->src_file, .guard = MUT_NONE, .target = MUT_NONE,
                 .joins = r->label_here};
  in.all.at = (uint32_t)r->at;
  if (peek(r, 0) == '@') {
    r->at++;
    in.guard_not = peek(r, 0) == '!';
    r->at += in.guard_not;
    in.guard = intern(r->p, take_word(r));
    skip_blank(r);
  }
  in.opcode = take_word(r);
  MutSpan piece[MUT_OPERANDS];
  uint32_t from = (uint32_t)r->at;
  while (peek(r, 0) && peek(r, 0) != ';') step(r);
  int n = split(r, from, (uint32_t)r->at, ',', piece, MUT_OPERANDS);
  r->at += peek(r, 0) == ';';
  in.all.bytes = (uint32_t)r->at - in.all.at;
  in.form = find_form(r, &in, piece, n);
  if (!in.form) {
    r->entry->known = false;
    return;
  }
  r->label_here = false;
  keep_elements(r, &in);
  r->p->instr = grown(r->p->instr, r->p->ninstr, &r->p->instr_room, sizeof in);
  r->p->instr[r->p->ninstr++] = in;
}

static void take_file(Reader *r) {
  long number = take_number(r);
  while (peek(r, 0) == ' ' || peek(r, 0) == '\t') r->at++;
  if (peek(r, 0) == '"' && number > 0 && number < 256 && !r->p->file[number]) {
    const char *begin = r->p->text + r->at + 1;
    r->p->file[number] = cli_text_n(begin, strcspn(begin, "\"\n"));
  }
  skip_line(r);
}

/* .reg .TYPE name, name<count>, .. */
static void take_registers(Reader *r) {
  skip_blank(r);
  MutSpan type = take_word(r);
  const char *s = r->p->text + type.at;
  long bits = type.bytes > 2 ? strtol(s + 2, NULL, 10) : 0;
  char cls = span_is(r, type, ".pred") ? 'p' : bits == 16 ? 'h' : bits == 32 ? (s[1] == 'f' ? 'f' : 'r') : bits == 64 ? (s[1] == 'f' ? 'd' : 'l') : 0;
  for (;;) {
    skip_blank(r);
    MutSpan name = take_word(r);
    if (name.bytes && r->nclasses < CLASSES_MAX) r->class[r->nclasses++] = (Class){name, cls};
    while (peek(r, 0) && peek(r, 0) != ';' && peek(r, 0) != ',') step(r);
    if (peek(r, 0) != ',') return;
    step(r);
  }
}

static void begin_entry(Reader *r) {
  skip_blank(r);
  r->p->entry = grown(r->p->entry, r->p->nentries, &r->p->entry_room, sizeof *r->p->entry);
  r->entry = &r->p->entry[r->p->nentries++];
  *r->entry = (MutEntry){.name = intern(r->p, take_word(r)), .first = r->p->ninstr, .known = true};
  r->nlabels = r->nclasses = 0;
  r->label_here = false;
}

static void end_entry(Reader *r) {
  MutEntry *e = r->entry;
  e->n = r->p->ninstr - e->first;
  for (int i = e->first; i < r->p->ninstr; i++) {
    MutInstr *in = &r->p->instr[i];
    if (!in->n || in->op[0].is->kind != ISA_OPND_LABEL) continue;
    for (int k = 0; k < r->nlabels; k++)
      if (r->label[k].name == in->op[0].e[0].name) in->target = r->label[k].at;
    if (in->target == MUT_NONE) e->known = false;
  }
  r->entry = NULL;
}

static void take_directive(Reader *r) {
  MutSpan word = take_word(r);
  if (span_is(r, word, ".entry")) {
    begin_entry(r);
  } else if (span_is(r, word, ".file")) {
    take_file(r);
  } else if (span_is(r, word, ".loc")) {
    r->src_file = (int)take_number(r);
    r->src_line = (int)take_number(r);
    skip_line(r);
  } else if (span_is(r, word, ".reqntid") && r->entry) {
    long x = take_number(r), y = take_number(r), z = take_number(r);
    r->entry->threads = (int)(x * (y ? y : 1) * (z ? z : 1));
    r->entry->in_a_row = y <= 1 && z <= 1 && x > 0 && x % 32 == 0;
  } else if (span_is(r, word, ".reg") && r->depth == 1) {
    take_registers(r);
  } else if (r->depth > 0) { /* .shared, .pragma, what is declared in inner braces */
    if (r->depth > 1 && r->entry) r->entry->known = false;
    while (peek(r, 0) && peek(r, 0) != ';') step(r);
  } else if (word.bytes == 0) {
    step(r);
  }
}

static void take_statement(Reader *r) {
  char c = peek(r, 0);
  if (c == '{' || c == '}') {
    r->depth += c == '{' ? 1 : -1;
    step(r);
    if (r->depth <= 0 && c == '}' && r->entry) end_entry(r);
    return;
  }
  if (c == '.') {
    take_directive(r);
    return;
  }
  if (!r->entry || r->depth <= 0 || !(is_word(c) || c == '@')) {
    step(r);
    return;
  }
  size_t before = r->at;
  MutSpan word = take_word(r);
  if (word.bytes && peek(r, 0) == ':') {
    take_label(r, word);
    return;
  }
  r->at = before;
  take_instruction(r);
}

void mutate_read(MutProgram *p, const char *text, size_t bytes) {
  memset(p, 0, sizeof *p);
  p->text = text;
  p->bytes = bytes;
  p->bucket = cli_alloc(BUCKETS * sizeof *p->bucket);
  Reader *r = cli_alloc(sizeof *r);
  r->p = p;
  r->line = 1;
  for (skip_blank(r); peek(r, 0); skip_blank(r)) take_statement(r);
  if (r->entry) {
    r->entry->known = false;
    end_entry(r);
  }
  cli_free(r->label);
  cli_free(r);
}

void mutate_free(MutProgram *p) {
  for (int i = 0; i < p->nnames; i++) cli_free(p->name[i]);
  for (int i = 0; i < 256; i++) cli_free(p->file[i]);
  for (int i = 0; i < p->nchunks; i++) cli_free(p->chunk[i]);
  cli_free(p->chunk);
  cli_free(p->name);
  cli_free(p->chain);
  cli_free(p->bucket);
  cli_free(p->instr);
  cli_free(p->entry);
  memset(p, 0, sizeof *p);
}

bool mutate_reads(const MutOperand *o, int k) {
  return mutate_element(o, k)->reg && (o->is->kind == ISA_OPND_MEM || o->is->reads);
}

bool mutate_writes(const MutOperand *o, int k) {
  return mutate_element(o, k)->reg && o->is->kind == ISA_OPND_REG && o->is->writes;
}
