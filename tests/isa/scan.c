/* scan.c - which forms of the table PTX files use, and whether each has a test file.
 *
 * usage: isa_scan FORMS [--histogram] PTX...     FORMS: tests/isa/forms
 *
 * Reads one instruction per line, as the emitter writes them, registers named after their class (%p %h %r %l %f %d). A form
 * that a file uses and that has no FORMS/<id>.ptx fails, and so does a file of FORMS that lacks the form that it is named after. */
#include "gen/isa/isa.h"
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Operand {
  char kind; /* '_' the sink, 'r' register(s) of class cls, '|' a pair, 'm' memory, 'i' immediate, 's' symbol or label, '%' special */
  char cls;
  int count;
  bool brace;
} Operand;

static long uses[ISA_COUNT];
static int unknown;

static Operand classify(const char *at, size_t n) {
  Operand o = {.count = 1};
  if (n && *at == '!') at++, n--;
  if (n && *at == '{') {
    o.brace = true;
    for (size_t i = 0; i < n; i++) o.count += at[i] == ',';
    at++;
    while (n > 1 && *at == ' ') at++;
  }
  if (*at == '[') return (Operand){.kind = 'm', .count = 1};
  if (n == 1 && *at == '_') return (Operand){.kind = '_', .count = 1};
  if (*at == '%') {
    size_t end = 1;
    while (end < n && (isalnum((unsigned char)at[end]) || strchr("._", at[end]))) end++;
    if (isa_special_find(at, (uint32_t)end) != ISA_SPECIALS) return (Operand){.kind = '%', .count = 1};
    o.kind = memchr(at, '|', n) ? '|' : 'r', o.cls = at[1];
    return o;
  }
  o.kind = isdigit((unsigned char)*at) || *at == '-' ? 'i' : 's';
  return o;
}

static bool fits(const IsaOperand *want, Operand have, bool wider) { /* wider: loads and stores take registers that are wider */
  switch (want->kind) {
  case ISA_OPND_REG:
    if (have.kind == 'i') return want->imm_ok || !want->writes; /* ptxas takes numbers for most sources */
    if (want->pair_pred) return have.kind == '|' && have.cls == want->cls;
    if (have.kind != 'r' || have.count != want->count || have.brace != want->brace) return false;
    return have.cls == want->cls || (wider && want->cls == 'h' && have.cls == 'r');
  case ISA_OPND_MEM: return have.kind == 'm';
  case ISA_OPND_SINK: return have.kind == '_';
  case ISA_OPND_IMM: return have.kind == 'i';
  case ISA_OPND_LABEL:
  case ISA_OPND_TARGETS:
  case ISA_OPND_SYMBOL: return have.kind == 's';
  case ISA_OPND_CALL: return have.kind == 's' || have.kind == '(';
  case ISA_OPND_SPECIAL: return have.kind == '%';
  default: return false;
  }
}

/* Operands are separated by commas outside braces. */
static int split(const char *at, const char **text, Operand out[ISA_MAX_OPERANDS]) {
  int n = 0, depth = 0;
  while (n < ISA_MAX_OPERANDS) {
    while (*at == ' ' || *at == '\t') at++;
    if (*at == ';' || !*at) return n;
    const char *from = at;
    for (; *at && *at != ';' && (depth || *at != ','); at++) depth += (*at == '{') - (*at == '}');
    text[n] = from;
    out[n++] = classify(from, (size_t)(at - from)); /* [map, {...}]: two operands, as in the table */
    if (*at == ',') at++;
  }
  return n;
}

static int has_policy(const IsaReading *r) { /* one operand more */
  for (uint32_t i = 0; i < r->nmodifiers; i++)
    if (r->modifier[i]->group == 'h') return 1;
  return 0;
}

static IsaId form_of(const char *line) {
  size_t n = strcspn(line, " \t;");
  const char *text[ISA_MAX_OPERANDS];
  Operand have[ISA_MAX_OPERANDS];
  int count = split(line + n, text, have);
  IsaReading r = {0};
  for (IsaId first; (first = isa_read(&r, line, (uint32_t)n)) != ISA_NONE;)
    for (IsaId id = first; id != ISA_NONE; id = isa_next(id)) {
      const IsaForm *f = isa_form(id);
      int given = count - has_policy(&r);
      bool ok = (given >= f->nmin && given <= f->nops) || (f->nops && f->op[0].kind == ISA_OPND_CALL);
      for (int i = 0; ok && i < given && f->op[0].kind != ISA_OPND_CALL; i++)
        ok = fits(&f->op[i], have[i], line[0] == 'l' || line[0] == 's') &&
             (!f->op[i].fixed || f->op[i].kind == ISA_OPND_SINK || atoi(text[i]) == f->op[i].value);
      if (ok) return id;
    }
  return ISA_NONE;
}

static bool scan_file(const char *path, long count[ISA_COUNT]) {
  FILE *in = fopen(path, "r");
  if (!in) return fprintf(stderr, "isa_scan: cannot read %s\n", path), false;
  static char line[1 << 16];
  for (int number = 1; fgets(line, sizeof line, in); number++) {
    const char *at = line + strspn(line, " \t");
    if (*at == '@') at += strcspn(at, " \t"), at += strspn(at, " \t");
    if (!islower((unsigned char)*at) || !strchr(at, ';') || strstr(at, ": .")) continue; /* directives, labels, comments, braces */
    IsaId id = form_of(at);
    if (id == ISA_NONE) unknown++, printf("%s:%d: no form of the table: %s", path, number, at);
    else count[id]++;
  }
  fclose(in);
  return true;
}

/* Every file of FORMS holds the form that it is named after. */
static int check_names(const char *forms) {
  DIR *dir = opendir(forms);
  if (!dir) return printf("isa_scan: no folder %s\n", forms), 1;
  int wrong = 0, files = 0;
  for (const struct dirent *e; (e = readdir(dir));) {
    const char *dot = strrchr(e->d_name, '.');
    if (!dot || strcmp(dot, ".ptx") != 0) continue;
    static long count[ISA_COUNT];
    memset(count, 0, sizeof count);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", forms, e->d_name);
    size_t n = strcspn(e->d_name, ".-");
    int id = 1;
    while (id < ISA_COUNT && (strlen(isa_form((IsaId)id)->name) != n || strncmp(isa_form((IsaId)id)->name, e->d_name, n) != 0)) id++;
    if (!scan_file(path, count) || id == ISA_COUNT || !count[id]) wrong++, printf("%s does not use the form that it is named after\n", path);
    files++;
  }
  closedir(dir);
  printf("%d test files\n", files);
  return wrong;
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: isa_scan FORMS [--histogram] PTX...\n"), 2;
  bool histogram = false;
  int files = 0, used = 0, tested = 0, wrong = 0;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--histogram") == 0) histogram = true;
    else if (scan_file(argv[i], uses)) files++;
    else wrong++;
  }
  for (int id = 1; id < ISA_COUNT; id++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.ptx", argv[1], isa_form((IsaId)id)->name);
    bool there = access(path, R_OK) == 0;
    tested += there;
    if (!uses[id]) continue;
    used++;
    if (histogram) printf("%8ld %s\n", uses[id], isa_form((IsaId)id)->name);
    if (!there) wrong++, printf("%s is emitted and has no test file %s\n", isa_form((IsaId)id)->name, path);
  }
  wrong += check_names(argv[1]) + unknown;
  printf("%d files scanned: %d forms used; %d of the table's %d forms have a test\n", files, used, tested, ISA_COUNT - 1);
  return wrong != 0;
}
