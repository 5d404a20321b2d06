// What the assignment of anchors to boxes computes of one pair, and of one anchor; on host and device.
#pragma once

#include "focal.h"
#include "loss_params.h"

namespace paddle_focal {

struct Corners {
  float x0, y0, x1, y1;
};

/// A product that is rounded before anything is added to it.
FOCAL_INLINE float product_of(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

FOCAL_INLINE float area_of(const Corners& box) { return product_of(box.x1 - box.x0, box.y1 - box.y0); }

/// The intersection over union, with the operations of PaddleDetection's bbox_overlaps in their order.
FOCAL_INLINE float overlap_of(const Corners& box, const Corners& anchor, float anchor_area) {
  const float width = (box.x1 < anchor.x1 ? box.x1 : anchor.x1) - (box.x0 > anchor.x0 ? box.x0 : anchor.x0);
  const float height = (box.y1 < anchor.y1 ? box.y1 : anchor.y1) - (box.y0 > anchor.y0 ? box.y0 : anchor.y0);
  const float intersection = product_of(width > 0 ? width : 0, height > 0 ? height : 0);
  return intersection > 0 ? intersection / (area_of(box) + anchor_area - intersection) : 0;
}

/// What an anchor has found among the boxes of an image.
struct Match {
  float overlap;    // the greatest one
  int32_t box;      // the first one that has it
  int32_t is_best;  // whether it is the greatest one of a box

  /// Takes another box, whose greatest overlap is given: infinity if that does not matter.
  FOCAL_INLINE void add(float one, int32_t its_box, float greatest, float tolerance) {
    is_best |= (one > 0) & (greatest - one <= tolerance);
    box = one > overlap ? its_box : box;
    overlap = one > overlap ? one : overlap;
  }
};

/// Writes the results of an anchor, the index-th of all images.
FOCAL_INLINE void write_match(const FocalAssignment& given, const FocalAssigned& assigned, int64_t index,
                              const Match& match, bool has_boxes, int64_t no_row) {
  const bool is_foreground = has_boxes && (match.overlap >= static_cast<float>(given.positive) || match.is_best);
  const bool is_between = has_boxes && match.overlap >= static_cast<float>(given.negative);
  const int64_t other = is_between ? given.ignore_index : given.background;
  const int64_t label = is_foreground ? load_label(given.classes, match.box) : other;
  if (given.classes.type == FOCAL_INT32) {
    static_cast<int32_t*>(assigned.label)[index] = static_cast<int32_t>(label);
  } else {
    static_cast<int64_t*>(assigned.label)[index] = label;
  }
  assigned.row[index] = is_foreground ? match.box : no_row;
  assigned.is_foreground[index] = is_foreground;
}

}  // namespace paddle_focal
