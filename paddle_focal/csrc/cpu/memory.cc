// Memory for large results: fresh memory costs as much as the arithmetic, because malloc hands large blocks back to the
// system, and every page of a new one is cleared and mapped. Gradients of a pyramid's levels are asked for again and
// again, so that a released block is kept; the system may take its pages meanwhile.

#include <pthread.h>

#include <cstdlib>

#include "focal.h"

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

constexpr int kMostSpares = 64;

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Block spares[kMostSpares];  // the oldest first
int spare_count = 0;

Block remove_spare(int index) {
  const Block block = spares[index];
  for (int i = index + 1; i < spare_count; ++i) spares[i - 1] = spares[i];
  --spare_count;
  return block;
}

/// Takes a spare block of this size or, if there is none, the oldest, to be freed: so there are never more of them than
/// were once in use together.
Block take_spare(int64_t bytes) {
  Block block;
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < spare_count && !block.data; ++i) {
    if (spares[i].bytes == bytes) block = remove_spare(i);
  }
  if (!block.data && spare_count) block = remove_spare(0);
  pthread_mutex_unlock(&mutex);
  return block;
}

/// Keeps a block, and returns the oldest, to be freed, if there are too many; null otherwise.
void* keep_spare(const Block& block) {
  pthread_mutex_lock(&mutex);
  void* oldest = spare_count == kMostSpares ? remove_spare(0).data : nullptr;
  spares[spare_count++] = block;
  pthread_mutex_unlock(&mutex);
  return oldest;
}

int64_t whole_pages(int64_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

}  // namespace
}  // namespace cpu
}  // namespace paddle_focal

using namespace paddle_focal::cpu;

void* focal_allocate(int64_t bytes) {
  const Block spare = take_spare(whole_pages(bytes));
  if (spare.bytes == whole_pages(bytes)) return spare.data;
  std::free(spare.data);
  void* data = std::aligned_alloc(kHugePage, whole_pages(bytes));
#if defined(MADV_HUGEPAGE)
  if (data) madvise(data, whole_pages(bytes), MADV_HUGEPAGE);
#endif
  return data;
}

void focal_release(void* data, int64_t bytes) {
#if defined(MADV_FREE)
  madvise(data, whole_pages(bytes), MADV_FREE);
#endif
  std::free(keep_spare({data, whole_pages(bytes)}));
}
