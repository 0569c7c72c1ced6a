// Rows out of chunks of a file that zlib has packed, by several threads.

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>

namespace {

// Of libdeflate, which lies in another library.
struct Inflate {
  void* (*begin)();
  int (*unpack)(void*, const void*, size_t, void*, size_t, size_t*);
  void (*end)(void*);
};

// First byte in the file, number of bytes there, and the first of its rows among all that are wanted.
struct Chunk {
  int64_t place, length, first;
};

// Number in its chunk, and where it belongs.
struct Row {
  int64_t number, target;
};

typedef std::unique_ptr<char[]> Bytes;

}  // namespace

// Whether all could be read. After the last chunk another one says how many rows there are.
extern "C" bool take(int file, const Inflate* inflate, int64_t number, const Chunk* chunks, int64_t longest, int64_t size,
                     const Row* rows, int64_t width, char* into, int threads) {
  bool good = true;
#pragma omp parallel num_threads(threads) reduction(&& : good)
  {
    void* const tool = inflate->begin();
    const Bytes packed(new char[longest]), content(new char[size]);
    good = tool;
#pragma omp for schedule(dynamic)
    for (int64_t n = 0; n < number; ++n) {
      const auto [place, length, first] = chunks[n];
      good = good && pread(file, packed.get(), length, place) == length &&
             inflate->unpack(tool, packed.get(), length, content.get(), size, nullptr) == 0;
      for (int64_t row = first; good && row < chunks[n + 1].first; ++row)
        std::memcpy(into + rows[row].target * width, content.get() + rows[row].number * width, width);
    }
    if (tool) inflate->end(tool);
  }
  return good;
}
