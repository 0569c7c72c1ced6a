// Convolutions of float32 by the processor's matrix unit.

#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "tiles.h"

namespace {

constexpr int64_t far = 32;                // of the sums' terms, in units of the depth, those for which there is room
constexpr int64_t wide = 192, held = 128;  // in the second cache: of the operands four tiles each
constexpr int64_t few = 32;                // tiles of cells before the next tap has its turn

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

// Weights by those channels that are added up and those of answers; one of them lie side by side.
struct Weights {
  const float* weight;
  int64_t input, output;  // distances

  // Four tiles, coarse ones and fine ones, of 32 channels each from some place on.
  void pack(int64_t place, Half* packed) const {
    const float* from = weight + place;
    for (int64_t beside = 0; beside < 2; ++beside, from += side * output, packed += tile) {
      __m512 coarse[side], fine[side];
      for (int64_t n = 0; n < side; ++n) {
        const int64_t next = input == 1 ? n * output : n * input, other = input == 1 ? side : side * input;
        const Split one = split(_mm512_loadu_ps(from + next)), two = split(_mm512_loadu_ps(from + next + other));
        coarse[n] = (__m512)pairs(one.coarse, two.coarse), fine[n] = (__m512)pairs(one.fine, two.fine);
      }
      if (input == 1) transpose(coarse), transpose(fine);
      for (int64_t n = 0; n < side; ++n) {
        _mm512_store_ps((float*)(packed + n * depth), coarse[n]);
        _mm512_store_ps((float*)(packed + 2 * tile + n * depth), fine[n]);
      }
    }
  }
};

// Of the first rows and columns of a grid: their answers, and the parts whose sum they are, a tap and 32 channels each,
// at some places in the weights and, as seen from a cell, in the frame.
struct Sums {
  int64_t height, width, parts;
  const int64_t *weights, *places;
  float* y;
};

// Where the answers of all lie.
struct Answers {
  int64_t outputs, image, down, across;
};

// Cells from which on 16 have answers, an even number of them, and where each cell has its own, if it has any.
struct Places {
  std::vector<int64_t> starts;
  std::vector<float*> answers;

  Places(const Grid& grid, const Sums& sums, const Answers& about) : answers(grid.cells() + side) {
    for (int64_t down = 0, cell = 0; down < sums.height; ++down) {
      const int64_t row = down * grid.columns * grid.batch, end = row + sums.width * grid.batch;
      for (cell = std::max(cell, row); cell < end; cell += side) starts.push_back(cell);
      for (int64_t across = 0; across < sums.width; ++across)
        for (int64_t image = 0; image < grid.batch; ++image)
          answers[row + across * grid.batch + image] =
              sums.y + image * about.image + down * about.down + across * about.across;
    }
    if (starts.size() % 2) starts.push_back(starts.back());
  }
  int64_t blocks() const { return starts.size() / 2; }
};

}  // namespace

extern "C" {

// Whether the process may use the matrix unit, for which it has to ask.
bool allowed() {
  constexpr long request = 0x1023, data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, data) == 0;
}

// Channels by 32, those of a phase after those of another: of each 32 so many cells, (channels), of which the second 16
// are between the first.
void frame(const Grid* grid, const float* x, Half* coarse, Half* fine, int64_t number, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t cell = 0; cell < grid->cells(); ++cell)
    for (int64_t phase = 0; phase < grid->phases(); ++phase) {
      const float* pixel = grid->pixel(x, cell, phase);
      for (int64_t channel = 0; channel < grid->channels; channel += depth) {
        const Split one = split(values(pixel, channel)), two = split(values(pixel, channel + side));
        const int64_t at = ((phase * grid->channels + channel) / depth * number + cell) * depth;
        _mm512_storeu_si512(coarse + at, pairs(one.coarse, two.coarse));
        _mm512_storeu_si512(fine + at, pairs(one.fine, two.fine));
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

// Answers (of some cells, outputs), in several turns.
void convolve(const Grid* grid, const Half* coarse, const Half* fine, const Weights* weights, const float* bias,
              int64_t turns, const Sums* wanted, const Answers* answers, int threads) {
  std::vector<Places> places;
  int64_t parts = 0, blocks = 0;  // at most
  for (int64_t turn = 0; turn < turns; ++turn) {
    places.emplace_back(*grid, wanted[turn], *answers);
    parts = std::max(parts, wanted[turn].parts), blocks = std::max(blocks, places.back().blocks());
  }
  const int64_t planes = grid->phases() * grid->channels / depth, columns = answers->outputs / block;
  const int64_t terms = std::min(far, parts), sets = (columns * terms + wide - 1) / wide;
  const int64_t groups = std::clamp(4 * threads / (sets * turns), int64_t(1), std::max(blocks / 8, int64_t(1)));
  const int64_t most = (columns + sets - 1) / sets, step = std::max(held * parts / (planes * terms), int64_t(1));
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    Half* packed = (Half*)_mm_malloc(most * terms * 4 * tile * sizeof(Half), 64);
    float* kept = (float*)_mm_malloc(most * (blocks / groups + 1) * square * sizeof(float), 64);
#pragma omp for collapse(3) schedule(dynamic)
    for (int64_t turn = 0; turn < turns; ++turn)
      for (int64_t set = 0; set < sets; ++set)
        for (int64_t group = 0; group < groups; ++group) {
          const Sums& sums = wanted[turn];
          const Places& own = places[turn];
          const int64_t left = columns * set / sets, right = columns * (set + 1) / sets;
          const int64_t first = own.blocks() * group / groups, last = own.blocks() * (group + 1) / groups;
          const auto weight = [=](int64_t column, int64_t part) {
            return packed + ((column - left) * terms + part % far) * 4 * tile;
          };
          const auto sum = [=](int64_t column, int64_t n) {
            return kept + ((column - left) * (last - first) + n - first) * square;
          };
          for (int64_t begin = 0; begin < sums.parts; begin += far) {
            const int64_t end = std::min(begin + far, sums.parts);
            for (int64_t column = left; column < right; ++column)
              for (int64_t part = begin; part < end; ++part)
                weights->pack(sums.weights[part] + column * block * weights->output, weight(column, part));
            asm volatile("" ::: "memory");  // which loads of tiles do not say that they read
            for (int64_t some = first; some < last; some += step)
              for (int64_t column = left; column < right; ++column)
                for (int64_t n = some; n < std::min(some + step, last); ++n) {
                  const int64_t cell = own.starts[2 * n], next = own.starts[2 * n + 1] - cell;
                  begin ? resume(sum(column, n)) : clear();
                  for (int64_t part = begin; part < end; ++part) {
                    const int64_t at = sums.places[part] + cell * depth;
                    const Half* other = weight(column, part);
                    add({coarse + at, fine + at, next * depth}, {other, other + 2 * tile, tile});
                  }
                  keep(sum(column, n));
                }
          }
          asm volatile("" ::: "memory");
          for (int64_t n = first; n < last; ++n)
            for (int64_t cell = 0; cell < block; ++cell)
              if (float* to = own.answers[own.starts[2 * n + cell / side] + cell % side])
                for (int64_t k = left * block; k < right * block; k += side) {
                  const __m512 value = _mm512_load_ps(sum(k / block, n) + cell * block + k % block);
                  _mm512_storeu_ps(to + k, bias ? value + _mm512_loadu_ps(bias + k) : value);
                }
        }
    _mm_free(packed);
    _mm_free(kept);
  }
}

// Gradients (small, taps, large) of the weights: sums over cells of a channel each of small images, in so many tiles of
// cells from some on, and of large ones, in so many pairs. Of each tap are given its number in the weights, where tiles
// begin that are moved for it, and how many pairs and channels of the large images it is ahead.
void gradient(const Half* small_coarse, const Half* small_fine, int64_t small, int64_t number, const int64_t* starts,
              const Half* large_coarse, const Half* large_fine, int64_t large, int64_t pairs, int64_t taps,
              const int64_t* names, const int64_t* moved, const int64_t* ahead, const int64_t* channels, float* made,
              int threads) {
  const int64_t rows = small / block, sets = (rows + 3) / 4, most = (rows + sets - 1) / sets;
  const int64_t groups = std::clamp(4 * threads * block / (sets * large), int64_t(1), taps);
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    float* sums = (float*)_mm_malloc(most * taps * square * sizeof(float), 64);
#pragma omp for collapse(3) schedule(dynamic)
    for (int64_t set = 0; set < sets; ++set)
      for (int64_t c = 0; c < large; c += block)
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t top = rows * set / sets, below = rows * (set + 1) / sets;
          const int64_t first = taps * group / groups, last = taps * (group + 1) / groups;
          const auto sum = [=](int64_t row, int64_t tap) { return sums + ((row - top) * taps + tap) * square; };
          asm volatile("" ::: "memory");
          for (int64_t begin = 0; begin < number; begin += few)
            for (int64_t row = top; row < below; ++row)
              for (int64_t tap = first; tap < last; ++tap) {
                begin ? resume(sum(row, tap)) : clear();
                const int64_t own = moved[tap] + row * block / side * number * tile;
                const int64_t other = ((channels[tap] + c) / side * pairs + ahead[tap]) * depth;
                for (int64_t n = begin; n < std::min(begin + few, number); ++n) {
                  const int64_t left = own + n * tile, right = other + starts[n] / 2 * depth;
                  add({small_coarse + left, small_fine + left, number * tile},
                      {large_coarse + right, large_fine + right, pairs * depth});
                }
                keep(sum(row, tap));
              }
          asm volatile("" ::: "memory");
          for (int64_t k = top * block; k < below * block; ++k)
            for (int64_t tap = first; tap < last; ++tap)
              for (int64_t n = 0; n < block; n += side)
                _mm512_stream_ps(made + (k * taps + names[tap]) * large + c + n,
                                 _mm512_load_ps(sum(k / block, tap) + k % block * block + n));
        }
    _mm_sfence();
    _mm_free(sums);
  }
}
}
