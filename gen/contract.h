/* contract.h - writes the contract at the head of an emitted file (docs/contract.md). The reader is the runtime's. */
#ifndef KILN_GEN_CONTRACT_H
#define KILN_GEN_CONTRACT_H
#include "compile.h"
#include "lower.h"

/* Lines as the script gave them, in which `$entryK $blockK $sharedK $argsK` stand for what lowering found out about kernel K.
 * The result is read back with the runtime's reader; a line that it refuses is the script's error. */
bool contract_write(CompileJob *job, const LowerResult *kernel, int nkernels);
#endif
