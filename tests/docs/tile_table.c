/* tile_table.c - prints the table of tile operations of docs/language.md, made from tile.def, or compares it with that page.
 *
 * usage: tile_table            prints the table
 *        tile_table FILE       exit status 1 if FILE does not hold exactly this table between its two markers */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Row { const char *name, *args, *attrs, *result, *flags, *doc; int regions; char scope; } Row;
static const Row rows[] = {
#define TILE(id, args, attrs, regions, result, scope, flags, doc) {#id, args, attrs, result, flags, doc, regions, scope},
#include "../../gen/tile.def"
#undef TILE
};

static const char begin[] = "<!-- tile operations: begin -->\n", end[] = "<!-- tile operations: end -->\n";

static char *table(void) {
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (!out) return NULL;
  fprintf(out, "| operation | operands | attributes | result | scope | flags | what |\n|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const Row *r = &rows[i];
    fprintf(out, "| `%s` | %s | %s | %s | %c | %s | %s%s |\n", r->name, r->args, r->attrs, r->result, r->scope, r->flags, r->doc,
            r->regions == 1 ? " (a region)" : r->regions == 2 ? " (two regions)" : "");
  }
  return fclose(out) ? NULL : text;
}

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) return NULL;
  static char text[1 << 20];
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = 0;
  return text;
}

int main(int argc, char **argv) {
  char *want = table();
  if (!want) return 1;
  if (argc == 1) {
    printf("%s%s%s", begin, want, end);
    return 0;
  }
  const char *page = read_file(argv[1]);
  const char *from = page ? strstr(page, begin) : NULL, *to = from ? strstr(from, end) : NULL;
  if (!to) {
    fprintf(stderr, "%s: no table of tile operations between its markers\n", argv[1]);
    return 1;
  }
  from += strlen(begin);
  if ((size_t)(to - from) != strlen(want) || memcmp(from, want, strlen(want)) != 0) {
    fprintf(stderr, "%s: the table of tile operations is not that of gen/tile.def; `tile_table` prints it\n", argv[1]);
    return 1;
  }
  free(want);
  return 0;
}
