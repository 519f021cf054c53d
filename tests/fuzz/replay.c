/* replay.c - runs a fuzz target without libFuzzer, so that every compiler and CI can: the seeds as they are, then seeds that a
 * fixed generator of random numbers has damaged. Finds crashes and hangs, not coverage; for that, build with -Dfuzz=true.
 *
 *   fuzz_NAME [--seconds N] [--runs N] [--seed N] FILE_OR_FOLDER...
 *
 * The input being run is kept in fuzz_NAME.last in the working folder when the target crashes or runs longer than 20 seconds. */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MAX_SEEDS = 512, MAX_BYTES = 1 << 18 };
typedef struct Seed { uint8_t *data; size_t bytes; } Seed;
static Seed seeds[MAX_SEEDS];
static int nseeds;
static uint8_t input[2 * MAX_BYTES];
static size_t input_bytes;
static char last_path[512];

static uint64_t state;
static uint64_t next_random(void) { /* xorshift64* */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545F4914F6CDD1Dull;
}
static size_t below(size_t n) { return n ? (size_t)(next_random() >> 16) % n : 0; }

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void keep_input(void) {
  FILE *file = fopen(last_path, "wb");
  if (!file) return;
  fwrite(input, 1, input_bytes, file);
  fclose(file);
}

/* Not a safe place for stdio; but the process is lost already, and the input is what matters. */
static void on_crash(int sig) {
  keep_input();
  signal(sig, SIG_DFL);
  raise(sig);
}

static void add_file(const char *path, size_t bytes) {
  if (nseeds == MAX_SEEDS || bytes > MAX_BYTES) return;
  FILE *file = fopen(path, "rb");
  uint8_t *data = malloc(bytes + 1);
  if (!file || !data || fread(data, 1, bytes, file) != bytes) {
    fprintf(stderr, "cannot read %s\n", path);
    exit(2);
  }
  fclose(file);
  seeds[nseeds++] = (Seed){data, bytes};
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void add_path(const char *path) {
  struct stat st;
  if (stat(path, &st)) {
    fprintf(stderr, "no seed at %s\n", path);
    exit(2);
  }
  if (S_ISREG(st.st_mode)) {
    add_file(path, (size_t)st.st_size);
    return;
  }
  struct dirent **entries;
  int n = scandir(path, &entries, NULL, by_name);
  for (int i = 0; i < n; i++) {
    char inner[4096];
    snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
    if (entries[i]->d_name[0] != '.') add_path(inner);
    free(entries[i]);
  }
  if (n >= 0) free(entries);
}

/* Pieces that formats like ours stumble over: limits of integers, brackets, comments, and the like. */
static const char *const pieces[] = {"0", "-1", "9223372036854775807", "18446744073709551616", "1e999", "nan", "(", ")", "[", "]", "{", "}",
                                     ",", ";", "\"", "\n", "\\", "//@ ", "--[[", "%", "\x1bLua", "$", ".", "0x", "+", "*", "?", ":"};

static void insert(size_t at, const void *data, size_t n) {
  if (input_bytes + n > MAX_BYTES) return;
  memmove(input + at + n, input + at, input_bytes - at);
  memcpy(input + at, data, n);
  input_bytes += n;
}

static void damage(void) {
  size_t at = below(input_bytes + 1), n = 1 + below(below(2) ? 8 : 200);
  const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
  const Seed *other = &seeds[below((size_t)nseeds)];
  size_t from = below(other->bytes);
  if (at + n > input_bytes) n = input_bytes - at;
  switch (below(7)) {
    case 0: if (n) input[at] ^= (uint8_t)(1u << below(8)); break;
    case 1: if (n) input[at] = (uint8_t)next_random(); break;
    case 2: memmove(input + at, input + at + n, input_bytes - at - n), input_bytes -= n; break; /* take out */
    case 3: insert(at, piece, strlen(piece)); break;
    case 4: insert(at, other->data + from, n < other->bytes - from ? n : other->bytes - from); break;
    case 5: if (n) insert(at, memcpy(input + MAX_BYTES, input + at, n), n); break; /* twice */
    case 6: if (below(8) == 0) input_bytes = at; break; /* cut off */
  }
}

static void run_one(void) {
  uint8_t *exact = malloc(input_bytes ? input_bytes : 1); /* of its own size, so that a sanitizer sees reads past the end */
  if (!exact) exit(2);
  memcpy(exact, input, input_bytes);
  alarm(20); /* a hang ends as a crash does */
  LLVMFuzzerTestOneInput(exact, input_bytes);
  free(exact);
}

int main(int argc, char **argv) {
  double seconds = 5;
  long runs = 1000000;
  state = 0x9E3779B97F4A7C15ull;
  const char *stem = strrchr(argv[0], '/');
  snprintf(last_path, sizeof last_path, "%s.last", stem ? stem + 1 : argv[0]);
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--seconds") && i + 1 < argc) seconds = atof(argv[++i]);
    else if (!strcmp(argv[i], "--runs") && i + 1 < argc) runs = atol(argv[++i]);
    else if (!strcmp(argv[i], "--seed") && i + 1 < argc) state ^= strtoull(argv[++i], NULL, 0) * 0xD1342543DE82EF95ull;
    else add_path(argv[i]);
  }
  if (!nseeds) {
    fprintf(stderr, "usage: %s [--seconds N] [--runs N] [--seed N] FILE_OR_FOLDER...\n", argv[0]);
    return 2;
  }
  signal(SIGABRT, on_crash);
  signal(SIGALRM, on_crash);
#ifndef SANITIZED /* which reports these itself */
  signal(SIGSEGV, on_crash);
  signal(SIGFPE, on_crash);
  signal(SIGBUS, on_crash);
#endif
  long done = 0;
  for (int i = 0; i < nseeds; i++, done++) {
    memcpy(input, seeds[i].data, input_bytes = seeds[i].bytes);
    run_one();
  }
  for (double end = now_seconds() + seconds; done < runs && now_seconds() < end; done++) {
    const Seed *seed = &seeds[below((size_t)nseeds)];
    memcpy(input, seed->data, input_bytes = seed->bytes);
    for (size_t n = 1 + below(6); n > 0; n--) damage();
    run_one();
  }
  printf("%ld inputs, %d of them seeds\n", done, nseeds);
  for (int i = 0; i < nseeds; i++) free(seeds[i].data);
  return 0;
}
