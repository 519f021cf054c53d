/* same.h - kiln check --sms, --seeds: the same case on devices of other SM counts or seeds must give the same bits. */
#ifndef KILN_CLI_SAME_H
#define KILN_CLI_SAME_H
#include "variants.h"

/* Runs a case, which ran on the group's own device, on its other devices (Group.also), and compares everything that the launches
 * left in memory. variant as for group_plan; ran: the one that ran. false: text says where they differ, or what failed. */
bool same_results(const Group *g, const CaseData *d, const char *variant, const char *ran, char *text, size_t text_bytes);
#endif
