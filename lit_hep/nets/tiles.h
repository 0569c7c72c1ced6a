// What the processor's matrix unit (AMX) multiplies: tiles of bfloat16, whose products are added up in float32. A number
// is taken for the sum of two of them, a coarse and a fine one; of four products the three largest count.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

typedef uint16_t Half;
constexpr int64_t side = 16;   // rows and columns of a tile of sums
constexpr int64_t depth = 32;  // halves in a row of the tiles that are multiplied
constexpr int64_t block = 32;  // rows and columns of the sums that are computed together, 2 x 2 tiles
constexpr int64_t tile = side * depth;
constexpr int64_t square = block * block;

struct Split {
  __m512 coarse, fine;  // the first as bfloat16 has it; of what is not a number the second is none
};

inline Split split(__m512 x) {
  const __m512i nearest = _mm512_add_epi32((__m512i)x, _mm512_set1_epi32(0x8000));
  const __m512 coarse = (__m512)_mm512_and_si512(nearest, _mm512_set1_epi32(0xffff0000));
  return {coarse, x - coarse};
}

inline __m256i halves(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

inline __m512i pairs(__m512 first, __m512 second) {
  constexpr auto turns = [] {
    struct alignas(64) {
      uint16_t from[2 * side];
    } turns = {};
    for (int n = 0; n < 2 * side; ++n) turns.from[n] = n / 2 + n % 2 * side;
    return turns;
  }();
  return _mm512_permutexvar_epi16(_mm512_load_si512(&turns), (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// The tiles of a block of sums are 0 to 3, those that are multiplied 4 to 7.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, unused[14] = {};
      uint16_t columns[16] = {};
      uint8_t rows[16] = {};
    } about;
    std::fill_n(about.columns, 8, 2 * depth);
    std::fill_n(about.rows, 8, side);
    _tile_loadconfig(&about);
  }
  ~Tiles() { _tile_release(); }
};

inline void clear() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

inline void resume(const float* sums) {
  _tile_loadd(0, sums, 4 * block);
  _tile_loadd(1, sums + side, 4 * block);
  _tile_loadd(2, sums + side * block, 4 * block);
  _tile_loadd(3, sums + side * block + side, 4 * block);
}

inline void keep(float* sums) {
  _tile_stored(0, sums, 4 * block);
  _tile_stored(1, sums + side, 4 * block);
  _tile_stored(2, sums + side * block, 4 * block);
  _tile_stored(3, sums + side * block + side, 4 * block);
}

inline void multiply() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Two tiles that are multiplied, below (left) or beside (right) one another: places, and the distance of both.
struct Operand {
  const Half *coarse, *fine;
  int64_t next;

  void load_left(const Half* from) const {
    _tile_loadd(4, from, 2 * depth);
    _tile_loadd(5, from + next, 2 * depth);
  }
  void load_right(const Half* from) const {
    _tile_loadd(6, from, 2 * depth);
    _tile_loadd(7, from + next, 2 * depth);
  }
};

inline void add(Operand left, Operand right) {
  left.load_left(left.coarse);
  right.load_right(right.fine);
  multiply();
  right.load_right(right.coarse);
  multiply();
  left.load_left(left.fine);
  multiply();
}

inline void transpose(__m512 (&rows)[16]) {
  __m512 pairs[16];
  for (int n = 0; n < 16; n += 2) {
    pairs[n] = _mm512_unpacklo_ps(rows[n], rows[n + 1]);
    pairs[n + 1] = _mm512_unpackhi_ps(rows[n], rows[n + 1]);
  }
  const auto low = [&](int a, int b) { return (__m512)_mm512_unpacklo_pd((__m512d)pairs[a], (__m512d)pairs[b]); };
  const auto high = [&](int a, int b) { return (__m512)_mm512_unpackhi_pd((__m512d)pairs[a], (__m512d)pairs[b]); };
  for (int n = 0; n < 16; n += 4) {
    rows[n] = low(n, n + 2), rows[n + 1] = high(n, n + 2);
    rows[n + 2] = low(n + 1, n + 3), rows[n + 3] = high(n + 1, n + 3);
  }
  constexpr int even = 0x88, odd = 0xdd;  // of the four quarters of both
  for (int n = 0; n < 4; ++n) {
    const __m512 a = _mm512_shuffle_f32x4(rows[n], rows[n + 4], even);
    const __m512 b = _mm512_shuffle_f32x4(rows[n], rows[n + 4], odd);
    const __m512 c = _mm512_shuffle_f32x4(rows[n + 8], rows[n + 12], even);
    const __m512 d = _mm512_shuffle_f32x4(rows[n + 8], rows[n + 12], odd);
    pairs[n] = _mm512_shuffle_f32x4(a, c, even), pairs[n + 8] = _mm512_shuffle_f32x4(a, c, odd);
    pairs[n + 4] = _mm512_shuffle_f32x4(b, d, even), pairs[n + 12] = _mm512_shuffle_f32x4(b, d, odd);
  }
  for (int n = 0; n < 16; ++n) rows[n] = pairs[n];
}
