// The sigmoid focal loss of one logit, on host and device (Lin et al., arXiv:1708.02002).
//
// With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (eq. 4):
//
//   1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)        FL = alpha_t (1 - p_t)^gamma * -log(p_t)
//   d FL / dz = alpha_t (1 - p_t)^gamma * (gamma p_t * -log(p_t) + (1 - p_t))
//
// Every function is branch-free in its arguments, so that a loop over it is vectorised; T is float or double.
#pragma once

#include "formulas/elementary.h"

namespace paddle_focal {

/// What loss and gradient share: the logistic function at distance |x| from its centre.
template <class T>
struct Logistic {
  T small;    // exp(-|x|)
  T inverse;  // 1 / (1 + small) = sigmoid(|x|)
  T tail;     // log(1 + small) = softplus(-|x|)

  FOCAL_INLINE explicit Logistic(T distance) {
    small = exp_nonpositive(-distance);
#if defined(FOCAL_HAS_APPROXIMATIONS)
    if constexpr (std::is_same<T, float>::value) {
      inverse = approximate_reciprocal(1 + small);
      // Minimax on [0, 1]: longer than that of atanh, but without its quotient.
      tail = small * polynomial<T>(small, 0.9999998057f, -0.4999740531f, 0.3327547825f, -0.2449545429f, 0.1774521909f,
                                   -0.1076814115f, 0.04408942902f, -0.008539154675f);
      return;
    }
#endif
    const T one = 1 + small, two = 2 + small;
    const T shared = 1 / (one * two);  // one division for both quotients
    inverse = shared * two;
    tail = twice_atanh(small * (shared * one));
  }
};

/// The exponents that have a form without exp and log, and all others.
enum class Gamma { kZero, kOne, kTwo, kAny };

FOCAL_INLINE Gamma kind_of(double gamma) {
  return gamma == 0 ? Gamma::kZero : gamma == 1 ? Gamma::kOne : gamma == 2 ? Gamma::kTwo : Gamma::kAny;
}

/// Calls function with the kind of gamma as a compile-time constant.
template <class Function>
FOCAL_INLINE void visit_gamma(Gamma kind, Function function) {
  switch (kind) {
    case Gamma::kZero:
      return function(std::integral_constant<Gamma, Gamma::kZero>());
    case Gamma::kOne:
      return function(std::integral_constant<Gamma, Gamma::kOne>());
    case Gamma::kTwo:
      return function(std::integral_constant<Gamma, Gamma::kTwo>());
    default:
      return function(std::integral_constant<Gamma, Gamma::kAny>());
  }
}

/// base^gamma; log_base is read for Gamma::kAny only.
template <Gamma kGamma, class T>
FOCAL_INLINE T power(T base, T log_base, T gamma) {
  if constexpr (kGamma == Gamma::kZero) {
    return 1;
  } else if constexpr (kGamma == Gamma::kOne) {
    return base;
  } else if constexpr (kGamma == Gamma::kTwo) {
    return base * base;
  } else {
    return exp_nonpositive(gamma * log_base);
  }
}

/// The terms of FL / alpha_t of a 0/1 target at z, the logit of the wrong answer.
template <Gamma kGamma, class T>
struct Hard {
  T one_minus_p_t;
  T p_t;
  T cross_entropy;  // -log(p_t)
  T modulator;      // (1 - p_t)^gamma
  T gamma;

  FOCAL_INLINE Hard(T z, T gamma) : gamma(gamma) {
    const Logistic<T> at(std::fabs(z));
    const bool is_wrong = z > 0;
    const T far = at.inverse, near = at.small * at.inverse;
    one_minus_p_t = is_wrong ? far : near;
    p_t = is_wrong ? near : far;
    cross_entropy = (is_wrong ? z : T(0)) + at.tail;
    modulator = power<kGamma>(one_minus_p_t, (is_wrong ? T(0) : z) - at.tail, gamma);  // of log(1 - p_t)
  }

  FOCAL_INLINE T loss() const { return modulator * cross_entropy; }
  FOCAL_INLINE T derivative() const { return modulator * (gamma * (p_t * cross_entropy) + one_minus_p_t); }  // by z
};

/// The terms of FL / alpha_t of any target y in [0, 1] at x; smoothing moves the cross entropy's target only.
///
/// 1 - p_t = sigmoid(x) (1 - y) + sigmoid(-x) y and the cross entropy are sums of two terms, of which one vanishes as
/// |x| grows; both are written with the share of the other one, `lost`, so that a 0/1 target leaves exactly the right
/// one.
template <Gamma kGamma, class T>
struct Soft {
  T cross_entropy;
  T modulator;
  T d_cross_entropy;    // by x
  T d_log_one_minus_p_t;
  T gamma;

  FOCAL_INLINE Soft(T x, T y, T gamma, T smoothing) : gamma(gamma) {
    const T distance = std::fabs(x);
    const Logistic<T> at(distance);
    const T positive = x > 0 ? T(1) : T(0);
    const T smoothed = y * (1 - smoothing) + smoothing / 2;
    const T lost = std::fabs(positive - y);
    const T mixed = lost + (1 - lost) * at.small;
    cross_entropy = distance * std::fabs(positive - smoothed) + at.tail;
    const T log_one_minus_p_t = (lost == 0 ? -distance : logarithm(mixed)) - at.tail;
    modulator = power<kGamma>(mixed * at.inverse, log_one_minus_p_t, gamma);
    const T near = at.small * at.inverse;
    const T p = x > 0 ? at.inverse : near, q = x > 0 ? near : at.inverse;
    d_cross_entropy = (1 - smoothed) * p - smoothed * q;
    d_log_one_minus_p_t = (1 - 2 * y) * (lost == 0 ? T(1) : at.small / mixed) * at.inverse;
  }

  FOCAL_INLINE T loss() const { return modulator * cross_entropy; }
  FOCAL_INLINE T derivative() const {  // by x
    return modulator * (gamma * d_log_one_minus_p_t * cross_entropy + d_cross_entropy);
  }
};

}  // namespace paddle_focal
