// One pass over the logits on a GPU, and the kernels that there are for it: what host and device agree on.
#pragma once

#include "cuda/focal_partition.cuh"
#include "formulas/losses.h"
#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

/// The kernels for the losses of single logits: one for everything, and some for what is most common, which read whole
/// packs of 16 bytes: a sum, or its gradient, without factors of a class; for gamma 2 with weights, one for each label.
enum class Kind {
  kAny,
  kRows32,         // class indices of 32 bits, the classes of each lying together
  kRows64,         // of 64 bits
  kRuns,           // class indices, consecutive ones lying together for each class
  kTargets,        // dense targets in the logits' format
  kFloatTargets,   // in float
  kHeatmap,        // the loss of heatmaps in the logits' format
  kFloatHeatmap,   // in float
  kWeightedRows32, kWeightedRows64, kWeightedRuns,
};

FOCAL_INLINE constexpr bool has_heatmap(Kind kind) { return kind == Kind::kHeatmap || kind == Kind::kFloatHeatmap; }
FOCAL_INLINE constexpr bool has_targets(Kind kind) {
  return has_heatmap(kind) || kind == Kind::kTargets || kind == Kind::kFloatTargets;
}
FOCAL_INLINE constexpr bool has_runs(Kind kind) { return kind == Kind::kRuns || kind == Kind::kWeightedRuns; }
FOCAL_INLINE constexpr bool has_weights(Kind kind) {
  return kind == Kind::kWeightedRows32 || kind == Kind::kWeightedRows64 || kind == Kind::kWeightedRuns;
}

template <class S>
constexpr int kWidth = 16 / static_cast<int>(sizeof(S));  // logits of a pack

inline int width_of(int64_t type) {
  return type == FOCAL_FLOAT64 ? kWidth<double> : type == FOCAL_FLOAT32 ? kWidth<float> : kWidth<Float16>;
}

/// Packs that a thread takes at a time.
FOCAL_INLINE constexpr int unroll_of(int width) { return width == 8 ? 1 : 2; }

/// How the kernels for everything take logits: each thread so many, kThreads apart.
constexpr int kAtATime = 4;

/// One pass over the logits.
struct Pass {
  FocalLossParams params;
  FocalArray grad_out;  // of each loss, or one number of all; without data: 1
  void* out;            // the results in the logits' type; without it they are added up
  Kind kind;
  Gamma gamma;
  Share share;
  Axes axes;
  Runs runs;

  Pass(const FocalLossParams& given, const FocalArray& grad_out, void* out)
      : params(with_long_runs(given)),
        grad_out(grad_out),
        out(out),
        kind(kind_for(params, grad_out, out)),
        gamma(kind_of(params.numbers[0])),
        share(share_for(params, kind)),
        axes(params),
        runs(params, width_of(params.logit.type)) {}

 private:
  /// One long run of labels instead of many short ones.
  static FocalLossParams with_long_runs(FocalLossParams params) {
    FocalWeight& weight = params.weight;
    if (params.classes == 1 &&
        (!weight.array.data || params.inner == 1 || weight.outer == params.inner * weight.inner)) {
      if (params.inner == 1) weight.inner = weight.outer;
      params.inner *= params.outer;
      params.outer = 1;
    }
    return params;
  }

  static Share share_for(const FocalLossParams& params, Kind kind) {
    const int width = width_of(params.logit.type);
    if (kind == Kind::kAny) return {logit_count(params), kThreads * kAtATime};
    if (!has_runs(kind)) return {logit_count(params), kThreads * width * unroll_of(width)};
    const Runs runs(params, width);
    return {params.outer * runs.chunks * runs.groups, kThreads};
  }

  static bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

  static Kind kind_for(const FocalLossParams& params, const FocalArray& grad_out, void* out) {
    const Kind kind = kind_without_weight(params, grad_out, out);
    if (!params.weight.array.data) return kind;
    const int64_t computed_in = params.logit.type == FOCAL_FLOAT64 ? FOCAL_FLOAT64 : FOCAL_FLOAT32;
    const int64_t stride = kind == Kind::kRuns ? params.weight.inner : params.weight.outer;
    const bool is_simple = !params.weight.classes && stride == 1 && params.weight.array.type == computed_in;
    if (!is_simple || kind_of(params.numbers[0]) != Gamma::kTwo) return Kind::kAny;
    return kind == Kind::kRows32   ? Kind::kWeightedRows32
           : kind == Kind::kRows64 ? Kind::kWeightedRows64
           : kind == Kind::kRuns   ? Kind::kWeightedRuns
                                   : Kind::kAny;
  }

  static Kind kind_without_weight(const FocalLossParams& params, const FocalArray& grad_out, void* out) {
    const bool is_sum = params.reduce && (grad_out.data || !out);
    const bool is_even = !params.scales[0].stride && !params.scales[1].stride;
    const Gamma gamma = kind_of(params.numbers[0]);
    const bool is_heatmap = params.loss == FOCAL_GAUSSIAN;
    const bool is_plain = is_heatmap || (params.loss != FOCAL_ASYMMETRIC && !params.numbers[1] && !params.numbers[2]);
    if (!is_sum || !is_even || !is_plain || !is_aligned(params.logit.data) || !is_aligned(out) ||
        params.classes > kShort || !(gamma == Gamma::kTwo || (gamma == Gamma::kAny && !is_heatmap))) {
      return Kind::kAny;
    }
    if (is_dense(params)) {
      if (!is_aligned(params.label.data)) return Kind::kAny;
      if (params.label.type == params.logit.type) return is_heatmap ? Kind::kHeatmap : Kind::kTargets;
      if (params.label.type != FOCAL_FLOAT32 || params.logit.type == FOCAL_FLOAT64) return Kind::kAny;
      return is_heatmap ? Kind::kFloatHeatmap : Kind::kFloatTargets;
    }
    if (is_heatmap) return Kind::kAny;
    if (params.classes == 1 || (params.inner > 1 && params.inner % width_of(params.logit.type) == 0)) {
      return is_aligned(params.label.data) ? Kind::kRuns : Kind::kAny;
    }
    return params.inner > 1 ? Kind::kAny : params.label.type == FOCAL_INT32 ? Kind::kRows32 : Kind::kRows64;
  }
};

/// Calls X(name, type of the logits, whether for the gradient, kind, gamma) for every kernel of single logits.
#define FOCAL_KERNELS(X)                   \
  FOCAL_KERNELS_OF(X, float16, paddle_focal::Float16)    \
  FOCAL_KERNELS_OF(X, bfloat16, paddle_focal::BFloat16)  \
  FOCAL_KERNELS_OF(X, float32, float)      \
  FOCAL_KERNELS_OF(X, float64, double)     \
  FOCAL_FLOAT_KERNELS(X, float16, paddle_focal::Float16) \
  FOCAL_FLOAT_KERNELS(X, bfloat16, paddle_focal::BFloat16)
#define FOCAL_KERNELS_OF(X, TYPE, S)            \
  FOCAL_BOTH(X, any, TYPE, S, kAny, kAny)       \
  FOCAL_GAMMAS(X, rows32, TYPE, S, kRows32)     \
  FOCAL_GAMMAS(X, rows64, TYPE, S, kRows64)     \
  FOCAL_GAMMAS(X, runs, TYPE, S, kRuns)         \
  FOCAL_GAMMAS(X, targets, TYPE, S, kTargets)   \
  FOCAL_BOTH(X, heatmap, TYPE, S, kHeatmap, kTwo) \
  FOCAL_BOTH(X, weighted_rows32, TYPE, S, kWeightedRows32, kTwo) \
  FOCAL_BOTH(X, weighted_rows64, TYPE, S, kWeightedRows64, kTwo) \
  FOCAL_BOTH(X, weighted_runs, TYPE, S, kWeightedRuns, kTwo)
#define FOCAL_FLOAT_KERNELS(X, TYPE, S)                    \
  FOCAL_GAMMAS(X, float_targets, TYPE, S, kFloatTargets)   \
  FOCAL_BOTH(X, float_heatmap, TYPE, S, kFloatHeatmap, kTwo)
#define FOCAL_GAMMAS(X, NAME, TYPE, S, KIND)       \
  FOCAL_BOTH(X, NAME##_square, TYPE, S, KIND, kTwo) \
  FOCAL_BOTH(X, NAME##_power, TYPE, S, KIND, kAny)
#define FOCAL_BOTH(X, NAME, TYPE, S, KIND, GAMMA)                                                                    \
  X(focal_loss_##NAME##_##TYPE, S, false, paddle_focal::cuda::Kind::KIND, paddle_focal::Gamma::GAMMA)  \
  X(focal_gradient_##NAME##_##TYPE, S, true, paddle_focal::cuda::Kind::KIND, paddle_focal::Gamma::GAMMA)

}  // namespace cuda
}  // namespace paddle_focal
