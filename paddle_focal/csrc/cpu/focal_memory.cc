#include "cpu/focal_memory.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace paddle_focal {
namespace cpu {
namespace {

constexpr int64_t kHugePage = 2 << 20;

struct Block {
  void* data = nullptr;
  int64_t bytes = 0;
};

std::mutex mutex;
std::vector<Block> spares;  // the oldest first

/// Takes a spare block of this size or, if there is none, the oldest, to be freed: so there are never more of them than
/// were once in use together.
Block take_spare(int64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (spares.empty()) return {};
  const auto has_size = [bytes](const Block& spare) { return spare.bytes == bytes; };
  auto found = std::find_if(spares.begin(), spares.end(), has_size);
  if (found == spares.end()) found = spares.begin();
  const Block block = *found;
  spares.erase(found);
  return block;
}

int64_t whole_pages(int64_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

}  // namespace

void* allocate(int64_t bytes) {
  const Block spare = take_spare(whole_pages(bytes));
  if (spare.bytes == whole_pages(bytes)) return spare.data;
  std::free(spare.data);
  void* data = std::aligned_alloc(kHugePage, whole_pages(bytes));
  if (!data) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  madvise(data, whole_pages(bytes), MADV_HUGEPAGE);
#endif
  return data;
}

void release(void* data, int64_t bytes) {
#if defined(MADV_FREE)
  madvise(data, whole_pages(bytes), MADV_FREE);
#endif
  const std::lock_guard<std::mutex> lock(mutex);
  spares.push_back({data, whole_pages(bytes)});
}

}  // namespace cpu
}  // namespace paddle_focal
