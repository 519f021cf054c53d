/* assemble.h - asks ptxas, where it is installed, what a PTX text takes on its target. */
#ifndef KILN_CLI_ASSEMBLE_H
#define KILN_CLI_ASSEMBLE_H
#include <stdbool.h>
#include <stddef.h>

typedef struct Assembled { /* of one entry */
  char entry[256];
  int registers, shared_bytes, stack_bytes, spill_store_bytes, spill_load_bytes, barriers;
} Assembled;

typedef enum { ASSEMBLE_DONE, ASSEMBLE_ABSENT, ASSEMBLE_REFUSED } AssembleResult;

/* Entries found (at most room) in *n. REFUSED: log has ptxas' own words. */
AssembleResult assemble(const char *text, size_t bytes, const char *target, Assembled *out, int room, int *n, char *log,
                        size_t log_bytes);
#endif
