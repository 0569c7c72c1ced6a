// Dense layers, each with or without ReLU after it, one after the other; LAYERS says what they are. Values are
// (images, width of the layer), weights (outputs, inputs), as PyTorch has them.

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "vectors.h"

namespace {

struct Layer {
  int inputs, outputs;
  bool relu;
};

constexpr Layer layers[] = {LAYERS};
constexpr int count = std::size(layers);
constexpr int some = 8;  // rows that are computed together

// The last columns of a row may fill a part of a vector only.
template <int columns>
inline Vector load_part(const float* from) {
  Vector values = {};
  std::memcpy(&values, from, 4 * columns);
  return values;
}

template <typename Step, int... Ns>
void for_each(Step step, std::integer_sequence<int, Ns...>) {
  (step(std::integral_constant<int, Ns>()), ...);
}

// Columns of a row, vector by vector: `step(first, load, store)`.
template <int columns, typename Step>
inline void in_vectors(Step step) {
  for (int first = 0; first + lanes <= columns; first += lanes) step(first, load, store);
  constexpr int rest = columns % lanes;
  if constexpr (rest > 0)
    step(columns - rest, load_part<rest>, [](float* to, Vector values) { std::memcpy(to, &values, 4 * rest); });
}

// y = x weights^T + bias of some images; of fewer, the last stands for what lacks.
template <int N>
void answer(const float* x, const float* weights, const float* bias, float* y, int64_t images) {
  constexpr Layer layer = layers[N];
  const float* rows[some];
  for (int b = 0; b < some; ++b) rows[b] = x + std::min<int64_t>(b, images - 1) * layer.inputs;
  for (int o = 0; o < layer.outputs; ++o) {
    const float* taps = weights + o * layer.inputs;
    Vector sums[some] = {};
    in_vectors<layer.inputs>([&](int i, auto load, auto) {
      const Vector factor = load(taps + i);
      UNROLLED(int b = 0; b < some; ++b) sums[b] += factor * load(rows[b] + i);
    });
    for (int b = 0; b < std::min<int64_t>(some, images); ++b) {
      const float value = sum(sums[b]) + bias[o];
      y[b * layer.outputs + o] = layer.relu && value <= 0 ? 0 : value;  // nan is passed on
    }
  }
}

// made (rows, columns) = left (rows, number) right (number, columns), where left has any strides.
template <int columns, typename Store>
void multiply(const float* left, int64_t row, int64_t step, int64_t rows, int64_t number, const float* right,
              Store keep) {
  const float* from[some];
  for (int r = 0; r < some; ++r) from[r] = left + std::min<int64_t>(r, rows - 1) * row;
  in_vectors<columns>([&](int i, auto load, auto store) {
    Vector sums[some] = {};
    for (int64_t n = 0; n < number; ++n) {
      const Vector factor = load(right + n * columns + i);
      UNROLLED(int r = 0; r < some; ++r) sums[r] += all(from[r][n * step]) * factor;
    }
    for (int r = 0; r < std::min<int64_t>(some, rows); ++r) keep(r, i, sums[r], load, store);
  });
}

constexpr auto numbers = std::make_integer_sequence<int, count>();

}  // namespace

extern "C" {

// `values`: images, then what each layer answers; `learnt`: weights and bias of each.
void answer_images(float* const* values, const float* const* learnt, int64_t images, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t first = 0; first < images; first += some)
    for_each(
        [&](auto n) {
          answer<n>(values[n] + first * layers[n].inputs, learnt[2 * n], learnt[2 * n + 1],
                    values[n + 1] + first * layers[n].outputs, images - first);
        },
        numbers);
}

// From `gradient`, that of the last values, to those of all values and of what is learnt.
void gradients_of_images(const float* gradient, const float* const* values, const float* const* learnt,
                         float* const* of_values, float* const* of_learnt, int64_t images, int threads) {
#pragma omp parallel num_threads(threads)
  {
#pragma omp for
    for (int64_t first = 0; first < images; first += some) {
      constexpr int outputs = layers[count - 1].outputs;
      for (int64_t n = first * outputs; n < std::min(images, first + some) * outputs; ++n)
        of_values[count][n] = layers[count - 1].relu && values[count][n] <= 0 ? 0 : gradient[n];
      for_each(
          [&](auto back) {
            constexpr int n = count - 1 - back, inputs = layers[n].inputs, outputs = layers[n].outputs;
            const float* x = values[n] + first * inputs;
            float* to = of_values[n] + first * inputs;
            multiply<inputs>(of_values[n + 1] + first * outputs, outputs, 1, images - first, outputs, learnt[2 * n],
                             [&](int b, int i, Vector made, auto load, auto store) {
                               if constexpr (n > 0 && layers[std::max(0, n - 1)].relu)
                                 made = load(x + b * inputs + i) <= Vector{} ? Vector{} : made;
                               store(to + b * inputs + i, made);
                             });
          },
          numbers);
    }
    for_each(
        [&](auto n) {
          constexpr int inputs = layers[n].inputs, outputs = layers[n].outputs;
#pragma omp for nowait
          for (int o = 0; o < outputs; o += some) {
            const float* left = of_values[n + 1] + o;
            multiply<inputs>(left, 1, outputs, outputs - o, images, values[n],
                             [&](int r, int i, Vector made, auto, auto store) {
                               store(of_learnt[2 * n] + (o + r) * inputs + i, made);
                             });
            for (int r = o; r < std::min(outputs, o + some); ++r) {
              float total = 0;
              for (int64_t b = 0; b < images; ++b) total += of_values[n + 1][b * outputs + r];
              of_learnt[2 * n + 1][r] = total;
            }
          }
        },
        numbers);
  }
}
}
