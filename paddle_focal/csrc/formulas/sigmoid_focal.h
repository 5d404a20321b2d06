// The sigmoid focal loss of one logit, on host and device (Lin et al., arXiv:1708.02002).
//
// With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (eq. 4):
//
//   1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)        FL = alpha_t (1 - p_t)^gamma * -log(p_t)
//   d FL / dz = alpha_t (1 - p_t)^gamma * (gamma p_t * -log(p_t) + (1 - p_t))
//
// and Poly-1 focal loss, which adds alpha_t epsilon (1 - p_t)^(gamma + 1) (Leng et al., arXiv:2204.12511), as if the
// cross entropy were greater by epsilon (1 - p_t).
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

  FOCAL_INLINE Hard(const Logistic<T>& at, T gamma) : gamma(gamma) {
    const T z = at.x;
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

/// The terms of FL / alpha_t of any target y in [0, 1] at x; smoothing moves the cross entropy's target only, and epsilon
/// is that of Poly-1.
///
/// 1 - p_t = sigmoid(x) (1 - y) + sigmoid(-x) y is written as the cross entropy is, see Classifier.
template <Gamma kGamma, bool kPoly, class T>
struct Soft {
  T cross_entropy;
  T modulator;
  T d_cross_entropy;    // by x
  T d_log_one_minus_p_t;
  T gamma;

  FOCAL_INLINE Soft(const Logistic<T>& at, T y, T gamma, T smoothing, T epsilon) : gamma(gamma) {
    const Classifier<T> smoothed(at, y * (1 - smoothing) + smoothing / 2);
    const T lost = at.x > 0 ? 1 - y : y;
    const T mixed = lost + (1 - lost) * at.small;
    const T log_one_minus_p_t = (lost == 0 ? -std::fabs(at.x) : logarithm(mixed)) - at.tail;
    const T one_minus_p_t = mixed * at.inverse;
    modulator = power<kGamma>(one_minus_p_t, log_one_minus_p_t, gamma);
    d_log_one_minus_p_t = (1 - 2 * y) * (lost == 0 ? T(1) : at.small / mixed) * at.inverse;
    cross_entropy = smoothed.cross_entropy;
    d_cross_entropy = smoothed.difference;
    if constexpr (kPoly) {
      const T added = epsilon * one_minus_p_t;
      cross_entropy += added;
      d_cross_entropy += added * d_log_one_minus_p_t;
    }
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

  FOCAL_INLINE Hard<kGamma, T> operator()(const Logistic<T>& x) const { return {x, gamma}; }
};

/// The same with label smoothing and the epsilon of Poly-1.
template <Gamma kGamma, bool kPoly, class T>
struct SoftNegative {
  T gamma, smoothing, epsilon;

  FOCAL_INLINE Soft<kGamma, kPoly, T> operator()(const Logistic<T>& x) const { return {x, T(0), gamma, smoothing, epsilon}; }
};

enum class Variant { kPlain, kSmooth, kPoly };

/// Numbers: gamma, label smoothing, epsilon.
template <Gamma kGamma, Variant kVariant, class T>
struct SigmoidFocal {
  static constexpr bool kIsPlain = kVariant == Variant::kPlain;  // targets of 0 are those of the plain focal loss
  static constexpr bool kPoly = kVariant == Variant::kPoly;
  using Negative = std::conditional_t<kIsPlain, HardNegative<kGamma, T>, SoftNegative<kGamma, kPoly, T>>;

  T gamma, smoothing, epsilon;

  FOCAL_INLINE explicit SigmoidFocal(const double* numbers)
      : gamma(static_cast<T>(numbers[0])),
        smoothing(static_cast<T>(numbers[1])),
        epsilon(static_cast<T>(numbers[2])) {}

  FOCAL_INLINE Negative negative() const {
    if constexpr (kIsPlain) {
      return {gamma};
    } else {
      return {gamma, smoothing, epsilon};
    }
  }
  FOCAL_INLINE Soft<kGamma, kPoly, T> positive(const Logistic<T>& x, T y) const { return {x, y, gamma, smoothing, epsilon}; }
};

}  // namespace paddle_focal
