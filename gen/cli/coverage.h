/* coverage.h - the table of PTX forms: what is simulated, tested, and was compared with a GPU. */
#ifndef KILN_CLI_COVERAGE_H
#define KILN_CLI_COVERAGE_H
int coverage_print(void); /* an exit status */
#endif
