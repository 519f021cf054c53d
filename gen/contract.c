/* contract.c - see contract.h. */
#include "contract.h"
#include "../runtime/contract.h"
#include <ctype.h>
#include <string.h>

/* Parameters of kernel k in order of its entry, as the step line lists them. */
static void put_args(Text *out, const LowerResult *k) {
  for (int i = 0; i < k->nargs; i++) text_fmt(out, "%s%s", i ? " " : "", k->args[i]);
}

/* Replaces one $nameK; false: no such name or kernel. */
static bool put_value(Text *out, const char **at, const LowerResult *kernel, int nkernels) {
  static const char *const names[] = {"entry", "block", "shared", "args"};
  for (int which = 0; which < 4; which++) {
    size_t len = strlen(names[which]);
    if (strncmp(*at, names[which], len) != 0 || !isdigit((unsigned char)(*at)[len])) continue;
    const char *digit = *at + len;
    int k = 0;
    for (; isdigit((unsigned char)*digit) && k < nkernels; digit++) k = 10 * k + (*digit - '0');
    if (k >= nkernels) return false;
    *at = digit;
    switch (which) {
    case 0: text_str(out, kernel[k].entry); break;
    case 1: text_fmt(out, "%d", kernel[k].threads); break;
    case 2: text_fmt(out, "%lld", (long long)kernel[k].shared_bytes); break;
    default: put_args(out, &kernel[k]); break;
    }
    return true;
  }
  return false;
}

/* The tensor maps of all kernels, as a map is needed by the steps that come after. */
static void put_maps(Text *out, const LowerResult *kernel, int nkernels) {
  for (int k = 0; k < nkernels; k++)
    for (int i = 0; i < kernel[k].nmaps; i++) text_fmt(out, "//@ %s\n", kernel[k].map[i]);
}

bool contract_write(CompileJob *job, const LowerResult *kernel, int nkernels) {
  bool maps = false;
  for (int k = 0; k < nkernels; k++) {
    if (kernel[k].nargs <= CONTRACT_MAX_ARGS) continue;
    diag_error(job->diag, (Loc){0}, "kernel %s has %d arguments (addresses, sizes and strides of its tensors, scalars), of which a contract takes %d; "
               "give the op fewer tensors, or fewer dims", kernel[k].entry, kernel[k].nargs, CONTRACT_MAX_ARGS);
    return false;
  }
  for (int i = 0; i < job->ncontract; i++) {
    if (!maps && !strncmp(job->contract[i], "step ", 5)) put_maps(job->out, kernel, nkernels), maps = true;
    text_str(job->out, "//@ ");
    for (const char *at = job->contract[i]; *at;) {
      if (*at == '\n' || *at == '\r') {
        diag_error(job->diag, (Loc){0}, "contract line %d holds a line break", i + 1);
        return false;
      }
      if (*at != '$') {
        text_put(job->out, at++, 1);
        continue;
      }
      at++;
      if (!put_value(job->out, &at, kernel, nkernels)) {
        diag_error(job->diag, (Loc){0}, "contract line %d: '$%.12s' names no kernel's entry, block, shared or args", i + 1, at);
        return false;
      }
    }
    text_str(job->out, "\n");
  }
  text_str(job->out, "//@ end\n");
  return true;
}
