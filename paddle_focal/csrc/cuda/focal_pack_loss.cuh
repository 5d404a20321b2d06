// What a thread on a GPU does with whole packs of logits, wherever they lie: their losses are added up, or their
// derivatives put in their place.
//
// All logits of a pack are evaluated as if their target were 0. Few packs have one that is not, or a label without loss:
// they are mended, in a branch that most warps do not enter. In a sum such logits are -infinity, which is no loss, and
// what they add is computed apart.
#pragma once

#include <cmath>

#include "cuda/focal_pack.cuh"
#include "cuda/focal_pass.cuh"

namespace paddle_focal {
namespace cuda {

template <class S, bool kGradient, Kind kKind, Gamma kGamma>
class PackLoss {
  using T = Computing<S>;
  static constexpr int kAll = kWidth<S> * unroll_of(kWidth<S>);  // logits at a time
  static constexpr int kWeights = has_runs(kKind) ? kWidth<S> : kAll;  // of the logits, or of each of their packs
  static constexpr bool kHeat = has_heatmap(kKind);
  static constexpr bool kWeighted = has_weights(kKind);

 public:
  FOCAL_INLINE explicit PackLoss(const Pass& pass)
      : params(pass.params), scales(pass), negative{static_cast<T>(params.numbers[0])} {}

  /// Adds losses up, or puts derivatives in place of the logits.
  ///
  /// target: of each logit, for heatmaps. is_special: whether any may have a target other than 0, or no loss. The
  /// functions are called where they are needed: marks_of() says which ones, target_of(k) and weight_of(k) are of logit
  /// k, and weigh(weight) fills in all weights.
  template <class MarksOf, class TargetOf, class WeightOf, class Weigh>
  FOCAL_INLINE void take(T (&x)[kAll], const T* target, bool is_special, MarksOf marks_of, TargetOf target_of,
                         WeightOf weight_of, Weigh weigh) {
    T result[kAll], weight[kWeights];
    if constexpr (kGradient) {
#pragma unroll
      for (int j = 0; j < kAll; ++j) result[j] = negative(x[j]).derivative() * factor_of(target, j, scales.background);
      if (is_special) {
        const Marks marks = marks_of();
#pragma unroll
        for (int j = 0; j < kAll; ++j) {
          if (marks.ignored >> j & 1) result[j] = 0;
          if (marks.invalid >> j & 1) result[j] = static_cast<T>(NAN);
        }
        for_each_own(marks.own, x, target_of, [&](int k, T value) { put(result, k, value); });
      }
    } else {
      if (is_special) {
        const Marks marks = marks_of();
        if (marks.invalid) other += static_cast<T>(NAN);
        for_each_own(marks.own, x, target_of, [&](int k, T value) { other += kWeighted ? value * weight_of(k) : value; });
#pragma unroll
        for (int j = 0; j < kAll; ++j) {
          if ((marks.own | marks.ignored | marks.invalid) >> j & 1) x[j] = -static_cast<T>(INFINITY);
        }
      }
#pragma unroll
      for (int j = 0; j < kAll; ++j) {
        const auto terms = negative(x[j]);
        result[j] = kHeat ? terms.loss() * factor_of(target, j, T(1)) : terms.loss();
      }
    }
    if constexpr (kWeighted) weigh(weight);
#pragma unroll
    for (int j = 0; j < kAll; ++j) {
      if constexpr (kWeighted) result[j] *= weight[j % kWeights];
      if constexpr (kGradient) {
        x[j] = result[j];
      } else {
        part[j % 4] += result[j];
      }
    }
  }

  /// Call it after some sixteen packs: until then losses are added up in T.
  FOCAL_INLINE void flush() {
    if constexpr (kGradient) return;
    negatives += (part[0] + part[1]) + (part[2] + part[3]);
    positives += other;
    other = part[0] = part[1] = part[2] = part[3] = 0;
  }

  FOCAL_INLINE double sum() {
    flush();
    // Where there is nothing to add up, an infinite scale makes nothing of it.
    return (negatives == 0 ? 0 : negatives * scales.background) + positives;
  }

 private:
  FOCAL_INLINE T factor_of(const T* target, int j, T scale) const {
    if constexpr (!kHeat) return scale;
    return scale * off_peak_factor(target[j], static_cast<T>(params.numbers[1]));
  }

  /// Calls function(position, loss or derivative) for logits whose target is not 0.
  template <class TargetOf, class Function>
  FOCAL_INLINE void for_each_own(uint32_t own, const T (&x)[kAll], TargetOf target_of, Function function) const {
    if (!own) return;
    const auto run = [&](auto formula) {
      while (own) {
        const int k = take_lowest(own);
        const T target = target_of(k);
        const auto terms = formula.positive(pick(x, k), target);
        const T value = static_cast<T>(kGradient ? terms.derivative() : terms.loss());
        const T scale = positive_scale(params, target, scales.foreground, scales.background);
        function(k, is_share(target) ? value * scale : static_cast<T>(NAN));
      }
    };
    if constexpr (kHeat) {
      run(GaussianFocal<kGamma, T>(params.numbers));
    } else {
      visit_formula_of<kGamma, T>(params, run);
    }
  }

  const FocalLossParams& params;
  const Scales<T> scales;
  const HardNegative<kGamma, T> negative;
  double negatives = 0, positives = 0;  // losses of target 0, without their scale, and all others
  T part[4] = {}, other = 0;            // of the last few packs
};

}  // namespace cuda
}  // namespace paddle_focal
