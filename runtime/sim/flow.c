/* flow.c - the end of an entry: jump targets, register lifetimes, definedness, and the layout of a warp's register file.
 *
 * Two data-flow analyses over basic blocks: which registers live where (so that slots are shared by linear scan, and the file of a
 * warp stays in the host's first cache), and which are surely written before they are read (so that only the others are watched at
 * run time). Both are per thread, and handlers write executing lanes only, so that divergence does not disturb them. An entry too
 * large for the bit sets gets a slot per register, all watched. */
#include "parse.h"
#include <string.h>

enum { MAX_SET_BYTES = 96 << 20, MAX_ROUNDS = 64, SLOT_BYTES = 128, MAX_FILE_BYTES = 1 << 28 };

typedef struct Block { uint32_t first, end, next[2]; const uint32_t *list; } Block; /* next: block + 1, 0: none; list: of brx.idx, or NULL */

typedef struct Flow {
  SimParser *p;
  SimInstr *code;
  uint32_t ncode, nvregs, nblocks, words;
  const SimRef *refs;
  const uint32_t *first_ref; /* ncode + 1 of them */
  SimVreg *vregs;
  Block *blocks;
  uint32_t *block_of;
  uint64_t *sets[5];         /* per block: written, used-before-written, live-in, live-out, defined-in */
  uint32_t *from, *to;       /* lifetimes by vreg, instruction indices; from > to: never touched */
  uint8_t *watched;          /* by vreg */
} Flow;
enum { SET_DEF, SET_USE, SET_LIVE_IN, SET_LIVE_OUT, SET_READY };

static uint64_t *set_of(const Flow *f, int which, uint32_t block) { return f->sets[which] + (size_t)block * f->words; }
static bool has(const uint64_t *s, uint32_t v) { return s[v / 64] >> v % 64 & 1; }
static void put(uint64_t *s, uint32_t v) { s[v / 64] |= (uint64_t)1 << v % 64; }

static bool is_guarded(const Flow *f, uint32_t i) { return f->vregs[f->refs[f->first_ref[i]].vreg].kind != VREG_CONST; }
static bool is_branch(const Flow *f, uint32_t i) { return f->code[i].target != SIM_FULL; }
static bool is_exit(const Flow *f, uint32_t i) {
  const char *name = sim_handler_name(f->code[i].handler);
  return strcmp(name, "exit") == 0 || strcmp(name, "ret") == 0 || strcmp(name, "trap") == 0;
}

static const uint32_t *targets_of(const Flow *f, uint32_t i) { /* of brx.idx: their number and they; NULL: another instruction */
  return strcmp(sim_handler_name(f->code[i].handler), "brx") == 0 ? &SIM_AT(&f->p->targets, uint32_t, f->code[i].imm) : NULL;
}
static uint32_t count_next(const Block *b) { return 2 + (b->list ? b->list[0] : 0); }
static uint32_t next_block(const Flow *f, const Block *b, uint32_t s) { /* block + 1; 0: none */
  return s < 2 ? b->next[s] : f->block_of[b->list[s - 1]] + 1;
}

/* ---- the end of the text: an exit, jump targets, addresses that depend on all declarations ---- */

static bool append_exit(SimParser *p) {
  SimToken op = {.kind = TOK_WORD, .at = p->fn->entry ? "exit" : "ret", .n = p->fn->entry ? 4 : 3, .line = p->tok.line};
  uint32_t *first = sim_push(&p->first_ref, sizeof *first);
  SimInstr *in = first ? sim_push(&p->code_buf, sizeof *in) : NULL;
  SimRef *r = in ? sim_push(&p->refs, sizeof *r) : NULL;
  uint32_t *last = r ? sim_push(&p->first_ref, sizeof *last) : NULL;
  uint32_t guard = last ? sim_vreg_const(p, 0, SIM_FULL) : 0;
  if (!guard) return p->code ? false : sim_parse_memory(p);
  in->line = op.line;
  in->src_line = p->src_line;
  in->src_file = p->src_file;
  in->target = SIM_FULL;
  in->form = (uint16_t)isa_find(op.at, op.n);
  in->handler = (uint16_t)sim_handler_find(op.at, op.n);
  r->vreg = guard;
  r->access = 1;
  p->first_ref.n -= sizeof *last; /* pushed to be sure of the room; its place follows from the counts */
  SIM_AT(&p->first_ref, uint32_t, SIM_COUNT(&p->first_ref, uint32_t) - 1) = SIM_COUNT(&p->refs, SimRef) - 1;
  last = sim_push(&p->first_ref, sizeof *last);
  if (!last) return sim_parse_memory(p);
  *last = SIM_COUNT(&p->refs, SimRef);
  return true;
}

static bool close_text(SimParser *p) {
  if (p->jumps.n) {
    SimJump *j = &SIM_AT(&p->jumps, SimJump, 0);
    return sim_parse_fail(p, j->line, DRV_INVALID_PTX, "no label '%.*s'", (int)(j->n > 60 ? 60 : j->n), j->name);
  }
  SimFunction *fn = p->fn;
  uint64_t base = (fn->shared_static + (uint64_t)fn->shared_align - 1) / fn->shared_align * fn->shared_align;
  if (fn->dynamic_shared) fn->shared_static = (uint32_t)base;
  for (uint32_t v = 1; v < SIM_COUNT(&p->vregs, SimVreg); v++) {
    SimVreg *r = &SIM_AT(&p->vregs, SimVreg, v);
    if (r->kind == VREG_CONST && r->name) r->value += base + p->dev->target->shared_first;
  }
  return append_exit(p);
}

/* ---- blocks ---- */

static bool make_blocks(Flow *f) {
  f->block_of = sim_new((f->ncode + 1) * sizeof *f->block_of);
  if (!f->block_of) return false;
  uint32_t *leader = f->block_of;
  leader[0] = 1;
  for (uint32_t i = 0; i < f->ncode; i++) {
    if (is_branch(f, i)) leader[f->code[i].target] = 1;
    const uint32_t *list = targets_of(f, i);
    for (uint32_t k = 0; list && k < list[0]; k++) leader[list[1 + k]] = 1;
    if (is_branch(f, i) || is_exit(f, i) || list) leader[i + 1] = 1;
  }
  for (uint32_t i = 0; i < f->ncode; i++) f->nblocks += leader[i];
  f->blocks = sim_new(f->nblocks * sizeof *f->blocks);
  if (!f->blocks) return false;
  uint32_t b = 0;
  for (uint32_t i = 0; i < f->ncode; i++) {
    if (leader[i]) f->blocks[b++].first = i;
    f->blocks[b - 1].end = i + 1;
    f->block_of[i] = b - 1;
  }
  for (b = 0; b < f->nblocks; b++) {
    uint32_t last = f->blocks[b].end - 1;
    f->blocks[b].list = targets_of(f, last);
    bool falls = (!is_branch(f, last) && !is_exit(f, last) && !f->blocks[b].list) || is_guarded(f, last);
    if (falls && b + 1 < f->nblocks) f->blocks[b].next[0] = b + 2;
    if (is_branch(f, last)) f->blocks[b].next[1] = f->block_of[f->code[last].target] + 1;
  }
  return true;
}

static void fill_local_sets(Flow *f) {
  for (uint32_t b = 0; b < f->nblocks; b++) {
    uint64_t *def = set_of(f, SET_DEF, b), *use = set_of(f, SET_USE, b);
    for (uint32_t i = f->blocks[b].first; i < f->blocks[b].end; i++) {
      bool guarded = is_guarded(f, i);
      for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++)
        if (f->refs[r].access & 1 && !has(def, f->refs[r].vreg)) put(use, f->refs[r].vreg);
      for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1] && !guarded; r++)
        if (f->refs[r].access & 2) put(def, f->refs[r].vreg);
    }
  }
}

static bool spread_live(Flow *f) { /* backwards; false: not settled within the bound */
  bool changed = true;
  for (int round = 0; changed; round++) {
    if (round == MAX_ROUNDS) return false;
    changed = false;
    for (uint32_t b = f->nblocks; b-- > 0;) {
      uint64_t *out = set_of(f, SET_LIVE_OUT, b), *in = set_of(f, SET_LIVE_IN, b);
      const uint64_t *def = set_of(f, SET_DEF, b), *use = set_of(f, SET_USE, b);
      for (uint32_t k = 0; k < f->words; k++) {
        uint64_t o = 0;
        for (uint32_t s = 0, to; s < count_next(&f->blocks[b]); s++)
          if ((to = next_block(f, &f->blocks[b], s))) o |= set_of(f, SET_LIVE_IN, to - 1)[k];
        out[k] = o;
        o = use[k] | (o & ~def[k]);
        changed |= o != in[k];
        in[k] = o;
      }
    }
  }
  return true;
}

static bool spread_ready(Flow *f) { /* forwards: written on every way here */
  memset(f->sets[SET_READY], 0xff, (size_t)f->nblocks * f->words * 8);
  memset(set_of(f, SET_READY, 0), 0, (size_t)f->words * 8);
  bool changed = true;
  for (int round = 0; changed; round++) {
    if (round == MAX_ROUNDS) return false;
    changed = false;
    for (uint32_t b = 0; b < f->nblocks; b++) {
      const uint64_t *in = set_of(f, SET_READY, b), *def = set_of(f, SET_DEF, b);
      for (uint32_t s = 0; s < count_next(&f->blocks[b]); s++) {
        uint32_t next = next_block(f, &f->blocks[b], s);
        if (!next) continue;
        uint64_t *to = set_of(f, SET_READY, next - 1);
        for (uint32_t k = 0; k < f->words; k++) {
          uint64_t v = to[k] & (in[k] | def[k]);
          changed |= v != to[k];
          to[k] = v;
        }
      }
    }
  }
  return true;
}

static void find_watched(Flow *f) {
  for (uint32_t b = 0; b < f->nblocks; b++) {
    uint64_t *ready = set_of(f, SET_READY, b);
    for (uint32_t i = f->blocks[b].first; i < f->blocks[b].end; i++) {
      bool guarded = is_guarded(f, i);
      for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++)
        if (f->refs[r].access & SIM_REF_HELD ||
            ((f->refs[r].access & (SIM_REF_READ | SIM_REF_LAX)) == SIM_REF_READ && !has(ready, f->refs[r].vreg)))
          f->watched[f->refs[r].vreg] = 1;
      for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1] && !guarded; r++)
        if (f->refs[r].access & 2) put(ready, f->refs[r].vreg);
    }
  }
}

static void stretch(Flow *f, uint32_t v, uint32_t at) {
  if (at < f->from[v]) f->from[v] = at;
  if (at > f->to[v] || f->from[v] > f->to[v]) f->to[v] = at;
}

static void find_lifetimes(Flow *f) {
  for (uint32_t b = 0; b < f->nblocks; b++) {
    const Block *k = &f->blocks[b];
    for (uint32_t v = 0; v < f->nvregs; v++) {
      if ((v & 63) == 0 && !set_of(f, SET_LIVE_IN, b)[v / 64] && !set_of(f, SET_LIVE_OUT, b)[v / 64]) {
        v += 63;
        continue;
      }
      if (has(set_of(f, SET_LIVE_IN, b), v)) stretch(f, v, k->first);
      if (has(set_of(f, SET_LIVE_OUT, b), v)) stretch(f, v, k->end - 1);
    }
  }
}

static bool analyse(Flow *f) { /* false: too large, or not settled */
  f->words = (f->nvregs + 63) / 64;
  size_t bytes = (size_t)f->nblocks * f->words * 8;
  if (bytes > MAX_SET_BYTES / 5) return false;
  for (int i = 0; i < 5; i++)
    if (!(f->sets[i] = sim_new(bytes))) return false;
  fill_local_sets(f);
  if (!spread_live(f) || !spread_ready(f)) return false;
  find_watched(f);
  find_lifetimes(f);
  return true;
}

/* ---- slots ---- */

typedef struct Pool { uint32_t *free_at; uint32_t nfree; } Pool;

/* Linear scan: intervals by start, slots come free after their last instruction. Two pools: one slot, two slots. */
static bool share_slots(Flow *f, uint32_t base, uint32_t *end, uint32_t *peak) {
  uint32_t n = f->ncode, live = 0;
  uint32_t *lists = sim_new((2 * (size_t)n + 2 * (size_t)f->nvregs) * 4), *free_at = sim_new(2 * (size_t)f->nvregs * 4);
  bool ok = lists && free_at;
  if (ok) {
    uint32_t *starts = lists, *ends = lists + n, *next_start = ends + n, *next_end = next_start + f->nvregs;
    Pool pool[2] = {{free_at, 0}, {free_at + f->nvregs, 0}};
    for (uint32_t v = f->nvregs; v-- > 1;) {
      if (f->vregs[v].kind != VREG_PLAIN || f->vregs[v].width == 0 || f->from[v] > f->to[v]) continue;
      next_start[v] = starts[f->from[v]], starts[f->from[v]] = v;
      next_end[v] = ends[f->to[v]], ends[f->to[v]] = v;
    }
    for (uint32_t i = 0; i < n; i++) {
      for (uint32_t v = starts[i]; v; v = next_start[v]) {
        uint32_t wide = f->vregs[v].width == 8;
        live += wide + 1;
        if (pool[wide].nfree) f->vregs[v].offset = pool[wide].free_at[--pool[wide].nfree];
        else f->vregs[v].offset = base, base += SLOT_BYTES << wide;
      }
      if (live > *peak) *peak = live;
      for (uint32_t v = ends[i]; v; v = next_end[v]) {
        uint32_t wide = f->vregs[v].width == 8;
        live -= wide + 1;
        pool[wide].free_at[pool[wide].nfree++] = f->vregs[v].offset;
      }
    }
  }
  *end = base;
  sim_delete(lists, (2 * (size_t)n + 2 * (size_t)f->nvregs) * 4);
  sim_delete(free_at, 2 * (size_t)f->nvregs * 4);
  return ok;
}

static bool place_registers(Flow *f, SimFunction *fn) {
  uint64_t preds = 0, at;
  for (uint32_t v = 1; v < f->nvregs; v++)
    if (f->vregs[v].width == 0) f->vregs[v].offset = (uint32_t)(4 * preds++);
  at = (preds * 4 + SLOT_BYTES - 1) / SLOT_BYTES * SLOT_BYTES;
  for (uint32_t v = 1; v < f->nvregs; v++) { /* sinks and constants first, then what comes and goes */
    SimVreg *r = &f->vregs[v];
    if (r->width == 0 || r->kind == VREG_PLAIN) continue;
    if (at > MAX_FILE_BYTES) return sim_parse_fail(f->p, f->p->tok.line, DRV_INVALID_PTX, "too many registers");
    r->offset = (uint32_t)at;
    at += r->width == 8 ? 2 * SLOT_BYTES : SLOT_BYTES;
  }
  uint32_t peak = 0, end = 0;
  if (at + (uint64_t)f->nvregs * 2 * SLOT_BYTES > UINT32_MAX) return sim_parse_fail(f->p, f->p->tok.line, DRV_INVALID_PTX, "too many registers");
  if (!share_slots(f, (uint32_t)at, &end, &peak)) return sim_parse_memory(f->p);
  fn->file_bytes = end;
  fn->regs = peak + 8 > 255 ? 255 : peak + 8 < 16 ? 16 : peak + 8; /* an estimate: ptxas decides on hardware */
  return true;
}

static bool list_fills(Flow *f, SimFunction *fn) {
  uint32_t n = 0, s = 0;
  for (uint32_t v = 1; v < f->nvregs; v++) n += f->vregs[v].kind == VREG_CONST, s += f->vregs[v].kind == VREG_SPECIAL;
  fn->fills = sim_new(n * 16);
  fn->specials = sim_new(s * 16);
  fn->nfills = fn->fills ? n : 0;
  fn->nspecials = fn->specials ? s : 0;
  if (!fn->fills || !fn->specials) return sim_parse_memory(f->p);
  n = s = 0;
  for (uint32_t v = 1; v < f->nvregs; v++) {
    const SimVreg *r = &f->vregs[v];
    uint64_t *to = r->kind == VREG_CONST ? fn->fills + 2 * n++ : r->kind == VREG_SPECIAL ? fn->specials + 2 * s++ : NULL;
    if (!to) continue;
    to[0] = (uint64_t)r->offset << 8 | r->width;
    to[1] = r->value;
  }
  return true;
}

/* ---- the finished code ---- */

/* The watched registers of an instruction whose access has `with` and not `without`, from place `at` of the list on. */
static uint32_t list_access(const Flow *f, SimFunction *fn, uint32_t i, uint32_t at, int with, int without, uint32_t *n) {
  for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++) {
    uint32_t v = f->refs[r].vreg;
    if (!f->watched[v] || !(f->refs[r].access & with) || (f->refs[r].access & without)) continue;
    fn->track_regs[at++] = f->from[v];
    ++*n;
  }
  return at;
}

static bool list_tracks(Flow *f, SimFunction *fn) {
  uint32_t ntracks = 1, nregs = 0, index = 0;
  for (uint32_t v = 1; v < f->nvregs; v++) f->from[v] = f->watched[v] ? index++ : SIM_FULL; /* lifetimes have served */
  fn->ntracked = index;
  for (uint32_t i = 0; i < f->ncode; i++) {
    uint32_t here = nregs;
    for (uint32_t r = f->first_ref[i]; r < f->first_ref[i + 1]; r++) nregs += f->watched[f->refs[r].vreg] ? 3u : 0u;
    ntracks += nregs != here;
  }
  fn->tracks = sim_new(ntracks * sizeof *fn->tracks);
  fn->track_regs = sim_new(nregs * 4);
  fn->ntracks = fn->tracks ? ntracks : 0;
  fn->ntrack_regs = fn->track_regs ? nregs : 0;
  if (!fn->tracks || !fn->track_regs) return sim_parse_memory(f->p);
  uint32_t t = 1, at = 0, always = f->vregs[sim_vreg_const(f->p, 0, SIM_FULL)].offset;
  for (uint32_t i = 0; i < f->ncode; i++) {
    SimTrack k = {.first = at};
    at = list_access(f, fn, i, at, SIM_REF_READ, SIM_REF_MAYBE | SIM_REF_LAX, &k.nread);
    at = list_access(f, fn, i, at, SIM_REF_MAYBE, 0, &k.nmaybe);
    at = list_access(f, fn, i, at, SIM_REF_WRITTEN, SIM_REF_LAX, &k.nwrite);
    at = list_access(f, fn, i, at, SIM_REF_HELD, 0, &k.nheld);
    if (at == k.first) continue;
    k.inner = f->code[i].fn;
    if (f->watched[f->refs[f->first_ref[i]].vreg]) { /* definedness counts in all active lanes, so the guard is applied later */
      k.guarded = true;
      k.guard = f->code[i].guard;
      k.flip = f->code[i].flip;
      f->code[i].guard = always;
      f->code[i].flip = 0;
    }
    fn->tracks[t] = k;
    f->code[i].track = t++;
    f->code[i].fn = f->p->dev->level->tracked;
  }
  return true;
}

static bool finish_code(Flow *f, SimFunction *fn) {
  const SimLevel *level = f->p->dev->level;
  uint32_t nrefs = f->first_ref[f->ncode];
  fn->code = sim_new(f->ncode * sizeof *fn->code);
  fn->pool = sim_new(nrefs * 4);
  fn->npool = fn->pool ? nrefs : 0;
  if (fn->code) fn->code_cap = fn->ncode = f->ncode;
  if (!fn->code || !fn->pool) return sim_parse_memory(f->p);
  memcpy(fn->code, f->code, f->ncode * sizeof *fn->code);
  f->code = fn->code;
  for (uint32_t r = 0; r < nrefs; r++) fn->pool[r] = f->vregs[f->refs[r].vreg].offset;
  for (uint32_t i = 0; i < f->ncode; i++) {
    SimInstr *in = &fn->code[i];
    in->guard = fn->pool[f->first_ref[i]];
    in->o = fn->pool + f->first_ref[i] + 1;
    in->fn = f->p->dev->meter && sim_meter_wants(in) ? sim_metered : level->handler[in->handler];
  }
  return list_tracks(f, fn);
}

/* What calls and tables refer to outlives the parser. */
static bool move_list(SimParser *p, SimBuf *from, void **to, uint32_t *n, size_t each) {
  if (!from->n) return true;
  *to = sim_new(from->n);
  if (!*to) return sim_parse_memory(p);
  memcpy(*to, from->at, from->n);
  *n = (uint32_t)(from->n / each);
  return true;
}

static bool keep_lists(SimParser *p, SimFunction *fn) {
  void *calls = NULL, *args = NULL, *targets = NULL, *map = NULL;
  uint32_t bytes;
  bool ok = move_list(p, &p->calls, &calls, &fn->ncalls, sizeof(SimCall)) && move_list(p, &p->args, &args, &fn->nargs, sizeof(SimArg)) &&
            move_list(p, &p->targets, &targets, &fn->ntargets, 4) &&
            move_list(p, &p->stack_map, &map, &bytes, 1);
  fn->calls = calls;
  fn->args = args;
  fn->targets = targets;
  fn->stack_map = map;
  return ok;
}

bool sim_flow_finish(SimParser *p) {
  if (!close_text(p) || !keep_lists(p, p->fn)) return false;
  Flow f = {.p = p, .code = p->code_buf.at, .ncode = SIM_COUNT(&p->code_buf, SimInstr), .nvregs = SIM_COUNT(&p->vregs, SimVreg),
            .refs = p->refs.at, .first_ref = p->first_ref.at, .vregs = p->vregs.at};
  f.from = sim_new(f.nvregs * 4);
  f.to = sim_new(f.nvregs * 4);
  f.watched = sim_new(f.nvregs);
  bool ok = f.from && f.to && f.watched && make_blocks(&f);
  if (!ok) sim_parse_memory(p);
  if (ok) {
    for (uint32_t v = 0; v < f.nvregs; v++) f.from[v] = SIM_FULL;
    for (uint32_t i = 0; i < f.ncode; i++)
      for (uint32_t r = f.first_ref[i]; r < f.first_ref[i + 1]; r++) stretch(&f, f.refs[r].vreg, i);
    if (!analyse(&f))
      for (uint32_t v = 1; v < f.nvregs; v++)
        if (f.from[v] <= f.to[v]) f.from[v] = 0, f.to[v] = f.ncode - 1, f.watched[v] = 1;
    for (uint32_t v = 1; v < f.nvregs; v++)
      if (f.vregs[v].kind != VREG_PLAIN) f.watched[v] = 0;
    ok = place_registers(&f, p->fn) && list_fills(&f, p->fn) && finish_code(&f, p->fn);
  }
  for (int i = 0; i < 5; i++) sim_delete(f.sets[i], (size_t)f.nblocks * f.words * 8);
  sim_delete(f.blocks, f.nblocks * sizeof *f.blocks);
  sim_delete(f.block_of, (f.ncode + 1) * sizeof *f.block_of);
  sim_delete(f.from, f.nvregs * 4);
  sim_delete(f.to, f.nvregs * 4);
  sim_delete(f.watched, f.nvregs);
  return ok;
}
