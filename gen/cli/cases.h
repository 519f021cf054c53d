/* cases.h - which shapes, strides and values an op is checked with.
 *
 * Three sources: --size exactly; the op's own lines (KilnDef.cases); and generic classes derived from how the definition uses
 * its dims, so that an op written yesterday is checked with empty, single, odd and long shapes without asking for it.
 *
 * A line of an op's cases:   M=2x3,N=100 strided w=no
 *   sizes first; then words: strided, unaligned, special; NAME=VALUE is a setting. */
#ifndef KILN_CLI_CASES_H
#define KILN_CLI_CASES_H
#include "cli.h"

typedef enum { LAYOUT_DENSE, LAYOUT_STRIDED, LAYOUT_UNALIGNED } CaseLayout;

typedef struct Case {
  char name[96];               /* "M=2x3,N=100 strided" */
  int64_t size[DEF_MAX_DIMS];  /* by dim of the definition */
  int64_t lead[4];             /* how the definition's leading dim is split, outermost first */
  int nlead;                   /* 1 where it is not */
  CaseLayout layout;           /* strided: padded rows, leading dims in an order of their own; unaligned: odd strides and bases */
  bool special;                /* NaN, infinities, zeros, tiny and large values among the inputs */
  bool other_scalars;          /* scalars away from their defaults */
} Case;

typedef struct CaseList { Case *at; int n, room; } CaseList;

typedef enum { CASES_FULL, CASES_SOME, CASES_QUICK, CASES_ONE } CaseAmount; /* some: for settings away from the default */

/* Appends the generic classes. */
void cases_generic(CaseList *list, const KilnDef *def, CaseAmount amount);
/* Appends the case of one line, without its settings. false: a dim of the definition has no size, or one is unknown; message. */
bool cases_line(CaseList *list, const KilnDef *def, const char *line, size_t bytes, char *message, size_t message_bytes);
/* Appends --size exactly. */
bool cases_sizes(CaseList *list, const KilnDef *def, const Options *o, char *message, size_t message_bytes);
void cases_free(CaseList *list);

/* The settings in a line of cases, as "w=no dtype=f32"; "" if none. */
void cases_settings(const char *line, size_t bytes, char *settings, size_t settings_bytes);
double case_elems(const KilnDef *def, const Case *c); /* elements of all present tensors together */
/* false: the case is too large to be laid out in memory; message. */
bool case_has_memory(const KilnDef *def, const Case *c, char *message, size_t message_bytes);
#endif
