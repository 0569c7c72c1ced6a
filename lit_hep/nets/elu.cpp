// Exponential linear unit with dropout after it, in one pass. What was dropped is -0, which nothing else becomes.

#include "vectors.h"

namespace {

typedef uint32_t Bits __attribute__((vector_size(4 * lanes), may_alias));

// exp of numbers from -87 to 0, to 1e-7: a power of two, and for the rest a polynomial (S. Moshier, Cephes, expf).
inline Vector exponential(Vector x) {
  const float shift = 12582912;  // 1.5 * 2^23: what is added to it is rounded to a whole number, in the last bits
  const Vector sum = x * 1.44269504f + shift, power = sum - shift;
  const Vector rest = x - power * 0.693359375f + power * 2.12194440e-4f;
  Vector value = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  value = value * rest + 8.3334519073e-3f;
  value = value * rest + 4.1665795894e-2f;
  value = value * rest + 1.6666665459e-1f;
  value = value * rest + 5.0000001201e-1f;
  value = value * rest * rest + rest + 1;
  return (Vector)((Numbers)value + ((Numbers)sum << 23));
}

// 32 bits for each number and seed, as good as drawn (A. Appleby, MurmurHash3).
inline Bits drawn(Bits number, uint64_t seed) {
  Bits bits = number ^ uint32_t(seed);
  bits = (bits ^ bits >> 16) * 0x85ebca6bu;
  bits = (bits ^ bits >> 13) * 0xc2b2ae35u + uint32_t(seed >> 32);
  bits = (bits ^ bits >> 16) * 0x85ebca6bu;
  bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
  return bits ^ bits >> 16;
}

inline Vector answer(Vector x, Bits number, uint32_t dropped, float scale, uint64_t seed) {
  const Vector below = x < -87 ? all(-87) : x < 0 ? x : Vector{};
  const Vector value = (x <= 0 ? exponential(below) - 1 : x) * scale;
  return dropped ? (Vector)(drawn(number, seed) < dropped ? (Bits)(-Vector{}) : (Bits)value) : value;
}

inline Vector gradient(Vector given, Vector y, float scale) {
  const Vector slope = y <= 0 ? y + scale : all(scale);
  return (Bits)y == (Bits)(-Vector{}) ? Vector{} : given * slope;
}

// The function of each vector of some arrays of a length, and of what is left over.
template <typename Function>
void each(int64_t length, int threads, Function function) {
#pragma omp parallel for num_threads(threads)
  for (int64_t n = 0; n < length / lanes; ++n) function(n * lanes, lanes);
  if (length % lanes) function(length / lanes * lanes, int(length % lanes));
}

inline Vector load_some(const float* from, int number) {
  if (number == lanes) return load(from);
  Vector value = {};
  for (int l = 0; l < number; ++l) value[l] = from[l];
  return value;
}

inline void store_some(float* to, Vector value, int number) {
  if (number == lanes) return store(to, value);
  for (int l = 0; l < number; ++l) to[l] = value[l];
}

}  // namespace

extern "C" {

// Of 2^32 that are drawn the smallest are dropped, so many.
void elu(const float* x, float* y, int64_t length, uint32_t dropped, float scale, uint64_t seed, int threads) {
  Bits own;
  for (int l = 0; l < lanes; ++l) own[l] = l;
  each(length, threads, [=](int64_t n, int number) {
    const uint64_t high = seed ^ uint64_t(n >> 32) * 0x9e3779b97f4a7c15u;
    store_some(y + n, answer(load_some(x + n, number), own + uint32_t(n), dropped, scale, high), number);
  });
}

void gradient_of_elu(const float* given, const float* y, float* made, int64_t length, float scale, int threads) {
  each(length, threads, [=](int64_t n, int number) {
    store_some(made + n, gradient(load_some(given + n, number), load_some(y + n, number), scale), number);
  });
}
}
