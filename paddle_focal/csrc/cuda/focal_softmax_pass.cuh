// One pass of the softmax focal loss on a GPU: what host and device agree on.
#pragma once

#include "cuda/focal_partition.cuh"
#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

constexpr int kSoftmaxThreads = 256;     // in a block at most
constexpr int kAtOnce = 4;               // classes that a thread takes at once
constexpr int kSharedBytes = 47 * 1024;  // in a block at most, beside what the kernels declare

/// How lanes exchange numbers.
struct Most {
  template <class T>
  FOCAL_INLINE T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

struct Total {
  template <class T>
  FOCAL_INLINE T operator()(T a, T b) const {
    return a + b;
  }
};

/// One pass over the logits, lanes * slots threads to a block.
struct SoftmaxPass {
  FocalLossParams params;
  FocalArray grad_out;  // of each loss, or one number of all; without data: 1
  void* out;            // the results in the logits' type; without it the losses are added up
  bool is_rows;         // the classes of a label lie together: the lanes of a label are threads of a warp
  bool is_kept;         // shared memory keeps the logits
  int32_t lanes, slots;
  Share share;  // of labels
  Divisor by_inner;

  SoftmaxPass(const FocalLossParams& params, const FocalArray& grad_out, void* out)
      : params(params),
        grad_out(grad_out),
        out(out),
        is_rows(params.inner == 1),
        is_kept(true),
        lanes(lanes_for(params.classes, is_rows ? 32 : 8)),
        slots(is_rows ? kSoftmaxThreads / 2 / lanes : 32),
        share(0, 1),
        by_inner(params.inner) {
    const int32_t usual = slots;
    while (shared_bytes() > kSharedBytes && slots > (is_rows ? 1 : 8)) {
      slots /= 2;
      if (!is_rows) lanes *= 2;
    }
    if (shared_bytes() > kSharedBytes) {
      is_kept = false;
      if (!is_rows) lanes = lanes * slots / usual;
      slots = usual;
    }
    share = Share(label_count(params), slots);
  }

  FOCAL_INLINE int threads() const { return lanes * slots; }

  /// Room for a number of each thread, and for the logits.
  int64_t shared_bytes() const {
    const int64_t few = is_kept ? (params.classes + kAtOnce * lanes - 1) / (kAtOnce * lanes) : 0;
    const int64_t numbers = 1 + kAtOnce * few;
    return numbers * threads() * (params.logit.type == FOCAL_FLOAT64 ? 8 : 4);
  }

 private:
  /// As many as leave each twenty classes.
  static int32_t lanes_for(int64_t classes, int32_t most) {
    int32_t lanes = classes > 4 ? 4 : 1;
    while (lanes < most && lanes * 20 < classes) lanes *= 2;
    return lanes;
  }
};

/// Calls X(name, class of a thread, type of the logits, whether for the gradient, whether logits are kept) for every
/// kernel of the softmax loss.
#define FOCAL_SOFTMAX_KERNELS(X)                                \
  FOCAL_SOFTMAX_KERNELS_OF(X, float16, paddle_focal::Float16)   \
  FOCAL_SOFTMAX_KERNELS_OF(X, bfloat16, paddle_focal::BFloat16) \
  FOCAL_SOFTMAX_KERNELS_OF(X, float32, float)                   \
  FOCAL_SOFTMAX_KERNELS_OF(X, float64, double)
#define FOCAL_SOFTMAX_KERNELS_OF(X, TYPE, S)                          \
  X(focal_softmax_loss_large_##TYPE, IndexSoftmax, S, false, false)   \
  X(focal_softmax_gradient_large_##TYPE, IndexSoftmax, S, true, false) \
  X(focal_softmax_loss_##TYPE, IndexSoftmax, S, false, true)          \
  X(focal_softmax_gradient_##TYPE, IndexSoftmax, S, true, true)       \
  X(focal_softmax_loss_soft_large_##TYPE, SoftSoftmax, S, false, false) \
  X(focal_softmax_gradient_soft_large_##TYPE, SoftSoftmax, S, true, false) \
  X(focal_softmax_loss_soft_##TYPE, SoftSoftmax, S, false, true)      \
  X(focal_softmax_gradient_soft_##TYPE, SoftSoftmax, S, true, true)

}  // namespace cuda
}  // namespace paddle_focal
