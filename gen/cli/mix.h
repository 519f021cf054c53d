/* mix.h - what a PTX text consists of: instructions by opcode per entry, and its innermost loops. Reads text only, so that it
 * also takes edited and foreign files. */
#ifndef KILN_CLI_MIX_H
#define KILN_CLI_MIX_H
#include <stddef.h>

typedef struct MixCount { char opcode[48]; int n; } MixCount;
typedef struct Mix { MixCount at[256]; int n, total; } Mix; /* most frequent first */

typedef struct MixLoop {
  char label[64];
  int first_line, last_line; /* of the PTX text */
  long macs;                 /* of a warp, by products of matrices; of a warpgroup's products a quarter */
  Mix mix;
} MixLoop;

#define MIX_LOOPS 16
typedef struct MixEntry {
  char name[256];
  int threads;               /* .reqntid or .maxntid; 0: not said */
  Mix mix;
  MixLoop loop[MIX_LOOPS];   /* those that hold no other but such as wait, most products and then longest first */
  int nloops;
} MixEntry;

/* Calls fn for each entry of text. */
void mix_read(const char *text, void (*fn)(void *user, const MixEntry *entry), void *user);
#endif
