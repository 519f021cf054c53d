/* sim.c - kiln sim: runs a program of the CUDA driver API on the simulator.
 *
 * The program is not changed: a temporary folder in front of its library path has the simulator under the driver's name. What the
 * checker finds is written by the library to a file there (runtime/sim/report.c), and printed here when the program has ended. */
#include "../../runtime/kiln.h"
#include "cli.h"
#include "write.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "usage: kiln sim [options] [--] PROGRAM [ARGUMENT..]\n\n"
    "Runs a program that uses the CUDA driver API (libcuda.so.1, linked or opened by dlopen) on the simulator, unchanged.\n"
    "What its launches do wrong is printed when it has ended: kernel, line of the source (-lineinfo) and of the PTX text,\n"
    "block, warp and lane. Kernels must be PTX text; the runtime API and cubins are not simulated.\n\n"
    "  --target T           the device's architecture, also such as sm_87 and sm_90, for which kiln emits nothing (default: sm_80)\n"
    "  --seed N             order of warps and of asynchronous copies (default: 0)\n"
    "  --device sim:T,..    instead of --target, with the simulator's options: sms=N cores=N checks=off policy=.. limit=N\n\n"
    "Exit code: the program's own, 128 + N if signal N ended it, 126 or 127 if it cannot be run. Where it ends with 0 though\n"
    "something was found, the code is 1.\n\n"
    "examples:\n"
    "  kiln sim ./vector_add\n"
    "  kiln sim --target sm_90a --seed 3 -- ./reduce reduce.ptx --size 1000\n"
    "  kiln sim --device sim:sm_86,sms=16,policy=random,seed=7 ./scan\n";

/* The folder that lives as long as the program runs. */
typedef struct Stage { char folder[PATH_MAX - 32], reports[PATH_MAX], device[1024]; } Stage;

static const char *const names[] = {"libcuda.so.1", "libcuda.so"}; /* what programs ask the loader for */
#define NAMES (sizeof names / sizeof *names)

static void remove_stage(const Stage *s) {
  char path[PATH_MAX];
  for (size_t i = 0; i < NAMES; i++) {
    snprintf(path, sizeof path, "%s/%s", s->folder, names[i]);
    unlink(path);
  }
  unlink(s->reports);
  rmdir(s->folder);
}

static bool make_stage(Stage *s, const char *library) {
  char path[PATH_MAX];
  if (!make_temporary(s->folder, sizeof s->folder, "kiln-sim")) {
    cli_error("sim: no temporary folder %s: %s", s->folder, strerror(errno));
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < NAMES && ok; i++) {
    snprintf(path, sizeof path, "%s/%s", s->folder, names[i]);
    ok = symlink(library, path) == 0;
  }
  snprintf(s->reports, sizeof s->reports, "%s/reports", s->folder);
  int file = ok ? open(s->reports, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600) : -1;
  if (file >= 0) return close(file) == 0;
  cli_error("sim: cannot write to %s: %s", s->folder, strerror(errno));
  remove_stage(s);
  return false;
}

/* ---- the device and the library ---- */

static bool read_device(const Options *o, Stage *s) {
  if (o->ndevices > 1) return cli_usage("sim: a program gets one device"), false;
  if (o->ndevices && options_has(o, OPTION_TARGET)) return cli_usage("sim: --device and --target exclude each other"), false;
  const char *device = o->ndevices ? o->device[0] : NULL;
  if (device && strncmp(device, "sim:", 4) != 0) return cli_usage("sim: --device: expected sim:TARGET[,option=value..], got \"%s\"", device), false;
  int n = snprintf(s->device, sizeof s->device - 32, "%s", device ? device + 4 : o->target ? o->target : "sm_80");
  if (n < 0 || n >= (int)sizeof s->device - 32) return cli_usage("sim: --device: too long"), false;
  if (options_has(o, OPTION_SEED) && strstr(s->device, ",seed=")) return cli_usage("sim: --seed and seed= in %s exclude each other", device), false;
  if (options_has(o, OPTION_SEED)) snprintf(s->device + n, sizeof s->device - (size_t)n, ",seed=%llu", (unsigned long long)o->seed);
  return true;
}

/* The runtime opens it, so that it is found where the runtime finds it, and refuses options that it does not know. */
static bool find_library(const Stage *s, char *path) {
  char where[sizeof s->device + 8];
  kiln_device *dev = NULL;
  Dl_info info;
  snprintf(where, sizeof where, "sim:%s", s->device);
  if (kiln_open(&dev, where) != KILN_OK) return cli_error("%s: %s", where, kiln_error()), false;
  void *sim = dlopen("libkilnsim.so.0", RTLD_NOW | RTLD_NOLOAD), *symbol = sim ? dlsym(sim, "kilnsim_configure") : NULL;
  bool found = symbol && dladdr(symbol, &info) && info.dli_fname && realpath(info.dli_fname, path);
  if (sim) dlclose(sim);
  kiln_close(dev);
  return found || (cli_error("sim: the simulator's file cannot be found"), false);
}

/* ---- the program ---- */

static volatile sig_atomic_t child; /* for the handler; pid_t is an int here */

static void pass_on(int sig) {
  if (child > 0) kill(child, sig);
}

/* A terminal's ^C reaches the program by itself; what is sent to this process alone is passed on. */
static const struct { int number; void (*does)(int); } signals[] = {{SIGTERM, pass_on}, {SIGHUP, pass_on}, {SIGINT, SIG_IGN}, {SIGQUIT, SIG_IGN}};
enum { SIGNALS = sizeof signals / sizeof *signals };

static void become_program(const Stage *s, char **argv) {
  const char *before = getenv("LD_LIBRARY_PATH");
  size_t bytes = strlen(s->folder) + (before ? strlen(before) : 0) + 2;
  char *path = cli_alloc(bytes);
  snprintf(path, bytes, "%s%s%s", s->folder, before && *before ? ":" : "", before ? before : "");
  signal(SIGPIPE, SIG_DFL);
  if (setenv("LD_LIBRARY_PATH", path, 1) == 0 && setenv("KILN_SIM_DEVICE", s->device, 1) == 0 && setenv("KILN_SIM_REPORTS", s->reports, 1) == 0)
    execvp(argv[0], argv);
  int why = errno;
  cli_error("sim: cannot run %s: %s", argv[0], strerror(why));
  _exit(why == ENOENT ? 127 : 126);
}

/* The program's exit status as a shell would see it; -1 after a message. */
static int run_program(const Stage *s, char **argv) {
  struct sigaction before[SIGNALS];
  int status;
  fflush(stdout);
  for (int i = 0; i < SIGNALS; i++) sigaction(signals[i].number, &(struct sigaction){.sa_handler = signals[i].does}, &before[i]);
  sigset_t passed, mask; /* wait until it is known whom they are for: the program may have begun before */
  sigemptyset(&passed);
  for (int i = 0; i < SIGNALS; i++) sigaddset(&passed, signals[i].number);
  sigprocmask(SIG_BLOCK, &passed, &mask);
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < SIGNALS; i++) sigaction(signals[i].number, &before[i], NULL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    become_program(s, argv);
  }
  child = pid > 0 ? pid : 0;
  sigprocmask(SIG_SETMASK, &mask, NULL);
  if (pid < 0) return cli_error("sim: cannot start a process: %s", strerror(errno)), -1;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return cli_error("sim: waiting for %s: %s", argv[0], strerror(errno)), -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- what it did ---- */

typedef struct Tally { bool opened; long launches, found, refused; } Tally;

/* A text that came before is counted, not printed again: a program often makes the same mistake in every launch. */
static long times_after(const char *text, const char *at, const char *end) {
  long n = 1;
  for (const char *s = at; s < end; s += strlen(s) + 1) n += strcmp(s, text) == 0;
  return n;
}

static bool came_before(const char *text, const char *begin) {
  for (const char *s = begin; s < text; s += strlen(s) + 1)
    if (strcmp(s, text) == 0) return true;
  return false;
}

static void print_reports(const char *text, size_t bytes, Tally *t) {
  const char *end = text + bytes;
  for (const char *s = text; s < end; s += strlen(s) + 1) {
    t->opened |= *s == 'd';
    t->launches += *s == 'l' || *s == 'f';
    t->found += *s == 'f';
    t->refused += *s == 'r';
    if ((*s != 'f' && *s != 'r') || came_before(s, text)) continue;
    long n = times_after(s, s + strlen(s) + 1, end);
    if (n > 1) cli_error("%s%s (%ld times)", *s == 'r' ? "refused: " : "", s + 1, n);
    else cli_error("%s%s", *s == 'r' ? "refused: " : "", s + 1);
  }
}

static int report(const Stage *s, int status) {
  Tally t = {0};
  size_t bytes = 0;
  char *text = cli_read_file(s->reports, &bytes);
  if (!text) return status ? status : CLI_FAILED;
  print_reports(text, bytes, &t);
  cli_free(text);
  bool ran = status != 126 && status != 127;
  if (!t.opened && ran) cli_note("the program did not open the simulator: it does not ask for libcuda.so.1, or has another path to it built in");
  if (t.opened)
    cli_note("sim:%s: %ld launch%s, %ld found wrong%s", s->device, t.launches, t.launches == 1 ? "" : "es", t.found,
             t.refused ? ", something refused" : "");
  return status == 0 && t.found ? CLI_FAILED : status;
}

static int run(const Options *o) {
  static Stage s;
  char library[PATH_MAX];
  if (!read_device(o, &s)) return CLI_USAGE;
  if (!find_library(&s, library) || !make_stage(&s, library)) return CLI_FAILED;
  int status = run_program(&s, o->rest);
  int code = status < 0 ? CLI_FAILED : report(&s, status);
  remove_stage(&s);
  return code;
}

const Command command_sim = {
    .name = "sim", .summary = "run a program of the CUDA driver API on the simulator",
    .help = help, .options = TAKES(TARGET) | TAKES(SEED) | TAKES(DEVICE),
    .least = 1, .most = OPTIONS_REST, .run = run};
