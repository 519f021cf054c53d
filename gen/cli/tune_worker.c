/* tune_worker.c - see tune_worker.h. */
#include "tune_worker.h"
#include "timing.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { REQUEST_BYTES = 1024 };

/* ---- the worker's side ---- */

typedef struct Work {
  Group g;
  Random random;
  CaseList cases; /* of the one size */
  CaseData d;
  bool laid_out;
  Timer timer;
  bool timing;
  bool lost; /* the GPU's context, by a fault */
} Work;

static void answer(const char *word, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void answer(const char *word, const char *fmt, ...) {
  char text[REQUEST_BYTES];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  for (char *c = text; *c; c++)
    if (*c == '\n') *c = ' ';
  printf("%s%s%s\n", word, *text ? " " : "", text);
  fflush(stdout);
}

static void drop_case(Work *w) {
  if (w->laid_out) tensors_free(&w->d, &w->g.device);
  cases_free(&w->cases);
  w->laid_out = false;
}

static void take_size(Work *w, Options *o, const char *text) {
  char why[512] = "";
  drop_case(w);
  o->nsizes = 0;
  size_t used = o->used;
  bool done = options_sizes(o, text, why, sizeof why) && cases_sizes(&w->cases, w->g.def, o, why, sizeof why);
  o->used = used;
  if (done) {
    random_start(&w->random, 1);
    done = group_make(&w->g, &w->cases.at[0], &w->d, &w->random, why, sizeof why);
    w->laid_out = true;
    if (done && !tensors_upload(&w->d, &w->g.device)) {
      snprintf(why, sizeof why, "%s", kiln_error());
      done = false;
    }
  }
  answer(done ? "ready" : "failed", "%s", why);
}

/* Local memory in a kernel that the tables of schedules offer is a spill. */
static bool spills(const kiln_plan *plan, char *why, size_t bytes) {
  kiln_plan_info info;
  kiln_step_info step;
  if (kiln_plan_query(plan, &info) != KILN_OK) return false;
  for (int i = 0; i < info.nsteps; i++) {
    if (kiln_plan_step(plan, i, &step) != KILN_OK || step.local_bytes == 0) continue;
    snprintf(why, bytes, "step %s takes %u bytes of local memory per thread at %u registers", step.name, step.local_bytes, step.registers);
    return true;
  }
  return false;
}

/* Runs once for its result, which is held against the definition. On the simulator this run is also the measurement. */
static const char *run_checked(Work *w, const kiln_plan *plan, double *figure, char *why, size_t bytes) {
  DeviceCounters before = {0}, after = {0};
  CaseVerdict verdict;
  device_counters(&w->g.device, &before);
  if (group_launch(&w->g, &w->d, plan) != KILN_OK) {
    snprintf(why, bytes, "%s", kiln_error());
    w->lost = !w->g.device.info.simulated;
    return "fault";
  }
  if (device_counters(&w->g.device, &after)) *figure = after.lane_instructions - before.lane_instructions;
  tensors_compare(&w->d, &w->g.device, &w->random, 6e7, &verdict);
  if (verdict.passed) return NULL;
  snprintf(why, bytes, "%s", verdict.text);
  return "wrong";
}

static const char *run_timed(Work *w, const kiln_plan *plan, double *figure, char *why, size_t bytes) {
  Timed timed;
  kiln_status status = KILN_OK;
  if (!w->timing) {
    status = timer_open(&w->timer, &w->g);
    w->timing = true;
  }
  if (status == KILN_OK) status = timer_launches(&w->timer, &w->d, plan, &timed);
  if (status == KILN_OK) {
    *figure = timed.launch.median;
    return NULL;
  }
  snprintf(why, bytes, "%s", kiln_error());
  w->lost = true;
  return "fault";
}

static void take_variant(Work *w, const char *variant) {
  char why[640] = "";
  kiln_plan *plan = NULL;
  const char *word = NULL;
  double figure = 0;
  if (!w->laid_out) {
    answer("refused", "no size was given");
    return;
  }
  if (!tensors_restore(&w->d, &w->g.device) || group_plan(&w->g, &w->d, variant, &plan) != KILN_OK) {
    word = "refused";
    snprintf(why, sizeof why, "%s", kiln_error());
  }
  if (!word && spills(plan, why, sizeof why)) word = "spill";
  if (!word) word = run_checked(w, plan, &figure, why, sizeof why);
  if (!word && !w->g.device.info.simulated) word = run_timed(w, plan, &figure, why, sizeof why);
  if (word) answer(word, "%s", why);
  else answer("figure", "%.1f", figure);
  if (!w->lost) kiln_plan_destroy(plan);
}

static void serve(Work *w, Options *o) {
  char line[REQUEST_BYTES];
  answer("ready", "%s", "");
  while (!w->lost && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "size ", 5) == 0) take_size(w, o, line + 5);
    else if (strncmp(line, "run ", 4) == 0) take_variant(w, line + 4);
    else answer("refused", "\"%s\" is no request", line);
  }
}

int tune_work(Options *o) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where a kernel hangs when the tuning is interrupted */
  KilnGen *gen = cli_open_generator(o);
  if (!gen) return CLI_FAILED;
  OpList ops = {0};
  Work *w = cli_alloc(sizeof *w);
  char why[2048] = "";
  int code = CLI_FAILED;
  if (o->ndevices == 1 && cli_list_one(gen, "tune", o->operand[0], &ops)) {
    GroupRequest r = {.op = ops.name[0], .set = o->set, .nset = o->nset, .where = o->device[0], .target = o->target,
                      .widen = o->schedule, .nwiden = o->nschedule};
    if (group_open(&w->g, gen, &r, why, sizeof why) == KILN_GEN_OK) {
      serve(w, o);
      code = CLI_OK;
      if (w->lost) _exit(code); /* giving back what a faulted context held would only fail */
      if (w->timing) timer_close(&w->timer);
      drop_case(w);
      group_close(&w->g);
    } else {
      cli_error("%s", why);
    }
  }
  cli_free(w);
  cli_free_ops(&ops);
  kiln_gen_close(gen);
  return code;
}

/* ---- the tuner's side ---- */

typedef struct Line { char *arg[16]; char text[16384]; size_t used; int n; } Line; /* of a command */

static void add_word(Line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_word(Line *l, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, fmt, args);
  va_end(args);
  if (n < 0 || l->used + (size_t)n >= sizeof l->text || l->n == 15) return; /* options hold less than this */
  l->arg[l->n++] = l->text + l->used;
  l->used += (size_t)n + 1;
}

static void add_pairs(Line *l, const char *option, const kiln_gen_pair *pair, int n) {
  char text[8192] = "";
  size_t used = 0;
  for (int i = 0; i < n && used < sizeof text; i++)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%s", i ? "," : "", pair[i].key, pair[i].value);
  if (n) add_word(l, "%s=%s", option, text);
}

static void make_command(Line *l, const Options *o, const char *where) {
  char self[4096]; /* by its own path: the simulator is looked for beside it */
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = 0;
  memset(l, 0, sizeof *l);
  add_word(l, "%s", self);
  add_word(l, "tune");
  add_word(l, "--worker");
  add_word(l, "--device=%s", where);
  if (o->target) add_word(l, "--target=%s", o->target);
  if (o->lua) add_word(l, "--lua=%s", o->lua);
  add_pairs(l, "--set", o->set, o->nset);
  add_pairs(l, "--schedule", o->schedule, o->nschedule);
  add_word(l, "--");
  add_word(l, "%s", o->operand[0]);
}

static bool spawn(Worker *w, Line *l, int in[2], int out[2]) {
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions)) return false;
  int failed = posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  if (!failed) failed = posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  if (!failed) failed = posix_spawn(&w->pid, "/proc/self/exe", &actions, NULL, l->arg, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) w->pid = 0;
  return !failed;
}

bool worker_start(Worker *w, const Options *o, const char *where) {
  int in[2], out[2];
  *w = (Worker){0, -1, -1};
  if (pipe2(in, O_CLOEXEC)) return cli_error("tune: no pipe: %s", strerror(errno)), false;
  if (pipe2(out, O_CLOEXEC)) {
    cli_error("tune: no pipe: %s", strerror(errno));
    close(in[0]), close(in[1]);
    return false;
  }
  Line *l = cli_alloc(sizeof *l);
  make_command(l, o, where);
  bool done = spawn(w, l, in, out);
  cli_free(l);
  close(in[0]), close(out[1]);
  w->to = in[1], w->from = out[0];
  if (!done) {
    cli_error("tune: the process that measures cannot be started");
    worker_stop(w);
  }
  return done;
}

/* Waits for its end; how: in words. */
static void end(Worker *w, bool kills, char *how, size_t bytes) {
  int state = 0;
  if (w->to >= 0) close(w->to);
  if (w->from >= 0) close(w->from);
  if (w->pid && kills) kill(w->pid, SIGKILL);
  if (w->pid)
    while (waitpid(w->pid, &state, 0) < 0 && errno == EINTR) continue;
  if (how && WIFSIGNALED(state)) snprintf(how, bytes, "the process that measured it was ended by signal %d", WTERMSIG(state));
  else if (how) snprintf(how, bytes, "the process that measured it ended with exit code %d", WEXITSTATUS(state));
  *w = (Worker){0, -1, -1};
}

void worker_stop(Worker *w) { end(w, true, NULL, 0); }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A line from the worker. */
static WorkerOutcome hear(Worker *w, double until, char *text, size_t bytes) {
  size_t n = 0;
  for (;;) {
    struct pollfd ready = {w->from, POLLIN, 0};
    double left = until - now();
    int events = left > 0 ? poll(&ready, 1, (int)(left * 1000) + 1) : 0;
    if (events < 0 && errno == EINTR) continue;
    if (events <= 0) return WORKER_SILENT;
    char c;
    ssize_t got = read(w->from, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return WORKER_ENDED;
    if (c == '\n') break;
    if (n + 1 < bytes) text[n++] = c;
  }
  text[n] = 0;
  return WORKER_ANSWERED;
}

WorkerOutcome worker_ask(Worker *w, const char *request, int seconds, char *answer, size_t bytes) {
  bool sent = !request || dprintf(w->to, "%s\n", request) > 0;
  *answer = 0;
  WorkerOutcome outcome = sent ? hear(w, now() + seconds, answer, bytes) : WORKER_ENDED;
  if (outcome == WORKER_ENDED) end(w, false, answer, bytes);
  if (outcome == WORKER_SILENT) {
    end(w, true, NULL, 0);
    snprintf(answer, bytes, "no result within %d s", seconds);
  }
  return outcome;
}
