// Convolutions by Winograd's F(4x4): images (B, H, W, C) with channels innermost, answered 4x4 pixels, a tile, at a
// time. SIDE pixels in a row are seen by a tile; PIXELS, TAPS and SUMS are the matrices that turn pixels and taps into
// sums, and products of sums into answers. A convolution of stride STRIDE is one of stride 1 over STRIDE x STRIDE
// phases of its images, every STRIDE-th row and column, and its transpose answers phases.

#include <omp.h>

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

constexpr int answers = 4, side = SIDE, kernel = side - answers + 1, points = side * side;
constexpr int stride = STRIDE, phases = stride * stride;
constexpr int panel = 2 * lanes, slice = 32;  // channels that are multiplied, and kept, together
constexpr int rows = registers / 2, columns = registers / 3;  // tiles, and channels, that are multiplied together
constexpr float of_pixels[side][side] = PIXELS, of_taps[side][kernel] = TAPS, of_sums[answers][side] = SUMS;

// What a matrix, or its transpose, makes of the columns, then of the rows, of an area.
template <bool transposed = false, int R, int S, int N, int M>
inline void turn(const float (&matrix)[R][S], const Vector (&given)[N][N], Vector (&made)[M][M]) {
  Vector half[M][N];
  UNROLLED(int i = 0; i < M; ++i) UNROLLED(int j = 0; j < N; ++j) {
    half[i][j] = Vector{};
    UNROLLED(int k = 0; k < N; ++k) {
      const float factor = transposed ? matrix[k][i] : matrix[i][k];
      if (factor != 0) half[i][j] += factor * given[k][j];
    }
  }
  UNROLLED(int i = 0; i < M; ++i) UNROLLED(int j = 0; j < M; ++j) {
    made[i][j] = Vector{};
    UNROLLED(int k = 0; k < N; ++k) {
      const float factor = transposed ? matrix[k][j] : matrix[j][k];
      if (factor != 0) made[i][j] += factor * half[i][k];
    }
  }
}

struct Images {
  const float* values;
  int64_t height, width, channels, stride;  // from a pixel of a tile to the next

  int64_t at(int64_t image, int64_t y, int64_t x) const { return ((image * height + y) * width + x) * channels; }
};

struct Tiles {
  int64_t height, width, down, across, number;  // in pixels, then in tiles

  Tiles(int64_t batch, const Images& made)
      : height(made.height / made.stride),
        width(made.width / made.stride),
        down((height + answers - 1) / answers),
        across((width + answers - 1) / answers),
        number(batch * down * across) {}
};

struct Corner {
  int64_t image, top, left;

  Corner(const Tiles& tiles, int64_t tile)
      : image(tile / (tiles.down * tiles.across)),
        top(tile / tiles.across % tiles.down * answers),
        left(tile % tiles.across * answers) {}
};

// Sums of some tiles: [point][slice of channels][tile][channel of the slice].
struct Sums {
  float* values;
  int64_t together, channels;

  float* at(int64_t point, int64_t channel, int64_t tile) const {
    return values + (point * channels + channel / slice * slice) * together + tile * slice + channel % slice;
  }
};

// Sums of NxN pixels of a phase, `padding` before a corner on; beyond the edge there are zeros.
template <bool transposed, int N, int R, int S>
inline void sum_pixels(const float (&matrix)[R][S], const Images& images, int phase, const Corner& corner, int padding,
                       const float* zeros, const Sums& sums, int64_t tile) {
  const float* from[N][N];
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) {
      const int64_t y = images.stride * (corner.top + i) + phase / stride - padding;
      const int64_t x = images.stride * (corner.left + j) + phase % stride - padding;
      const bool inside = y >= 0 && y < images.height && x >= 0 && x < images.width;
      from[i][j] = inside ? images.values + images.at(corner.image, y, x) : zeros;
    }
  for (int64_t c = 0; c < images.channels; c += lanes) {
    Vector pixels[N][N], made[side][side];
    UNROLLED(int p = 0; p < N * N; ++p) pixels[p / N][p % N] = load(from[p / N][p % N] + c);
    turn<transposed>(matrix, pixels, made);
    UNROLLED(int p = 0; p < points; ++p) store(sums.at(p, phase * images.channels + c, tile), made[p / side][p % side]);
  }
}

inline void answer(const Sums& sums, int64_t tile, const Tiles& tiles, const Corner& corner, const float* bias,
                   const Images& made, float* to) {
  const int64_t down = std::min<int64_t>(answers, tiles.height - corner.top);
  const int64_t across = std::min<int64_t>(answers, tiles.width - corner.left);
  for (int64_t channel = 0; channel < sums.channels; channel += lanes) {
    const int64_t phase = channel / made.channels, k = channel % made.channels;
    Vector given[side][side], values[answers][answers];
    UNROLLED(int p = 0; p < points; ++p) given[p / side][p % side] = load(sums.at(p, channel, tile));
    turn(of_sums, given, values);
    const Vector offset = bias ? load(bias + k) : Vector{};
    for (int64_t i = 0; i < down; ++i)
      for (int64_t j = 0; j < across; ++j)
        store(to + made.at(corner.image, made.stride * (corner.top + i) + phase / stride,
                           made.stride * (corner.left + j) + phase % stride) + k, values[i][j] + offset);
  }
}

// made (rows, panel) = pixels (rows, channels from begin to end) taps (those channels, panel)
inline void multiply(const Sums& pixels, int64_t point, int64_t tile, int64_t begin, int64_t end, const float* taps,
                     float* made) {
  Vector sums[rows][2] = {};
  for (int64_t from = begin; from < end; from += slice) {
    const float* left = pixels.at(point, from, tile);
    for (int c = 0; c < slice; ++c, taps += panel) {
      const Vector first = load(taps), second = load(taps + lanes);
      UNROLLED(int r = 0; r < rows; ++r) {
        const Vector factor = all(left[r * slice + c]);
        sums[r][0] += factor * first;
        sums[r][1] += factor * second;
      }
    }
  }
  UNROLLED(int r = 0; r < rows; ++r) UNROLLED(int v = 0; v < 2; ++v) store(made + r * slice + v * lanes, sums[r][v]);
}

// made (columns, panel) += left (tiles, columns)^T right (tiles, panel)
inline void accumulate(const float* left, const float* right, int64_t tiles, float* made, int64_t step, bool anew) {
  Vector sums[columns][2];
  UNROLLED(int c = 0; c < columns; ++c)
    UNROLLED(int v = 0; v < 2; ++v) sums[c][v] = anew ? Vector{} : load(made + c * step + v * lanes);
  for (int64_t t = 0; t < tiles; ++t, left += slice, right += slice) {
    const Vector first = load(right), second = load(right + lanes);
    UNROLLED(int c = 0; c < columns; ++c) {
      const Vector factor = all(left[c]);
      sums[c][0] += factor * first;
      sums[c][1] += factor * second;
    }
  }
  UNROLLED(int c = 0; c < columns; ++c) UNROLLED(int v = 0; v < 2; ++v) store(made + c * step + v * lanes, sums[c][v]);
}

// What a call gives to all its threads.
struct Work {
  Images given, made;
  Tiles tiles;
  float* room;
  int64_t together;
  bool shared;
  std::vector<float> zeros;

  Work(const int64_t* sizes, const float* x, const float* y, float* room, int64_t together, bool shared)
      : given{x, sizes[1], sizes[2], sizes[3], sizes[1] > sizes[4] ? stride : 1},
        made{y, sizes[4], sizes[5], sizes[6], sizes[4] > sizes[1] ? stride : 1},
        tiles(sizes[0], made),
        room(room),
        together(together),
        shared(shared),
        zeros(std::max(given.channels, made.channels)) {}

  // Of the sums of a tile: all phases of what is given, and of what is made those that differ.
  int64_t inputs() const { return phases * given.channels; }
  int64_t outputs() const { return made.stride * made.stride * made.channels; }
};

// Some tiles, for one thread or for all, of which each takes its share.
struct Part {
  int64_t begin, count, room, share, shares;
  bool first;
  Sums pixels, sums;

  Part(const Work& work, int64_t number, int64_t thread, int64_t threads)
      : begin(number * work.together),
        count(std::min(work.together, work.tiles.number - begin)),
        room(work.shared ? 0 : thread),
        share(work.shared ? thread : 0),
        shares(work.shared ? threads : 1),
        first(number == room),
        pixels{work.room + room * points * work.together * (work.inputs() + work.outputs()), work.together,
               work.inputs()},
        sums{pixels.values + points * work.together * work.inputs(), work.together, work.outputs()} {}

  template <typename Step>
  void each(int64_t number, Step step) const {
    for (int64_t n = number * share / shares; n < number * (share + 1) / shares; ++n) step(n);
  }
};

inline void sum_given(const Work& work, const Part& part, int padding, int64_t tile) {
  const Corner corner(work.tiles, part.begin + tile);
  for (int phase = 0; phase < phases; ++phase)
    sum_pixels<false, side>(of_pixels, work.given, phase, corner, padding, work.zeros.data(), part.pixels, tile);
}

// All tiles, part by part, each through all steps.
template <typename... Steps>
void in_parts(const Work& work, int threads, Steps... steps) {
#pragma omp parallel num_threads(threads)
  {
    const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    for (int64_t number = work.shared ? 0 : thread; number * work.together < work.tiles.number;
         number += work.shared ? 1 : team) {
      const Part part(work, number, thread, team);
      const auto run = [&](const auto& step) {
        step(part);
        if (work.shared) {
#pragma omp barrier
        }
      };
      (run(steps), ...);
    }
  }
}

}  // namespace

extern "C" {

// Sums of taps (inputs, outputs, stride x kernel, stride x kernel), anywhere in memory: [point][panel of outputs]
// [input][output of the panel], with as many inputs, or outputs, as there are in all phases.
void sum_taps(const float* taps, const int64_t* strides, int64_t inputs, int64_t outputs, bool answer_phases,
              float* made, int threads) {
  constexpr int some = 8;  // inputs, so that what is written for a point is not only a line here and there
  const int64_t all_inputs = answer_phases ? inputs : phases * inputs;
  const int64_t all_outputs = answer_phases ? phases * outputs : outputs;
#pragma omp parallel for collapse(2) num_threads(threads)
  for (int64_t k = 0; k < all_outputs; k += panel)
    for (int64_t c = 0; c < all_inputs; c += some) {
      const int64_t phase = answer_phases ? k / outputs : c / inputs;
      const float* begin = taps + c % inputs * strides[0] + k % outputs * strides[1] + phase / stride * strides[2] +
                           phase % stride * strides[3];
      Vector sums[points][some * panel / lanes];
      for (int n = 0; n < some * panel / lanes; ++n) {
        const float* from = begin + n / 2 * strides[0] + n % 2 * lanes * strides[1];
        Vector given[kernel][kernel], turned[side][side];
        for (int y = 0; y < kernel; ++y)
          for (int x = 0; x < kernel; ++x)
            UNROLLED(int l = 0; l < lanes; ++l)
              given[y][x][l] = from[l * strides[1] + stride * y * strides[2] + stride * x * strides[3]];
        turn(of_taps, given, turned);
        UNROLLED(int p = 0; p < points; ++p) sums[p][n] = turned[p / side][p % side];
      }
      for (int64_t p = 0; p < points; ++p)
        for (int n = 0; n < some * panel / lanes; ++n)
          store(made + (p * all_outputs + k) * all_inputs + c * panel + n * lanes, sums[p][n]);
    }
}

// Gradient of such taps from that of their sums, [point][output][input of all phases].
void gradient_of_taps(float* made, const int64_t* strides, int64_t inputs, int64_t outputs, const float* sums,
                      int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t k = 0; k < outputs; ++k)
    for (int64_t c = 0; c < phases * inputs; c += lanes) {
      const int64_t phase = c / inputs;
      Vector given[side][side], turned[kernel][kernel];
      UNROLLED(int p = 0; p < points; ++p)
        given[p / side][p % side] = load(sums + (p * outputs + k) * phases * inputs + c);
      turn<true>(of_taps, given, turned);
      for (int n = 0; n < kernel * kernel; ++n) {
        const Vector tap = turned[n / kernel][n % kernel];
        const int64_t y = stride * (n / kernel) + phase / stride, x = stride * (n % kernel) + phase % stride;
        float* to = made + c % inputs * strides[0] + k * strides[1] + y * strides[2] + x * strides[3];
        if (strides[0] == 1)
          store(to, tap);
        else
          UNROLLED(int l = 0; l < lanes; ++l) to[l * strides[0]] = tap[l];
      }
    }
}

// Images y from x by sums of taps. `sizes`: batch, then height, width and channels of x, and of y. `room` is for
// [point][together][channels of x in all phases, and of y, in all if it is larger], of each thread; or once, if all
// threads share it.
void convolve(const int64_t* sizes, const float* x, const float* taps, const float* bias, int padding, float* y,
              float* room, int64_t together, bool shared, int threads) {
  const Work work(sizes, x, y, room, together, shared);
  const int64_t panels = work.outputs() / panel;
  // of a panel: those of its phase, or all
  const int64_t inputs = work.made.stride > 1 ? work.given.channels : work.inputs();
  in_parts(
      work, threads,
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) { sum_given(work, part, padding, t); });
      },
      [&](const Part& part) {
        part.each(points * panels, [&](int64_t n) {
          const int64_t point = n / panels, k = n % panels * panel, begin = k / work.made.channels * inputs;
          for (int64_t t = 0; t < part.count; t += rows)
            multiply(part.pixels, point, t, begin, begin + inputs, taps + n * panel * inputs,
                     part.sums.at(point, k, t));
        });
      },
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) {
          answer(part.sums, t, work.tiles, Corner(work.tiles, part.begin + t), bias, work.made, y);
        });
      });
}

// Gradient of the sums of taps, [point][output][input of all phases], from x and that of y; of each thread, or once, as
// the room.
void gradient_of_sums(const int64_t* sizes, const float* x, const float* gradient, int padding, float* made,
                      float* room, int64_t together, bool shared, int threads) {
  const Work work(sizes, x, gradient, room, together, shared);
  const int64_t inputs = work.inputs(), outputs = work.outputs();
  in_parts(
      work, threads,
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) {
          sum_given(work, part, padding, t);
          const Corner corner(work.tiles, part.begin + t);
          sum_pixels<true, answers>(of_sums, work.made, 0, corner, 0, work.zeros.data(), part.sums, t);
        });
      },
      [&](const Part& part) {
        float* own = made + part.room * points * inputs * outputs;
        part.each(points * outputs / columns, [&](int64_t n) {
          const int64_t point = n * columns / outputs, k = n * columns % outputs;
          for (int64_t c = 0; c < inputs; c += panel)
            accumulate(part.sums.at(point, k, 0), part.pixels.at(point, c, 0), part.count,
                       own + n * columns * inputs + c, inputs, part.first);
        });
      });
}
}
