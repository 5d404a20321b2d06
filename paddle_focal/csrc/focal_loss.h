// One focal loss as plain pointers and sizes: what the framework's side hands to a processor's side.
#pragma once

#include <cstdint>

#include "focal_types.h"

namespace paddle_focal {

struct Array {
  const void* data = nullptr;
  Type type = Type::kFloat32;
};

/// A factor for each class: data[c * stride] in the computing type, or one value if there is no data.
struct Scale {
  double value = 1;
  const void* data = nullptr;
  int64_t stride = 0;
};

/// A factor for each logit: data[o * outer_stride + c * class_stride + i * inner_stride]; none if there is no data.
struct Weight {
  Array array;
  int64_t outer_stride = 0, class_stride = 0, inner_stride = 0;
};

/// The loss of logits [outer, classes, inner], computed in float, or in double for double logits.
struct Problem {
  int64_t outer = 0, classes = 0, inner = 0;
  Array logit;
  Array label;  // integers [outer, inner], classes being background; or floating targets in the logits' shape
  Scale foreground, background;  // of targets 1 and 0
  Weight weight;
  double gamma = 2, label_smoothing = 0;
  int64_t ignore_index = -1;

  int64_t size() const { return outer * classes * inner; }
  bool is_dense() const { return label.type != Type::kInt32 && label.type != Type::kInt64; }
  bool is_soft() const { return is_dense() || label_smoothing != 0; }
};

/// The gradient of the result: one number, or one for each of its elements in the logits' type.
struct Upstream {
  Array array;
  bool per_element = false;
};

FOCAL_INLINE int64_t load_label(const Array& array, int64_t index) {
  return array.type == Type::kInt32 ? static_cast<const int32_t*>(array.data)[index]
                                    : static_cast<const int64_t*>(array.data)[index];
}

template <class T>
FOCAL_INLINE T scale_of(const Scale& scale, int64_t c) {
  return scale.data ? static_cast<const T*>(scale.data)[c * scale.stride] : static_cast<T>(scale.value);
}

namespace cpu {

/// Writes the loss of each logit in the logits' type to `elements` or, where that is null, adds all up in `sum`.
/// Returns the index of the first label that is out of range, or -1. The sum does not depend on the number of threads.
int64_t loss(const Problem& problem, void* elements, double* sum);

/// Writes the gradient in the logits' type.
void gradient(const Problem& problem, const Upstream& upstream, void* out);

}  // namespace cpu

namespace cuda {

/// Partial sums that loss() needs room for.
int64_t workspace_size(const Problem& problem);

/// As cpu::loss on the device, but `sum` is one number of the computing type there, and a logit whose label is out of
/// range gets NaN. `stream` is a cudaStream_t. Throws std::runtime_error if CUDA refuses the launch.
void loss(const Problem& problem, void* elements, void* sum, double* workspace, void* stream);

void gradient(const Problem& problem, const Upstream& upstream, void* out, void* stream);

}  // namespace cuda
}  // namespace paddle_focal
