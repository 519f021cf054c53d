/* base.h - what every pass of the generator stands on: the arena with its two lifetimes, strings, and diagnostics. */
#ifndef KILN_BASE_H
#define KILN_BASE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- memory: one arena per compile, two lifetimes named at the call ---- */
typedef enum { KEEP, PASS } Lifetime; /* KEEP: until the compile ends. PASS: until the running pass ends. */

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
  ArenaBlock *blocks[2];
  size_t total_bytes, limit_bytes; /* limit 0: none */
  jmp_buf *on_exhausted;           /* the single landing in kiln_gen_*; never crossed by Lua frames */
} Arena;

void arena_init(Arena *a, size_t limit_bytes);
void *arena_alloc(Arena *a, Lifetime life, size_t bytes);      /* zeroed, 16-byte aligned; longjmps when exhausted */
void *arena_try(Arena *a, Lifetime life, size_t bytes);        /* the same, NULL when exhausted: for callers with Lua on the stack */
char *arena_str(Arena *a, Lifetime life, const char *s, size_t n);
char *arena_printf(Arena *a, Lifetime life, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void arena_reset_pass(Arena *a);
void arena_free(Arena *a);
#define ARENA_NEW(a, life, T) ((T *)arena_alloc((a), (life), sizeof(T)))
#define ARENA_ARRAY(a, life, T, n) ((T *)arena_alloc((a), (life), sizeof(T) * (size_t)(n)))

/* Growable array in an arena: a struct of pointer, count and capacity. VEC_PUSH returns the address of the new, zeroed element. */
#define VEC(T) struct { T *at; uint32_t n, cap; }
void *vec_grow(Arena *a, Lifetime life, void *at, uint32_t n, uint32_t *cap, size_t elem_bytes);
#define VEC_PUSH(a, life, v)                                                                                          \
  ((v)->n == (v)->cap ? ((v)->at = vec_grow((a), (life), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at)) : (void *)0,    \
   &(v)->at[(v)->n++])

/* ---- text that grows ---- */
typedef struct Text {
  Arena *arena;
  Lifetime life;
  char *at;
  size_t n, cap;
} Text;
void text_init(Text *t, Arena *a, Lifetime life);
void text_put(Text *t, const char *s, size_t n);
void text_str(Text *t, const char *s);
void text_fmt(Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- where something was written: file index into Diag.files, 1-based line ---- */
typedef struct Loc {
  uint16_t file; /* 0: nowhere */
  uint16_t col;
  uint32_t line;
} Loc;

/* ---- diagnostics: collected up to 20, first error decides; printed by the command, never by the library ---- */
typedef struct DiagFile {
  const char *name; /* as it stands in .file: "kiln/ops/rms_norm.lua", or the path as typed */
  const char *text; /* for the quoted line and the caret; NULL if not at hand */
} DiagFile;

typedef struct Diag {
  Arena *arena;
  VEC(DiagFile) files; /* index 0 is unused */
  Text text;           /* "ops/x.lua:41: message\n  <source line>\n  <caret>\n" per error */
  int errors;
} Diag;

void diag_init(Diag *d, Arena *a);
uint16_t diag_file(Diag *d, const char *name, const char *text); /* same name: same index */
void diag_error(Diag *d, Loc at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* kiln's own mistake: never reachable by input. Prints file:line and aborts. */
#define BUG_IF(cond, what)                                                                                             \
  do {                                                                                                                 \
    if (cond) kiln_bug(__FILE__, __LINE__, what);                                                                      \
  } while (0)
_Noreturn void kiln_bug(const char *file, int line, const char *what);
#endif
