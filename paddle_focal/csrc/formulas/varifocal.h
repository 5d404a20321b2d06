// The varifocal loss of one logit, on host and device (Zhang et al., arXiv:2008.13367, eq. 2).
//
// With p = sigmoid(x), it is q BCE(p, q) where the target is a score q, and alpha p^gamma softplus(x) where it is 0:
//
//   dL / dx = q (p - q)        dL / dx = alpha p^gamma (gamma (1 - p) softplus(x) + p)
//
// or, with the weight p^gamma taken as a constant, alpha p^(gamma + 1).
#pragma once

#include "formulas/sigmoid_focal.h"

namespace paddle_focal {

template <class T>
struct ScoreTerms {
  Classifier<T> at;
  T score;

  FOCAL_INLINE ScoreTerms(const Logistic<T>& x, T score) : at(x, score), score(score) {}

  FOCAL_INLINE T loss() const { return score * at.cross_entropy; }
  FOCAL_INLINE T derivative() const { return score * at.difference; }
};

template <Gamma kGamma, class T>
struct DetachedNegative {
  T gamma;

  FOCAL_INLINE Hard<kGamma, T, true> operator()(const Logistic<T>& x) const { return {x, gamma}; }
};

/// Numbers: gamma, whether the weight is a constant for the gradient.
template <Gamma kGamma, bool kDetached, class T>
struct Varifocal {
  using Negative = std::conditional_t<kDetached, DetachedNegative<kGamma, T>, HardNegative<kGamma, T>>;
  static constexpr bool kIsPlain = !kDetached;

  T gamma;

  FOCAL_INLINE explicit Varifocal(const double* numbers) : gamma(static_cast<T>(numbers[0])) {}

  FOCAL_INLINE Negative negative() const { return {gamma}; }
  FOCAL_INLINE ScoreTerms<T> positive(const Logistic<T>& x, T score) const { return {x, score}; }
};

}  // namespace paddle_focal
