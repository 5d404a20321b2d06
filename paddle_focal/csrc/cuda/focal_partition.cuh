// How the logits are shared out among the threads of a GPU: by their shape and the pack's width only.
#pragma once

#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

constexpr int kThreads = 256;        // in a block
constexpr int kTotalThreads = 1024;  // in the block that adds up partial sums
constexpr int kFlatPacks = 4;        // for each thread
constexpr int kTileClasses = 16;     // for each thread

template <class S>
constexpr int kWidth = 16 / static_cast<int>(sizeof(S));

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

/// How the logits are shared out. It depends on their shape and the pack's width only, and so do the sums.
struct Partition {
  int64_t outer, classes, inner;
  int width;
  bool is_flat;            // a block takes consecutive logits; else a thread keeps its labels for a tile of classes
  bool is_along_labels;    // a pack is one class of consecutive labels; else consecutive classes, labels following
  int64_t groups, chunks;  // tiles along the inner axis and along the class axis
  Divisor by_classes, by_inner, by_groups, by_chunks;
  int64_t lane_stride;                         // from a logit of a pack to its next one
  int64_t logit_step, label_step, class_step;  // from a pack of a thread to its next one
  int left_step;

  Partition(const FocalLossParams& params, int width)
      : outer(params.outer),
        classes(params.classes),
        inner(params.inner),
        width(width),
        is_flat(inner == 1 || classes == 1),
        is_along_labels(classes == 1 || (inner > 1 && inner % width == 0)),
        groups(is_along_labels && !is_flat ? inner / width : inner),
        chunks((classes + kTileClasses - 1) / kTileClasses),
        by_classes(classes),
        by_inner(inner),
        by_groups(groups),
        by_chunks(chunks),
        lane_stride(is_flat || is_along_labels ? 1 : inner) {
    left_step = is_flat ? kThreads * width : width;
    class_step = is_flat ? left_step % classes : is_along_labels ? 1 : width;
    label_step = is_flat ? left_step / classes : 0;
    logit_step = is_flat ? left_step : class_step * inner;
  }

  int64_t size() const { return outer * classes * inner; }

  int64_t blocks() const {
    const int64_t units = is_flat ? size() : outer * chunks * groups;
    const int64_t per_block = is_flat ? kFlatPacks * left_step : kThreads;
    return (units + per_block - 1) / per_block;
  }
};

/// A logit by its own index, its label's and its class; in a pack, of its first logit.
struct Place {
  int64_t logit, label, c;

  /// The next one in the pack, but for its own index.
  FOCAL_INLINE void advance(const Partition& partition) {
    if (partition.is_along_labels) {
      ++label;
    } else if (++c == partition.classes) {
      c = 0;
      ++label;
    }
  }
};

/// The packs of a thread, one after the other.
struct Walk {
  Place place;
  int left;  // logits to go, counted in steps of left_step from pack to pack

  FOCAL_INLINE Walk(const Partition& partition, int64_t block, int thread) {
    const int width = partition.width, left_step = partition.left_step;
    const int64_t classes = partition.classes, inner = partition.inner;
    if (partition.is_flat) {
      place.logit = block * kFlatPacks * left_step + thread * width;
      place.label = partition.by_classes.quotient(place.logit);
      place.c = place.logit - place.label * classes;
      const int64_t to_end = partition.outer * classes * inner - place.logit;
      const int most = (kFlatPacks - 1) * left_step + width;
      left = to_end < most ? static_cast<int>(to_end) : most;
    } else {
      const int64_t tile = block * kThreads + thread;
      const int64_t rest = partition.by_groups.quotient(tile);
      const int64_t o = partition.by_chunks.quotient(rest);
      const int64_t c = (rest - o * partition.chunks) * kTileClasses;
      const int64_t i = (tile - rest * partition.groups) * (partition.is_along_labels ? width : 1);
      const int count = static_cast<int>(classes - c < kTileClasses ? classes - c : kTileClasses);
      place = {(o * classes + c) * inner + i, o * inner + i, c};
      left = o >= partition.outer ? 0 : partition.is_along_labels ? count * width : count;
    }
  }

  FOCAL_INLINE void advance(const Partition& partition) {
    left -= partition.left_step;
    place.logit += partition.logit_step;
    place.label += partition.label_step;
    place.c += partition.class_step;
    if (partition.is_flat && place.c >= partition.classes) {
      place.c -= partition.classes;
      ++place.label;
    }
  }
};

}  // namespace cuda
}  // namespace paddle_focal
