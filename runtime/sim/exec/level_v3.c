/* level_v3.c - the handlers for x86-64-v3 hosts: AVX2 and FMA. Absent elsewhere. */
#if defined(__x86_64__) && !defined(KILN_SIM_ONE_LEVEL)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe"))), apply_to = function)
#else
#pragma GCC target("avx,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,movbe")
#endif
#define SIM_HAS_AVX2 1
#define SIM_LEVEL sim_level_v3
#define SIM_LEVEL_NAME "v3"
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
