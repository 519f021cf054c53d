/* plan.c - making, describing and freeing plans. */
#include "plan.h"
#include "alloc.h"
#include "error.h"
#include "number.h"
#include "overlap.h"
#include "select.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- checks that need the driver ---- */

static kiln_status check_pointer(const kiln_device *dev, const char *name, const void *ptr) {
  unsigned type = 0;
  int ordinal = 0, managed = 0;
  DrvPtr address = (DrvPtr)(uintptr_t)ptr;
  DrvResult result = dev->driver->cuPointerGetAttribute(&type, DRV_POINTER_MEMORY_TYPE, address);
  if (result == DRV_INVALID_VALUE && dev->limits.pageable) return KILN_OK;
  if (result == DRV_INVALID_VALUE)
    return error_set(KILN_BAD_POINTER,
                     "tensor %s: %p is not known to the driver of %s: host memory, or freed; expected a device pointer", name,
                     ptr, dev->info.name);
  if (result) return device_result(dev, result, "cuPointerGetAttribute");
  if (type != DRV_MEMORYTYPE_DEVICE) return KILN_OK; /* registered host memory is addressable */
  result = dev->driver->cuPointerGetAttribute(&ordinal, DRV_POINTER_DEVICE_ORDINAL, address);
  if (result) return device_result(dev, result, "cuPointerGetAttribute");
  if (ordinal == dev->info.ordinal) return KILN_OK;
  if (!dev->driver->cuPointerGetAttribute(&managed, DRV_POINTER_IS_MANAGED, address) && managed) return KILN_OK;
  return error_set(KILN_BAD_POINTER, "tensor %s: %p is memory of device %d; expected memory of device %d (%s)", name, ptr,
                   ordinal, dev->info.ordinal, dev->info.name);
}

static kiln_status check_pointers(const kiln_device *dev, const Contract *c, const ArgView *views, const Binding *binding) {
  kiln_status s = KILN_OK;
  for (int i = 0; !s && i < c->ntensor; i++) {
    const BoundTensor *t = &binding->tensor[i];
    if (t->arg->data && views[t->view].elements) s = check_pointer(dev, c->tensor[i].name, t->arg->data);
  }
  return s;
}

/* Blocks that the device holds at once. A cluster lies on neighbouring SMs, of which some may be left over: only the driver knows. */
static kiln_status count_resident(const kiln_device *dev, DrvFunction function, const BoundStep *x, uint64_t *out) {
  unsigned cluster = bind_cluster_blocks(x);
  int n = 0;
  if (cluster == 1 || !dev->driver->cuOccupancyMaxActiveClusters) {
    DrvResult result = dev->driver->cuOccupancyMaxActiveBlocksPerMultiprocessor(&n, function, (int)x->block, x->shared_bytes);
    *out = (uint64_t)n * (uint64_t)dev->info.sms;
    return device_result(dev, result, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  }
  DrvLaunchAttribute attribute = {.id = DRV_LAUNCH_CLUSTER_DIMENSION, .value.cluster = {x->cluster[0], x->cluster[1], x->cluster[2]}};
  DrvLaunchConfig config = {x->grid[0], x->grid[1], x->grid[2], x->block, 1, 1, x->shared_bytes, NULL, &attribute, 1};
  DrvResult result = dev->driver->cuOccupancyMaxActiveClusters(&n, function, &config);
  *out = (uint64_t)n * cluster;
  return device_result(dev, result, "cuOccupancyMaxActiveClusters");
}

/* A kernel whose blocks wait for each other must fit on the device at once. */
static kiln_status check_coresident(const kiln_device *dev, const Variant *v, int step, const BoundStep *x) {
  uint64_t wanted = (uint64_t)x->grid[0] * x->grid[1] * x->grid[2], room;
  kiln_status s = count_resident(dev, v->function[step], x, &room);
  if (s || wanted <= room) return s;
  return error_set(KILN_UNSUPPORTED, "%s: step %s has %llu blocks that wait for each other; %s holds %llu at once", v->file,
                   v->contract.step[step].name, (unsigned long long)wanted, dev->info.name, (unsigned long long)room);
}

/* Under the lock, in the device's context. */
static kiln_status load_variant(const kiln_device *dev, Variant *v, const Binding *binding) {
  kiln_status s = module_load(dev, v);
  for (int i = 0; !s && i < v->contract.nstep; i++) {
    const BoundStep *x = &binding->step[i];
    if (!x->runs) continue;
    s = module_allow_shared(dev, v, i, (int)x->shared_bytes);
    if (!s && bind_cluster_blocks(x) > BIND_PORTABLE_CLUSTER) s = module_allow_cluster(dev, v, i, bind_cluster_blocks(x));
    if (!s && v->contract.step[i].coresident) s = check_coresident(dev, v, i, x);
  }
  return s;
}

/* ---- the plan's block ---- */

typedef struct Counts {
  int tensors, pairs, scalars, limits, steps, memsets, workspaces, maps, params, patches;
} Counts;

static Counts count(const Contract *c, const Binding *binding) {
  Counts n = {.tensors = c->ntensor, .scalars = c->ncall, .limits = binding->nlimits, .workspaces = c->nworkspace};
  for (int i = 0; i < c->ntensor; i++)
    for (int j = 0; c->tensor[i].out && j < c->ntensor; j++) n.pairs += j != i && !(c->tensor[j].out && j < i);
  for (int i = 0; i < c->nstep; i++) {
    if (!binding->step[i].runs) continue;
    n.steps++;
    n.params += c->step[i].nargs;
    for (int a = 0; a < c->step[i].nargs; a++) n.patches += c->step[i].args[a].kind != ARG_VALUE;
  }
  for (int i = 0; i < c->nmap; i++) n.maps += binding->map[i].used;
  for (int i = 0; n.steps && i < c->nworkspace; i++) n.memsets += c->workspace[i].zero && binding->workspace_bytes[i];
  return n;
}

typedef struct Block { /* of the plan, carved from front to back; base NULL: only measured */
  char *base;
  size_t used;
} Block;

static void *carve(Block *block, size_t bytes) {
  void *at = block->base ? block->base + block->used : NULL;
  block->used += (bytes + 15) & ~(size_t)15;
  return at;
}

typedef struct Room { /* what only building needs to know of the block */
  kiln_arg *args;
  kiln_tensor *tensors;
  int64_t *shapes;
  ExprValue *values;
  void **params;
  PlanPatch *patches;
} Room;

static Room carve_all(Block *block, kiln_plan *p, const Counts *n) {
  Room room;
  size_t tensors = (size_t)n->tensors;
  carve(block, sizeof *p);
  p->tensor = carve(block, tensors * sizeof *p->tensor);
  p->pair = carve(block, (size_t)n->pairs * sizeof *p->pair);
  p->scalar = carve(block, (size_t)n->scalars * sizeof *p->scalar);
  p->limit = carve(block, (size_t)n->limits * sizeof *p->limit);
  p->step = carve(block, (size_t)n->steps * sizeof *p->step);
  p->memset = carve(block, (size_t)n->memsets * sizeof *p->memset);
  p->map = carve(block, (size_t)n->maps * sizeof *p->map);
  p->workspace_offset = carve(block, (size_t)n->workspaces * sizeof *p->workspace_offset);
  p->views = carve(block, tensors * sizeof *p->views);
  room.args = carve(block, tensors * sizeof *room.args);
  room.tensors = carve(block, tensors * sizeof *room.tensors);
  room.shapes = carve(block, tensors * CONTRACT_MAX_RANK * sizeof *room.shapes);
  room.values = carve(block, (size_t)n->params * sizeof *room.values);
  room.params = carve(block, (size_t)n->params * sizeof *room.params);
  room.patches = carve(block, (size_t)n->patches * sizeof *room.patches);
  return room;
}

/* The plan's own copy of what overlap checks at launch look at. */
static void copy_tensors(kiln_plan *p, const Contract *c, const Binding *binding, const ArgView *views, const Room *room) {
  for (int i = 0; i < c->ntensor; i++) {
    const BoundTensor *t = &binding->tensor[i];
    int64_t *shape = room->shapes + i * CONTRACT_MAX_RANK;
    for (int d = 0; d < t->arg->rank; d++) shape[d] = t->arg->shape[d];
    room->tensors[i] = *t->arg;
    room->tensors[i].shape = shape;
    room->tensors[i].strides = NULL;
    room->args[i] = (kiln_arg){.name = c->tensor[i].name, .tensor = &room->tensors[i]};
    p->views[i] = views[t->view];
    p->views[i].arg = &room->args[i];
    p->tensor[i] = (PlanTensor){c->tensor[i].name, t->arg->data, views[t->view].extent_bytes, c->tensor[i].align_bytes - 1};
  }
  PlanPair *pair = p->pair;
  for (int i = 0; i < c->ntensor; i++)
    for (int j = 0; c->tensor[i].out && j < c->ntensor; j++) {
      if (j == i || (c->tensor[j].out && j < i)) continue;
      bool alias = c->tensor[i].alias == j || c->tensor[j].alias == i;
      *pair++ = (PlanPair){(uint16_t)i, (uint16_t)j, alias && overlap_same_elements(&p->views[i], &p->views[j])};
    }
}

static void place_workspaces(kiln_plan *p, const Contract *c, const Binding *binding) {
  int64_t at = 0;
  PlanMemset *clear = p->memset;
  for (int i = 0; i < c->nworkspace; i++) {
    int64_t bytes = binding->workspace_bytes[i];
    p->workspace_offset[i] = at;
    if (p->nmemsets && c->workspace[i].zero && bytes) *clear++ = (PlanMemset){at, bytes};
    at += (bytes + PLAN_WORKSPACE_ALIGN - 1) & ~(int64_t)(PLAN_WORKSPACE_ALIGN - 1);
  }
  p->workspace_bytes = p->nsteps ? at : 0;
}

/* Memory that a map describes is aligned as maps ask, whatever the tensor's line asks. place: by map of the contract. */
static void copy_maps(kiln_plan *p, const Contract *c, const Binding *binding, uint16_t *place) {
  PlanMap *out = p->map;
  for (int i = 0; i < c->nmap; i++) {
    const BoundMap *x = &binding->map[i];
    const ContractMap *m = &c->map[i];
    if (!x->used) continue;
    place[i] = (uint16_t)(out - p->map);
    *out = (PlanMap){.kind = m->kind, .index = m->index, .source = (uint16_t)i};
    memcpy(out->bytes, &binding->encoded[i], sizeof out->bytes);
    memcpy(out->dim, x->dim, m->rank * sizeof *x->dim);
    memcpy(out->stride_bytes, x->stride_bytes, (m->rank - 1u) * sizeof *x->stride_bytes);
    if (m->kind == ARG_TENSOR) p->tensor[m->index].align_mask |= BIND_MAP_ALIGN - 1;
    out++;
  }
}

/* A parameter's bytes as the kernel reads them. */
static ExprValue pack(const ContractArg *a, const ExprValue *values) {
  ExprValue value = values[a->index];
  if (a->fastdiv) return value;
  if (a->dtype == KILN_F32) {
    float narrow = (float)value.d;
    value.i = 0;
    memcpy(&value, &narrow, sizeof narrow);
  } else if (a->dtype == KILN_I32) {
    int32_t narrow = (int32_t)value.i;
    value.i = 0;
    memcpy(&value, &narrow, sizeof narrow);
  }
  return value;
}

static void build_steps(kiln_plan *p, const Variant *v, const Binding *binding, const uint16_t *place, Room room) {
  const Contract *c = &v->contract;
  PlanStep *out = p->step;
  for (int i = 0; i < c->nstep; i++) {
    const BoundStep *x = &binding->step[i];
    if (!x->runs) continue;
    *out = (PlanStep){.function = v->function[i],
                      .block = x->block,
                      .shared_bytes = x->shared_bytes,
                      .pdl = c->step[i].pdl,
                      .nparams = (uint16_t)c->step[i].nargs,
                      .params = room.params,
                      .patches = room.patches,
                      .source = (uint16_t)i};
    memcpy(out->grid, x->grid, sizeof out->grid);
    memcpy(out->cluster, x->cluster, sizeof out->cluster);
    out->extended = x->extended;
    for (int a = 0; a < c->step[i].nargs; a++) {
      const ContractArg *arg = &c->step[i].args[a];
      if (arg->kind == ARG_VALUE) {
        *room.values = pack(arg, binding->value);
        room.params[a] = room.values++;
      } else {
        *room.patches++ = (PlanPatch){(uint16_t)a, arg->kind, arg->kind == ARG_MAP ? place[arg->index] : arg->index};
        out->npatches++;
      }
    }
    room.params += c->step[i].nargs;
    out++;
  }
}

static double estimate(const Expr *e, const ExprValue *values) {
  double number = 0;
  if (e->n) expr_real(e, values, &number);
  return isfinite(number) ? number : 0;
}

static kiln_status build(kiln_plan **out, kiln_device *dev, Variant *v, const ArgView *views, const Binding *binding) {
  const Contract *c = &v->contract;
  Counts n = count(c, binding);
  uint16_t place[CONTRACT_MAX_MAPS];
  Block block = {0};
  kiln_plan measured = {0};
  carve_all(&block, &measured, &n);
  kiln_plan *p = kiln_mem(NULL, 0, block.used);
  if (!p) return error_set(KILN_NO_MEMORY, "kiln_plan_create: out of memory");
  memset(p, 0, block.used);
  p->block_bytes = block.used;
  block = (Block){(char *)p, 0};
  Room room = carve_all(&block, p, &n);
  p->dev = dev;
  p->variant = v;
  p->driver = dev->driver;
  p->context = dev->context;
  p->ntensors = n.tensors;
  p->npairs = n.pairs;
  p->nscalars = n.scalars;
  p->nlimits = n.limits;
  p->nsteps = n.steps;
  p->nmemsets = n.memsets;
  p->nworkspaces = n.workspaces;
  p->nmaps = n.maps;
  for (int i = 0; i < c->nscalar; i++)
    if (c->scalar[i].call) p->scalar[c->symbol[c->scalar[i].symbol].index] = (PlanScalar){c->scalar[i].name, c->scalar[i].dtype};
  for (int i = 0; i < n.limits; i++) p->limit[i] = binding->limit[i];
  copy_tensors(p, c, binding, views, &room);
  place_workspaces(p, c, binding);
  copy_maps(p, c, binding, place);
  build_steps(p, v, binding, place, room);
  p->cost_ns = isfinite(binding->cost_ns) ? binding->cost_ns : 0;
  p->bytes = estimate(&c->bytes, binding->value);
  p->flop = estimate(&c->flop, binding->value);
  *out = p;
  return KILN_OK;
}

/* ---- creation ---- */

/* What a plan is asked for, and what serves it. */
typedef struct Order {
  kiln_device *dev;
  const char *op;
  const kiln_arg *args;
  int nargs;
  kiln_plan_options options;
  ArgView views[BIND_MAX_ARGS];
  Selection chosen;
  Binding binding;
} Order;

/* Selects and loads; on success the variant and the device are held for the plan. */
static kiln_status acquire(Order *o) {
  kiln_device *dev = o->dev;
  DeviceScope scope;
  pthread_mutex_lock(&dev->lock);
  kiln_status s = select_variant(dev, o->op, o->views, o->nargs, &o->options, &o->chosen, &o->binding);
  Variant *v = o->chosen.variant;
  if (!s) s = device_enter(dev, &scope);
  if (!s) {
    s = load_variant(dev, v, &o->binding);
    if (!s && (s = check_pointers(dev, &v->contract, o->views, &o->binding))) error_prefix(s, "%s: ", v->contract.op);
    device_leave(dev, &scope);
  }
  if (!s) {
    v->refs++;
    dev->refs++;
  }
  pthread_mutex_unlock(&dev->lock);
  return s;
}

static void let_go(Order *o) {
  pthread_mutex_lock(&o->dev->lock);
  store_release(o->dev, o->chosen.variant);
  pthread_mutex_unlock(&o->dev->lock);
  device_release(o->dev);
}

static kiln_status ask_provider(const Order *o, const TunedWin *win) {
  kiln_request r = {o->op, o->options.target ? o->options.target : o->dev->info.target, o->args, o->nargs, NULL, NULL};
  if (win) r.target = win->target, r.settings = win->settings, r.schedule = win->schedule;
  return o->dev->provider(o->dev->provider_user, o->dev, &r);
}

/* A measurement is advice: what it chose may fail to load where the cheapest does not. */
static kiln_status acquire_either(Order *o) {
  kiln_status s = acquire(o);
  if (!s || !o->chosen.tuned || s == KILN_NO_MEMORY) return s;
  o->options.untuned = 1;
  return acquire(o);
}

/* A measured winner that no file has: the provider is asked for it once, and if that is of no use, what there is serves. */
static kiln_status acquire_missing(Order *o) {
  kiln_device *dev = o->dev;
  pthread_mutex_lock(&dev->lock);
  TunedWin *win = (TunedWin *)(uintptr_t)o->chosen.missing; /* of the device's own table */
  bool asks = !win->asked;
  win->asked = true;
  pthread_mutex_unlock(&dev->lock);
  if (!asks || ask_provider(o, win)) return KILN_OK;
  let_go(o);
  return acquire_either(o);
}

static bool provider_may_help(kiln_status s) {
  return s == KILN_NO_OP || s == KILN_NO_TARGET || s == KILN_NO_VARIANT || s == KILN_BAD_SETTING || s == KILN_UNKNOWN_ARG ||
         s == KILN_MISSING_ARG || s == KILN_BAD_DTYPE || s == KILN_BAD_ALIGN || s == KILN_REQUIRE || s == KILN_UNSUPPORTED;
}

kiln_status kiln_plan_create_with(kiln_plan **out, kiln_device *dev, const char *op, const kiln_arg *args, int nargs,
                                  const kiln_plan_options *options) {
  if (!out) return error_set(KILN_BAD_CALL, "kiln_plan_create: out is NULL");
  *out = NULL;
  if (!dev || !op || !*op || (nargs && !args))
    return error_set(KILN_BAD_CALL, "kiln_plan_create: %s is %s", !dev ? "dev" : !op || !*op ? "op" : "args", dev && op && !*op ? "empty" : "NULL");
  if (nargs < 0 || nargs > BIND_MAX_ARGS)
    return error_set(KILN_BAD_CALL, "kiln_plan_create: nargs is %d; expected 0 to %d", nargs, BIND_MAX_ARGS);
  Order o; /* not zeroed: its views and binding are long */
  o.dev = dev, o.op = op, o.args = args, o.nargs = nargs;
  o.options = options ? *options : (kiln_plan_options){0};
  kiln_status s = bind_view(args, nargs, o.views);
  if (s) return error_prefix(s, "%.64s: ", op);
  s = acquire_either(&o);
  if (s && dev->provider && provider_may_help(s)) {
    s = ask_provider(&o, NULL);
    if (!s) s = acquire_either(&o);
  }
  if (!s && o.chosen.missing && dev->provider) s = acquire_missing(&o);
  if (s) return s;
  s = build(out, dev, o.chosen.variant, o.views, &o.binding);
  if (s) let_go(&o);
  return s;
}

kiln_status kiln_plan_create(kiln_plan **out, kiln_device *dev, const char *op, const kiln_arg *args, int nargs) {
  return kiln_plan_create_with(out, dev, op, args, nargs, NULL);
}

void kiln_plan_destroy(kiln_plan *plan) {
  if (!plan) return;
  kiln_device *dev = plan->dev;
  pthread_mutex_lock(&dev->lock);
  store_release(dev, plan->variant);
  pthread_mutex_unlock(&dev->lock);
  kiln_mem(plan, plan->block_bytes, 0);
  device_release(dev);
}

/* ---- queries ---- */

kiln_status kiln_plan_query(const kiln_plan *plan, kiln_plan_info *info) {
  if (info) *info = (kiln_plan_info){0};
  if (!plan || !info) return error_set(KILN_BAD_CALL, "kiln_plan_query: %s is NULL", plan ? "info" : "plan");
  const Variant *v = plan->variant;
  *info = (kiln_plan_info){.op = v->contract.op,
                           .variant = v->stem,
                           .target = v->contract.target,
                           .file = v->file,
                           .settings = v->contract.settings,
                           .schedule = v->contract.schedule,
                           .ntensors = plan->ntensors,
                           .nscalars = plan->nscalars,
                           .nsteps = plan->nsteps,
                           .workspace_bytes = (size_t)plan->workspace_bytes,
                           .workspace_align = PLAN_WORKSPACE_ALIGN,
                           .cost_ns = plan->cost_ns,
                           .bytes = plan->bytes,
                           .flop = plan->flop};
  return KILN_OK;
}

typedef struct FunctionAttribute {
  unsigned attribute;
  unsigned *out;
} FunctionAttribute;

kiln_status kiln_plan_step(const kiln_plan *plan, int step, kiln_step_info *info) {
  if (info) *info = (kiln_step_info){0};
  if (!plan || !info) return error_set(KILN_BAD_CALL, "kiln_plan_step: %s is NULL", plan ? "info" : "plan");
  if (step < 0 || step >= plan->nsteps)
    return error_set(KILN_BAD_CALL, "kiln_plan_step: step %d; the plan has %d, from 0", step, plan->nsteps);
  const PlanStep *x = &plan->step[step];
  const ContractStep *source = &plan->variant->contract.step[x->source];
  kiln_step_info found = {
      .name = source->name, .entry = source->entry, .block = x->block, .shared_bytes = x->shared_bytes, .function = x->function};
  memcpy(found.grid, x->grid, sizeof found.grid);
  memcpy(found.cluster, x->cluster, sizeof found.cluster);
  const FunctionAttribute wanted[] = {{DRV_FUNC_NUM_REGS, &found.registers},
                                      {DRV_FUNC_LOCAL_SIZE_BYTES, &found.local_bytes},
                                      {DRV_FUNC_SHARED_SIZE_BYTES, &found.static_shared_bytes}};
  DeviceScope scope;
  kiln_status s = device_enter(plan->dev, &scope);
  if (s) return s;
  int number = 0;
  for (size_t i = 0; !s && i < sizeof wanted / sizeof *wanted; i++) {
    s = device_result(plan->dev, plan->driver->cuFuncGetAttribute(&number, wanted[i].attribute, x->function),
                      "cuFuncGetAttribute");
    *wanted[i].out = (unsigned)number;
  }
  if (!s) {
    DrvResult result =
        plan->driver->cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, x->function, (int)x->block, x->shared_bytes);
    s = device_result(plan->dev, result, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
    found.blocks_sm = (unsigned)number;
  }
  device_leave(plan->dev, &scope);
  if (!s) *info = found;
  return s;
}

const char *kiln_plan_tensor_name(const kiln_plan *plan, int i) {
  return plan && i >= 0 && i < plan->ntensors ? plan->tensor[i].name : NULL;
}

const char *kiln_plan_scalar_name(const kiln_plan *plan, int i) {
  return plan && i >= 0 && i < plan->nscalars ? plan->scalar[i].name : NULL;
}

const char *kiln_plan_remarks(const kiln_plan *plan) { return plan && plan->variant ? plan->variant->remarks : ""; }

kiln_dtype kiln_plan_scalar_dtype(const kiln_plan *plan, int i) {
  return plan && i >= 0 && i < plan->nscalars ? (kiln_dtype)plan->scalar[i].dtype : KILN_NO_DTYPE;
}

size_t kiln_plan_workspace(const kiln_plan *plan, size_t *align) {
  if (align) *align = PLAN_WORKSPACE_ALIGN;
  return plan ? (size_t)plan->workspace_bytes : 0;
}

/* ---- descriptions ---- */

typedef struct Writer {
  char *text;
  size_t capacity, n; /* n counts what does not fit as well */
} Writer;

static void put(Writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(Writer *w, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  size_t room = w->n < w->capacity ? w->capacity - w->n : 0;
  int more = vsnprintf(room ? w->text + w->n : NULL, room, fmt, args);
  va_end(args);
  if (more > 0) w->n += (size_t)more;
}

static void describe_tensor(Writer *w, const kiln_plan *plan, int i) {
  const ArgView *v = &plan->views[i];
  const kiln_tensor *t = v->arg->tensor;
  const ContractTensor *c = &plan->variant->contract.tensor[i];
  put(w, "  tensor %s %s %s [", c->name, c->in && c->out ? "inout" : c->out ? "out" : "in", kiln_dtype_name(t->dtype));
  for (int d = 0; d < t->rank; d++) put(w, "%s%lld", d ? "," : "", (long long)t->shape[d]);
  put(w, "] strides [");
  for (int d = 0; d < t->rank; d++) put(w, "%s%lld", d ? "," : "", (long long)v->stride[d]);
  put(w, "] align %u\n", c->align_bytes);
}

static void describe_map(Writer *w, const kiln_plan *plan, int i) {
  static const int swizzles[] = {0, 32, 64, 128};
  const Contract *c = &plan->variant->contract;
  const PlanMap *x = &plan->map[i];
  const ContractMap *m = &c->map[x->source];
  put(w, "  map %s of %s [", m->name, m->kind == ARG_TENSOR ? c->tensor[m->index].name : c->workspace[m->index].name);
  for (int d = m->rank - 1; d >= 0; d--) put(w, "%llu%s", (unsigned long long)x->dim[d], d ? "," : "] strides [");
  for (int d = m->rank - 1; d > 0; d--) put(w, "%llu,", (unsigned long long)x->stride_bytes[d - 1]);
  put(w, "%zu] bytes, box [", kiln_dtype_bytes((kiln_dtype)m->dtype));
  for (int d = 0; d < m->rank; d++) put(w, "%s%d", d ? "," : "", m->box[d]);
  put(w, "] swizzle %d\n", swizzles[m->swizzle]);
}

size_t kiln_plan_describe(const kiln_plan *plan, char *text, size_t size_bytes) {
  Writer w = {text, text ? size_bytes : 0, 0};
  if (w.capacity) *text = 0;
  if (!plan) return 0;
  const Contract *c = &plan->variant->contract;
  put(&w, "%s: %s for %s on %s\n", c->op, plan->variant->file, c->target, plan->dev->info.name);
  if (*c->settings) put(&w, "  set %s\n", c->settings);
  if (*c->schedule) put(&w, "  schedule %s\n", c->schedule);
  for (int i = 0; i < plan->ntensors; i++) describe_tensor(&w, plan, i);
  for (int i = 0; i < plan->nscalars; i++) {
    put(&w, "  scalar %s with each launch", plan->scalar[i].name);
    for (int k = 0; k < plan->nlimits; k++)
      if (plan->limit[k].scalar == i) put(&w, ", %lld to %lld", (long long)plan->limit[k].low, (long long)plan->limit[k].high);
    put(&w, "\n");
  }
  for (int i = 0; i < plan->nmaps; i++) describe_map(&w, plan, i);
  if (plan->workspace_bytes) put(&w, "  workspace %lld bytes\n", (long long)plan->workspace_bytes);
  if (!plan->nsteps) put(&w, "  nothing to compute for these sizes\n");
  for (int i = 0; i < plan->nsteps; i++) {
    const PlanStep *x = &plan->step[i];
    const ContractStep *source = &c->step[x->source];
    put(&w, "  step %s: %s grid %u,%u,%u block %u shared %u", source->name, source->entry, x->grid[0], x->grid[1], x->grid[2],
        x->block, x->shared_bytes);
    if (x->cluster[0] * x->cluster[1] * x->cluster[2] > 1)
      put(&w, " cluster %u,%u,%u", x->cluster[0], x->cluster[1], x->cluster[2]);
    if (x->pdl) put(&w, " pdl");
    put(&w, ", %u parameters\n", x->nparams);
  }
  char cost[NUMBER_BYTES], bytes[NUMBER_BYTES], flop[NUMBER_BYTES];
  put(&w, "  predicted %s us, %s bytes, %s FLOP\n", number_text(cost, sizeof cost, "%.6g", plan->cost_ns * 1e-3),
      number_text(bytes, sizeof bytes, "%.6g", plan->bytes), number_text(flop, sizeof flop, "%.6g", plan->flop));
  return w.n;
}
