/* launch.c - kiln_launch: nothing is allocated, looked up, locked or written to the plan on this path. */
#include "error.h"
#include "number.h"
#include "overlap.h"
#include "plan.h"
#include <math.h> /* isinf: no call */
#include <string.h>

static kiln_status refuse_pointer(const kiln_plan *plan, int i, const void *ptr) {
  const PlanTensor *t = &plan->tensor[i];
  if (!ptr)
    return error_set(KILN_NULL_POINTER, "%s: the pointer of tensor %s (number %d) is null", plan->variant->contract.op, t->name,
                     i);
  return error_set(KILN_BAD_ALIGN, "%s: pointer %p of tensor %s (number %d); expected a multiple of %u bytes",
                   plan->variant->contract.op, ptr, t->name, i, t->align_mask + 1);
}

static inline kiln_status check_tensors(const kiln_plan *plan, void *const *pointers) {
  for (int i = 0; i < plan->ntensors; i++) {
    const PlanTensor *t = &plan->tensor[i];
    if (t->extent_bytes && (!pointers[i] || ((uintptr_t)pointers[i] & t->align_mask)))
      return refuse_pointer(plan, i, pointers[i]);
  }
  return KILN_OK;
}

/* Two intervals meet: seldom, and then looked at closely. */
static kiln_status check_meeting(const kiln_plan *plan, const PlanPair *pair, void *const *pointers) {
  uint64_t output = (uintptr_t)pointers[pair->output], other = (uintptr_t)pointers[pair->other];
  if (pair->alias && output == other) return KILN_OK;
  if (!overlap_pair(&plan->views[pair->output], output, &plan->views[pair->other], other)) return KILN_OK;
  return error_set(KILN_OVERLAP, "%s: output %s (%p, %lld bytes) overlaps tensor %s (%p, %lld bytes); expected separate memory",
                   plan->variant->contract.op, plan->tensor[pair->output].name, pointers[pair->output],
                   (long long)plan->tensor[pair->output].extent_bytes, plan->tensor[pair->other].name, pointers[pair->other],
                   (long long)plan->tensor[pair->other].extent_bytes);
}

static inline kiln_status check_pairs(const kiln_plan *plan, void *const *pointers) {
  for (int i = 0; i < plan->npairs; i++) {
    const PlanPair *pair = &plan->pair[i];
    uint64_t a = (uintptr_t)pointers[pair->output], b = (uintptr_t)pointers[pair->other];
    if (a >= b + (uint64_t)plan->tensor[pair->other].extent_bytes || b >= a + (uint64_t)plan->tensor[pair->output].extent_bytes)
      continue;
    kiln_status s = check_meeting(plan, pair, pointers);
    if (s) return s;
  }
  return KILN_OK;
}

/* Call scalars as the kernel reads them. */
static kiln_status narrow_scalars(const kiln_plan *plan, const kiln_scalar *given, ExprValue *out) {
  if (!given)
    return error_set(KILN_BAD_CALL, "%s: call.scalars is NULL; the plan takes %d (the first is %s)", plan->variant->contract.op,
                     plan->nscalars, plan->scalar[0].name);
  for (int i = 0; i < plan->nscalars; i++) {
    out[i].i = given[i].i;
    if (plan->scalar[i].dtype == KILN_F64) out[i].d = given[i].f;
    if (plan->scalar[i].dtype == KILN_F32) {
      float narrow = (float)given[i].f;
      char text[NUMBER_BYTES];
      if (isinf(narrow) && !isinf(given[i].f))
        return error_set(KILN_TOO_LARGE, "%s: scalar %s is %s; expected a number that f32 has, which go to 3.4028e38",
                         plan->variant->contract.op, plan->scalar[i].name, number_text(text, sizeof text, "%.17g", given[i].f));
      memcpy(&out[i], &narrow, sizeof narrow);
    }
    if (plan->scalar[i].dtype == KILN_I32) {
      if (given[i].i < INT32_MIN || given[i].i > INT32_MAX)
        return error_set(KILN_TOO_LARGE, "%s: scalar %s is %lld; expected an i32", plan->variant->contract.op,
                         plan->scalar[i].name, (long long)given[i].i);
      int32_t narrow = (int32_t)given[i].i;
      memcpy(&out[i], &narrow, sizeof narrow);
    }
  }
  return KILN_OK;
}

static kiln_status refuse_scalar(const kiln_plan *plan, const BoundLimit *x, int64_t value) {
  const ContractItem *item = &plan->variant->contract.item[x->item];
  return error_set(KILN_REQUIRE, "%s: scalar %s is %lld; expected %lld to %lld (%s)", plan->variant->contract.op,
                   plan->scalar[x->scalar].name, (long long)value, (long long)x->low, (long long)x->high, item->text);
}

static inline kiln_status check_limits(const kiln_plan *plan, const kiln_scalar *given) {
  for (int i = 0; i < plan->nlimits; i++) {
    const BoundLimit *x = &plan->limit[i];
    if (given[x->scalar].i < x->low || given[x->scalar].i > x->high) return refuse_scalar(plan, x, given[x->scalar].i);
  }
  return KILN_OK;
}

static kiln_status check_workspace(const kiln_plan *plan, const void *workspace) {
  const char *op = plan->variant->contract.op;
  if (!workspace)
    return error_set(KILN_NULL_POINTER, "%s: call.workspace is null; expected %lld bytes (kiln_plan_workspace)", op,
                     (long long)plan->workspace_bytes);
  if ((uintptr_t)workspace & (PLAN_WORKSPACE_ALIGN - 1))
    return error_set(KILN_BAD_ALIGN, "%s: workspace %p; expected a multiple of %d bytes", op, workspace, PLAN_WORKSPACE_ALIGN);
  return KILN_OK;
}

/* As with two tensors: intervals that meet are looked at closely. */
static kiln_status check_workspace_meeting(const kiln_plan *plan, int i, const void *pointer, const void *workspace) {
  kiln_tensor bytes = {.dtype = KILN_U8, .rank = 1, .shape = &plan->workspace_bytes};
  kiln_arg arg = {.tensor = &bytes};
  ArgView view = {.arg = &arg, .stride = {1}, .elements = plan->workspace_bytes, .extent_bytes = plan->workspace_bytes};
  if (!overlap_pair(&view, (uintptr_t)workspace, &plan->views[i], (uintptr_t)pointer)) return KILN_OK;
  return error_set(KILN_OVERLAP, "%s: call.workspace (%p, %lld bytes) overlaps tensor %s (%p, %lld bytes); expected separate memory",
                   plan->variant->contract.op, workspace, (long long)plan->workspace_bytes, plan->tensor[i].name, pointer,
                   (long long)plan->tensor[i].extent_bytes);
}

static inline kiln_status check_workspace_apart(const kiln_plan *plan, void *const *pointers, const void *workspace) {
  uint64_t a = (uintptr_t)workspace, end = a + (uint64_t)plan->workspace_bytes;
  for (int i = 0; i < plan->ntensors; i++) {
    uint64_t b = (uintptr_t)pointers[i];
    if (b >= end || a >= b + (uint64_t)plan->tensor[i].extent_bytes) continue;
    kiln_status s = check_workspace_meeting(plan, i, pointers[i], workspace);
    if (s) return s;
  }
  return KILN_OK;
}

static DrvResult launch_extended(const kiln_plan *plan, const PlanStep *x, DrvStream stream, void **params) {
  DrvLaunchAttribute attributes[2];
  unsigned n = 0;
  memset(attributes, 0, sizeof attributes);
  if (x->cluster[0] * x->cluster[1] * x->cluster[2] > 1) {
    attributes[n].id = DRV_LAUNCH_CLUSTER_DIMENSION;
    attributes[n].value.cluster.x = x->cluster[0];
    attributes[n].value.cluster.y = x->cluster[1];
    attributes[n++].value.cluster.z = x->cluster[2];
  }
  if (x->pdl) {
    attributes[n].id = DRV_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[n++].value.programmatic_serialization = 1;
  }
  DrvLaunchConfig config = {x->grid[0], x->grid[1], x->grid[2], x->block, 1, 1, x->shared_bytes, stream, attributes, n};
  return plan->driver->cuLaunchKernelEx(&config, x->function, params, NULL);
}

static kiln_status refuse_launch(const kiln_plan *plan, const PlanStep *x, DrvResult result) {
  kiln_status s = driver_error(plan->driver, result, x->extended ? "cuLaunchKernelEx" : "cuLaunchKernel");
  const ContractStep *source = &plan->variant->contract.step[x->source];
  return error_prefix(s, "%s: step %s (%s, grid %u,%u,%u, block %u, shared %u): ", plan->variant->file, source->name,
                      source->entry, x->grid[0], x->grid[1], x->grid[2], x->block, x->shared_bytes);
}

typedef struct Call { /* what comes with the call, in the form that parameters point to */
  void *const *pointers;
  const ExprValue *scalars;
  void **workspace; /* one address per workspace */
  const DrvTensorMap *maps;
  DrvStream stream;
} Call;

static inline kiln_status launch_step(const kiln_plan *plan, const PlanStep *x, const Call *call) {
  void *params[CONTRACT_MAX_ARGS];
  memcpy(params, x->params, x->nparams * sizeof *params);
  for (int i = 0; i < x->npatches; i++) {
    const PlanPatch *p = &x->patches[i];
    const void *at = p->kind == ARG_TENSOR      ? (const void *)&call->pointers[p->index]
                     : p->kind == ARG_WORKSPACE ? (const void *)&call->workspace[p->index]
                     : p->kind == ARG_MAP       ? (const void *)&call->maps[p->index]
                                                : (const void *)&call->scalars[p->index];
    params[p->param] = (void *)(uintptr_t)at; /* the driver only reads */
  }
  DrvResult result = x->extended ? launch_extended(plan, x, call->stream, params)
                                 : plan->driver->cuLaunchKernel(x->function, x->grid[0], x->grid[1], x->grid[2], x->block, 1, 1,
                                                                x->shared_bytes, call->stream, params, NULL);
  return result ? refuse_launch(plan, x, result) : KILN_OK;
}

/* The plan's maps with the addresses of this call. */
static kiln_status point_maps(const kiln_plan *plan, const Call *call, DrvTensorMap *maps) {
  for (int i = 0; i < plan->nmaps; i++) {
    const PlanMap *x = &plan->map[i];
    memcpy(&maps[i], x->bytes, sizeof maps[i]);
    void *address = x->kind == ARG_TENSOR ? call->pointers[x->index] : call->workspace[x->index];
    DrvResult result = plan->driver->cuTensorMapReplaceAddress((struct CUtensorMap_st *)&maps[i], address);
    if (result)
      return error_prefix(driver_error(plan->driver, result, "cuTensorMapReplaceAddress"), "%s: map %s, address %p: ",
                          plan->variant->file, plan->variant->contract.map[x->source].name, address);
  }
  return KILN_OK;
}

static kiln_status launch_all(const kiln_plan *plan, Call *call, char *workspace) {
  DrvTensorMap maps[CONTRACT_MAX_MAPS];
  DeviceScope scope;
  kiln_status s = device_enter(plan->dev, &scope);
  if (s) return s;
  call->maps = maps;
  if (plan->nmaps) s = point_maps(plan, call, maps);
  for (int i = 0; !s && i < plan->nmemsets; i++) {
    const PlanMemset *m = &plan->memset[i];
    DrvResult result =
        plan->driver->cuMemsetD8Async((DrvPtr)(uintptr_t)(workspace + m->offset), 0, (size_t)m->bytes, call->stream);
    if (result) s = driver_error(plan->driver, result, "cuMemsetD8Async");
  }
  for (int i = 0; !s && i < plan->nsteps; i++) s = launch_step(plan, &plan->step[i], call);
  device_leave(plan->dev, &scope);
  return s;
}

kiln_status kiln_launch(const kiln_plan *plan, const kiln_call *call, void *stream) {
  static const kiln_call nothing = {0};
  void *given[CONTRACT_MAX_TENSORS], *workspaces[CONTRACT_MAX_WORKSPACES];
  ExprValue scalars[CONTRACT_MAX_SCALARS];
  if (!plan) return error_set(KILN_BAD_CALL, "kiln_launch: plan is NULL");
  if (!call) call = &nothing;
  void *const *pointers = call->pointers;
  if (!pointers) {
    for (int i = 0; i < plan->ntensors; i++) given[i] = plan->tensor[i].data;
    pointers = given;
  }
  kiln_status s = check_tensors(plan, pointers);
  if (!s) s = check_pairs(plan, pointers);
  if (!s && plan->nscalars) s = narrow_scalars(plan, call->scalars, scalars);
  if (!s) s = check_limits(plan, call->scalars);
  if (!s && plan->workspace_bytes) s = check_workspace(plan, call->workspace);
  if (!s && plan->workspace_bytes) s = check_workspace_apart(plan, pointers, call->workspace);
  if (s || !plan->nsteps) return s;
  for (int i = 0; i < plan->nworkspaces; i++) workspaces[i] = (char *)call->workspace + plan->workspace_offset[i];
  return launch_all(plan, &(Call){pointers, scalars, workspaces, NULL, (DrvStream)stream}, call->workspace);
}

kiln_status kiln_launch_parts(const kiln_plan *plan, void *const *pointers, const kiln_scalar *scalars, void *workspace,
                              void *stream) {
  return kiln_launch(plan, &(kiln_call){pointers, scalars, workspace}, stream);
}
