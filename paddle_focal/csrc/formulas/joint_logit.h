// The logit of a product of probabilities, (sigmoid(a) sigmoid(b))^power, on host and device.
//
// With m = max(min(a, b), 0) and S = e^m (softplus(-a) + softplus(-b)), which neither overflows nor vanishes:
//
//   -log p = power e^-m S        1 - p = -log p E, E = (1 - p) / -log p
//   logit p = log p - log(1 - p) = log p - log(power) + m - log S - log E
//   d logit p / da = power sigmoid(-a) / (1 - p) = e^m sigmoid(-a) / (S E)
#pragma once

#include "formulas/logistic.h"

namespace paddle_focal {

template <class T>
struct JointLogit {
  T value, by_a, by_b;

  FOCAL_INLINE JointLogit(T a, T b, T power) {
    const T least = a < b ? a : b, m = least > 0 ? least : T(0);
    const Factor of_a(a, m), of_b(b, m);
    const T sum = of_a.softplus + of_b.softplus;
    const T minus_log_p = power * exp_nonpositive(-m) * sum;
    const T p = exp_nonpositive(-minus_log_p), rest = 1 - p;
    const T ratio = minus_log_p > 1 ? rest / minus_log_p : rest == 0 ? T(1) : rest / -logarithm(p);
    value = m - minus_log_p - logarithm(power) - logarithm(sum) - logarithm(ratio);
    by_a = of_a.sigmoid / (sum * ratio);
    by_b = of_b.sigmoid / (sum * ratio);
  }

 private:
  /// e^m softplus(-x) and e^m sigmoid(-x), m <= max(x, 0).
  struct Factor {
    T softplus, sigmoid;

    FOCAL_INLINE Factor(T x, T m) {
      const Logistic<T> at(x);
      const bool is_positive = x > 0;
      const T power = exp_nonpositive(m - (is_positive ? x : m));  // e^(m - x), or 1
      softplus = is_positive ? power * (at.small == 0 ? T(1) : at.tail / at.small) : at.tail - x;
      sigmoid = power * at.inverse;
    }
  };
};

}  // namespace paddle_focal
