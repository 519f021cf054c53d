/* tile_ring.c - rings: each slot token is used in a legal order and given back exactly once on every path, and each end of a ring
 * belongs to the roles that it names.
 *
 *   filling:  acquire -> fill_slot / put_slot / field of every field -> (store_slot) -> commit
 *   emptying: wait -> field ... -> release
 *
 * A token may be handed on once: by commit, release, carry or swap. Control is structured, so a walk suffices: the branches of an
 * if must leave every outer token in the same state, and a loop must leave them as it found them. What goes from one iteration to
 * the next goes through a carrier, which is full from carry to take. The turn of an order is followed in the same way. */
#include "tile_impl.h"
#include <string.h>

typedef enum { LIFE_NONE, LIFE_OPEN, LIFE_DONE, LIFE_CARRIED } Life;

typedef struct State {
  uint8_t life;    /* Life; of a carrier: OPEN while full; of an order: OPEN between enter and leave */
  uint32_t filled; /* fields that have their contents, a bit each */
  uint32_t stored; /* fields whose store is queued */
  uint32_t by;     /* the statement that ended the life */
} State;

typedef struct Change {
  uint32_t id;
  State before;
} Change;

typedef struct Ends { /* of a ring: roles, 0 standing for every warp of a kernel without roles */
  bool filled, emptied, skipped;
  uint32_t filler;
  uint32_t filling, held, wait; /* most slots that a role has acquired and not committed, or waited for and not released; the wait for the last of these */
} Ends;

typedef struct Rings {
  TileProgram *p;
  const uint32_t *role_of;
  uint32_t kernel;
  bool has_roles;
  State *state;       /* by node: tokens, carriers, orders */
  uint32_t *token_of; /* by node: the token that a field, and what is cut from it, belongs to */
  uint32_t *loop_of;  /* by node: the innermost loop around it */
  uint8_t *fills;     /* by token and carrier: it comes from acquire, not from wait */
  Ends *ends;         /* by ring */
  State *other;       /* by node: scratch of join_branches, valid where `stamp` says so */
  uint32_t *stamp, stamps;
  VEC(Change) log;
  VEC(uint32_t) tokens; /* nodes that are tokens or carriers */
} Rings;

#define FAIL(c, n, ...) diag_error((c)->p->diag, (n)->loc, __VA_ARGS__)

static const TileNode *node_at(const Rings *c, uint32_t id) { return &c->p->nodes.at[id]; }
static unsigned line_of(const Rings *c, uint32_t id) { return node_at(c, id)->loc.line; }
static uint32_t arg_of(const Rings *c, const TileNode *n, int k) { return tile_arg(c->p, n, k).i; }
static const char *op_name(const TileNode *n) { return tile_op_info((TileOp)n->op)->name; }

static const TileNode *ring_of(const Rings *c, uint32_t token) { return node_at(c, tile_slot_ring(c->p, (TileId){token}).i); }
static bool filled_by(const Rings *c, const TileNode *ring, const char *how) {
  return !strcmp(tile_attr_str(c->p, ring, TA_filled_by, ""), how);
}

static State *change(Rings *c, uint32_t id) {
  *VEC_PUSH(c->p->arena, PASS, &c->log) = (Change){.id = id, .before = c->state[id]};
  return &c->state[id];
}

/* ---- single steps ---- */

static bool require_open(Rings *c, const TileNode *n, uint32_t token) {
  const State *s = &c->state[token];
  if (s->life == LIFE_OPEN) return true;
  if (s->life == LIFE_CARRIED)
    FAIL(c, n, "%s: the slot token of line %u was handed to a carrier in line %u; take or swap it out first", op_name(n),
         line_of(c, token), line_of(c, s->by));
  else if (s->life == LIFE_DONE)
    FAIL(c, n, "%s: the slot token of line %u ended with the %s in line %u; each token is %s exactly once and not used after",
         op_name(n), line_of(c, token), op_name(node_at(c, s->by)), line_of(c, s->by),
         c->fills[token] ? "committed" : "released");
  return false; /* LIFE_NONE: reported where it was made */
}

/* A loop runs any number of times, so it must not end a life that began outside of it. */
static bool require_same_loop(Rings *c, uint32_t id, uint32_t born, const char *what) {
  if (c->loop_of[id] == c->loop_of[born]) return true;
  FAIL(c, node_at(c, id),
       "%s: in a loop, but the %s of line %u is from outside of it and would end once per iteration; carry, swap and take hand "
       "tokens from one iteration to the next",
       op_name(node_at(c, id)), what, line_of(c, born));
  return false;
}

static void end_token(Rings *c, uint32_t id, uint32_t token, Life life) {
  const TileNode *n = node_at(c, id);
  if (!require_open(c, n, token)) return;
  require_same_loop(c, id, token, "slot token");
  State *s = change(c, token);
  s->life = (uint8_t)life;
  s->by = id;
}

static void begin_token(Rings *c, uint32_t id, bool fills, const State *from) {
  State *s = change(c, id);
  *s = from ? *from : (State){0};
  s->life = LIFE_OPEN;
  c->fills[id] = fills;
}

/* How many slots of its ring does the role of a token have in hand that came the same way? */
static uint32_t count_in_hand(const Rings *c, uint32_t token, uint32_t ring) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < c->tokens.n; k++) {
    uint32_t id = c->tokens.at[k];
    if (c->state[id].life != LIFE_OPEN || c->fills[id] != c->fills[token] || c->role_of[id] != c->role_of[token]) continue;
    n += tile_slot_ring(c->p, (TileId){id}).i == ring;
  }
  return n;
}

/* A slot is asked for: how many does the role have then? */
static void count_slots(Rings *c, uint32_t token, uint32_t ring) {
  uint32_t n = count_in_hand(c, token, ring), stages = (uint32_t)tile_attr_int(c->p, node_at(c, ring), TA_stages, 0);
  Ends *e = &c->ends[ring];
  if (!c->has_roles) return; /* hazard.c knows more */
  if (n == stages + 1)
    FAIL(c, node_at(c, token), "%s: the role has all %u slots of the ring of line %u in hand, and would wait for ever for another one; %s one before",
         op_name(node_at(c, token)), stages, line_of(c, ring), c->fills[token] ? "commit" : "release");
  if (c->fills[token] && n > e->filling) e->filling = n;
  if (!c->fills[token] && n > e->held) e->held = n, e->wait = token;
}

static void check_commit(Rings *c, const TileNode *n, uint32_t token) {
  const TileNode *ring = ring_of(c, token);
  const State *s = &c->state[token];
  const char *rest = tile_attr_str(c->p, ring, TA_fields, ""), *word;
  size_t len;
  if (s->life != LIFE_OPEN) return;
  for (int k = 0; tile_word_next(&rest, &word, &len); k++) {
    if (!(s->filled >> k & 1))
      FAIL(c, n, "commit: field \"%.*s\" of the slot was not filled on every path from the acquire in line %u", (int)len, word,
           line_of(c, token));
    else if (filled_by(c, ring, "store") && !(s->stored >> k & 1))
      FAIL(c, n, "commit: the store of field \"%.*s\" was not queued by store_slot on every path", (int)len, word);
  }
}

static void use_field(Rings *c, uint32_t id, uint32_t token, TileAttrKey key) {
  const TileNode *n = node_at(c, id), *ring = ring_of(c, token);
  uint32_t bit = 1u << (tile_word_index(tile_attr_str(c->p, ring, TA_fields, ""), tile_attr_str(c->p, n, key, "")) & 31);
  if (!require_open(c, n, token)) return;
  if (n->op == TILE_field) {
    c->token_of[id] = token;
    if (!c->fills[token]) return;
    if (filled_by(c, ring, "tma") || filled_by(c, ring, "cp.async"))
      FAIL(c, n, "field: the slot of line %u is being filled by copies; it is read after wait, and filled by fill_slot",
           line_of(c, token));
    change(c, token)->filled |= bit;
    return;
  }
  if (!c->fills[token] && n->op == TILE_store_slot) return; /* what was waited for has its contents */
  if (!c->fills[token]) {
    FAIL(c, n, "%s: the slot of line %u was obtained by wait, to be read; slots are filled between acquire and commit",
         op_name(n), line_of(c, token));
    return;
  }
  if (n->op == TILE_store_slot) {
    if (!(c->state[token].filled & bit)) FAIL(c, n, "store_slot: the field has no contents yet; put_slot comes first");
    change(c, token)->stored |= bit;
  } else {
    if (c->state[token].stored & bit)
      FAIL(c, n, "%s: the store of this field is queued already; its bytes are in use until the slot is acquired again",
           op_name(n));
    change(c, token)->filled |= bit;
  }
}

/* ---- ends of a ring ---- */

static const char *role_words(const Rings *c, uint32_t role) {
  return role ? arena_printf(c->p->arena, PASS, "role \"%s\"", tile_attr_str(c->p, node_at(c, role), TA_name, ""))
              : "the code outside of the roles";
}

/* "math", or "math/1": one of its groups at a time. */
static bool names_role(const Rings *c, const TileNode *ring, uint32_t role) {
  const char *rest = tile_attr_str(c->p, ring, TA_emptied_by, ""), *word,
             *name = tile_attr_str(c->p, node_at(c, role), TA_name, "");
  size_t n;
  while (tile_word_next(&rest, &word, &n)) {
    size_t len = 0;
    while (len < n && word[len] != '/') len++;
    if (strlen(name) == len && !memcmp(name, word, len)) return true;
  }
  return false;
}

static void use_filling_end(Rings *c, uint32_t id, uint32_t ring) {
  Ends *e = &c->ends[ring];
  if (e->filled && e->filler != c->role_of[id])
    FAIL(c, node_at(c, id), "%s: the ring of line %u is filled by %s already; a ring has one role that fills it",
         op_name(node_at(c, id)), line_of(c, ring), role_words(c, e->filler));
  e->filled = true;
  e->filler = c->role_of[id];
}

static void use_emptying_end(Rings *c, uint32_t id, uint32_t ring) {
  const TileNode *n = node_at(c, id), *r = node_at(c, ring);
  uint32_t role = c->role_of[id];
  if (filled_by(c, r, "store"))
    FAIL(c, n, "wait: the ring of line %u is emptied by its stores; acquire gives the next slot once its store has read it",
         line_of(c, ring));
  else if (c->has_roles && (!role || !names_role(c, r, role)))
    FAIL(c, n, "wait: the ring of line %u is emptied by \"%s\"; %s is not named there", line_of(c, ring),
         tile_attr_str(c->p, r, TA_emptied_by, "nobody"), role_words(c, role));
  c->ends[ring].emptied = true;
}

static void use_either_end(Rings *c, uint32_t id, uint32_t ring) {
  const Ends *e = &c->ends[ring];
  uint32_t role = c->role_of[id];
  bool fills = e->filled && e->filler == role, empties = !c->has_roles || (role && names_role(c, node_at(c, ring), role));
  if (!fills && !empties)
    FAIL(c, node_at(c, id), "%s: %s neither fills the ring of line %u nor empties it", op_name(node_at(c, id)),
         role_words(c, role), line_of(c, ring));
}

/* Does the kernel have a role called so, with so many groups? */
static bool find_role(const Rings *c, const char *word, size_t n, int64_t *groups) {
  const TileRegion *body = tile_region(c->p, node_at(c, c->kernel), 0);
  for (uint32_t i = 0; i < body->n; i++) {
    const TileNode *r = node_at(c, body->at[i]);
    const char *name = r->op == TILE_role ? tile_attr_str(c->p, r, TA_name, "") : "";
    *groups = r->op == TILE_role ? tile_attr_int(c->p, r, TA_groups, 1) : 1;
    if (r->op == TILE_role && strlen(name) == n && !memcmp(name, word, n)) return true;
  }
  return false;
}

static void check_ring(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  const Ends *e = &c->ends[id];
  const char *by = tile_attr_str(c->p, n, TA_emptied_by, ""), *rest = by, *word;
  bool store = filled_by(c, n, "store");
  size_t len;
  while (tile_word_next(&rest, &word, &len)) {
    const char *slash = memchr(word, '/', len);
    size_t name = slash ? (size_t)(slash - word) : len;
    int64_t groups, asked = 1;
    if (!find_role(c, word, name, &groups)) {
      FAIL(c, n, "ring: emptied_by \"%s\": the kernel has no role \"%.*s\"", by, (int)name, word);
      continue;
    }
    if (slash && len == name + 2) asked = slash[1] - '0';
    if (slash && (len != name + 2 || asked < 1 || asked > groups))
      FAIL(c, n, "ring: emptied_by \"%s\": after / stands how many of the role's %lld groups empty a slot", by,
           (long long)groups);
  }
  if (c->has_roles && !store && !*by) FAIL(c, n, "ring: emptied_by is missing; it names the roles that release the slots");
  if (e->emptied && !e->filled) FAIL(c, n, "ring: its slots are waited for, but nothing fills it");
  uint32_t stages = (uint32_t)tile_attr_int(c->p, n, TA_stages, 0);
  if (e->filled && !e->emptied && !store)
    FAIL(c, n, "ring: it is filled, but nobody waits for its slots: the producer would stop after %u", stages);
  if (e->held <= stages && e->filling <= stages && e->held && e->held + e->filling > stages + 1) /* nothing is left to fill, nothing filled is left */
    FAIL(c, node_at(c, e->wait), "wait: the role keeps %u slots while it waits for another one, and %s acquires %u before it commits the first: of the %u "
         "of the ring of line %u too few are left, and both wait for ever; more stages, or release earlier", e->held - 1,
         role_words(c, e->filler), e->filling, stages, line_of(c, id));
}

/* ---- the walk ---- */

static void walk_region(Rings *c, const TileRegion *r, uint32_t loop);

static void check_uses(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  for (int k = 0; k < n->nargs; k++) {
    uint32_t token = c->token_of[arg_of(c, n, k)];
    if (token && !require_open(c, n, token)) return;
    /* pieces of a field live as long as it does */
    if (token && (n->op == TILE_slice || n->op == TILE_part || n->op == TILE_trans)) c->token_of[id] = token;
  }
}

static void swap_tokens(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  uint32_t carrier = arg_of(c, n, 0), token = n->op == TILE_swap ? arg_of(c, n, 1) : 0;
  if (c->state[carrier].life != LIFE_OPEN) {
    FAIL(c, n, "%s: the carrier of line %u is empty; its token was taken in line %u", op_name(n), line_of(c, carrier),
         line_of(c, c->state[carrier].by));
    return;
  }
  State carried = c->state[carrier];
  if (token) {
    if (c->fills[token] != c->fills[carrier])
      FAIL(c, n, "swap: the carrier of line %u holds a token of the ring's other end", line_of(c, carrier));
    State next = c->state[token];
    if (!require_open(c, n, token)) return;
    require_same_loop(c, id, token, "slot token");
    State *s = change(c, token);
    s->life = LIFE_CARRIED;
    s->by = id;
    s = change(c, carrier);
    s->filled &= next.filled;
    s->stored &= next.stored;
  } else {
    require_same_loop(c, id, carrier, "carrier");
    State *s = change(c, carrier);
    s->life = LIFE_DONE;
    s->by = id;
  }
  for (uint32_t i = 1; i < id; i++) /* tiles taken from the carrier lie in the slot that it gives away here */
    if (c->token_of[i] == carrier) c->token_of[i] = id;
  begin_token(c, id, c->fills[carrier], &carried);
}

static void take_turn(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  uint32_t order = arg_of(c, n, 0);
  bool enters = n->op == TILE_enter, inside = c->state[order].life == LIFE_OPEN;
  if (enters == inside)
    FAIL(c, n,
         enters ? "enter: this group has entered the order of line %u already and has not left it"
                : "leave: this group has not entered the order of line %u",
         line_of(c, order));
  State *s = change(c, order);
  s->life = enters ? LIFE_OPEN : LIFE_NONE;
  s->by = id;
}

/* After both branches: the first one's outcome is in `then`, the second one's in the state. */
static void join_branches(Rings *c, uint32_t id, const Change *then, uint32_t nthen, uint32_t mark) {
  uint32_t stamp = ++c->stamps;
  for (uint32_t i = c->log.n; i-- > mark;) { /* backwards: the oldest entry says what stood before the branch */
    c->other[c->log.at[i].id] = c->log.at[i].before;
    c->stamp[c->log.at[i].id] = stamp;
  }
  for (uint32_t i = 0; i < nthen; i++) {
    c->other[then[i].id] = then[i].before;
    if (c->stamp[then[i].id] == stamp) continue;
    c->stamp[then[i].id] = stamp;
    change(c, then[i].id); /* so that the loop below meets it */
  }
  for (uint32_t i = mark, end = c->log.n; i < end; i++) {
    uint32_t at = c->log.at[i].id;
    if (c->stamp[at] != stamp) continue; /* met before */
    c->stamp[at] = 0;
    State *now = &c->state[at];
    const State *was = &c->other[at];
    const TileNode *n = node_at(c, at);
    bool inner = n->op != TILE_order && (now->life == LIFE_NONE || was->life == LIFE_NONE); /* born and ended within a branch */
    if (now->life != was->life && !inner) {
      uint32_t by = now->life != LIFE_OPEN && now->by ? now->by : was->by;
      if (n->op == TILE_order)
        FAIL(c, node_at(c, id), "if: the turn of the order in line %u is taken or passed on in one branch only (line %u)",
             line_of(c, at), line_of(c, by));
      else
        FAIL(c, node_at(c, id), "if: the %s of line %u ends in one branch only (%s in line %u); every path ends it exactly once",
             n->op == TILE_carry ? "carrier" : "slot token", line_of(c, at), op_name(node_at(c, by)), line_of(c, by));
      now->life = LIFE_NONE; /* said once */
    }
    now->filled &= was->filled;
    now->stored &= was->stored;
  }
}

static void walk_if(Rings *c, uint32_t id, uint32_t loop) {
  const TileNode *n = node_at(c, id);
  uint32_t mark = c->log.n;
  walk_region(c, tile_region(c->p, n, 0), loop);
  uint32_t count = c->log.n - mark;
  Change *then = ARENA_ARRAY(c->p->arena, PASS, Change, count ? count : 1);
  for (uint32_t i = 0; i < count; i++)
    then[i] = (Change){.id = c->log.at[mark + i].id, .before = c->state[c->log.at[mark + i].id]};
  while (c->log.n > mark) {
    const Change *back = &c->log.at[--c->log.n];
    c->state[back->id] = back->before;
  }
  walk_region(c, tile_region(c->p, n, 1), loop);
  join_branches(c, id, then, count, mark);
}

/* Tokens end with their loop (require_same_loop); what is left to see is the turn of orders. */
static void walk_loop(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  uint32_t mark = c->log.n;
  for (int k = 0; k < n->nregions; k++) walk_region(c, tile_region(c->p, n, k), id);
  for (uint32_t i = mark, end = c->log.n; i < end; i++) {
    const Change *first = &c->log.at[i];
    if (node_at(c, first->id)->op != TILE_order || first->before.life == c->state[first->id].life) continue;
    bool oldest = true;
    for (uint32_t j = mark; j < i && oldest; j++) oldest = c->log.at[j].id != first->id;
    if (!oldest) continue;
    FAIL(c, n, "%s: one iteration %s the order of line %u without %s it", op_name(n),
         first->before.life == LIFE_OPEN ? "leaves" : "enters", line_of(c, first->id),
         first->before.life == LIFE_OPEN ? "entering" : "leaving");
    c->state[first->id].life = first->before.life;
  }
}

static void step(Rings *c, uint32_t id) {
  const TileNode *n = node_at(c, id);
  uint32_t first = arg_of(c, n, 0);
  switch (n->op) {
  case TILE_acquire:
    use_filling_end(c, id, first);
    begin_token(c, id, true, NULL);
    count_slots(c, id, first);
    return;
  case TILE_wait:
    use_emptying_end(c, id, first);
    begin_token(c, id, false, NULL);
    count_slots(c, id, first);
    return;
  case TILE_fill_slot:
  case TILE_put_slot:
  case TILE_store_slot: use_field(c, id, first, TA_field); return;
  case TILE_field: use_field(c, id, first, TA_name); return;
  case TILE_commit:
    if (!c->fills[first] && c->state[first].life == LIFE_OPEN)
      FAIL(c, n, "commit: the slot of line %u was obtained by wait; release ends it", line_of(c, first));
    else
      check_commit(c, n, first);
    end_token(c, id, first, LIFE_DONE);
    return;
  case TILE_release:
    if (c->fills[first] && c->state[first].life == LIFE_OPEN)
      FAIL(c, n, "release: the slot of line %u was obtained by acquire; commit ends it", line_of(c, first));
    end_token(c, id, first, LIFE_DONE);
    return;
  case TILE_carry: {
    State from = c->state[first];
    end_token(c, id, first, LIFE_CARRIED);
    begin_token(c, id, c->fills[first], &from);
    return;
  }
  case TILE_swap:
  case TILE_take: swap_tokens(c, id); return;
  case TILE_enter:
  case TILE_leave: take_turn(c, id); return;
  case TILE_drain: use_filling_end(c, id, first); return;
  default: return;
  }
}

static void end_region(Rings *c, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t id = r->at[i];
    const TileNode *n = node_at(c, id);
    if (c->state[id].life != LIFE_OPEN) continue;
    if (n->type.kind == TK_SLOT)
      FAIL(c, n, "%s: the slot token is not %s by the end of its region", op_name(n), c->fills[id] ? "committed" : "released");
    else if (n->type.kind == TK_CARRY)
      FAIL(c, n, "carry: a token is still carried at the end of the region; take it out and %s it",
           c->fills[id] ? "commit" : "release");
    else if (n->op == TILE_order)
      FAIL(c, node_at(c, c->state[id].by), "enter: the turn is not passed on by leave");
    change(c, id)->life = LIFE_NONE;
  }
}

static void walk_region(Rings *c, const TileRegion *r, uint32_t loop) {
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t id = r->at[i];
    const TileNode *n = node_at(c, id);
    c->loop_of[id] = loop;
    check_uses(c, id);
    step(c, id);
    if (n->op == TILE_if)
      walk_if(c, id, loop);
    else if (n->op == TILE_for || n->op == TILE_while || n->op == TILE_each || n->op == TILE_produce || n->op == TILE_role)
      walk_loop(c, id);
    else
      for (int k = 0; k < n->nregions; k++) walk_region(c, tile_region(c->p, n, k), loop);
  }
  end_region(c, r);
}

/* Once every use of the ends is known: skip may stand before the first acquire of its role, and rings can be judged as a whole. */
static void check_ends(Rings *c, const TileRegion *r) {
  for (uint32_t i = 0; i < r->n; i++) {
    const TileNode *n = node_at(c, r->at[i]);
    if (n->op == TILE_skip) use_either_end(c, r->at[i], arg_of(c, n, 0));
    if (n->op == TILE_ring) check_ring(c, r->at[i]);
    for (int k = 0; k < n->nregions; k++) check_ends(c, tile_region(c->p, n, k));
  }
}

/* A dynamic scheduler's tiles come from one role; the others only follow. */
static void count_producers(Rings *c, const TileRegion *r, uint32_t *producer, uint8_t *followed) {
  for (uint32_t i = 0; i < r->n; i++) {
    uint32_t id = r->at[i];
    const TileNode *n = node_at(c, id);
    uint32_t sched = n->op == TILE_each || n->op == TILE_produce ? arg_of(c, n, 0) : 0;
    if (sched && n->op == TILE_each) followed[sched] = 1;
    if (sched && n->op == TILE_produce) {
      if (producer[sched])
        FAIL(c, n, "produce: the scheduler of line %u is produced in line %u already; one role does, the others use each",
             line_of(c, sched), line_of(c, producer[sched]));
      producer[sched] = id;
    }
    for (int k = 0; k < n->nregions; k++) count_producers(c, tile_region(c->p, n, k), producer, followed);
  }
}

static void check_schedulers(Rings *c, const TileRegion *body) {
  uint32_t *producer = ARENA_ARRAY(c->p->arena, PASS, uint32_t, c->p->nodes.n);
  uint8_t *followed = ARENA_ARRAY(c->p->arena, PASS, uint8_t, c->p->nodes.n);
  count_producers(c, body, producer, followed);
  for (uint32_t id = 1; id < c->p->nodes.n; id++)
    if (followed[id] && !producer[id] && c->has_roles && !strcmp(tile_attr_str(c->p, node_at(c, id), TA_kind, ""), "dynamic"))
      FAIL(c, node_at(c, id), "sched: roles wait for the tiles of this dynamic scheduler, but none produces them");
}

void tile_check_rings(TileProgram *p, const uint32_t *role_of, TileId kernel) {
  uint32_t n = p->nodes.n;
  Arena *a = p->arena;
  Rings c = {.p = p, .role_of = role_of, .kernel = kernel.i};
  const TileRegion *body = tile_region(p, tile_at(p, kernel), 0);
  for (uint32_t i = 0; i < body->n; i++) c.has_roles |= p->nodes.at[body->at[i]].op == TILE_role;
  c.state = ARENA_ARRAY(a, PASS, State, n);
  c.token_of = ARENA_ARRAY(a, PASS, uint32_t, n);
  c.loop_of = ARENA_ARRAY(a, PASS, uint32_t, n);
  c.fills = ARENA_ARRAY(a, PASS, uint8_t, n);
  c.ends = ARENA_ARRAY(a, PASS, Ends, n);
  c.other = ARENA_ARRAY(a, PASS, State, n);
  c.stamp = ARENA_ARRAY(a, PASS, uint32_t, n);
  for (uint32_t i = 1; i < n; i++)
    if (p->nodes.at[i].type.kind == TK_SLOT || p->nodes.at[i].type.kind == TK_CARRY) *VEC_PUSH(a, PASS, &c.tokens) = i;
  walk_region(&c, body, 0);
  check_ends(&c, body);
  check_schedulers(&c, body);
}
