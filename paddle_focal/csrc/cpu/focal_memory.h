// Memory for large results on the CPU.
#pragma once

#include <cstdint>

namespace paddle_focal {
namespace cpu {

/// Results from this size on are worth it.
constexpr int64_t kLargeResult = 2 << 20;

/// Memory in huge pages, and a released block again if one fits: fresh memory costs as much as the arithmetic, because
/// malloc hands large blocks back to the system and every page of a new one is cleared and mapped.
/// Throws std::bad_alloc.
void* allocate(int64_t bytes);

/// Keeps the block for a later allocate(), as the gradients of a pyramid's levels are asked for again and again; the
/// system may take its pages meanwhile, and an allocate() that no kept block fits frees the oldest.
void release(void* data, int64_t bytes);

}  // namespace cpu
}  // namespace paddle_focal
