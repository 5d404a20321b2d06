// What kernels ask of a loss's parameters, on host and device.
#pragma once

#include "focal.h"
#include "formats.h"

namespace paddle_focal {

FOCAL_INLINE int64_t logit_count(const FocalLossParams& params) { return params.outer * params.classes * params.inner; }

FOCAL_INLINE int64_t label_count(const FocalLossParams& params) { return params.outer * params.inner; }

/// Whether labels are floating targets in the logits' shape.
FOCAL_INLINE bool is_dense(const FocalLossParams& params) {
  return params.label.type != FOCAL_INT32 && params.label.type != FOCAL_INT64;
}

FOCAL_INLINE int64_t load_label(const FocalArray& array, int64_t index) {
  return array.type == FOCAL_INT32 ? static_cast<const int32_t*>(array.data)[index]
                                   : static_cast<const int64_t*>(array.data)[index];
}

template <class T>
FOCAL_INLINE T scale_of(const FocalScale& scale, int64_t c) {
  return scale.data ? static_cast<const T*>(scale.data)[c * scale.stride] : static_cast<T>(scale.value);
}

}  // namespace paddle_focal
