/* tune_worker.h - the process in which `kiln tune` measures: a hang or a fault of the GPU's context ends it, and not the tuning.
 *
 * It is this command again, with --worker: it reads a request a line and writes an answer a line.
 *   (start)         ready
 *   size M=..,N=..  ready | failed WHY
 *   run VARIANT     figure NUMBER | spill WHY | wrong WHY | fault WHY | refused WHY */
#ifndef KILN_CLI_TUNE_WORKER_H
#define KILN_CLI_TUNE_WORKER_H
#include "cli.h"
#include <sys/types.h>

int tune_work(Options *o); /* the worker's side */

typedef struct Worker {
  pid_t pid; /* 0: none */
  int to, from;
} Worker;

typedef enum { WORKER_ANSWERED, WORKER_ENDED, WORKER_SILENT } WorkerOutcome;

/* The same op, device, target and settings as the options have. false after a message. */
bool worker_start(Worker *w, const Options *o, const char *where);
void worker_stop(Worker *w); /* kills it, if need be */

/* request NULL: only waits for a line. On anything but WORKER_ANSWERED the worker is gone afterwards, and answer says how it ended. */
WorkerOutcome worker_ask(Worker *w, const char *request, int seconds, char *answer, size_t bytes);
#endif
