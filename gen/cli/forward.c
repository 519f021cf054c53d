/* forward.c - see forward.h. */
#include "forward.h"
#include "number.h"
#include <string.h>

static const char suffix[] = ".grad";

/* ---- copies of definitions ---- */

KilnDef *define_copy(const KilnDef *def) {
  KilnDef *copy = cli_alloc(sizeof *copy);
  *copy = *def;
  copy->op = cli_text(def->op);
  copy->doc = cli_text(def->doc ? def->doc : "");
  copy->cases = def->cases ? cli_text(def->cases) : NULL;
  for (int i = 0; i < def->ndims; i++) copy->dims[i] = cli_text(def->dims[i]);
  for (int i = 0; i < def->ntensors; i++) copy->tensor[i].name = cli_text(def->tensor[i].name);
  for (int i = 0; i < def->nscalars; i++) copy->scalar[i].name = cli_text(def->scalar[i].name);
  copy->node = cli_alloc((def->nnodes + 1) * sizeof *copy->node);
  memcpy(copy->node, def->node, def->nnodes * sizeof *copy->node);
  return copy;
}

void define_free(KilnDef *def) {
  if (!def) return;
  cli_free((char *)def->op);
  cli_free((char *)def->doc);
  cli_free((char *)def->cases);
  for (int i = 0; i < def->ndims; i++) cli_free((char *)def->dims[i]);
  for (int i = 0; i < def->ntensors; i++) cli_free((char *)def->tensor[i].name);
  for (int i = 0; i < def->nscalars; i++) cli_free((char *)def->scalar[i].name);
  cli_free(def->node);
  cli_free(def);
}

/* ---- the forward definition ---- */

bool forward_is_gradient(const char *op) {
  size_t n = strlen(op), tail = sizeof suffix - 1;
  return n > tail && strcmp(op + n - tail, suffix) == 0;
}

/* Does a list such as "dtype=bf16|f16 w=yes|no" have this key? */
static bool offers(const char *settings, const char *key) {
  size_t n = strlen(key);
  for (const char *at = settings; at && *at; at += strspn(at, " ")) {
    if (strncmp(at, key, n) == 0 && at[n] == '=') return true;
    at += strcspn(at, " ");
  }
  return false;
}

static const DefTensor *find_tensor(const KilnDef *def, const char *name) {
  for (int i = 0; i < def->ntensors; i++)
    if (strcmp(def->tensor[i].name, name) == 0) return &def->tensor[i];
  return NULL;
}

static bool is_read(const KilnDef *gradient, const char *name) {
  const DefTensor *t = find_tensor(gradient, name);
  return t && t->present && !t->is_out;
}

static int find_dim(const KilnDef *def, const char *name) {
  for (int i = 0; i < def->ndims; i++)
    if (strcmp(def->dims[i], name) == 0) return i;
  return -1;
}

static bool is_set(const kiln_gen_pair *set, int n, const char *key) {
  for (int i = 0; i < n; i++)
    if (strcmp(set[i].key, key) == 0) return true;
  return false;
}

/* The gradient's settings that the op has, too; and what the gradient reads is there (rstd=yes). */
static int forward_settings(const char *offered, const KilnDef *gradient, const kiln_gen_pair *set, int nset, kiln_gen_pair *chosen) {
  int n = 0;
  for (int i = 0; i < nset && n < OPTIONS_MAX_PAIRS; i++)
    if (offers(offered, set[i].key)) chosen[n++] = set[i];
  for (int i = 0; i < gradient->ntensors && n < OPTIONS_MAX_PAIRS; i++) {
    const char *name = gradient->tensor[i].name;
    if (is_read(gradient, name) && offers(offered, name) && !is_set(chosen, n, name)) chosen[n++] = (kiln_gen_pair){name, "yes"};
  }
  return n;
}

kiln_gen_status forward_define(KilnGen *gen, const char *op, const KilnDef *gradient, const kiln_gen_pair *set, int nset,
                               KilnDef **forward, char *why, size_t why_bytes) {
  *forward = NULL;
  char *name = cli_text_n(op, strlen(op) - (sizeof suffix - 1));
  OpList ops = {0};
  kiln_gen_pair chosen[OPTIONS_MAX_PAIRS];
  kiln_gen_request r = {.op = name, .set = chosen};
  const KilnDef *def;
  kiln_gen_status status = KILN_GEN_ERROR;
  snprintf(why, why_bytes, "there is no op %s", name);
  if (cli_list_ops(gen, name, &ops)) {
    r.nset = forward_settings(ops.settings[0], gradient, set, nset, chosen);
    status = kiln_gen_define(gen, &r, &def);
    if (status != KILN_GEN_OK) snprintf(why, why_bytes, "the forward op: %s", kiln_gen_message(gen));
  }
  bool reads = false;
  for (int i = 0; status == KILN_GEN_OK && i < def->ntensors; i++)
    reads |= def->tensor[i].is_out && def->tensor[i].present && is_read(gradient, def->tensor[i].name);
  if (reads) *forward = define_copy(def);
  cli_free_ops(&ops);
  cli_free(name);
  return status;
}

/* ---- filling ---- */

typedef struct Pair { /* a tensor that both definitions have */
  const CaseTensor *forward;
  CaseTensor *gradient;
  int dim[DEF_MAX_DIMS]; /* of the gradient's definition, by dim of the forward one; -1: not there */
} Pair;

static CaseTensor *tensor_named(CaseData *d, const char *name) {
  for (int i = 0; i < d->ntensors; i++)
    if (strcmp(d->tensor[i].def->name, name) == 0) return &d->tensor[i];
  return NULL;
}

static void *element(const CaseTensor *t, int64_t at) { return t->host + (size_t)(t->first + at) * number_bytes(t->def->dtype); }

/* Where the element with these indices of the forward dims lies in the gradient's tensor. */
static int64_t gradient_at(const Pair *p, const int64_t at[DEF_MAX_DIMS]) {
  int64_t offset = 0;
  for (int i = 0; i < p->forward->def->rank; i++) {
    int f = p->forward->def->dim[i], g = p->dim[f];
    if (g >= 0 && p->gradient->offset[g]) offset += p->gradient->offset[g][at[f]];
  }
  return offset;
}

/* An input of both: the forward run reads it where the gradient has it. */
static void share_input(const Pair *p, const KilnDef *forward, EvalInput *in) {
  EvalTensor *e = &in->tensor[p->forward->index];
  *e = (EvalTensor){.dtype = p->gradient->def->dtype, .data = element(p->gradient, 0)};
  for (int f = 0; f < forward->ndims; f++) e->offset[f] = p->dim[f] >= 0 ? p->gradient->offset[p->dim[f]] : NULL;
}

typedef struct Writer { Pair *pair[DEF_MAX_TENSORS]; } Writer; /* by tensor of the forward definition */

static void write_chunk(void *user, const EvalChunk *chunk) {
  const Pair *p = ((Writer *)user)->pair[chunk->tensor];
  int64_t at[DEF_MAX_DIMS], total = 1;
  for (int d = 0; d < DEF_MAX_DIMS; d++) {
    at[d] = chunk->start[d];
    if (chunk->dims >> d & 1) total *= chunk->count[d];
  }
  for (int64_t k = 0; k < total; k++) {
    number_store(p->gradient->def->dtype, element(p->gradient, gradient_at(p, at)), chunk->value[k]);
    for (int d = DEF_MAX_DIMS - 1; d >= 0; d--) {
      if (!(chunk->dims >> d & 1)) continue;
      if (++at[d] < chunk->start[d] + chunk->count[d]) break;
      at[d] = chunk->start[d];
    }
  }
}

static void size_forward(Case *c, const KilnDef *forward, const CaseData *d) {
  *c = *d->c;
  c->layout = LAYOUT_DENSE;
  c->in_place = false;
  memset(c->nlead, 0, sizeof c->nlead);
  for (int i = 0; i < forward->ndims; i++) {
    int g = find_dim(d->def, forward->dims[i]);
    c->size[i] = g >= 0 ? d->c->size[g] : 1;
  }
}

/* Forward inputs that the gradient does not read: these are drawn here. */
static uint32_t inputs_of_its_own(const KilnDef *forward, const KilnDef *gradient) {
  uint32_t own = 0;
  for (int i = 0; i < forward->ntensors; i++) {
    const DefTensor *t = &forward->tensor[i];
    if (t->present && !t->is_out && !is_read(gradient, t->name)) own |= 1u << i;
  }
  return own;
}

bool forward_fill(const KilnDef *forward, CaseData *d, Random *r, char *why, size_t why_bytes) {
  Majors none = {0};
  CaseData *f = cli_alloc(sizeof *f);
  Case *c = cli_alloc(sizeof *c);
  Pair *pairs = cli_alloc(DEF_MAX_TENSORS * sizeof *pairs);
  Writer w = {0};
  EvalInput in;
  size_forward(c, forward, d);
  tensors_make_these(f, forward, c, &none, false, inputs_of_its_own(forward, d->def));
  tensors_fill(f, r);
  for (int i = 0; i < forward->nscalars; i++)
    for (int k = 0; k < d->def->nscalars; k++)
      if (strcmp(forward->scalar[i].name, d->def->scalar[k].name) == 0) f->scalar[i] = d->scalar[k];
  tensors_eval_input(f, &in);
  for (int i = 0; i < f->ntensors; i++) {
    Pair *p = &pairs[i];
    CaseTensor *t = tensor_named(d, f->tensor[i].def->name);
    if (!t || t->def->is_out) continue;
    *p = (Pair){.forward = &f->tensor[i], .gradient = t};
    for (int k = 0; k < forward->ndims; k++) p->dim[k] = find_dim(d->def, forward->dims[k]);
    w.pair[f->tensor[i].index] = p;
    if (f->tensor[i].def->is_out) in.outputs |= 1u << f->tensor[i].index;
    else share_input(p, forward, &in);
  }
  bool done = in.outputs == 0 || evaluate(&in, write_chunk, &w, why, why_bytes);
  for (int i = 0; i < f->ntensors; i++) {
    cli_free(f->tensor[i].host);
    for (int k = 0; k < DEF_MAX_DIMS; k++) cli_free(f->tensor[i].offset[k]);
  }
  cli_free(pairs);
  cli_free(c);
  cli_free(f);
  return done;
}
