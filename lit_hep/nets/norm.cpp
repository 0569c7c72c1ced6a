// Batch norm and a leaky rectifier after it, of images with the channels innermost: rows of pixels, in parts of equal
// length that are normalised each by itself.

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t block = 64;  // rows whose sums are float

struct Rows {
  int64_t number, channels, parts;

  int64_t own() const { return number / parts; }  // of a part

  // The function of each row's part, place and channel.
  template <typename Function>
  void each(int threads, Function function) const {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < number; ++row)
      for (int64_t c = 0; c < channels; c += lanes) function(row / own() * channels + c, row * channels + c, c);
  }

  // Sums (parts, 2, channels) of two terms, a function of the part's and the row's place: alike for any threads.
  template <typename Terms>
  std::vector<double> sums(int threads, Terms terms) const {
    const int64_t blocks = (own() + block - 1) / block;
    std::vector<float> some(parts * blocks * 2 * channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t n = 0; n < parts * blocks; ++n) {
      const int64_t part = n / blocks, first = n % blocks * block;
      float* sums = &some[n * 2 * channels];
      for (int64_t row = first; row < std::min(first + block, own()); ++row)
        for (int64_t c = 0; c < channels; c += lanes) {
          Vector one, other;
          terms(part * channels + c, (part * own() + row) * channels + c, one, other);
          store(sums + c, load(sums + c) + one);
          store(sums + channels + c, load(sums + channels + c) + other);
        }
    }
    std::vector<double> all(parts * 2 * channels);
    for (int64_t n = 0; n < parts * blocks; ++n)
      for (int64_t k = 0; k < 2 * channels; ++k) all[n / blocks * 2 * channels + k] += some[n * 2 * channels + k];
    return all;
  }
};

// What the distance of a pixel from the mean is multiplied by, and what comes to it, of each part and channel.
struct Line {
  const float* mean;
  std::vector<float> factor, offset;

  Line(const Rows& rows, const float* weight, const float* bias, const float* mean, const float* variance, float small)
      : mean(mean), factor(rows.parts * rows.channels), offset(factor.size()) {
    for (size_t k = 0; k < factor.size(); ++k) {
      factor[k] = weight[k % rows.channels] / std::sqrt(variance[k] + small);
      offset[k] = bias[k % rows.channels];
    }
  }
  Vector distance(const float* x, int64_t at) const { return load(x) - load(mean + at); }
  Vector operator()(const float* x, int64_t at) const {
    return distance(x, at) * load(&factor[at]) + load(&offset[at]);
  }
};

}  // namespace

extern "C" {

// Answers, and mean and variance (parts, channels).
void norm(const float* x, int64_t number, int64_t channels, int64_t parts, const float* weight, const float* bias,
          float small, float slope, float* y, float* mean, float* variance, int threads) {
  const Rows rows{number, channels, parts};
  const int64_t first = std::min(block, rows.own());
  std::vector<float> near(parts * channels);  // the mean: from it on, or squares would lose what they differ by
  for (int64_t part = 0; part < parts; ++part)
    for (int64_t row = 0; row < first; ++row)
      for (int64_t c = 0; c < channels; ++c)
        near[part * channels + c] += x[(part * rows.own() + row) * channels + c] / first;
  const auto sums = rows.sums(threads, [&](int64_t part, int64_t at, Vector& one, Vector& square) {
    one = load(x + at) - load(&near[part]);
    square = one * one;
  });
  for (int64_t k = 0; k < parts * channels; ++k) {
    const double* own = &sums[k / channels * 2 * channels + k % channels];
    const double off = own[0] / rows.own();
    mean[k] = float(near[k] + off);
    variance[k] = float(std::max(own[channels] / rows.own() - off * off, 0.));
  }
  const Line line(rows, weight, bias, mean, variance, small);
  rows.each(threads, [&](int64_t part, int64_t at, int64_t) {
    const Vector value = line(x + at, part);
    store(y + at, value > 0 ? value : value * slope);
  });
}

// Gradients of x, and of weight and bias, from those of the answers.
void gradient_of_norm(const float* given, const float* x, int64_t number, int64_t channels, int64_t parts,
                      const float* weight, const float* bias, float small, float slope, const float* mean,
                      const float* variance, float* of_x, float* of_weight, float* of_bias, int threads) {
  const Rows rows{number, channels, parts};
  const Line line(rows, weight, bias, mean, variance, small);
  const auto passed = [&](int64_t part, int64_t at) {
    const Vector value = load(given + at);
    return line(x + at, part) > 0 ? value : value * slope;
  };
  const auto sums = rows.sums(threads, [&](int64_t part, int64_t at, Vector& one, Vector& other) {
    one = passed(part, at);
    other = one * line.distance(x + at, part);
  });
  std::vector<float> level(parts * channels), tilt(parts * channels);
  std::fill_n(of_weight, channels, 0);
  std::fill_n(of_bias, channels, 0);
  for (int64_t k = 0; k < parts * channels; ++k) {
    const double* own = &sums[k / channels * 2 * channels + k % channels];
    const double spread = variance[k] + small;
    of_bias[k % channels] += float(own[0]);
    of_weight[k % channels] += float(own[channels] / std::sqrt(spread));
    tilt[k] = float(-line.factor[k] * own[channels] / spread / rows.own());
    level[k] = float(-line.factor[k] * own[0] / rows.own());
  }
  rows.each(threads, [&](int64_t part, int64_t at, int64_t) {
    const Vector straight = load(&line.factor[part]) * passed(part, at) + load(&level[part]);
    store(of_x + at, straight + line.distance(x + at, part) * load(&tilt[part]));
  });
}
}
