/* tile_impl.h - what the tile*.c files share among themselves. */
#ifndef KILN_TILE_IMPL_H
#define KILN_TILE_IMPL_H
#include "tile.h"

/* One "key:kind?" of a row's attrs column; tile_spec_next advances over them. */
typedef struct TileAttrSpec {
  TileAttrKey key;
  char kind;
  bool optional;
} TileAttrSpec;
bool tile_spec_next(const char **spec, TileAttrSpec *out);

const char *tile_kind_name(int kind);

/* Gives n its type from operands and attributes, or reports and returns false. */
bool tile_infer(TileProgram *p, TileNode *n);
bool tile_infer_operands(TileProgram *p, TileNode *n);
bool tile_infer_product(TileProgram *p, TileNode *n);  /* tile_infer_memory.c: mma, mma_rs, mma_scaled */
bool tile_infer_memory(TileProgram *p, TileNode *n);   /* loads, stores, pieces of tiles, rings; declarations of memory */
bool tile_take_shape(TileProgram *p, TileNode *n, TileAttrKey key, int most_rank, TileType *out);
bool tile_take_layout(TileProgram *p, TileNode *n, TileType *out);
bool tile_slice_type(TileProgram *p, const TileNode *n, const TileType *full, int kept_dim, TileType *out);
bool tile_same_shape(const TileType *a, const TileType *b);

/* Words separated by commas or blanks: "q,k v". */
bool tile_word_next(const char **text, const char **word, size_t *n);
int tile_word_count(const char *text);
int tile_word_index(const char *text, const char *name); /* -1: not there */

/* Names in scope, for printer and parser: what an inner region binds is forgotten at its end. */
typedef struct TileBinding {
  const char *name;
  uint32_t hash, before; /* before: the binding that this one came after in its bucket, plus one */
  TileId id;
  uint32_t line;
} TileBinding;
typedef struct TileNames {
  Arena *arena;
  VEC(TileBinding) all;
  uint32_t bucket[1024]; /* 1 + index of the newest binding */
} TileNames;
TileBinding *tile_names_find(TileNames *t, const char *name, size_t n);
void tile_names_add(TileNames *t, const char *name, TileId id, uint32_t line); /* name must outlive t */
void tile_names_cut(TileNames *t, uint32_t count);                            /* forgets all but the first count */
/* May a value not be called so in the text form: would it read as a flag or a keyword there? */
bool tile_name_reserved(const char *name, size_t n);

/* tile_ring.c: life of slot tokens, and who uses which end of a ring. Called by tile_check for each kernel. */
void tile_check_rings(TileProgram *p, const uint32_t *role_of, TileId kernel);
#endif
