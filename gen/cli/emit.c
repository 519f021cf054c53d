/* emit.c - kiln emit: one variant to standard output or a file, or the whole curated set to a folder. Opens no device. */
#include "cli.h"
#include "write.h"
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: kiln emit OP --target SM [options]\n"
    "       kiln emit --all DIR [--diff]\n\n"
    "Writes the PTX of one variant to standard output. What is not set takes the op's default.\n\n"
    "  --target SM          the architecture: sm_75 .. (kiln list --targets); of a card that has none of its own (sm_87)\n"
    "                       the newest elder that it runs is taken\n"
    "  --set K=V,..         settings of the op: dtype=f16,w=no (kiln list OP shows them)\n"
    "  --schedule K=V,..    how it is laid on the target (kiln list --variants OP shows what is offered)\n"
    "  -o FILE              to a file, which is written whole or not at all; - is standard output\n"
    "  --as ptx|c           c: a C array, ended by NUL, ready for kiln_add_text\n"
    "  --dump PASS          the tile IR after script, layout or hazard, instead of PTX\n"
    "  --all DIR            every file of the curated set, as DIR/OP/TARGET/NAME.ptx; kiln's files there that no longer belong\n"
    "                       to it are removed, those that lie otherwise are left\n"
    "  --diff               with --all: writes nothing, says what would change, and exits with 1 if anything would\n"
    "  --lua DIR            the language, families and ops from this folder, not those inside the command\n\n"
    "examples:\n"
    "  kiln emit rms_norm --target sm_90a\n"
    "  kiln emit gemm --target sm_80 --set dtype=f16,act=gelu -o gemm.ptx\n"
    "  kiln emit my_op.lua --target sm_89 --as c -o my_op.c\n"
    "  kiln emit --all ptx_out --diff\n";

/* ---- a C array ---- */

static void put_identifier(FILE *f, const char *name) {
  size_t n = strlen(name);
  if (n > 4 && strcmp(name + n - 4, ".ptx") == 0) n -= 4;
  fputs("kiln_ptx_", f);
  for (size_t i = 0; i < n; i++) fputc(strchr("-.:/ ", name[i]) ? '_' : name[i], f);
}

static void put_c(FILE *f, const char *name, const char *text, size_t bytes) {
  fprintf(f, "/* %s, emitted by kiln %s. kiln_add_text(dev, \"%s\", ", name, KILN_VERSION, name);
  put_identifier(f, name);
  fputs(", ", f);
  put_identifier(f, name);
  fputs("_bytes) makes it known to a device. */\n#include <stddef.h>\n\n", f);
  fputs("extern const char ", f);
  put_identifier(f, name);
  fputs("[];\nextern const size_t ", f);
  put_identifier(f, name);
  fprintf(f, "_bytes;\nconst size_t ");
  put_identifier(f, name);
  fprintf(f, "_bytes = %zu;\nconst char ", bytes);
  put_identifier(f, name);
  fputs("[] =\n  \"", f);
  for (size_t i = 0; i < bytes; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '\n') fputs(i + 1 < bytes ? "\\n\"\n  \"" : "\\n", f);
    else if (c == '"' || c == '\\') fprintf(f, "\\%c", c);
    else if (c == '?') fputs("\\?", f); /* no trigraphs */
    else if (c < 32 || c > 126) fprintf(f, "\\%03o", c);
    else fputc(c, f);
  }
  fputs("\";\n", f);
}

/* ---- one ---- */

static bool deliver(const Options *o, const char *name, const char *text, size_t bytes) {
  char *made = NULL;
  size_t made_bytes = 0;
  if (o->as && strcmp(o->as, "c") == 0) {
    FILE *f = open_memstream(&made, &made_bytes);
    if (!f) return cli_error("out of memory"), false;
    put_c(f, name, text, bytes);
    if (fclose(f) != 0) return cli_error("out of memory"), false;
    text = made;
    bytes = made_bytes;
  }
  bool to_file = o->out && strcmp(o->out, "-") != 0;
  bool done = to_file ? write_whole(o->out, text, bytes) : fwrite(text, 1, bytes, stdout) == bytes;
  free(made); /* open_memstream's own, outside the hook */
  return done || !to_file; /* main reports a failed standard output */
}

static int emit_one(const Options *o) {
  if (!o->target) return cli_usage("emit: --target is needed, one of %s", target_names());
  if (o->dump && o->as) return cli_usage("emit: --as is about PTX; --dump %s writes the tile IR as it is", o->dump);
  KilnGen *g = cli_open_generator(o);
  if (!g) return CLI_FAILED;
  kiln_gen_request r = {.op = o->operand[0], .target = o->target, .set = o->set, .nset = o->nset,
                        .schedule = o->nschedule ? o->schedule : NULL, .nschedule = o->nschedule};
  const char *text = NULL, *name = o->operand[0];
  size_t bytes = 0;
  kiln_gen_status status = o->dump ? kiln_gen_dump(g, &r, o->dump, &text) : kiln_gen_emit(g, &r, &text, &bytes, &name);
  int code = CLI_OK;
  if (status != KILN_GEN_OK) code = cli_generator_failed(g, status);
  else if (!deliver(o, name, text, o->dump ? strlen(text) : bytes)) code = CLI_FAILED;
  kiln_gen_close(g);
  return code;
}

/* ---- the curated set ---- */

typedef struct Curated {
  char *path; /* below the folder; the generator gives <op>/<target>, the file's name is known once it is emitted */
  char *op, *target;
  kiln_gen_pair *set, *schedule;
  int nset, nschedule;
} Curated;

static kiln_gen_pair *copy_pairs(const kiln_gen_pair *from, int n) {
  kiln_gen_pair *to = cli_alloc((size_t)(n ? n : 1) * sizeof *to);
  for (int i = 0; i < n; i++) to[i] = (kiln_gen_pair){cli_text(from[i].key), cli_text(from[i].value)};
  return to;
}

static void free_pairs(kiln_gen_pair *pairs, int n) {
  for (int i = 0; i < n; i++) {
    cli_free((char *)pairs[i].key);
    cli_free((char *)pairs[i].value);
  }
  cli_free(pairs);
}

/* The generator's list lives until its next call; emission is one. */
static Curated *copy_set(const kiln_gen_curated *list, int n) {
  Curated *copy = cli_alloc((size_t)(n ? n : 1) * sizeof *copy);
  for (int i = 0; i < n; i++) {
    const kiln_gen_request *r = &list[i].request;
    copy[i] = (Curated){cli_text(list[i].path), cli_text(r->op), cli_text(r->target), copy_pairs(r->set, r->nset),
                        copy_pairs(r->schedule, r->nschedule), r->nset, r->schedule ? r->nschedule : 0};
  }
  return copy;
}

static void free_set(Curated *set, int n) {
  for (int i = 0; i < n; i++) {
    cli_free(set[i].path);
    cli_free(set[i].op);
    cli_free(set[i].target);
    free_pairs(set[i].set, set[i].nset);
    free_pairs(set[i].schedule, set[i].nschedule);
  }
  cli_free(set);
}

typedef struct Tally { int written, same, removed, failed; } Tally;

static void show_change(const char *path, const char *old, const char *text) {
  int line = 1;
  const char *a = old, *b = text;
  for (; *a && *a == *b; a++, b++) line += *a == '\n';
  while (a > old && a[-1] != '\n') a--, b--;
  printf("changed  %s, first in line %d\n  - %.*s\n  + %.*s\n", path, line, (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
}

static void settle_file(const char *path, const char *text, size_t bytes, bool diff, Tally *tally) {
  size_t old_bytes = 0;
  char *old = access(path, F_OK) == 0 ? cli_read_file(path, &old_bytes) : NULL;
  if (old && old_bytes == bytes && memcmp(old, text, bytes) == 0) {
    tally->same++;
  } else if (diff) {
    tally->written++;
    if (old) show_change(path, old, text);
    else printf("missing  %s\n", path);
  } else if (write_whole_below(path, text, bytes)) {
    tally->written++;
    printf("wrote  %s\n", path);
  } else {
    tally->failed++;
  }
  cli_free(old);
}

/* What lies below the folder and no longer belongs to the set. nftw gives its callback no argument, hence the statics. */
static const Curated *kept;
static int nkept;
static bool only_show;
static Tally *stale_tally;
static size_t root_bytes;

/* Does it lie as OP/TARGET/NAME, and says that it is of that op and target? Whatever else kiln wrote there somebody has put there. */
static bool is_of_a_set(const char *path, const char *below) {
  char head[2048], op[512], target[32], start[600];
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  size_t got = fread(head, 1, sizeof head - 1, f);
  head[got] = 0;
  fclose(f);
  const char *first = strstr(head, "\n//@ op "), *second = strstr(head, "\n//@ target ");
  if (strncmp(head, "//@ kiln ", 9) != 0 || !first || !second) return false;
  if (sscanf(first, "\n//@ op %511s", op) != 1 || sscanf(second, "\n//@ target %31s", target) != 1) return false;
  int n = snprintf(start, sizeof start, "%s/%s/", op, target);
  return strncmp(below, start, (size_t)n) == 0 && !strchr(below + n, '/');
}

static int visit_file(const char *path, const struct stat *st, int kind, struct FTW *where) {
  (void)where;
  size_t n = strlen(path);
  if (kind != FTW_F || !S_ISREG(st->st_mode) || n < 4 || strcmp(path + n - 4, ".ptx") != 0) return 0;
  for (int i = 0; i < nkept; i++)
    if (strcmp(path + root_bytes, kept[i].path) == 0) return 0;
  if (!is_of_a_set(path, path + root_bytes)) return 0;
  printf("%s  %s\n", only_show ? "stale " : "removed", path);
  if (only_show || unlink(path) == 0) stale_tally->removed++;
  else stale_tally->failed++;
  return 0;
}

static void remove_stale(const char *folder, const Curated *set, int n, bool diff, Tally *tally) {
  kept = set;
  nkept = n;
  only_show = diff;
  stale_tally = tally;
  root_bytes = strlen(folder) + (strcmp(folder, "/") != 0);
  if (access(folder, F_OK) == 0) nftw(folder, visit_file, 16, FTW_PHYS);
}

static int emit_all(const Options *o) {
  char folder[3072];
  size_t length = (size_t)snprintf(folder, sizeof folder, "%s", o->operand[0]);
  if (length >= sizeof folder) return cli_error("the folder's name has %zu bytes; the most is %zu", length, sizeof folder - 1), CLI_FAILED;
  while (length > 1 && folder[length - 1] == '/') folder[--length] = 0;
  struct stat st;
  if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
    return cli_error("%s: is a file, a folder was expected", folder), CLI_FAILED;
  KilnGen *g = cli_open_generator(o);
  if (!g) return CLI_FAILED;
  bool diff = options_has(o, OPTION_DIFF);
  const kiln_gen_curated *list;
  int n;
  kiln_gen_status status = kiln_gen_curated_set(g, &list, &n);
  if (status != KILN_GEN_OK) {
    int code = cli_generator_failed(g, status);
    kiln_gen_close(g);
    return code;
  }
  char below[sizeof folder + 1];
  snprintf(below, sizeof below, "%s/", folder);
  if (!diff && !make_folders(below)) { /* said once, not for each file */
    kiln_gen_close(g);
    return CLI_FAILED;
  }
  Curated *set = copy_set(list, n);
  Tally tally = {0};
  for (int i = 0; i < n; i++) {
    const Curated *c = &set[i];
    kiln_gen_request r = {c->op, c->target, c->set, c->nset, c->nschedule ? c->schedule : NULL, c->nschedule};
    const char *text, *name;
    size_t bytes;
    status = kiln_gen_emit(g, &r, &text, &bytes, &name);
    if (status != KILN_GEN_OK) {
      cli_error("%s: not emitted", c->path);
      cli_generator_failed(g, status);
      tally.failed++;
      continue;
    }
    char path[4096];
    snprintf(path, sizeof path, "%.500s/%.500s", c->path, name);
    cli_free(set[i].path);
    set[i].path = cli_text(path);
    snprintf(path, sizeof path, "%s/%.1000s", folder, c->path);
    settle_file(path, text, bytes, diff, &tally);
  }
  /* of what was not emitted the name is not known, so that a file of before could be it */
  if (tally.failed) cli_note("nothing is removed, since not all could be written");
  else remove_stale(folder, set, n, diff, &tally);
  printf("%d %s, %d unchanged, %d %s, %d failed\n", tally.written, diff ? "would change" : "written", tally.same, tally.removed,
         diff ? "stale" : "removed", tally.failed);
  free_set(set, n);
  kiln_gen_close(g);
  return tally.failed || (diff && tally.written + tally.removed) ? CLI_FAILED : CLI_OK;
}

static int run(const Options *o) {
  if (!options_has(o, OPTION_ALL)) {
    if (options_has(o, OPTION_DIFF)) return cli_usage("emit: --diff goes with --all DIR");
    return emit_one(o);
  }
  if (o->target || o->nset || o->nschedule || o->out || o->as || o->dump)
    return cli_usage("emit: --all takes a folder, --diff and --lua only: what is emitted is the curated set");
  return emit_all(o);
}

const Command command_emit = {
    "emit", "writes PTX for one architecture", help,
    TAKES(TARGET) | TAKES(SET) | TAKES(SCHEDULE) | TAKES(OUT) | TAKES(AS) | TAKES(DUMP) | TAKES(ALL) | TAKES(DIFF) | TAKES(LUA),
    1, 1, run};
