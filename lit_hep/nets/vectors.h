// Vectors of as many numbers as the processor takes at a time.
#pragma once

#include <cstdint>

#ifdef __AVX512F__
constexpr int lanes = 16, registers = 24;  // of 32: sums alone, the others hold what is multiplied
#else
constexpr int lanes = 8, registers = 12;  // of 16
#endif

typedef float Vector __attribute__((vector_size(4 * lanes), may_alias));
typedef float Stored __attribute__((vector_size(4 * lanes), aligned(4), may_alias));  // anywhere in memory
typedef int32_t Numbers __attribute__((vector_size(4 * lanes), may_alias));

#define UNROLLED _Pragma("GCC unroll 64") for

inline Vector all(float value) { return value - Vector{}; }  // of value + 0 an addition would be left: 0 is not -0
inline Vector load(const float* from) { return *reinterpret_cast<const Stored*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Stored*>(to) = value; }

// Half of the lanes and the other half, until one is left.
template <int number = lanes>
inline float sum(const float* values) {
  if constexpr (number == 1) {
    return *values;
  } else {
    typedef float Half __attribute__((vector_size(2 * number), aligned(4), may_alias));
    const Half* halves = reinterpret_cast<const Half*>(values);
    const Half both = halves[0] + halves[1];
    return sum<number / 2>(reinterpret_cast<const float*>(&both));
  }
}

inline float sum(const Vector& values) { return sum(reinterpret_cast<const float*>(&values)); }
