// The assignment of anchors to boxes on a GPU: the work of one thread, which has one anchor of one image.
//
// The IoU of each pair is computed twice and never stored: first for the greatest one of each box, then for the labels.
#pragma once

#include <cmath>

#include "assignment.h"
#include "cuda/focal_partition.cuh"

namespace paddle_focal {
namespace cuda {

constexpr int64_t kMostImages = 256;  // of a launch, whose arguments are 4 KiB at most

/// Some of the images.
struct AssignPass {
  FocalAssignment given;  // without the starts
  FocalAssigned assigned;
  int64_t first, images, no_row;
  uint32_t blocks;  // of an image
  int32_t starts[kMostImages + 1];

  AssignPass(const FocalAssignment& given, const FocalAssigned& assigned, int64_t first)
      : given(given),
        assigned(assigned),
        first(first),
        images(given.images - first < kMostImages ? given.images - first : kMostImages),
        no_row(given.starts[given.images]),
        blocks(static_cast<uint32_t>((given.anchor_count + kThreads - 1) / kThreads)) {
    for (int64_t i = 0; i <= images; ++i) starts[i] = static_cast<int32_t>(given.starts[first + i]);
  }

  bool needs_best() const { return given.keeps_best && starts[images] > starts[0]; }
};

class Assignment {
 public:
  FOCAL_INLINE Assignment(const AssignPass& pass, uint32_t block, int thread)
      : pass(pass),
        given(pass.given),
        image(block / pass.blocks),
        begin(pass.starts[image]),
        end(pass.starts[image + 1]),
        index(static_cast<int64_t>(block - image * pass.blocks) * kThreads + thread) {
    if (is_there()) anchor = static_cast<const Corners*>(given.anchors)[index];
    area = area_of(anchor);
  }

  /// Calls raise(box, bits of its IoU), which are in the order of the IoUs; also where there is no anchor.
  template <class Raise>
  FOCAL_INLINE void find_best(Raise raise) const {
    for (int32_t g = begin; g < end; ++g) raise(g, bit_cast<int32_t>(overlap_with(g)));
  }

  FOCAL_INLINE void assign() const {
    if (!is_there()) return;
    Match match{0, begin, false};
    for (int32_t g = begin; g < end; ++g) {
      const float best = given.keeps_best ? bit_cast<float>(pass.assigned.best[g]) : static_cast<float>(INFINITY);
      match.add(overlap_with(g), g, best, static_cast<float>(given.tolerance));
    }
    const int64_t at = (pass.first + image) * given.anchor_count + index;
    write_match(given, pass.assigned, at, match, begin < end, pass.no_row);
  }

 private:
  FOCAL_INLINE bool is_there() const { return index < given.anchor_count; }

  FOCAL_INLINE float overlap_with(int32_t g) const {
    return overlap_of(static_cast<const Corners*>(given.boxes)[g], anchor, area);
  }

  const AssignPass& pass;
  const FocalAssignment& given;
  const uint32_t image;
  const int32_t begin, end;  // the image's boxes
  const int64_t index;
  Corners anchor = {};  // without area, it overlaps with no box
  float area;
};

}  // namespace cuda
}  // namespace paddle_focal
