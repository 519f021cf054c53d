/* level_v4.c - the handlers for x86-64-v4 hosts: AVX-512. Absent elsewhere. */
#if defined(__x86_64__) && !defined(KILN_SIM_ONE_LEVEL)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push( \
  __attribute__((target("avx,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe,avx512f,avx512bw,avx512cd,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")
#endif
#define SIM_HAS_AVX2 1
#define SIM_LEVEL sim_level_v4
#define SIM_LEVEL_NAME "v4"
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
