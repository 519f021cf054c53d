/* problem_impl.h - between the files of problem.h. */
#ifndef KILN_TESTS_PROBLEM_IMPL_H
#define KILN_TESTS_PROBLEM_IMPL_H
#include "problem.h"

size_t problem_place(const Problem *p, const ProblemTensor *t, size_t i); /* of element i of the dense tensor, in its buffer */
size_t problem_bytes(kiln_dtype dtype);
double problem_unit(kiln_dtype dtype); /* relative error of one rounding */
double problem_read(kiln_dtype dtype, const void *at);
void problem_write(kiln_dtype dtype, void *at, double x);
#endif
