/* variants.h - the variants that the generator offers for one request, emitted and made known to a device.
 *
 * A group is an op under one choice of settings on one target: what `kiln check`, `bench` and `list --variants` work with. */
#ifndef KILN_CLI_VARIANTS_H
#define KILN_CLI_VARIANTS_H
#include "forward.h"

#define VARIANTS_MAX 256

typedef struct Variant {
  char *name;       /* "rms_norm-bf16-w-r4x256": file name without .ptx */
  char *schedule;
  char hash[17];    /* of the text */
  char *text;       /* of the PTX, if GroupRequest.texts asks for it */
  size_t bytes;
  bool ran;
  bool offered;     /* by the family, or the only one; else --schedule of `kiln tune` asked for it */
  const Case *least; /* the smallest case that it ran */
} Variant;

typedef struct Group {
  Device device;                /* opened for this group alone: only its variants are candidates */
  Device also[OPTIONS_MAX_SEEDS]; /* simulated ones like it, with other numbers of SMs, or other seeds and policies */
  int nalso;
  char op[64];                  /* as contracts call it */
  char settings[256];           /* "dtype=f16 w=no": what differs from the defaults */
  Variant variant[VARIANTS_MAX];
  int nvariants;
  int nrefused;                 /* widened schedules that the family does not take */
  bool tuned;                   /* plans follow what `kiln tune` measured; else predicted cost alone */
  struct Follow *follow;        /* for measured schedules that are not offered; NULL: none are emitted */
  bool texts;                   /* variants keep their PTX */
  kiln_gen_pair option[OPTIONS_MAX_PAIRS]; /* settings that a caller names (contract: option) */
  int noptions;
  Majors majors;
  bool any_columns;             /* a variant takes every stride of the last dims, too */
  KilnDef *def;
  KilnDef *forward;             /* of a gradient that reads results of the forward run; else NULL */
} Group;

typedef struct GroupRequest {
  const char *op;               /* as the generator takes it */
  const kiln_gen_pair *set;
  int nset;
  const kiln_gen_pair *schedule; /* NULL: every schedule that is offered */
  int nschedule;
  const kiln_gen_pair *widen;   /* beside what is offered, each of it with these values of its keys: stages=3|4 */
  int nwiden;
  const char *ptx;              /* an edited file instead of emission; NULL: none */
  const char *where;            /* device */
  const int *sms;               /* numbers of SMs, if any: the first is the group's device, the others are `also` */
  int nsms;
  int seeds;                    /* likewise: seeds from 0 on, or 0 */
  const char *target;           /* --target, or NULL */
  bool texts;                   /* keep the PTX of each variant */
} GroupRequest;

/* Opens the device, emits, adds, and traces the definition. Status as the generator's; why says what went wrong. On anything but
 * KILN_GEN_OK nothing is left open. */
kiln_gen_status group_open(Group *g, KilnGen *gen, const GroupRequest *r, char *why, size_t why_bytes);
void group_close(Group *g);

/* From now on plans follow measurements, and a measured schedule that was not offered is emitted. gen and what r points to must live as long
 * as the group. */
void group_follow(Group *g, KilnGen *gen, const GroupRequest *r);

/* Adds to another device the variant that a plan has: one of the group's, which must keep its texts, or a measured one of this schedule. */
kiln_status group_add(const Group *g, kiln_device *dev, const char *variant, const char *schedule);

/* The settings of an edited file: its op, and --set as its contract has it. false after a message. */
bool variants_read_settings(const char *path, Options *into, char *op, size_t op_bytes);

/* Lays out and fills the tensors of a case. false: why says what is wrong; the tensors are there nevertheless. */
bool group_make(const Group *g, const Case *c, CaseData *d, Random *r, char *why, size_t why_bytes);
/* Finds or creates the plan of a case whose tensors lie on the group's device. variant NULL: as the runtime selects. */
kiln_status group_plan(const Group *g, const CaseData *d, const char *variant, kiln_plan **plan);
/* Launches once on the default stream, with a workspace of its own, and waits. */
kiln_status group_launch(const Group *g, const CaseData *d, const kiln_plan *plan);
#endif
