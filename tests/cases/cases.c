/* cases.c - short scripts with the opcodes that they must become.
 *
 * usage: cases KILN [--show] FILE.lua...
 *
 * A case is a script of `kiln emit`, complete by itself. Its comments say what is emitted and what must come out:
 *   --! emit --target sm_80 --set dtype=bf16      a variant; what follows is about it, up to the next one
 *   --! [in WORDS] [of PREFIX,PREFIX..]: SEQUENCE  the opcodes of the first part whose annotation begins with WORDS (WORDS#2: of
 *                                                 the second; without: of the whole entry), or of those only that begin with a
 *                                                 PREFIX, are SEQUENCE
 *   --! no PREFIX                                 no opcode begins with PREFIX
 *   --! fails: TEXT                               nothing is emitted, and the message holds TEXT
 * SEQUENCE: opcodes in order; X*3: three times; X*: once or more; ( X Y )*3: all of it three times; ...: anything. A line ending in \ goes on.
 * --show prints each sequence as it is. Ends with "N passed, N failed". */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_MAX = 20000, TOKENS_MAX = 400 };

typedef struct Op {
  char name[96];
  int part; /* number of the annotated part that it stands in */
} Op;

typedef struct Emitted {
  bool ok;
  char message[2000];
  int n, nparts;
  Op op[OPS_MAX];
  char part[4000][80];
} Emitted;

typedef struct Token {
  char name[96];
  int count; /* -1: once or more; 0: anything */
} Token;

static Emitted now;
static int passed, failed;
static bool show;

/* ---- what kiln emits ---- */

static void read_instruction(const char *at) {
  if (*at == '@') at += strcspn(at, " "), at += strspn(at, " ");
  size_t n = strcspn(at, " ;");
  if (now.n == OPS_MAX || n == 0 || n >= sizeof now.op[0].name || at[0] == '.' || !strchr(at, ';')) return;
  memcpy(now.op[now.n].name, at, n), now.op[now.n].name[n] = 0;
  now.op[now.n++].part = now.nparts;
}

static void emit(const char *kiln, const char *file, const char *options) {
  static char line[1 << 16];
  now.n = now.nparts = 0, now.message[0] = 0;
  snprintf(line, sizeof line, "'%s' emit '%s' %s 2>&1", kiln, file, options);
  FILE *in = popen(line, "r");
  bool inside = false;
  while (in && fgets(line, sizeof line, in)) {
    const char *at = line + strspn(line, " ");
    line[strcspn(line, "\n")] = 0;
    size_t have = strlen(now.message);
    if (!inside && have < sizeof now.message - 1) snprintf(now.message + have, sizeof now.message - have, "%.400s ", line);
    if (*at == '{') inside = true;
    else if (inside && strncmp(at, "// ", 3) == 0 && now.nparts < 3999) snprintf(now.part[++now.nparts], sizeof now.part[0], "%.79s", at + 3);
    else if (inside) read_instruction(at);
  }
  now.ok = in && pclose(in) == 0;
}

/* ---- sequences ---- */

static bool has_prefix(const char *name, const char *list) {
  for (const char *at = list; *at;) {
    size_t n = strcspn(at, ", ");
    if (n && strncmp(name, at, n) == 0 && strchr(".", name[n])) return true; /* a whole word of the opcode */
    at += n + (at[n] != 0);
  }
  return *list == 0;
}

static int select_ops(const char *words, const char *prefixes, const char *out[OPS_MAX]) {
  int n = 0, part = -1;
  size_t length = strcspn(words, "#");
  int nth = words[length] ? atoi(words + length + 1) : 1;
  for (int i = 1; *words && i <= now.nparts && part < 0; i++)
    if (strncmp(now.part[i], words, length) == 0 && strchr(" ", now.part[i][length]) && --nth == 0) part = i;
  if (*words && part < 0) return -1;
  for (int i = 0; i < now.n; i++)
    if ((!*words || now.op[i].part == part) && has_prefix(now.op[i].name, prefixes)) out[n++] = now.op[i].name;
  return n;
}

static int read_tokens(const char *at, Token token[TOKENS_MAX]) {
  char word[120];
  int n = 0, group = 0, used;
  for (; n < TOKENS_MAX && sscanf(at, "%119s%n", word, &used) == 1; at += used) {
    char *star = strchr(word, '*');
    if (word[0] == '(') {
      group = n;
      continue;
    }
    if (word[0] == ')') {
      for (int size = n - group, times = star ? atoi(star + 1) : 1; times > 1 && n + size <= TOKENS_MAX; times--, n += size)
        memcpy(token + n, token + group, (size_t)size * sizeof *token);
      continue;
    }
    Token *t = &token[n++];
    t->count = strcmp(word, "...") == 0 ? 0 : !star ? 1 : star[1] ? atoi(star + 1) : -1;
    if (star) *star = 0;
    snprintf(t->name, sizeof t->name, "%.95s", word);
  }
  return n;
}

static bool match(const Token *t, int nt, const char **op, int n) {
  if (nt == 0) return n == 0;
  if (t->count == 0) {
    for (int skip = 0; skip <= n; skip++)
      if (match(t + 1, nt - 1, op + skip, n - skip)) return true;
    return false;
  }
  int run = 0;
  while (run < n && strcmp(op[run], t->name) == 0) run++;
  int least = t->count < 0 ? 1 : t->count, most = t->count < 0 ? run : t->count;
  if (run < least) return false;
  for (int k = least; k <= most && k <= run; k++)
    if (match(t + 1, nt - 1, op + k, n - k)) return true;
  return false;
}

static void print_ops(const char *const *op, int n) {
  for (int i = 0, k; i < n; i = k) {
    for (k = i; k < n && strcmp(op[k], op[i]) == 0;) k++;
    printf(k - i > 1 ? " %s*%d" : " %s", op[i], k - i);
  }
  printf("\n");
}

/* ---- a case file ---- */

static void judge(bool ok, const char *file, int line, const char *what) {
  ok ? passed++ : failed++;
  if (!ok) printf("FAIL %s:%d: %s\n", file, line, what);
}

/* The twin of a sequence: with its first opcode taken away, or another put before it, it must not match. */
static bool is_strict(const Token *t, int nt, const char **op, int n) {
  static const char *more[OPS_MAX + 1];
  if (nt == 0 || t[0].count == 0) return true;
  more[0] = "trap";
  memcpy(more + 1, op, (size_t)n * sizeof *op);
  return n > 0 && !match(t, nt, more, n + 1);
}

static void check_sequence(const char *file, int line, char *text) {
  static const char *op[OPS_MAX];
  static Token token[TOKENS_MAX];
  char words[80] = "", prefixes[200] = "";
  char *colon = strstr(text, ": ");
  if (!colon) colon = strchr(text, ':');
  if (!colon) return judge(false, file, line, "no ':' before the sequence");
  *colon = 0;
  char *of = strncmp(text, "of ", 3) == 0 ? text : strstr(text, " of ");
  if (of) snprintf(prefixes, sizeof prefixes, "%.199s", of + (of == text ? 3 : 4)), *of = 0;
  if (strncmp(text, "in ", 3) == 0) snprintf(words, sizeof words, "%.79s", text + 3);
  int n = select_ops(words, prefixes, op), nt = read_tokens(colon + 1, token);
  if (n < 0) return judge(false, file, line, "no part has such an annotation");
  if (show) printf("%s:%d:", file, line), print_ops(op, n);
  bool ok = match(token, nt, op, n);
  judge(ok, file, line, "another sequence:");
  if (!ok && !show) print_ops(op, n);
  if (ok && !is_strict(token, nt, op, n)) judge(false, file, line, "the sequence matches more than it says");
}

static void check_line(const char *kiln, const char *file, int line, char *text) {
  if (strncmp(text, "emit ", 5) == 0) {
    emit(kiln, file, text + 5);
    return;
  }
  if (strncmp(text, "fails: ", 7) == 0) {
    judge(!now.ok && strstr(now.message, text + 7), file, line, now.ok ? "it was emitted" : now.message);
    return;
  }
  if (!now.ok) return judge(false, file, line, now.message);
  if (strncmp(text, "no ", 3) == 0) {
    bool found = false;
    for (int i = 0; i < now.n; i++) found |= has_prefix(now.op[i].name, text + 3);
    judge(!found, file, line, "there is one");
  } else check_sequence(file, line, text);
}

static void run_file(const char *kiln, const char *file) {
  FILE *in = fopen(file, "r");
  char line[4096], text[8192] = "";
  int checks = passed + failed;
  if (!in) return judge(false, file, 0, "cannot be read");
  for (int number = 1; fgets(line, sizeof line, in); number++) {
    if (strncmp(line, "--! ", 4) != 0) continue;
    line[strcspn(line, "\n")] = 0;
    size_t n = strlen(line), have = strlen(text);
    bool more = line[n - 1] == '\\';
    if (more) line[n - 1] = 0;
    snprintf(text + have, sizeof text - have, "%s", line + 4);
    if (more) continue;
    check_line(kiln, file, number, text);
    text[0] = 0;
  }
  fclose(in);
  if (passed + failed == checks) judge(false, file, 0, "checks nothing");
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: cases KILN [--show] FILE.lua...\n"), 2;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--show") == 0) show = true;
    else run_file(argv[1], argv[i]);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed || !passed;
}
