// The sigmoid focal loss of one logit, on host and device (Lin et al., arXiv:1708.02002).
//
// With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (eq. 4):
//
//   1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)        FL = alpha_t (1 - p_t)^gamma * -log(p_t)
//   d FL / dz = alpha_t (1 - p_t)^gamma * (gamma p_t * -log(p_t) + (1 - p_t))
#pragma once

#include "formulas/logistic.h"

namespace paddle_focal {

/// The terms of FL / alpha_t of a 0/1 target at z, the logit of the wrong answer; detached, the modulator is a constant
/// for the derivative.
template <Gamma kGamma, class T, bool kDetached = false>
struct Hard {
  T one_minus_p_t;
  T p_t;
  T cross_entropy;  // -log(p_t)
  T modulator;      // (1 - p_t)^gamma
  T gamma;

  FOCAL_INLINE Hard(T z, T gamma) : Hard(z, gamma, Logistic<T>(std::fabs(z))) {}

  FOCAL_INLINE Hard(T z, T gamma, const Logistic<T>& at) : gamma(gamma) {
    const bool is_wrong = z > 0;
    const T far = at.inverse, near = at.small * at.inverse;
    one_minus_p_t = is_wrong ? far : near;
    p_t = is_wrong ? near : far;
    cross_entropy = (is_wrong ? z : T(0)) + at.tail;
    modulator = power<kGamma>(one_minus_p_t, (is_wrong ? T(0) : z) - at.tail, gamma);  // of log(1 - p_t)
  }

  FOCAL_INLINE T loss() const { return modulator * cross_entropy; }
  FOCAL_INLINE T derivative() const {  // by z
    return modulator * (kDetached ? one_minus_p_t : gamma * (p_t * cross_entropy) + one_minus_p_t);
  }
};

/// The terms of FL / alpha_t of any target y in [0, 1] at x; smoothing moves the cross entropy's target only.
///
/// 1 - p_t = sigmoid(x) (1 - y) + sigmoid(-x) y is written as the cross entropy is, see Classifier.
template <Gamma kGamma, class T>
struct Soft {
  T cross_entropy;
  T modulator;
  T d_cross_entropy;    // by x
  T d_log_one_minus_p_t;
  T gamma;

  FOCAL_INLINE Soft(T x, T y, T gamma, T smoothing) : gamma(gamma) {
    const Classifier<T> smoothed(x, y * (1 - smoothing) + smoothing / 2);
    const Logistic<T>& at = smoothed.at;
    const T lost = x > 0 ? 1 - y : y;
    const T mixed = lost + (1 - lost) * at.small;
    const T log_one_minus_p_t = (lost == 0 ? -std::fabs(x) : logarithm(mixed)) - at.tail;
    cross_entropy = smoothed.cross_entropy;
    modulator = power<kGamma>(mixed * at.inverse, log_one_minus_p_t, gamma);
    d_cross_entropy = smoothed.difference;
    d_log_one_minus_p_t = (1 - 2 * y) * (lost == 0 ? T(1) : at.small / mixed) * at.inverse;
  }

  FOCAL_INLINE T loss() const { return modulator * cross_entropy; }
  FOCAL_INLINE T derivative() const {  // by x
    return modulator * (gamma * d_log_one_minus_p_t * cross_entropy + d_cross_entropy);
  }
};

/// The loss of a logit whose target is 0.
template <Gamma kGamma, class T>
struct HardNegative {
  T gamma;

  FOCAL_INLINE Hard<kGamma, T> operator()(T x) const { return {x, gamma}; }
};

/// The same with label smoothing.
template <Gamma kGamma, class T>
struct SmoothNegative {
  T gamma, smoothing;

  FOCAL_INLINE Soft<kGamma, T> operator()(T x) const { return {x, T(0), gamma, smoothing}; }
};

/// Numbers: gamma, label smoothing.
template <Gamma kGamma, bool kSmooth, class T>
struct SigmoidFocal {
  using Negative = std::conditional_t<kSmooth, SmoothNegative<kGamma, T>, HardNegative<kGamma, T>>;
  static constexpr bool kIsPlain = !kSmooth;  // whether targets of 0 are those of the plain focal loss

  T gamma, smoothing;

  FOCAL_INLINE explicit SigmoidFocal(const double* numbers)
      : gamma(static_cast<T>(numbers[0])), smoothing(static_cast<T>(numbers[1])) {}

  FOCAL_INLINE Negative negative() const {
    if constexpr (kSmooth) {
      return {gamma, smoothing};
    } else {
      return {gamma};
    }
  }
  FOCAL_INLINE Soft<kGamma, T> positive(T x, T y) const { return {x, y, gamma, smoothing}; }
};

}  // namespace paddle_focal
