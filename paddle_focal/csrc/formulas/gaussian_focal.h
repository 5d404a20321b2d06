// The focal loss of heatmaps, of one logit, on host and device (Law and Deng, arXiv:1808.01244, eq. 1).
//
// The focal loss without alpha: of target 1 at a peak, where the heatmap is 1; elsewhere of target 0, times
// (1 - heatmap)^beta, a factor that the loss has before its formula is called.
#pragma once

#include "formulas/sigmoid_focal.h"

namespace paddle_focal {

template <Gamma kGamma, class T>
struct PeakTerms : Hard<kGamma, T> {
  FOCAL_INLINE PeakTerms(const Logistic<T>& at, T gamma) : Hard<kGamma, T>({-at.x, at.small}, gamma) {}

  FOCAL_INLINE T derivative() const { return -Hard<kGamma, T>::derivative(); }  // by x
};

/// (1 - heatmap)^beta.
template <class T>
FOCAL_INLINE T off_peak_factor(T heatmap, T beta) {
  const T rest = 1 - heatmap;
  if (beta == 4) return (rest * rest) * (rest * rest);
  return beta == 0 ? T(1) : exp_nonpositive(beta * logarithm(rest));
}

/// Numbers: gamma, beta.
template <Gamma kGamma, class T>
struct GaussianFocal {
  using Negative = HardNegative<kGamma, T>;
  static constexpr bool kIsPlain = true;

  T gamma;

  FOCAL_INLINE explicit GaussianFocal(const double* numbers) : gamma(static_cast<T>(numbers[0])) {}

  FOCAL_INLINE Negative negative() const { return {gamma}; }
  FOCAL_INLINE PeakTerms<kGamma, T> positive(const Logistic<T>& x, T) const { return {x, gamma}; }
};

}  // namespace paddle_focal
