/* assemble.c - see assemble.h. ptxas is looked for on PATH, below $CUDA_HOME, and where CUDA is installed by default. */
#include "assemble.h"
#include "cli.h"
#include "write.h"
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool find_ptxas(char *path, size_t bytes) {
  const char *home = getenv("CUDA_HOME"), *search = getenv("PATH"), *given = getenv("PTXAS"); /* as in the tests: that one or none */
  if (given) return snprintf(path, bytes, "%s", given) < (int)bytes && access(path, X_OK) == 0;
  for (const char *at = search ? search : ""; *at;) {
    size_t n = strcspn(at, ":");
    snprintf(path, bytes, "%.*s/ptxas", (int)n, at);
    if (n && access(path, X_OK) == 0) return true;
    at += n + (at[n] == ':');
  }
  if (home) snprintf(path, bytes, "%s/bin/ptxas", home);
  if (home && access(path, X_OK) == 0) return true;
  snprintf(path, bytes, "/usr/local/cuda/bin/ptxas");
  return access(path, X_OK) == 0;
}

static bool run(const char *ptxas, const char *folder, const char *target, int *code) {
  char arch[64], source[PATH_MAX], object[PATH_MAX], log[PATH_MAX];
  snprintf(arch, sizeof arch, "-arch=%s", target);
  snprintf(source, sizeof source, "%s/in.ptx", folder);
  snprintf(object, sizeof object, "%s/out.cubin", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  char *argv[] = {(char *)ptxas, (char *)"-v", arch, (char *)"-o", object, source, NULL};
  posix_spawn_file_actions_t actions;
  pid_t child;
  if (posix_spawn_file_actions_init(&actions) != 0) return false;
  bool started = posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600) == 0 &&
                 posix_spawn_file_actions_adddup2(&actions, 1, 2) == 0 &&
                 posix_spawn(&child, ptxas, &actions, NULL, argv, environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  return started && waitpid(child, code, 0) == child;
}

static int number_before(const char *line, const char *word) {
  const char *at = strstr(line, word);
  while (at && at > line && at[-1] == ' ') at--;
  if (!at) return 0;
  const char *digit = at;
  while (digit > line && digit[-1] >= '0' && digit[-1] <= '9') digit--;
  return atoi(digit);
}

static void read_log(const char *log, Assembled *out, int room, int *n) {
  char line[512];
  *n = 0;
  for (const char *at = log; *at;) {
    size_t length = strcspn(at, "\n");
    snprintf(line, sizeof line, "%.*s", (int)length, at);
    const char *name = strstr(line, "Compiling entry function '");
    if (name && *n < room) {
      Assembled *a = &out[(*n)++];
      memset(a, 0, sizeof *a);
      name += strlen("Compiling entry function '");
      snprintf(a->entry, sizeof a->entry, "%.*s", (int)strcspn(name, "'"), name);
    } else if (*n > 0 && strstr(line, "spill stores")) {
      out[*n - 1].stack_bytes = number_before(line, "bytes stack frame");
      out[*n - 1].spill_store_bytes = number_before(line, "bytes spill stores");
      out[*n - 1].spill_load_bytes = number_before(line, "bytes spill loads");
    } else if (*n > 0 && strstr(line, "Used ")) {
      out[*n - 1].registers = number_before(line, "registers");
      out[*n - 1].shared_bytes = number_before(line, "bytes smem");
      out[*n - 1].barriers = number_before(line, "barriers");
    }
    at += length + (at[length] == '\n');
  }
}

AssembleResult assemble(const char *text, size_t bytes, const char *target, Assembled *out, int room, int *n, char *log,
                        size_t log_bytes) {
  char ptxas[1024], folder[PATH_MAX - 16], path[PATH_MAX];
  *n = 0;
  snprintf(log, log_bytes, "ptxas could not be started");
  if (!find_ptxas(ptxas, sizeof ptxas)) return ASSEMBLE_ABSENT;
  if (!make_temporary(folder, sizeof folder, "kiln")) return ASSEMBLE_ABSENT;
  snprintf(path, sizeof path, "%s/in.ptx", folder);
  int code = -1;
  bool ran = write_whole(path, text, bytes) && run(ptxas, folder, target, &code);
  snprintf(path, sizeof path, "%s/log", folder);
  size_t got;
  char *all = ran ? cli_read_file(path, &got) : NULL;
  if (all) {
    read_log(all, out, room, n);
    snprintf(log, log_bytes, "%s", all);
  }
  cli_free(all);
  static const char *const names[] = {"in.ptx", "out.cubin", "log"};
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  rmdir(folder);
  return ran && code == 0 ? ASSEMBLE_DONE : ran ? ASSEMBLE_REFUSED : ASSEMBLE_ABSENT;
}
