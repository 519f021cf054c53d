/* table.c - see table.h. */
#include "table.h"
#include "../../runtime/alloc.h"
#include <string.h>

#define GAP 2

/* Columns on the terminal: continuation bytes of UTF-8 take none. */
static int columns_of(const char *s) {
  int n = 0;
  for (; *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
  return n;
}

void table_widen(Table *t, int column, int width) {
  if (t->width[column] < width) t->width[column] = width;
}

static void print_row(const Table *t, const char *const *cells) {
  int owed = 0; /* blanks before the next printed character: none trail at the end of a line */
  for (int i = 0; i < t->columns; i++) {
    int blank = t->width[i] - columns_of(cells[i]);
    if (blank < 0) blank = 0;
    if (t->right[i]) owed += blank;
    if (*cells[i]) {
      fprintf(t->out, "%*s%s", owed, "", cells[i]);
      owed = 0;
    }
    owed += (t->right[i] ? 0 : blank) + GAP;
  }
  fputc('\n', t->out);
}

static bool keep(Table *t, const char *cell) {
  size_t n = strlen(cell) + 1;
  if (t->used + n > t->room) {
    size_t room = (t->room + n) * 2;
    char *text = kiln_mem(t->text, t->room, room);
    if (!text) return false;
    t->text = text;
    t->room = room;
  }
  memcpy(t->text + t->used, cell, n);
  t->used += n;
  return true;
}

void table_row(Table *t, const char *const *cells) {
  if (!t->collecting) {
    print_row(t, cells);
    fflush(t->out);
    return;
  }
  for (int i = 0; i < t->columns; i++) {
    table_widen(t, i, columns_of(cells[i]));
    if (!keep(t, cells[i])) { /* out of memory: print what there is, and go on unaligned */
      table_end(t);
      t->collecting = false;
      print_row(t, cells);
      return;
    }
  }
}

void table_start(Table *t, FILE *out, const char *heads, bool collecting) {
  memset(t, 0, sizeof *t);
  t->out = out;
  t->collecting = true;
  const char *cells[TABLE_MAX_COLUMNS];
  char copy[512];
  snprintf(copy, sizeof copy, "%s", heads);
  for (char *at = copy; at && t->columns < TABLE_MAX_COLUMNS;) {
    char *bar = strchr(at, '|');
    if (bar) *bar++ = 0;
    t->right[t->columns] = *at == '>';
    cells[t->columns++] = at + (*at == '>');
    at = bar;
  }
  table_row(t, cells);
  t->collecting = collecting;
}

void table_head(Table *t) {
  bool collecting = t->collecting;
  table_end(t);
  t->collecting = collecting;
}

void table_end(Table *t) {
  const char *cells[TABLE_MAX_COLUMNS];
  int n = 0;
  for (size_t at = 0; at < t->used; at += strlen(t->text + at) + 1) {
    cells[n++] = t->text + at;
    if (n == t->columns) {
      print_row(t, cells);
      n = 0;
    }
  }
  if (t->text) kiln_mem(t->text, t->room, 0);
  t->text = NULL;
  t->used = t->room = 0;
}
