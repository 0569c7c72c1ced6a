// Convolutions of stride 1 by Winograd's F(4x4): images (B, H, W, C) with channels innermost, answered 4x4 pixels, a
// tile, at a time. SIDE pixels in a row are seen by a tile; PIXELS, TAPS and SUMS are the matrices that turn pixels and
// taps into sums, and products of sums into answers.

#include <omp.h>

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

constexpr int answers = 4, side = SIDE, kernel = side - answers + 1, points = side * side;
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
  int64_t height, width, channels;

  int64_t at(int64_t image, int64_t y, int64_t x) const { return ((image * height + y) * width + x) * channels; }
};

struct Tiles {
  int64_t down, across, number;

  Tiles(int64_t batch, const Images& made)
      : down((made.height + answers - 1) / answers),
        across((made.width + answers - 1) / answers),
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

// Sums of NxN pixels, `padding` before a corner on; beyond the edge there are zeros.
template <bool transposed, int N, int R, int S>
inline void sum_pixels(const float (&matrix)[R][S], const Images& images, const Corner& corner, int padding,
                       const float* zeros, const Sums& sums, int64_t tile) {
  const float* from[N][N];
  for (int i = 0; i < N; ++i)
    for (int j = 0; j < N; ++j) {
      const int64_t y = corner.top - padding + i, x = corner.left - padding + j;
      const bool inside = y >= 0 && y < images.height && x >= 0 && x < images.width;
      from[i][j] = inside ? images.values + images.at(corner.image, y, x) : zeros;
    }
  for (int64_t c = 0; c < images.channels; c += lanes) {
    Vector pixels[N][N], made[side][side];
    UNROLLED(int p = 0; p < N * N; ++p) pixels[p / N][p % N] = load(from[p / N][p % N] + c);
    turn<transposed>(matrix, pixels, made);
    UNROLLED(int p = 0; p < points; ++p) store(sums.at(p, c, tile), made[p / side][p % side]);
  }
}

inline void answer(const Sums& sums, int64_t tile, const Corner& corner, const float* bias, const Images& made,
                   float* to) {
  const int64_t down = std::min<int64_t>(answers, made.height - corner.top);
  const int64_t across = std::min<int64_t>(answers, made.width - corner.left);
  for (int64_t k = 0; k < made.channels; k += lanes) {
    Vector given[side][side], values[answers][answers];
    UNROLLED(int p = 0; p < points; ++p) given[p / side][p % side] = load(sums.at(p, k, tile));
    turn(of_sums, given, values);
    const Vector offset = bias ? load(bias + k) : Vector{};
    for (int64_t i = 0; i < down; ++i)
      for (int64_t j = 0; j < across; ++j)
        store(to + made.at(corner.image, corner.top + i, corner.left + j) + k, values[i][j] + offset);
  }
}

// made (rows, panel) = pixels (rows, channels) taps (channels, panel)
inline void multiply(const Sums& pixels, int64_t point, int64_t tile, const float* taps, float* made) {
  Vector sums[rows][2] = {};
  for (int64_t from = 0; from < pixels.channels; from += slice) {
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
      : given{x, sizes[1], sizes[2], sizes[3]},
        made{y, sizes[4], sizes[5], sizes[6]},
        tiles(sizes[0], made),
        room(room),
        together(together),
        shared(shared),
        zeros(std::max(given.channels, made.channels)) {}
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
        pixels{work.room + room * points * work.together * (work.given.channels + work.made.channels), work.together,
               work.given.channels},
        sums{pixels.values + points * work.together * work.given.channels, work.together, work.made.channels} {}

  template <typename Step>
  void each(int64_t number, Step step) const {
    for (int64_t n = number * share / shares; n < number * (share + 1) / shares; ++n) step(n);
  }
};

inline void sum_given(const Work& work, const Part& part, int padding, int64_t tile) {
  const Corner corner(work.tiles, part.begin + tile);
  sum_pixels<false, side>(of_pixels, work.given, corner, padding, work.zeros.data(), part.pixels, tile);
}

// All tiles, part by part, each through all phases.
template <typename... Phases>
void in_parts(const Work& work, int threads, Phases... phases) {
#pragma omp parallel num_threads(threads)
  {
    const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    for (int64_t number = work.shared ? 0 : thread; number * work.together < work.tiles.number;
         number += work.shared ? 1 : team) {
      const Part part(work, number, thread, team);
      const auto run = [&](const auto& phase) {
        phase(part);
        if (work.shared) {
#pragma omp barrier
        }
      };
      (run(phases), ...);
    }
  }
}

}  // namespace

extern "C" {

// Sums of taps (inputs, outputs, kernel, kernel) of any strides: [point][panel of outputs][input][output of the panel].
void sum_taps(const float* taps, const int64_t* strides, int64_t inputs, int64_t outputs, float* made, int threads) {
  constexpr int some = 8;  // inputs, so that what is written for a point is not only a line here and there
#pragma omp parallel for collapse(2) num_threads(threads)
  for (int64_t k = 0; k < outputs; k += panel)
    for (int64_t c = 0; c < inputs; c += some) {
      Vector sums[points][some * panel / lanes];
      for (int n = 0; n < some * panel / lanes; ++n) {
        const float* from = taps + (c + n / 2) * strides[0] + (k + n % 2 * lanes) * strides[1];
        Vector given[kernel][kernel], turned[side][side];
        for (int y = 0; y < kernel; ++y)
          for (int x = 0; x < kernel; ++x)
            UNROLLED(int l = 0; l < lanes; ++l) given[y][x][l] = from[l * strides[1] + y * strides[2] + x * strides[3]];
        turn(of_taps, given, turned);
        UNROLLED(int p = 0; p < points; ++p) sums[p][n] = turned[p / side][p % side];
      }
      for (int64_t p = 0; p < points; ++p)
        for (int n = 0; n < some * panel / lanes; ++n)
          store(made + (p * outputs + k) * inputs + c * panel + n * lanes, sums[p][n]);
    }
}

// Gradient of such taps from that of their sums, [point][output][input].
void gradient_of_taps(float* made, const int64_t* strides, int64_t inputs, int64_t outputs, const float* sums,
                      int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t k = 0; k < outputs; ++k)
    for (int64_t c = 0; c < inputs; c += lanes) {
      Vector given[side][side], turned[kernel][kernel];
      UNROLLED(int p = 0; p < points; ++p) given[p / side][p % side] = load(sums + (p * outputs + k) * inputs + c);
      turn<true>(of_taps, given, turned);
      for (int n = 0; n < kernel * kernel; ++n) {
        const Vector tap = turned[n / kernel][n % kernel];
        float* to = made + c * strides[0] + k * strides[1] + n / kernel * strides[2] + n % kernel * strides[3];
        if (strides[0] == 1)
          store(to, tap);
        else
          UNROLLED(int l = 0; l < lanes; ++l) to[l * strides[0]] = tap[l];
      }
    }
}

// Images y from x by sums of taps. `sizes`: batch, then height, width and channels of x, and of y. `room` is for
// [point][together][channels of x and y], of each thread; or once, if all threads share it.
void convolve(const int64_t* sizes, const float* x, const float* taps, const float* bias, int padding, float* y,
              float* room, int64_t together, bool shared, int threads) {
  const Work work(sizes, x, y, room, together, shared);
  const int64_t inputs = work.given.channels, panels = work.made.channels / panel;
  in_parts(
      work, threads,
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) { sum_given(work, part, padding, t); });
      },
      [&](const Part& part) {
        part.each(points * panels, [&](int64_t n) {
          for (int64_t t = 0; t < part.count; t += rows)
            multiply(part.pixels, n / panels, t, taps + n * panel * inputs,
                     part.sums.at(n / panels, n % panels * panel, t));
        });
      },
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) {
          answer(part.sums, t, Corner(work.tiles, part.begin + t), bias, work.made, y);
        });
      });
}

// Gradient of the sums of taps, [point][output][input], from x and that of y; of each thread, or once, as the room.
void gradient_of_sums(const int64_t* sizes, const float* x, const float* gradient, int padding, float* made, float* room,
                      int64_t together, bool shared, int threads) {
  const Work work(sizes, x, gradient, room, together, shared);
  const int64_t inputs = work.given.channels, outputs = work.made.channels;
  in_parts(
      work, threads,
      [&](const Part& part) {
        part.each(part.count, [&](int64_t t) {
          sum_given(work, part, padding, t);
          const Corner corner(work.tiles, part.begin + t);
          sum_pixels<true, answers>(of_sums, work.made, corner, 0, work.zeros.data(), part.sums, t);
        });
      },
      [&](const Part& part) {
        float* own = made + part.room * points * inputs * outputs;
        part.each(points * outputs / columns, [&](int64_t n) {
          const int64_t point = n * columns / outputs, k = n * columns % outputs;
          for (int64_t c = 0; c < inputs; c += panel)
            accumulate(part.sums.at(point, k, 0), part.pixels.at(point, c, 0), part.count, own + n * columns * inputs + c,
                       inputs, part.first);
        });
      });
}
}
