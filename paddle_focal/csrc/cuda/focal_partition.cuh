// How the logits are shared out among the threads of a GPU: by their shape and the pack's width only.
#pragma once

#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

constexpr int kThreads = 256;                    // in a block
constexpr int kTotalThreads = 1024;              // in the block that adds up partial sums
constexpr int64_t kMostBlocks = 2112;            // whole rounds of 132 multiprocessors with 4 or 8 blocks each
constexpr int64_t kShort = int64_t(1) << 30;     // lengths up to it are counted in 32 bits
constexpr int64_t kRunClasses = 16;              // of a thread that keeps its labels

/// Division of numbers from 0 to 2^63 - 1 by a multiplication.
struct Divisor {
  uint64_t multiplier;
  int shift = 0;

  explicit Divisor(int64_t value) {
    while ((int64_t(1) << shift) < value) ++shift;
    multiplier = static_cast<uint64_t>(((static_cast<unsigned __int128>(1) << (63 + shift)) + value - 1) / value);
  }

  FOCAL_INLINE int64_t quotient(int64_t n) const {
    const uint64_t twice = 2 * static_cast<uint64_t>(n);
#if defined(__CUDA_ARCH__)
    return __umul64hi(twice, multiplier) >> shift;
#else
    return static_cast<uint64_t>(static_cast<unsigned __int128>(twice) * multiplier >> 64) >> shift;
#endif
  }
};

/// The same of numbers below 2^31.
struct ShortDivisor {
  uint32_t multiplier;
  int shift = 0;

  explicit ShortDivisor(int64_t value) {  // at most kShort
    while ((int64_t(1) << shift) < value) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t(1) << (31 + shift)) + value - 1) / value);
  }

  FOCAL_INLINE uint32_t quotient(uint32_t n) const {
#if defined(__CUDA_ARCH__)
    return __umulhi(2 * n, multiplier) >> shift;
#else
    return static_cast<uint32_t>(static_cast<uint64_t>(2 * n) * multiplier >> 32) >> shift;
#endif
  }
};

/// An axis along which indices are counted on.
struct Axis {
  int64_t length;
  ShortDivisor by_length;

  explicit Axis(int64_t length) : length(length), by_length(length < kShort ? length : kShort) {}

  /// Brings an index that was moved on by less than kShort back onto the axis, and returns how often it left it.
  FOCAL_INLINE int64_t wrap(int64_t& index) const {
    if (length > kShort) {
      const bool is_beyond = index >= length;
      index -= is_beyond ? length : 0;
      return is_beyond;
    }
    const uint32_t n = static_cast<uint32_t>(index), turns = by_length.quotient(n);
    index = n - turns * static_cast<uint32_t>(length);
    return turns;
  }
};

/// The axes of the logits, along which a thread counts on from its block's first logit.
struct Axes {
  Axis classes, inner;
  Divisor by_classes, by_inner;

  explicit Axes(const FocalLossParams& params)
      : classes(params.classes), inner(params.inner), by_classes(params.classes), by_inner(params.inner) {}
};

/// Where a logit is.
struct Place {
  int64_t outer, c, inner;

  FOCAL_INLINE Place(const Axes& axes, int64_t index) {
    const int64_t rest = axes.by_inner.quotient(index);
    outer = axes.by_classes.quotient(rest);
    c = rest - outer * axes.classes.length;
    inner = index - rest * axes.inner.length;
  }

  /// So many logits further on, less than kShort.
  FOCAL_INLINE Place moved(const Axes& axes, int32_t count) const {
    Place place = *this;
    place.inner += count;
    place.c += axes.inner.wrap(place.inner);
    place.outer += axes.classes.wrap(place.c);
    return place;
  }
};

/// What each block takes of so many units: whole tiles, one after the other.
struct Share {
  int64_t units, per_block;

  Share(int64_t units, int64_t tile) : units(units) {
    const int64_t tiles = (units + tile - 1) / tile, most = kShort / 2 / tile;
    const int64_t even = (tiles + kMostBlocks - 1) / kMostBlocks;
    per_block = (even < most ? even : most) * tile;
  }

  int64_t blocks() const { return units ? (units + per_block - 1) / per_block : 0; }

  /// How many units are left of a block's from one of them on; none if it is not positive.
  FOCAL_INLINE int32_t left(int64_t block, int32_t from) const {
    const int64_t to_end = units - block * per_block;
    return static_cast<int32_t>(to_end < per_block ? to_end : per_block) - from;
  }
};

/// Consecutive labels of one pack for some classes, one after the other: the work of a thread.
struct Runs {
  int64_t groups, chunks, classes;  // packs along the inner axis, parts of the class axis, classes of a part
  Divisor by_groups, by_chunks;

  Runs(const FocalLossParams& params, int width)
      : groups((params.inner + width - 1) / width),
        chunks((params.classes + kRunClasses - 1) / kRunClasses),
        classes((params.classes + chunks - 1) / chunks),
        by_groups(groups),
        by_chunks(chunks) {}
};

}  // namespace cuda
}  // namespace paddle_focal
