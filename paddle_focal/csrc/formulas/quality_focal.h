// The quality focal loss of one logit, on host and device (Li et al., arXiv:2006.04388, eq. 3).
//
// With p = sigmoid(x), a score y in [0, 1] and d = p - y:
//
//   QFL = |d|^gamma BCE(p, y)        d QFL / dx = |d|^gamma d + gamma |d|^(gamma - 1) sgn(d) p (1 - p) BCE(p, y)
//
// Where y is 0 it is the focal loss. Elsewhere it is computed in double: near d = 0 a power of |d| below 1 makes much of
// the rounding of p.
#pragma once

#include "formulas/sigmoid_focal.h"

namespace paddle_focal {

template <Gamma kGamma>
struct QualityTerms {
  Classifier<double> at;
  double gamma;
  double modulator;  // |d|^gamma
  double slope;      // |d|^(gamma - 1) sgn(d); 0 at d = 0, where it may have no limit

  FOCAL_INLINE QualityTerms(const Logistic<double>& x, double y, double gamma) : at(x, y), gamma(gamma) {
    const double distance = std::fabs(at.difference);
    const bool is_met = distance < Format<double>::kSmallest;
    modulator = power<kGamma>(is_met ? 0 : distance, logarithm(distance), gamma);
    if (kGamma == Gamma::kAny) modulator = is_met ? 0 : modulator;
    slope = kGamma == Gamma::kTwo ? at.difference : is_met ? 0 : modulator / at.difference;
  }

  FOCAL_INLINE double loss() const { return modulator * at.cross_entropy; }
  FOCAL_INLINE double derivative() const {
    return modulator * at.difference + gamma * slope * (at.slope * at.cross_entropy);
  }
};

/// Numbers: gamma.
template <Gamma kGamma, class T>
struct QualityFocal {
  using Negative = HardNegative<kGamma, T>;
  static constexpr bool kIsPlain = true;

  double gamma;

  FOCAL_INLINE explicit QualityFocal(const double* numbers) : gamma(numbers[0]) {}

  FOCAL_INLINE Negative negative() const { return {static_cast<T>(gamma)}; }
  FOCAL_INLINE QualityTerms<kGamma> positive(const Logistic<double>& x, T y) const { return {x, y, gamma}; }
};

}  // namespace paddle_focal
