/* table.h - rows of text with aligned columns. Rows are printed as they come (columns must then be wide enough from the start)
 * or collected and measured first. */
#ifndef KILN_CLI_TABLE_H
#define KILN_CLI_TABLE_H
#include <stdbool.h>
#include <stdio.h>

#define TABLE_MAX_COLUMNS 12

typedef struct Table {
  FILE *out;
  int columns;
  int width[TABLE_MAX_COLUMNS];
  bool right[TABLE_MAX_COLUMNS];  /* aligned to the right: numbers */
  bool collecting;
  char *text;                     /* collected cells, each ended by NUL */
  size_t used, room;
} Table;

/* heads: one title per column, "|" separated; a title that begins with '>' makes its column right-aligned. */
void table_start(Table *t, FILE *out, const char *heads, bool collecting);
void table_widen(Table *t, int column, int width);      /* at least so wide */
void table_head(Table *t);                              /* prints the titles (when not collecting) */
void table_row(Table *t, const char *const *cells);     /* as many as there are columns */
void table_end(Table *t);                               /* prints what was collected */
#endif
