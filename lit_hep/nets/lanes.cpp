// Blocks of convolution, maximum pooling and ReLU for as many images at a time as a vector has lanes, one in each.
// A group of images goes through all blocks while it is in the cache; BLOCKS says what they are.

#include <algorithm>
#include <iterator>

#include "vectors.h"

namespace {

struct Block {
  int inputs, height, width, outputs, kernel, pool;  // of the image that it is given, and of the pooling, in pixels

  constexpr int down() const { return (height - kernel + 1) / pool; }
  constexpr int across() const { return (width - kernel + 1) / pool; }
  constexpr int given() const { return inputs * height * width; }
  constexpr int taps() const { return inputs * kernel * kernel; }
  constexpr int answers() const { return outputs * down() * across(); }
};

constexpr Block blocks[] = {BLOCKS};
constexpr int count = std::size(blocks);

typedef int8_t Places __attribute__((vector_size(lanes), may_alias));

constexpr int divisor(int number, int most) {
  while (number % most) --most;
  return most;
}

// What backward needs of a group: for each block what it was given, and from where in its window each answer came.
template <int N>
struct Kept {
  Vector given[blocks[N].given()];
  Places places[blocks[N].answers()];
  Kept<N + 1> next;
};
template <>
struct Kept<count> {
  Vector given[blocks[count - 1].answers()];
};

// Weights in the order in which they are read.
template <int N>
struct Weights {
  static constexpr Block block = blocks[N];
  static constexpr int tile = divisor(block.outputs, std::max(1, registers / (block.pool * block.pool)));
  float taps[block.outputs / tile][block.taps()][tile];
  const float* bias;
  Weights<N + 1> next;

  Weights(const float* const* from) : bias(from[1]), next(from + 2) {
    for (int o = 0; o < block.outputs; ++o)
      for (int t = 0; t < block.taps(); ++t) taps[o / tile][t][o % tile] = from[0][o * block.taps() + t];
  }
};
template <>
struct Weights<count> {
  Weights(const float* const*) {}
};

template <int N>
void forward(Kept<N>& kept, const Weights<N>& weights) {
  constexpr Block block = blocks[N];
  constexpr int pool = block.pool, windows = block.down() * block.across(), tile = Weights<N>::tile;
  for (int first = 0; first < block.outputs; first += tile)
    for (int i = 0; i < block.down(); ++i)
      for (int j = 0; j < block.across(); ++j) {
        Vector sums[pool * pool][tile];
        UNROLLED(int p = 0; p < pool * pool; ++p)
          UNROLLED(int o = 0; o < tile; ++o) sums[p][o] = all(weights.bias[first + o]);
        const float* tap = weights.taps[first / tile][0];
        for (int c = 0; c < block.inputs; ++c)
          for (int y = 0; y < block.kernel; ++y) {
            const Vector* row = kept.given + (c * block.height + i * pool + y) * block.width + j * pool;
            UNROLLED(int x = 0; x < block.kernel; ++x, tap += tile)
              UNROLLED(int o = 0; o < tile; ++o) {
                Vector factor = all(tap[o]);
                UNROLLED(int p = 0; p < pool * pool; ++p)
                  sums[p][o] += row[p / pool * block.width + p % pool + x] * factor;
              }
          }
        UNROLLED(int o = 0; o < tile; ++o) {
          Vector best = sums[0][o];
          Numbers place = {};
          UNROLLED(int p = 1; p < pool * pool; ++p) {
            Numbers better = (sums[p][o] > best) | (sums[p][o] != sums[p][o]);  // nan is passed on
            best = better ? sums[p][o] : best;
            place = better ? Numbers{} + p : place;
          }
          Numbers dead = best <= Vector{};
          int at = (first + o) * windows + i * block.across() + j;
          kept.next.given[at] = dead ? Vector{} : best;
          kept.places[at] = __builtin_convertvector(dead ? Numbers{} - 1 : place, Places);
        }
      }
  if constexpr (N + 1 < count) forward<N + 1>(kept.next, weights.next);
}

// What a group adds to the gradients, lane by lane, and room for what is needed in between.
template <int N>
struct Gradients {
  static constexpr Block block = blocks[N];
  static constexpr int tile = divisor(block.outputs, registers / block.kernel);
  static constexpr int row = block.across() * block.pool;  // of the convolution's answers
  Vector given[block.given()];
  Vector answers[block.outputs][block.pool][row];
  Vector taps[block.outputs / tile][block.taps()][tile];
  Vector bias[block.outputs];
  Gradients<N + 1> next;
};
template <>
struct Gradients<count> {
  Vector given[blocks[count - 1].answers()];
};

// A row of windows: each answer's gradient at the place it came from.
template <int N>
inline void unpool(const Kept<N>& kept, Gradients<N>& gradients, int i) {
  constexpr Block block = blocks[N];
  constexpr int pool = block.pool;
  for (int o = 0; o < block.outputs; ++o)
    for (int j = 0; j < block.across(); ++j) {
      int at = (o * block.down() + i) * block.across() + j;
      Numbers place = __builtin_convertvector(kept.places[at], Numbers);
      Vector gradient = gradients.next.given[at];
      gradients.bias[o] += place < 0 ? Vector{} : gradient;
      UNROLLED(int p = 0; p < pool * pool; ++p)
        gradients.answers[o][p / pool][j * pool + p % pool] = place == p ? gradient : Vector{};
    }
}

template <int N>
inline void of_taps(const Kept<N>& kept, Gradients<N>& gradients, int i) {
  constexpr Block block = blocks[N];
  constexpr int kernel = block.kernel, tile = Gradients<N>::tile;
  for (int first = 0; first < block.outputs; first += tile)
    for (int c = 0; c < block.inputs; ++c)
      for (int y = 0; y < kernel; ++y) {
        auto taps = gradients.taps[first / tile] + (c * kernel + y) * kernel;
        Vector sums[kernel][tile];
        UNROLLED(int x = 0; x < kernel; ++x) UNROLLED(int o = 0; o < tile; ++o) sums[x][o] = taps[x][o];
        for (int p = 0; p < block.pool; ++p) {
          const Vector* row = kept.given + (c * block.height + i * block.pool + p + y) * block.width;
          for (int j = 0; j < Gradients<N>::row; ++j) {
            Vector answers[tile];
            UNROLLED(int o = 0; o < tile; ++o) answers[o] = gradients.answers[first + o][p][j];
            UNROLLED(int x = 0; x < kernel; ++x)
              UNROLLED(int o = 0; o < tile; ++o) sums[x][o] += row[j + x] * answers[o];
          }
        }
        UNROLLED(int x = 0; x < kernel; ++x) UNROLLED(int o = 0; o < tile; ++o) taps[x][o] = sums[x][o];
      }
}

template <int N>
inline void of_given(Gradients<N>& gradients, const float* weights, int i) {
  constexpr Block block = blocks[N];
  constexpr int kernel = block.kernel, pool = block.pool, width = block.width;
  constexpr int part = divisor(Gradients<N>::row, 6), reach = part + kernel - 1;
  constexpr int tile = divisor(block.inputs, std::max(1, registers / reach));
  for (int first = 0; first < block.inputs; first += tile)
    for (int y = 0; y < pool + kernel - 1; ++y)
      for (int j = 0; j < Gradients<N>::row; j += part) {
        Vector* row = gradients.given + (first * block.height + i * pool + y) * width + j;
        Vector sums[reach][tile];
        UNROLLED(int x = 0; x < reach; ++x)
          UNROLLED(int c = 0; c < tile; ++c) sums[x][c] = row[c * block.height * width + x];
        for (int o = 0; o < block.outputs; ++o)
          for (int p = std::max(0, y - kernel + 1); p <= std::min(pool - 1, y); ++p) {
            const Vector* answers = gradients.answers[o][p] + j;
            const float* tap = weights + o * block.taps() + (first * kernel + y - p) * kernel;
            UNROLLED(int x = 0; x < kernel; ++x)
              UNROLLED(int c = 0; c < tile; ++c) {
                Vector factor = all(tap[c * kernel * kernel + x]);
                UNROLLED(int k = 0; k < part; ++k) sums[k + x][c] += answers[k] * factor;
              }
          }
        UNROLLED(int x = 0; x < reach; ++x)
          UNROLLED(int c = 0; c < tile; ++c) row[c * block.height * width + x] = sums[x][c];
      }
}

// To `sums`, for each block, taps and bias.
template <int N>
void backward(const Kept<N>& kept, Gradients<N>& gradients, const float* const* weights, float* sums) {
  constexpr Block block = blocks[N];
  if constexpr (N + 1 < count)
    backward<N + 1>(kept.next, gradients.next, weights + 2, sums + block.outputs * (block.taps() + 1));
  if constexpr (N > 0) std::fill(std::begin(gradients.given), std::end(gradients.given), Vector{});
  std::fill_n(gradients.taps[0][0], block.outputs * block.taps(), Vector{});
  std::fill(std::begin(gradients.bias), std::end(gradients.bias), Vector{});
  for (int i = 0; i < block.down(); ++i) {
    unpool<N>(kept, gradients, i);
    of_taps<N>(kept, gradients, i);
    if constexpr (N > 0) of_given<N>(gradients, weights[0], i);
  }
  constexpr int tile = Gradients<N>::tile;
  for (int o = 0; o < block.outputs; ++o)
    for (int t = 0; t < block.taps(); ++t) *sums++ = sum(gradients.taps[o / tile][t][o % tile]);
  for (int o = 0; o < block.outputs; ++o) *sums++ = sum(gradients.bias[o]);
}

// Of a chain, what the last block answers.
template <template <int> class Chain, int N>
auto& last(Chain<N>& chain) {
  if constexpr (N == count) return chain.given;
  else return last(chain.next);
}

constexpr int features = blocks[count - 1].answers();

constexpr int learnt() {
  int number = 0;
  for (Block block : blocks) number += block.outputs * (block.taps() + 1);
  return number;
}

thread_local Gradients<0> room;

}  // namespace

extern "C" {

extern const int64_t kept_bytes, group_size, gradient_size;
const int64_t kept_bytes = sizeof(Kept<0>), group_size = lanes, gradient_size = learnt();

// Features (images, C H W of the last block) of images with any strides.
void images_to_features(const float* image, const int64_t* strides, int64_t images, const float* const* learnt,
                        void* kept, float* feature, int threads) {
  const Weights<0> weights(learnt);
  constexpr Block block = blocks[0];
#pragma omp parallel for num_threads(threads)
  for (int64_t group = 0; group < (images + lanes - 1) / lanes; ++group) {
    auto& own = static_cast<Kept<0>*>(kept)[group];
    int64_t first = group * lanes, full = std::min<int64_t>(lanes, images - first);
    const float* from[lanes];
    for (int l = 0; l < lanes; ++l) from[l] = image + (first + std::min<int64_t>(l, full - 1)) * strides[0];
    const char* next = reinterpret_cast<const char*>(image + (first + lanes) * strides[0]);
    constexpr int64_t share = sizeof(Vector) * block.inputs * block.width;
    for (int y = 0; y < block.height; ++y) {
      // the next group, most likely this thread's, if its images are one after the other: they may be in no cache
      for (int64_t byte = 0; byte < share; byte += 64) __builtin_prefetch(next + y * share + byte, 0, 2);
      for (int x = 0; x < block.width; ++x)
        for (int c = 0; c < block.inputs; ++c) {
          int64_t at = c * strides[1] + y * strides[2] + x * strides[3];
          float* to = reinterpret_cast<float*>(own.given + (c * block.height + y) * block.width + x);
          UNROLLED(int l = 0; l < lanes; ++l) to[l] = from[l][at];
        }
    }
    forward<0>(own, weights);
    const Vector* made = last(own);
    for (int l = 0; l < full; ++l)
      for (int f = 0; f < features; ++f) feature[(first + l) * features + f] = made[f][l];
  }
}

// Gradients of taps and bias of each block, for which there is room of gradient_size for each group.
void gradients_of_images(const float* gradient, int64_t images, const float* const* learnt, const void* kept,
                         float* const* of_learnt, float* sums, int threads) {
  const int64_t groups = (images + lanes - 1) / lanes;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for
    for (int64_t group = 0; group < groups; ++group) {
      int64_t first = group * lanes, full = std::min<int64_t>(lanes, images - first);
      Vector* to = last(room);
      for (int l = 0; l < lanes; ++l)
        for (int f = 0; f < features; ++f) to[f][l] = l < full ? gradient[(first + l) * features + f] : 0;
      backward<0>(static_cast<const Kept<0>*>(kept)[group], room, learnt, sums + group * gradient_size);
    }
    const float* from = sums;
    for (int n = 0; n < 2 * count; ++n) {
      const Block block = blocks[n / 2];
      const int number = block.outputs * (n % 2 ? 1 : block.taps());
#pragma omp for nowait
      for (int i = 0; i < number; ++i) {
        float total = 0;
        for (int64_t group = 0; group < groups; ++group) total += from[group * gradient_size + i];
        of_learnt[n][i] = total;
      }
      from += number;
    }
  }
}
}
