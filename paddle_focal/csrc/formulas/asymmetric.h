// The asymmetric loss of one logit, on host and device (Ridnik et al., arXiv:2009.14119).
//
// With p = sigmoid(x) and m = max(p - margin, 0), it is that of target y in [0, 1] between those of targets 1 and 0:
//
//   L = y (1 - p)^gamma_pos softplus(-x) + (1 - y) m^gamma_neg (-log(1 - m))
//
// Both parts are the focal loss, the second one if there is no margin. With one, its derivative is, for m > 0,
//
//   p (1 - p) m^(gamma_neg - 1) (gamma_neg (-log(1 - m)) + m / (1 - m))        1 - m = (1 - p) + margin
#pragma once

#include "formulas/sigmoid_focal.h"

namespace paddle_focal {

/// The terms of a target of 0 at x, with a margin > 0.
template <bool kFourth, class T>
struct ClippedTerms {
  T gamma;
  T lesser_power;   // m^(gamma - 1); 0 where m is
  T m;
  T cross_entropy;  // -log(1 - m)
  T odds;           // m / (1 - m)
  T variance;       // p (1 - p)

  FOCAL_INLINE ClippedTerms(const Logistic<T>& at, T gamma, T margin) : gamma(gamma) {
    const bool is_positive = at.x > 0;
    const T near = at.small * at.inverse, p = is_positive ? at.inverse : near, q = is_positive ? near : at.inverse;
    const bool is_clipped = p <= margin;
    m = is_clipped ? T(0.5) : p - margin;  // some number that no formula minds
    const T rest = q + margin;             // 1 - m
    const T shared = 1 / (rest * (1 + rest));
    odds = m * (shared * (1 + rest));
    // Of a small m the first one, in which 1 - m is not rounded.
    cross_entropy = m > T(0.5) ? -logarithm(rest) : twice_atanh(m * (shared * rest));
    variance = p * q;
    const T power = kFourth ? m * m * m : exp_nonpositive(gamma * logarithm(m)) / m;
    lesser_power = is_clipped ? T(0) : power;
  }

  FOCAL_INLINE T loss() const { return lesser_power * m * cross_entropy; }
  FOCAL_INLINE T derivative() const { return variance * lesser_power * (gamma * cross_entropy + odds); }
};

/// The loss of a logit whose target is 0; kFourth: gamma is 4.
template <bool kFourth, class T>
struct ClippedNegative {
  T gamma, margin;

  FOCAL_INLINE ClippedTerms<kFourth, T> operator()(const Logistic<T>& x) const { return {x, gamma, margin}; }
};

/// The terms of any target y in [0, 1] at x.
template <class Negative, class T>
struct AsymmetricTerms {
  T y;
  T own, other;              // the losses of targets 1 and 0
  T own_slope, other_slope;  // their derivatives, by -x and x

  FOCAL_INLINE AsymmetricTerms(const Logistic<T>& at, T y, T gamma_pos, Negative negative) : y(y) {
    const Hard<Gamma::kAny, T> of_one({-at.x, at.small}, gamma_pos);
    const auto of_zero = negative(at);
    own = of_one.loss();
    own_slope = of_one.derivative();
    other = of_zero.loss();
    other_slope = of_zero.derivative();
  }

  FOCAL_INLINE T loss() const { return y * own + (1 - y) * other; }
  FOCAL_INLINE T derivative() const { return (1 - y) * other_slope - y * own_slope; }
};

/// Numbers: gamma of target 0, gamma of target 1, margin.
template <bool kClipped, bool kFourth, class T>
struct Asymmetric {
  using Negative = std::conditional_t<kClipped, ClippedNegative<kFourth, T>, HardNegative<Gamma::kAny, T>>;
  static constexpr bool kIsPlain = !kClipped;

  T gamma_neg, gamma_pos, margin;

  FOCAL_INLINE explicit Asymmetric(const double* numbers)
      : gamma_neg(static_cast<T>(numbers[0])),
        gamma_pos(static_cast<T>(numbers[1])),
        margin(static_cast<T>(numbers[2])) {}

  FOCAL_INLINE Negative negative() const {
    if constexpr (kClipped) {
      return {gamma_neg, margin};
    } else {
      return {gamma_neg};
    }
  }
  FOCAL_INLINE AsymmetricTerms<Negative, T> positive(const Logistic<T>& x, T y) const { return {x, y, gamma_pos, negative()}; }
};

}  // namespace paddle_focal
