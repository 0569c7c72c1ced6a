// Rows out of chunks of a file that zlib has packed, by several threads.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace {

// Of libdeflate, which lies in another library.
struct Inflate {
  void* (*begin)();
  int (*unpack)(void*, const void*, size_t, void*, size_t, size_t*);
  void (*end)(void*);
};

// First byte in the file, and number of bytes there.
struct Place {
  int64_t first, length;
};

// A file, how many rows are wanted of it, how many a chunk has, and where each chunk lies.
struct Part {
  int64_t file, wanted, step;
  const Place* chunks;
};

// The file, where it lies there, how many bytes it has there and unpacked, the number of its first row, and which of the
// wanted rows are in it.
struct Chunk {
  int64_t file, place, length, size, begin, first, last;
};

typedef std::unique_ptr<char[]> Bytes;

}  // namespace

// Rows of files, one after the other and in ascending order in each, to their places. Whether all could be read.
extern "C" bool take(const Inflate* inflate, int64_t files, const Part* parts, const int64_t* rows, const int64_t* places,
                     int64_t width, char* into, int threads) {
  std::vector<Chunk> chunks;
  int64_t longest = 0, largest = 0, row = 0;
  for (const Part* part = parts; part < parts + files; ++part) {
    struct stat about;
    if (fstat(part->file, &about)) return false;
    for (const int64_t end = row + part->wanted; row < end;) {
      const int64_t number = rows[row] / part->step, first = row;
      const auto [place, length] = part->chunks[number];
      if (length > about.st_size) return false;
      while (row < end && rows[row] < (number + 1) * part->step) ++row;
      chunks.push_back({part->file, place, length, part->step * width, number * part->step, first, row});
      longest = std::max(longest, length), largest = std::max(largest, part->step * width);
    }
  }
  bool good = true;
#pragma omp parallel num_threads(threads) reduction(&& : good)
  {
    void* const tool = inflate->begin();
    const Bytes packed(new char[longest]), content(new char[largest]);
    good = tool;
#pragma omp for schedule(dynamic)
    for (size_t n = 0; n < chunks.size(); ++n) {
      const auto [file, place, length, size, begin, first, last] = chunks[n];
      good = good && pread(file, packed.get(), length, place) == length &&
             inflate->unpack(tool, packed.get(), length, content.get(), size, nullptr) == 0;
      for (int64_t mine = first; good && mine < last; ++mine)
        std::memcpy(into + places[mine] * width, content.get() + (rows[mine] - begin) * width, width);
    }
    if (tool) inflate->end(tool);
  }
  return good;
}
