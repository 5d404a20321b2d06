// The logistic function and powers, which all losses of sigmoid classifiers share, on host and device.
//
// Every function is branch-free in its arguments, so that a loop over it is vectorised; T is float or double.
#pragma once

#include "formulas/elementary.h"

namespace paddle_focal {

/// A logit x, and the logistic function at its distance |x| from 0.
template <class T>
struct Logistic {
  T x;
  T small;    // exp(-|x|)
  T inverse;  // 1 / (1 + small) = sigmoid(|x|)
  T tail;     // log(1 + small) = softplus(-|x|)

  FOCAL_INLINE Logistic(T x) : Logistic(x, exp_nonpositive(-std::fabs(x))) {}

  FOCAL_INLINE Logistic(T x, T small) : x(x), small(small) {
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

/// A logit x with a target y: the cross entropy, and the distance of p = sigmoid(x) from y.
///
/// Both are sums of two terms, of which one vanishes as |x| grows. Each is written with the share of the other one, so
/// that a 0/1 target leaves exactly the right one.
template <class T>
struct Classifier {
  T cross_entropy;  // y softplus(-x) + (1 - y) softplus(x)
  T difference;     // p - y
  T slope;          // of p: p (1 - p)

  FOCAL_INLINE Classifier(const Logistic<T>& at, T y) {
    const bool is_positive = at.x > 0;
    const T near = at.small * at.inverse;  // sigmoid(-|x|)
    slope = near * at.inverse;
    cross_entropy = std::fabs(at.x) * (is_positive ? 1 - y : y) + at.tail;
    difference = is_positive ? (1 - y) - near : near - y;
  }
};

}  // namespace paddle_focal
