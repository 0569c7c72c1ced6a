// Convolutions of float32 by the processor's matrix unit (AMX), which multiplies bfloat16 and adds up in float32. A
// number is taken for the sum of two of them, a coarse and a fine one; of four products the three largest count.

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

typedef uint16_t Half;
constexpr int64_t side = 16;    // rows and columns of a tile of sums
constexpr int64_t depth = 32;   // halves in a row of the tiles that are multiplied
constexpr int64_t block = 32;   // rows and columns of the sums that are computed together, 2 x 2 tiles
constexpr int64_t tile = side * depth;
constexpr int64_t chunk = 128;  // of the sums' terms, in units of the depth: half a megabyte of weights
constexpr int64_t stretch = 64;  // of the cells, in units of the depth, before the next tap has its turn: alike

struct Split {
  __m512i coarse, fine;  // in the upper halves of their words
};

inline __m512i upper(__m256bh halves) { return _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)halves), 16); }

inline Split split(__m512 x) {
  const __m512i coarse = upper(_mm512_cvtneps_pbh(x));
  return {coarse, upper(_mm512_cvtneps_pbh(_mm512_sub_ps(x, _mm512_castsi512_ps(coarse))))};
}

inline __m256i halves(__m512i words) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)); }
inline __m512i pairs(__m512i first, __m512i second) { return _mm512_or_si512(_mm512_srli_epi32(first, 16), second); }

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

inline void resume(const float* sums, int64_t row) {
  _tile_loadd(0, sums, 4 * row);
  _tile_loadd(1, sums + side, 4 * row);
  _tile_loadd(2, sums + side * row, 4 * row);
  _tile_loadd(3, sums + side * row + side, 4 * row);
}

inline void keep(float* sums, int64_t row) {
  _tile_stored(0, sums, 4 * row);
  _tile_stored(1, sums + side, 4 * row);
  _tile_stored(2, sums + side * row, 4 * row);
  _tile_stored(3, sums + side * row + side, 4 * row);
}

inline void multiply() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Two tiles that are multiplied, below (left) or beside (right) one another: places, distances of rows and of both.
struct Operand {
  const Half *coarse, *fine;
  int64_t row, next;

  void load_left(const Half* from) const {
    _tile_loadd(4, from, 2 * row);
    _tile_loadd(5, from + next, 2 * row);
  }
  void load_right(const Half* from) const {
    _tile_loadd(6, from, 2 * row);
    _tile_loadd(7, from + next, 2 * row);
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

// Images (batch, height, width, channels) on a grid (rows, columns, batch) of cells, each of stride pixels; the first
// one begins as many pixels beyond the edge as the margin says.
struct Grid {
  int64_t batch, height, width, channels, rows, columns, stride[2], margin[2];

  int64_t cells() const { return rows * columns * batch; }
  int64_t phases() const { return stride[0] * stride[1]; }
  const float* pixel(const float* x, int64_t cell, int64_t phase) const {
    const int64_t image = cell % batch, place = cell / batch;
    const int64_t row = place / columns * stride[0] + phase / stride[1] - margin[0];
    const int64_t column = place % columns * stride[1] + phase % stride[1] - margin[1];
    const bool there = cell >= 0 && cell < cells() && row >= 0 && row < height && column >= 0 && column < width;
    return there ? x + ((image * height + row) * width + column) * channels : nullptr;
  }
};

inline __m512 values(const float* pixel, int64_t channel) {
  return pixel ? _mm512_loadu_ps(pixel + channel) : __m512{};
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

// Weights of taps at some shifts, by channels that are added up and channels of answers.
struct Taps {
  const float* weight;
  const int64_t* shifts;
  int64_t inputs, input, output;  // how many are added up, and the distances

  Split row(int64_t part, int64_t channel, int64_t first) const {
    const int64_t blocks = inputs / depth;
    const float* from = weight + shifts[part / blocks] + (part % blocks * depth + channel) * input + first * output;
    if (output == 1) return split(_mm512_loadu_ps(from));
    const __m512i own = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return split(_mm512_i32gather_ps(_mm512_mullo_epi32(own, _mm512_set1_epi32(output)), from, 4));
  }

  // Four tiles of the answers from the first one on: coarse ones and fine ones.
  void pack(int64_t part, int64_t first, Half* packed) const {
    for (int64_t beside = 0; beside < 2; ++beside)
      for (int64_t pair = 0; pair < side; ++pair) {
        const Split even = row(part, 2 * pair, first + beside * side);
        const Split odd = row(part, 2 * pair + 1, first + beside * side);
        Half* to = packed + beside * tile + pair * depth;
        _mm512_store_si512(to, pairs(even.coarse, odd.coarse));
        _mm512_store_si512(to + 2 * tile, pairs(even.fine, odd.fine));
      }
  }
};

// Where answers lie, of the first rows and columns of a grid.
struct Answers {
  int64_t height, width, image, down, across;
};

}  // namespace

extern "C" {

// Whether the process may use the matrix unit, for which it has to ask.
bool allowed() {
  constexpr long request = 0x1023, data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, data) == 0;
}

// Cell by cell, (cells, phases, channels).
void frame(const Grid* grid, const float* x, Half* coarse, Half* fine, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t cell = 0; cell < grid->cells(); ++cell)
    for (int64_t phase = 0; phase < grid->phases(); ++phase) {
      const float* pixel = grid->pixel(x, cell, phase);
      const int64_t at = (cell * grid->phases() + phase) * grid->channels;
      for (int64_t channel = 0; channel < grid->channels; channel += side) {
        const Split both = split(values(pixel, channel));
        _mm256_storeu_si256((__m256i*)(coarse + at + channel), halves(both.coarse));
        _mm256_storeu_si256((__m256i*)(fine + at + channel), halves(both.fine));
      }
    }
}

// Channels by 16, those of a phase after those of another: of each 16 so many pairs of cells, (channels, 2).
void frame_pairs(const Grid* grid, const float* x, Half* coarse, Half* fine, int64_t number, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t pair = 0; pair < number; ++pair)
    for (int64_t phase = 0; phase < grid->phases(); ++phase) {
      const float* even = grid->pixel(x, 2 * pair, phase);
      const float* odd = grid->pixel(x, 2 * pair + 1, phase);
      for (int64_t channel = 0; channel < grid->channels; channel += side) {
        const Split one = split(values(even, channel)), other = split(values(odd, channel));
        const int64_t at = ((phase * grid->channels + channel) / side * number + pair) * depth;
        _mm512_storeu_si512(coarse + at, pairs(one.coarse, other.coarse));
        _mm512_storeu_si512(fine + at, pairs(one.fine, other.fine));
      }
    }
}

// Tiles (16 channels, 32 cells) for each 16 channels, of cells from some on, and of images that begin so many later.
void frame_tiles(const Grid* grid, const float* x, Half* coarse, Half* fine, int64_t number, const int64_t* starts,
                 int64_t later, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t half = 0; half < 2 * number; ++half) {
    const float* pixels[side];
    for (int64_t n = 0; n < side; ++n) pixels[n] = grid->pixel(x, starts[half / 2] + half % 2 * side + n - later, 0);
    for (int64_t channel = 0; channel < grid->channels; channel += side) {
      __m512 rows[side];
      for (int64_t n = 0; n < side; ++n) rows[n] = values(pixels[n], channel);
      transpose(rows);
      const int64_t at = (channel / side * number + half / 2) * tile + half % 2 * side;
      for (int64_t n = 0; n < side; ++n) {
        const Split both = split(rows[n]);
        _mm256_storeu_si256((__m256i*)(coarse + at + n * depth), halves(both.coarse));
        _mm256_storeu_si256((__m256i*)(fine + at + n * depth), halves(both.fine));
      }
    }
  }
}

// Answers (of some cells, outputs): the sum over taps, at some places in the frame as seen from a cell, and channels.
void convolve(const Grid* grid, const Half* coarse, const Half* fine, int64_t taps, const int64_t* places,
              const Taps* weights, int64_t outputs, const float* bias, const Answers* answers, float* y, int threads) {
  const int64_t row = grid->phases() * grid->channels, parts = taps * weights->inputs / depth;
  const auto answer = [=](int64_t cell) -> float* {
    const int64_t place = cell / grid->batch, down = place / grid->columns, across = place % grid->columns;
    if (down >= answers->height || across >= answers->width) return nullptr;
    return y + cell % grid->batch * answers->image + down * answers->down + across * answers->across;
  };
  std::vector<int64_t> starts;
  for (int64_t down = 0, cell = 0; down < answers->height; ++down) {
    cell = std::max(cell, down * grid->columns * grid->batch);
    for (; cell < (down * grid->columns + answers->width) * grid->batch; cell += side) starts.push_back(cell);
  }
  if (starts.size() % 2) starts.push_back(starts.back());
  std::vector<float*> found(starts.size() * side);
#pragma omp parallel for num_threads(threads)
  for (size_t n = 0; n < found.size(); ++n) found[n] = answer(starts[n / side] + n % side);
  const int64_t columns = outputs / block, all = starts.size() / 2;
  const int64_t groups = std::clamp(4 * threads / columns, int64_t(1), std::max(all / 8, int64_t(1)));
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    Half* packed = (Half*)_mm_malloc(std::min(chunk, parts) * 4 * tile * sizeof(Half), 64);
    alignas(64) float sums[block * block];
#pragma omp for collapse(2) schedule(dynamic)
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t group = 0; group < groups; ++group)
        for (int64_t begin = 0; begin < parts; begin += chunk) {
          const int64_t end = std::min(begin + chunk, parts), blocks = weights->inputs / depth;
          for (int64_t part = begin; part < end; ++part)
            weights->pack(part, column * block, packed + (part - begin) * 4 * tile);
          asm volatile("" ::: "memory");  // which loads of tiles do not say that they read
          for (int64_t number = all * group / groups; number < all * (group + 1) / groups; ++number) {
            const int64_t cells[2] = {starts[2 * number], starts[2 * number + 1]};
            clear();
            for (int64_t part = begin; part < end; ++part) {
              const int64_t at = cells[0] * row + places[part / blocks] + part % blocks * depth;
              const Half* own = packed + (part - begin) * 4 * tile;
              add({coarse + at, fine + at, row, (cells[1] - cells[0]) * row}, {own, own + 2 * tile, depth, tile});
            }
            keep(sums, block);
            for (int64_t cell = 0; cell < (cells[0] == cells[1] ? side : block); ++cell)
              if (float* to = found[number * block + cell])
                for (int64_t n = 0; n < block; n += side) {
                  __m512 value = _mm512_load_ps(sums + cell * block + n);
                  if (begin) value += _mm512_loadu_ps(to + column * block + n);
                  else if (bias) value += _mm512_loadu_ps(bias + column * block + n);
                  _mm512_storeu_ps(to + column * block + n, value);
                }
          }
        }
    _mm_free(packed);
  }
}

// Gradients (small, taps, large) of the weights: sums over cells of a channel each of small images, in so many tiles of
// cells from some on, and of large ones, in so many pairs. Of each tap are given its number in the weights, where tiles
// begin that are moved for it, and how many pairs and channels of the large images it is ahead.
void gradient(const Half* small_coarse, const Half* small_fine, int64_t small, int64_t number, const int64_t* starts,
              const Half* large_coarse, const Half* large_fine, int64_t large, int64_t pairs, int64_t taps,
              const int64_t* names, const int64_t* moved, const int64_t* ahead, const int64_t* channels, float* made,
              int threads) {
  const int64_t groups = std::clamp(4 * threads * block * block / (small * large), int64_t(1), taps);
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    asm volatile("" ::: "memory");
#pragma omp for collapse(3) schedule(dynamic)
    for (int64_t k = 0; k < small; k += block)
      for (int64_t c = 0; c < large; c += block)
        for (int64_t group = 0; group < groups; ++group)
          for (int64_t begin = 0; begin < number; begin += stretch)
            for (int64_t tap = taps * group / groups; tap < taps * (group + 1) / groups; ++tap) {
              float* sums = made + (k * taps + names[tap]) * large + c;
              begin ? resume(sums, taps * large) : clear();
              const int64_t own = moved[tap] + k / side * number * tile;
              const int64_t other = ((channels[tap] + c) / side * pairs + ahead[tap]) * depth;
              for (int64_t n = begin; n < std::min(begin + stretch, number); ++n) {
                const int64_t left = own + n * tile, right = other + starts[n] / 2 * depth;
                add({small_coarse + left, small_fine + left, depth, number * tile},
                    {large_coarse + right, large_fine + right, depth, pairs * depth});
              }
              keep(sums, taps * large);
            }
  }
}
}
