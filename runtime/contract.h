/* contract.h - the contract at the head of a .ptx as parsed data. docs/contract.md is the grammar.
 *
 * Names share one space: every dim, stride, scalar, derived value and let is a symbol, whose index is also its place in the
 * array of values that expressions read. Items keep the order of their lines, which is the order of evaluation. */
#ifndef KILN_CONTRACT_H
#define KILN_CONTRACT_H
#include "expr.h"
#include "kiln.h"

enum {
  CONTRACT_VERSION = 1,
  CONTRACT_MAX_RANK = 8,
  CONTRACT_MAX_TENSORS = 32,
  CONTRACT_MAX_SYMBOLS = 256,
  CONTRACT_MAX_SCALARS = 64,
  CONTRACT_MAX_SETTINGS = 64,
  CONTRACT_MAX_OPTIONS = 32,
  CONTRACT_MAX_ITEMS = 512,
  CONTRACT_MAX_LIMITS = 16,
  CONTRACT_MAX_WORKSPACES = 16,
  CONTRACT_MAX_MAPS = 32,
  CONTRACT_MAX_MAP_RANK = 5,
  CONTRACT_MAX_BOX = 256,    /* elements along one dim of a map */
  CONTRACT_MAX_STEPS = 32,
  CONTRACT_MAX_ARGS = 128,   /* of one step */
  CONTRACT_MAX_NAME = 63,
  CONTRACT_MAX_LINE = 4096,
  CONTRACT_MAX_COLLAPSE = 16,
};

typedef enum SymbolKind {
  SYMBOL_DIM, SYMBOL_STRIDE, SYMBOL_SCALAR, SYMBOL_CALL, SYMBOL_DERIVED, SYMBOL_FASTDIV, SYMBOL_LET, SYMBOL_BUILTIN,
  SYMBOL_TENSOR, SYMBOL_WORKSPACE, SYMBOL_MAP, /* index: of the tensor, workspace or map; they have no value */
} SymbolKind;

typedef struct Symbol {
  const char *name;
  uint8_t kind;
  uint8_t dtype;  /* of its value: I64 for dims, strides and lets */
  uint16_t index; /* tensor, workspace, map or call scalar */
} Symbol;

enum { SYMBOL_SMS, SYMBOL_BW, SYMBOL_TENSOR_RATE, SYMBOL_BUILTINS }; /* the first symbols of every contract */

typedef struct ContractDim { /* one entry of dims or strides */
  int16_t symbol;            /* the name it binds or, once bound, agrees with; -1: the value of expr */
  bool binds;                /* this is the first appearance of symbol */
  bool or_one;               /* B|1 */
  Expr expr;
} ContractDim;

typedef struct ContractTensor {
  const char *name;
  bool in, out;
  uint8_t dtype, rank, lead, lead_at; /* the caller may leave out up to `lead` dims from dim lead_at on */
  int8_t alias;   /* index of the tensor whose memory it may be; -1: none */
  uint32_t align_bytes;
  ContractDim dim[CONTRACT_MAX_RANK], stride[CONTRACT_MAX_RANK];
} ContractTensor;

typedef struct ContractScalar {
  const char *name;
  uint16_t symbol;
  uint8_t dtype;
  bool call, has_default;
  double fallback;
} ContractScalar;

typedef struct ContractOption { const char *key, *value, *fallback; } ContractOption; /* fallback NULL: must be named */
typedef struct ContractPair { const char *key, *value; } ContractPair;

typedef struct ContractWorkspace {
  const char *name;
  uint8_t dtype, rank;
  bool zero;
  Expr dim[CONTRACT_MAX_RANK];
} ContractWorkspace;

typedef enum ContractArgKind { ARG_TENSOR, ARG_WORKSPACE, ARG_MAP, ARG_CALL, ARG_VALUE } ContractArgKind;
typedef struct ContractArg {
  uint8_t kind, dtype; /* dtype of values: decides their width */
  bool fastdiv;
  uint16_t index;      /* tensor, workspace, map, call scalar; ARG_VALUE: symbol */
} ContractArg;

typedef struct ContractMap { /* a tensor map: the boxes in which bulk copies move a tensor or workspace. Outermost dim first */
  const char *name;
  uint8_t kind;        /* of its memory: ARG_TENSOR or ARG_WORKSPACE */
  uint16_t index;      /* of that */
  uint8_t dtype, rank;
  uint8_t swizzle, l2; /* the driver's numbers: the place among 0 32 64 128, and among 0 64 128 256 bytes */
  bool nan;            /* what lies outside reads as NaN, not 0 */
  bool tf32;           /* f32 is rounded to tf32 on its way to shared memory */
  uint16_t box[CONTRACT_MAX_MAP_RANK];
  Expr dim[CONTRACT_MAX_MAP_RANK], stride[CONTRACT_MAX_MAP_RANK]; /* elements; the last stride is 1 */
} ContractMap;

typedef struct ContractStep {
  const char *name, *entry;
  Expr grid[3], cluster[3], block, shared, when; /* cluster and when: n == 0 if absent */
  bool pdl, coresident;
  int nargs;
  const ContractArg *args;
} ContractStep;

typedef enum ItemKind { ITEM_TENSOR, ITEM_SCALAR, ITEM_VALUE, ITEM_REQUIRE, ITEM_LIMIT } ItemKind;
typedef struct ContractItem {
  uint8_t kind, dtype; /* ITEM_VALUE: dtype of the value */
  bool fastdiv;
  uint16_t index;      /* tensor, scalar; ITEM_VALUE: symbol; ITEM_LIMIT: call scalar */
  Expr expr, high;     /* ITEM_VALUE, ITEM_REQUIRE: expr; ITEM_LIMIT: from expr to high */
  const char *text;    /* ITEM_REQUIRE, ITEM_LIMIT: the reason */
} ContractItem;

typedef struct Contract {
  Pool pool;
  const char *op, *target, *settings, *schedule; /* settings, schedule: "" if the line is absent */
  ContractPair *set;
  ContractOption *option;
  ContractTensor *tensor;
  ContractScalar *scalar;
  ContractWorkspace *workspace;
  ContractMap *map;
  ContractItem *item;
  ContractStep *step;
  Symbol *symbol;
  int nset, noption, ntensor, nscalar, nworkspace, nmap, nitem, nstep, nsymbol, ncollapse;
  int ncollapse_list;                       /* 'collapse' lines */
  int ncall, nlimit;                        /* call scalars, 'limit' lines */
  int16_t collapse[CONTRACT_MAX_COLLAPSE];  /* symbols of dims, list after list */
  uint8_t collapse_end[CONTRACT_MAX_COLLAPSE]; /* by list: where the next one begins */
  Expr cost, bytes, flop;
} Contract;

/* Reads the contract at the head of text. `name` stands in messages ("rms_norm.ptx:12: ..."). On failure *out is empty.
 * Errors: NO_CONTRACT, BAD_CONTRACT, TRUNCATED, NEWER, NO_MEMORY. Safe on any bytes. */
kiln_status contract_read(Contract *out, const char *name, const char *text, size_t bytes);
void contract_free(Contract *c);

int contract_find(const Contract *c, const char *name, size_t bytes); /* symbol of that name, or -1 */
#endif
