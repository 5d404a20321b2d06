// One pass over the logits on a GPU, and the kernels that there are for it: what host and device agree on.
#pragma once

#include "cuda/focal_partition.cuh"
#include "formulas/sigmoid_focal.h"
#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

/// One pass over the logits.
struct Pass {
  FocalLossParams params;
  FocalArray grad_out;  // of each loss, or one number of all; without data: 1
  void* out;            // the results in the logits' type; without it they are added up
  Partition partition;
  Gamma gamma;
  bool is_dense;
  bool is_packed;  // what belongs to a pack lies together, aligned

  Pass(const FocalLossParams& params, const FocalArray& grad_out, void* out, int width)
      : params(params),
        grad_out(grad_out),
        out(out),
        partition(params, width),
        gamma(kind_of(params.numbers[0])),
        is_dense(paddle_focal::is_dense(params)) {
    const auto is_aligned = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
    is_packed = partition.lane_stride == 1 && is_aligned(params.logit.data) && is_aligned(params.label.data) &&
                is_aligned(grad_out.data) && is_aligned(out);
  }
};

/// Calls X(name, type of the logits, whether for the gradient, whether for soft targets) for every kernel but the two that
/// add up partial sums, in the order of kernel_index().
#define FOCAL_KERNELS(X)                                \
  FOCAL_KERNELS_OF(X, float16, paddle_focal::Float16)   \
  FOCAL_KERNELS_OF(X, bfloat16, paddle_focal::BFloat16) \
  FOCAL_KERNELS_OF(X, float32, float)                   \
  FOCAL_KERNELS_OF(X, float64, double)
#define FOCAL_KERNELS_OF(X, NAME, S)               \
  X(focal_sigmoid_loss_##NAME, S, false, false)    \
  X(focal_sigmoid_loss_soft_##NAME, S, false, true) \
  X(focal_sigmoid_gradient_##NAME, S, true, false) \
  X(focal_sigmoid_gradient_soft_##NAME, S, true, true)

/// Whether a target may be another number than 0 and 1.
inline bool is_soft(const FocalLossParams& params) { return is_dense(params) || params.numbers[1] != 0; }

inline int kernel_index(const FocalLossParams& params, bool is_gradient) {
  return 4 * static_cast<int>(params.logit.type) + 2 * is_gradient + is_soft(params);
}

inline int width_of(int64_t type) {
  return type == FOCAL_FLOAT64 ? kWidth<double> : type == FOCAL_FLOAT32 ? kWidth<float> : kWidth<Float16>;
}

inline int64_t block_count(const FocalLossParams& params) {
  return logit_count(params) ? Partition(params, width_of(params.logit.type)).blocks() : 0;
}

}  // namespace cuda
}  // namespace paddle_focal
