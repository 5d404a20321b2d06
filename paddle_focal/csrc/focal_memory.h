// Memory for large results on the CPU.
#pragma once

#include <cstdint>

namespace paddle_focal {
namespace cpu {

/// Results from this size on are worth it.
constexpr int64_t kLargeResult = 2 << 20;

/// Memory in huge pages, and the released block again if it fits: fresh memory costs as much as the arithmetic, because
/// malloc hands large blocks back to the system and every page of a new one is cleared and mapped.
/// Throws std::bad_alloc.
void* allocate(int64_t bytes);

/// Keeps the block for the next allocate(), in place of the one kept before; the system may take its pages meanwhile.
void release(void* data, int64_t bytes);

}  // namespace cpu
}  // namespace paddle_focal
