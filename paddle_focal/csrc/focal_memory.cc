#include "focal_memory.h"

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
std::vector<Block> spares;    // the oldest first
std::vector<Block> borrowed;  // what is in use

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

Block fresh(int64_t bytes) {
  const Block block{std::aligned_alloc(kHugePage, bytes), bytes};
  if (!block.data) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  madvise(block.data, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace

void* allocate(int64_t bytes) {
  bytes = whole_pages(bytes);
  Block block = take_spare(bytes);
  if (block.bytes != bytes) {
    std::free(block.data);
    block = fresh(bytes);
  }
  const std::lock_guard<std::mutex> lock(mutex);
  borrowed.push_back(block);
  return block.data;
}

void release(void* data) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto is_this = [data](const Block& block) { return block.data == data; };
  const auto found = std::find_if(borrowed.begin(), borrowed.end(), is_this);
#if defined(MADV_FREE)
  madvise(data, found->bytes, MADV_FREE);
#endif
  spares.push_back(*found);
  borrowed.erase(found);
}

}  // namespace cpu
}  // namespace paddle_focal
