#include "focal_memory.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

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
Block spare;

Block exchange_spare(Block block) {
  const std::lock_guard<std::mutex> lock(mutex);
  return std::exchange(spare, block);
}

int64_t whole_pages(int64_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

}  // namespace

void* allocate(int64_t bytes) {
  const Block kept = exchange_spare({});
  if (kept.bytes == whole_pages(bytes)) return kept.data;
  std::free(kept.data);
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
  std::free(exchange_spare({data, whole_pages(bytes)}).data);
}

}  // namespace cpu
}  // namespace paddle_focal
