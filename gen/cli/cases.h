/* cases.h - which shapes, strides and values an op is checked with.
 *
 * Three sources: --size exactly; the op's own lines (KilnDef.cases); and generic classes derived from how the definition uses
 * its dims, so that an op written yesterday is checked with empty, single, odd and long shapes without asking for it.
 *
 * A line of an op's cases:   M=2x3,N=100 strided w=no
 *   sizes first; then words: strided, unaligned, columns, broadcast, special, in_place; NAME=VALUE is a setting. */
#ifndef KILN_CLI_CASES_H
#define KILN_CLI_CASES_H
#include "cli.h"

/* Strided: padded rows, leading dims in an order of their own; unaligned: odd strides and bases; columns: neighbours in a row lie
 * apart, or (inputs) in one place; broadcast: inputs repeat along row dims by stride 0. */
typedef enum { LAYOUT_DENSE, LAYOUT_STRIDED, LAYOUT_UNALIGNED, LAYOUT_COLUMNS, LAYOUT_BROADCAST, LAYOUTS } CaseLayout;

typedef enum { SCALARS_DEFAULT, SCALARS_OTHER, SCALARS_LARGE } CaseScalars;

typedef struct Case {
  char name[160];              /* "M=2x3,N=100 strided" */
  int64_t size[DEF_MAX_DIMS];  /* by dim of the definition */
  int64_t lead[DEF_MAX_DIMS][OPTIONS_MAX_LEADS]; /* how a leading dim is split, outermost first */
  int nlead[DEF_MAX_DIMS];     /* 0 or 1 where it is not */
  int number;                  /* from 0 on within its list: what alternates from case to case goes by it */
  CaseLayout layout;
  CaseScalars scalars;
  bool special;                /* NaN, infinities, zeros, tiny and large values among the inputs */
  bool in_place;               /* outputs that may lie over an input do */
} Case;

typedef struct CaseList { Case *at; int n, room; } CaseList;

/* Some: for settings away from the default; all: with what only a changed kernel needs (many strides that differ in short rows, many long
 * rows), for --mutate. */
typedef enum { CASES_ALL, CASES_FULL, CASES_SOME, CASES_QUICK, CASES_ONE } CaseAmount;

/* Appends the generic classes. */
void cases_generic(CaseList *list, const KilnDef *def, CaseAmount amount);
/* Appends the case of one line, without its settings. false: a dim of the definition has no size, or one is unknown; message. */
bool cases_line(CaseList *list, const KilnDef *def, const char *line, size_t bytes, char *message, size_t message_bytes);
/* Appends --size exactly. Dims that it leaves out follow from the others where they can (cases_roles.c). */
bool cases_sizes(CaseList *list, const KilnDef *def, const Options *o, char *message, size_t message_bytes);
void cases_free(CaseList *list);

/* The settings in a line of cases, as "w=no dtype=f32"; "" if none. */
void cases_settings(const char *line, size_t bytes, char *settings, size_t settings_bytes);
double case_elems(const KilnDef *def, const Case *c); /* elements of all present tensors together */
/* false: the case is too large to be laid out in memory; message. */
bool case_has_memory(const KilnDef *def, const Case *c, char *message, size_t message_bytes);
double case_scalar(const DefScalar *s, CaseScalars which); /* the value that a case gives a scalar */

/* ---- between the files of cases ---- */
Case *cases_append(CaseList *list);
/* Fixes what follows from the last case's sizes: products of leading dims, and the name. Every second case moves the scalars. */
void cases_complete(CaseList *list, const KilnDef *def);

/* What dims are for, read from the definition. */
typedef struct Roles {
  uint32_t summed;  /* by a product */
  uint32_t reduced; /* by a sum, maximum or minimum: an empty one has no mean */
  uint32_t batch;   /* of products: in both operands of all of them */
  uint32_t table;   /* of tensors that are only looked up in */
  uint32_t column;  /* last dim of tensors with rows, and followed by another one nowhere */
  uint32_t row;     /* before a column */
  uint32_t block;   /* counts blocks of another dim */
} Roles;
Roles cases_roles(const KilnDef *def);
/* Row dims of tensor t, outermost first, of rows with a column; 0: it has none. */
int cases_rows(const KilnDef *def, const Roles *r, int t, int dim[DEF_MAX_DIMS]);
/* Mask of the inputs of no dims by which something is divided: near 0 they make everything huge at once. */
uint32_t cases_divisors(const KilnDef *def);
/* Sizes the tables so that the rows and entries looked up are there; pick: which of several fits. Other dims must be sized. */
void cases_size_tables(Case *c, const KilnDef *def, const Roles *r, int pick, uint32_t known);
#endif
