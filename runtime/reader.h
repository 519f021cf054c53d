/* reader.h - inside of the contract's reader: where it stands, the words of a line, and what they name. contract.c reads the lines with
 * it. Every refusal names file, line and what was expected there. */
#ifndef KILN_READER_H
#define KILN_READER_H
#include "contract.h"
#include "error.h"
#include <string.h>

typedef struct Word {
  const char *at;
  size_t n;
} Word;

typedef struct Reader {
  Contract *c;
  const char *name; /* of the file */
  int line;
  const char *at, *end; /* what is left of the line */
  Word collapse[CONTRACT_MAX_COLLAPSE];
  int collapse_line[CONTRACT_MAX_COLLAPSE]; /* by list */
  int cap_set, cap_option, cap_tensor, cap_scalar, cap_workspace, cap_map, cap_item, cap_step, cap_symbol;
  bool has_op, has_target, has_set, has_schedule;
} Reader;

#define WORD_SHOWN(w) ((w).n > 64 ? 64 : (int)(w).n), (w).at

/* ---- refusals ---- */
kiln_status reader_wrong(const Reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* KILN_BAD_CONTRACT */
kiln_status reader_newer(const Reader *r, const char *what, Word w);                                   /* KILN_NEWER */
kiln_status reader_no_memory(const Reader *r);

/* ---- words. `what` says in a refusal what is expected. ---- */
bool reader_next(Reader *r, Word *w);         /* up to a blank outside parentheses; false at the end of the line */
bool reader_piece(Word *list, Word *piece);   /* cuts the first piece off at a comma outside parentheses; false when nothing is left */
bool reader_is_name(Word w);
static inline bool reader_is(Word w, const char *text) { return w.n == strlen(text) && memcmp(w.at, text, w.n) == 0; }
kiln_status reader_word(Reader *r, Word *w, const char *what);
kiln_status reader_name(Reader *r, Word *w, const char *what);
kiln_status reader_end(Reader *r);
kiln_status reader_dtype(Reader *r, uint8_t *out);
static inline bool reader_is_real(int dtype) { return dtype == KILN_F32 || dtype == KILN_F64; }
kiln_status reader_number(Reader *r, const char *what, int64_t low, int64_t high, int64_t *out);
kiln_status reader_choice(Reader *r, const char *what, const char *const *choices, int n, uint8_t *out); /* its place among them */
kiln_status reader_list(Reader *r, const char *what, Word *pieces, int *n); /* "[a,b,c]"; at most CONTRACT_MAX_RANK, without blanks */
kiln_status reader_keep(Reader *r, Word w, const char **out);               /* a copy in the contract's pool */

/* ---- names and expressions ---- */
kiln_status reader_symbol(Reader *r, Word w, SymbolKind kind, int dtype, int index, int *out);
kiln_status reader_expr(Reader *r, Word w, bool real, Expr *out);
kiln_status reader_need_expr(Reader *r, const char *what, bool real, Expr *out); /* the next word of the line */

/* Room for one more element of a list of the contract. */
#define READER_GROW(r, list, count, capacity, limit, what)                                     \
  do {                                                                                         \
    if ((count) >= (limit)) return reader_wrong((r), "more than %d %s", (int)(limit), (what)); \
    void *more_ = pool_grow(&(r)->c->pool, (list), (count), &(capacity), sizeof *(list));      \
    if (!more_) return reader_no_memory(r);                                                    \
    (list) = more_;                                                                            \
    memset(&(list)[count], 0, sizeof *(list));                                                 \
  } while (0)
#endif
