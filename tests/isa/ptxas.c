/* ptxas.c - every row of the table of PTX forms, assembled by ptxas for its oldest and its newest target.
 *
 * The table feeds the generator and the simulator alike, so a row with a wrong template would fool both; ptxas is the only one
 * to see it. What it said is recorded in verdicts.txt, a line per row:
 *
 *   id | opcode operands | oldest target version: verdict | newest target: verdict | a target or version lower: verdict
 *
 * The last column shows that sm and version are no higher than they must be, and that refusals are seen at all ("ok" there: ptxas
 * takes less than the manual asks for). With ptxas, every verdict is taken again and compared. Without it, the first two columns are
 * compared, so that a row that was added or changed on such a machine is noticed. `--record` writes the file anew.
 *
 * usage: isa_ptxas VERDICTS [--record] [PTXAS]     exit status 0: all as recorded and all accepted */
#include "isa/isa.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PROBES 12000
#define MAX_MESSAGE 160

typedef enum { OLDEST, NEWEST, BELOW, WHENS } When;

static char verdict[WHENS][ISA_COUNT][MAX_MESSAGE]; /* "" not asked, "ok", or the message */
static uint16_t row_of_line[MAX_PROBES];
static char folder[64], path[96], log_path[96];
static const char *ptxas;

/* ---- which targets ---- */

/* The targets in order, with the lowest .version of each; those with a letter stand for their plain ones too. */
static const struct { const char *sm; int version; } ladder[] = {
  {"75", 63}, {"80", 70}, {"86", 71}, {"89", 78}, {"90", 78}, {"90a", 80}, {"100", 86}, {"100f", 88}, {"100a", 86}, {"120", 87},
};
#define RUNGS (int)(sizeof ladder / sizeof *ladder)

static int find_rung(const char *sm) {
  for (int i = 0; i < RUNGS; i++)
    if (strcmp(ladder[i].sm, sm) == 0) return i;
  return -1;
}

/* The row's oldest target: the first of its alternatives. */
static const char *oldest_target(const IsaForm *f) {
  for (int i = 0; i < RUNGS; i++)
    if (strlen(ladder[i].sm) == strcspn(f->sm, " ") && strncmp(ladder[i].sm, f->sm, strlen(ladder[i].sm)) == 0) return ladder[i].sm;
  return f->sm;
}

static int oldest_version(const IsaForm *f) {
  int rung = find_rung(oldest_target(f)), least = rung < 0 ? 90 : ladder[rung].version;
  return f->version > least ? f->version : least;
}

static const char *newest_target(const IsaForm *f) {
  const char *blank = strrchr(f->sm, ' '), *sm = blank ? blank + 1 : f->sm;
  size_t n = strlen(sm);
  if (sm[n - 1] == 'a') return sm;
  return sm[n - 1] == 'f' && atoi(sm) < 120 ? "103a" : "120a";
}

/* Where the form must not exist yet: the plain target before its own or, where there is none, a lower version; false: nowhere. */
static bool below(const IsaForm *f, const char **sm, int *version) {
  static const char *const plain[] = {"75", "80", "89", "90", "100"};
  if (strcmp(f->sm, "75") != 0) {
    const char *own = oldest_target(f);
    *sm = "75", *version = 90;
    for (int i = 0; i < 5; i++)
      if (atoi(plain[i]) < atoi(own)) *sm = plain[i];
    if (strpbrk(own, "af")) *sm = "120";
    return true;
  }
  *sm = "75", *version = f->version - 1;
  return f->version > 63;
}

/* ---- probes ---- */

static const char *immediate(const IsaForm *f, int k) {
  if (strncmp(f->opcode, "setmaxnreg", 10) == 0) return "64";
  if (strncmp(f->opcode, "wgmma.mma", 9) == 0) return "1"; /* a scale, a transposition */
  if (strstr(f->opcode, "wait.parity")) return k == 2 ? "1" : "1000";
  if (strstr(f->opcode, "async.bulk") && f->op[k].cls == 'r') return "64"; /* bytes */
  bool barrier = strncmp(f->opcode, "bar.", 4) == 0 || strncmp(f->opcode, "barrier.", 8) == 0;
  if (barrier && strcmp(f->opcode, "bar.warp.sync") != 0) return k == f->op[0].writes ? "1" : "64";
  switch (f->op[k].cls) {
  case 'f': return "0f3F000000";
  case 'd': return "0d3FF8000000000000";
  case 'p': return "1";
  default: return "3";
  }
}

static void put_operand(FILE *out, const IsaForm *f, int k, bool as_imm) {
  const IsaOperand *o = &f->op[k];
  if (o->kind == ISA_OPND_IMM && o->fixed) { fprintf(out, "%d", o->value); return; }
  if (o->kind == ISA_OPND_IMM || as_imm) { fputs(immediate(f, k), out); return; }
  switch (o->kind) {
  case ISA_OPND_LABEL: fputs("$end", out); return;
  case ISA_OPND_SYMBOL: fputs("array", out); return;
  case ISA_OPND_TARGETS: fputs("$list", out); return;
  case ISA_OPND_CALL: fputs("helper", out); return;
  case ISA_OPND_SPECIAL: fputs(f->op[0].cls == 'l' ? "%clock64" : "%tid.x", out); return;
  case ISA_OPND_SINK: fputc('_', out); return;
  case ISA_OPND_MEM:
    if (o->cls == 'p') fputs(k ? "[param+8]" : "[argument+8]", out);
    else if (o->cls == 'c') fputs("[constants+16]", out);
    else fprintf(out, "[%%%c%d%s", strchr("skl", o->cls) ? 'r' : 'l', 40 + k, o->opens ? "" : "+64]");
    return;
  default: break;
  }
  if (o->brace) fputc('{', out);
  for (int i = 0; i < o->count; i++) fprintf(out, "%s%%%c%d", i ? "," : "", o->cls, 10 * (k % 4) + i);
  if (o->brace) fputc('}', out);
  if (o->closes) fputc(']', out);
  if (o->pair_pred) fputs("|%p1", out);
}

/* Writes one line; imm is a bit per operand that is to be an immediate, n the number of operands. */
static void put_line(FILE *out, const IsaForm *f, int n, unsigned imm) {
  if (f->flags & ISA_TERMINATOR) fputs("@%p9 ", out);
  fprintf(out, "%s ", f->opcode);
  for (int k = 0; k < n; k++) {
    if (k) fputs(", ", out);
    put_operand(out, f, k, imm >> k & 1);
  }
  fputs(";\n", out);
}

/* All shapes of a row: registers only, each immediate alone, all of them, a negated predicate source, optional operands absent. */
static int put_row(FILE *out, const IsaForm *f, int line) {
  unsigned can = 0, shapes[12] = {0};
  int n = 1, first = line;
  for (int k = 0; k < f->nops; k++)
    if (f->op[k].kind == ISA_OPND_REG && f->op[k].imm_ok) can |= 1u << k, shapes[n++] = 1u << k;
  if (n > 2) shapes[n++] = can;
  for (int i = 0; i < n; i++, line++) put_line(out, f, f->nops, shapes[i]);
  if (f->nmin < f->nops) put_line(out, f, f->nmin, 0), line++;
  for (int i = first; i < line && i < MAX_PROBES; i++) row_of_line[i] = (uint16_t)(f - isa_form(ISA_NONE));
  return line;
}

/* ---- runs ---- */

static void note(When when, IsaId id, const char *text) {
  char *v = verdict[when][id];
  if (v[0] && strcmp(v, "ok") != 0) return; /* the first word counts */
  snprintf(v, MAX_MESSAGE, "%s", text);
  v[strcspn(v, "\n")] = 0;
  for (char *c = v; *c; c++)
    if (*c == '|') *c = '/';
}

/* "ptxas file, line N; error : text": the row of the line gets the text. Returns false if an error belongs to no row. */
static bool read_log(When when) {
  FILE *in = fopen(log_path, "r");
  char text[1024];
  bool all = true;
  while (in && fgets(text, sizeof text, in)) {
    const char *at = strstr(text, ", line "), *error = strstr(text, "error");
    if (!error) continue;
    int line = at ? atoi(at + 7) : 0;
    const char *said = strchr(error, ':');
    said = said ? said + 1 + strspn(said + 1, " ") : error;
    if (line > 0 && line < MAX_PROBES && row_of_line[line]) note(when, row_of_line[line], said);
    else if (!strstr(text, "aborted due to errors") && !strstr(text, "'stop'")) {
      all = false;
      if (when != BELOW) fprintf(stderr, "isa_ptxas: %s", text);
    }
  }
  if (in) fclose(in);
  return all;
}

/* Products of a warpgroup: a thousand of them take a minute to compile. They are read and checked only: a line that ptxas refuses,
 * behind the last of them, stops it there. */
static bool reads_only(const IsaForm *f) { return (f->flags & ISA_COLLECTIVE) && (f->flags & ISA_ASYNC) && f->nops; }

static bool assemble(When when, const char *sm, int version, const IsaId *ids, int n) {
  FILE *out = fopen(path, "w");
  if (!out) return false;
  memset(row_of_line, 0, sizeof row_of_line);
  fprintf(out, ".version %d.%d\n.target sm_%s\n.address_size 64\n.const .align 16 .b8 constants[64]; .func helper() { ret; }\n"
          ".visible .entry probe(.param .align 16 .b8 param[64])\n{\n", version / 10, version % 10, sm);
  fputs(".reg .pred %p<64>; .reg .b16 %h<64>; .reg .b32 %r<160>; .reg .b64 %l<64>; .reg .f32 %f<160>; .reg .f64 %d<64>;\n", out);
  fputs(".shared .align 16 .b8 array[64]; .param .align 16 .b8 argument[64];\n$list: .branchtargets $end;\n", out);
  int line = 10;
  for (int i = 0; i < n; i++) line = put_row(out, isa_form(ids[i]), line);
  if (reads_only(isa_form(ids[0]))) fputs("stop;\n", out);
  fputs("$end:\nret;\n}\n", out);
  if (fclose(out)) return false;
  char command[512];
  snprintf(command, sizeof command, "'%s' -arch=sm_%s -O0 -o '%s/out' '%s' >'%s' 2>&1", ptxas, sm, folder, path, log_path);
  int status = system(command);
  for (int i = 0; i < n; i++)
    if (!verdict[when][ids[i]][0]) note(when, ids[i], "ok");
  return read_log(when) || status == 0;
}

typedef struct Job { const char *sm; int version; bool reads_only; } Job;

static bool job_of(When when, const IsaForm *f, Job *job) {
  bool alone = reads_only(f);
  switch (when) {
  case OLDEST: *job = (Job){oldest_target(f), oldest_version(f), alone}; return true;
  case NEWEST: *job = (Job){newest_target(f), 90, alone}; return true;
  default: job->reads_only = alone; return below(f, &job->sm, &job->version);
  }
}

/* All rows that ask for the same target and version go into one module: ptxas names every line that it refuses. */
static bool run_all(When when) {
  static bool asked[ISA_COUNT];
  static IsaId ids[ISA_COUNT];
  bool good = true;
  memset(asked, 0, sizeof asked);
  for (int first = 1; first < ISA_COUNT; first++) {
    Job job, other;
    if (asked[first] || !job_of(when, isa_form((IsaId)first), &job)) continue;
    int n = 0;
    for (int id = first; id < ISA_COUNT; id++)
      if (!asked[id] && job_of(when, isa_form((IsaId)id), &other) && strcmp(job.sm, other.sm) == 0 && job.version == other.version &&
          job.reads_only == other.reads_only)
        asked[id] = true, ids[n++] = (IsaId)id;
    good &= assemble(when, job.sm, job.version, ids, n);
  }
  return good;
}

/* ---- the record ---- */

static void write_row(char *out, size_t size, int id, bool all) {
  const IsaForm *f = isa_form((IsaId)id);
  int n = snprintf(out, size, "%s | %s%s%s", f->name, f->opcode, f->nops ? " " : "", f->operands);
  if (!all) return;
  Job job = {"", 0, false};
  for (When when = OLDEST; when < WHENS; when++)
    if (job_of(when, f, &job))
      n += snprintf(out + n, size - (size_t)n, " | sm_%s %d.%d: %s", job.sm, job.version / 10, job.version % 10, verdict[when][id]);
}

static int id_of(const char *row) { /* 0: no form of that name */
  size_t n = strcspn(row, " ");
  for (int id = 1; id < ISA_COUNT; id++) {
    const char *name = isa_form((IsaId)id)->name;
    if (strlen(name) == n && memcmp(name, row, n) == 0) return id;
  }
  return 0;
}

static int compare(const char *file, bool all) {
  static bool seen[ISA_COUNT];
  FILE *in = fopen(file, "r");
  if (!in) return fprintf(stderr, "isa_ptxas: cannot read %s: %s\n", file, strerror(errno)), 1;
  char have[1024], want[1024];
  int wrong = 0;
  while (fgets(want, sizeof want, in)) {
    want[strcspn(want, "\n")] = 0;
    int id = id_of(want);
    if (!id) { wrong++; printf("recorded but gone: %s\n", want); continue; }
    if (seen[id]) wrong++, printf("recorded twice: %s\n", want);
    seen[id] = true;
    write_row(have, sizeof have, id, all);
    if (!all) { /* keep the first two columns */
      char *bar = strstr(want, " | ");
      bar = bar ? strstr(bar + 3, " | ") : NULL;
      if (bar) *bar = 0;
    }
    if (strcmp(have, want) != 0) wrong++, printf("now:      %s\nrecorded: %s\n", have, want);
  }
  fclose(in);
  for (int id = 1; id < ISA_COUNT; id++) {
    if (seen[id]) continue;
    write_row(have, sizeof have, id, all);
    wrong++, printf("not recorded (--record does): %s\n", have);
  }
  return wrong;
}

static int record(const char *file) {
  FILE *out = fopen(file, "w");
  char text[1024];
  if (!out) return fprintf(stderr, "isa_ptxas: cannot write %s: %s\n", file, strerror(errno)), 1;
  for (int id = 1; id < ISA_COUNT; id++) write_row(text, sizeof text, id, true), fprintf(out, "%s\n", text);
  return fclose(out) ? 1 : 0;
}

/* Refused where it should be accepted, or accepted where the row says that it does not exist yet. */
static int judge(void) {
  int wrong = 0;
  for (int id = 1; id < ISA_COUNT; id++) {
    char text[1024];
    bool bad = strcmp(verdict[OLDEST][id], "ok") != 0 || strcmp(verdict[NEWEST][id], "ok") != 0;
    if (!bad) continue;
    write_row(text, sizeof text, id, true);
    wrong++, printf("refused: %s\n", text);
  }
  return wrong;
}

static const char *find_ptxas(const char *given) {
  static const char *const places[] = {"/usr/local/cuda/bin/ptxas", "/usr/bin/ptxas", "/opt/cuda/bin/ptxas"};
  if (given) return given;
  for (int i = 0; i < 3; i++)
    if (access(places[i], X_OK) == 0) return places[i];
  return NULL;
}

int main(int argc, char **argv) {
  const char *file = NULL, *given = getenv("PTXAS");
  bool recording = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--record") == 0) recording = true;
    else if (!file) file = argv[i];
    else given = argv[i];
  }
  ptxas = find_ptxas(given);
  if (!file) return fprintf(stderr, "usage: isa_ptxas VERDICTS [--record] [PTXAS]\n"), 2;
  int wrong = 0;
  if (ptxas) {
    snprintf(folder, sizeof folder, "/tmp/isa_ptxas.XXXXXX");
    if (!mkdtemp(folder)) return fprintf(stderr, "isa_ptxas: no temporary folder\n"), 1;
    snprintf(path, sizeof path, "%s/probe.ptx", folder);
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    for (When when = OLDEST; when < WHENS; when++)
      if (!run_all(when) && when != BELOW) wrong++;
    char out[96];
    snprintf(out, sizeof out, "%s/out", folder);
    unlink(path), unlink(log_path), unlink(out), rmdir(folder);
    wrong += judge();
  }
  if (recording) wrong += ptxas ? record(file) : 1;
  else wrong += compare(file, ptxas != NULL);
  printf("%d rows, %s, %d wrong\n", ISA_COUNT - 1, ptxas ? "assembled" : "no ptxas: compared with the record", wrong);
  return wrong != 0;
}
