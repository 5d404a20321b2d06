// The losses of single logits by number. Each has a formula for logits whose target is 0, and one for all others.
#pragma once

#include "focal.h"
#include "formulas/asymmetric.h"
#include "formulas/gaussian_focal.h"
#include "formulas/quality_focal.h"
#include "formulas/sigmoid_focal.h"
#include "formulas/varifocal.h"

namespace paddle_focal {

/// Calls function with the formula of a loss that is computed in T, of a kind of gamma, which has no third number.
template <Gamma kGamma, class T, class Function>
FOCAL_INLINE void visit_formula_of(const FocalLossParams& params, Function function) {
  const double* numbers = params.numbers;
  const bool has_second = numbers[1] != 0;
  switch (params.loss) {
    case FOCAL_QUALITY:
      return function(QualityFocal<kGamma, T>(numbers));
    case FOCAL_VARIFOCAL:
      return has_second ? function(Varifocal<kGamma, true, T>(numbers))
                        : function(Varifocal<kGamma, false, T>(numbers));
    case FOCAL_GAUSSIAN:
      return function(GaussianFocal<kGamma, T>(numbers));
    default:
      return has_second ? function(SigmoidFocal<kGamma, Variant::kSmooth, T>(numbers))
                        : function(SigmoidFocal<kGamma, Variant::kPlain, T>(numbers));
  }
}

/// Calls function with the formula of any loss that is computed in T.
template <class T, class Function>
FOCAL_INLINE void visit_formula(const FocalLossParams& params, Function function) {
  const double* numbers = params.numbers;
  if (params.loss == FOCAL_ASYMMETRIC) {
    return numbers[2] == 0   ? function(Asymmetric<false, false, T>(numbers))
           : numbers[0] == 4 ? function(Asymmetric<true, true, T>(numbers))
                             : function(Asymmetric<true, false, T>(numbers));
  }
  visit_gamma(kind_of(numbers[0]), [&](auto kind) {
    constexpr Gamma kGamma = decltype(kind)::value;
    numbers[2] != 0 ? function(SigmoidFocal<kGamma, Variant::kPoly, T>(numbers))
                    : visit_formula_of<kGamma, T>(params, function);
  });
}

/// Whether a dense target is one that positive() is for; all others are for negative().
template <class T>
FOCAL_INLINE bool is_positive(const FocalLossParams& params, T target) {
  return params.loss == FOCAL_GAUSSIAN ? target == 1 : target != 0;
}

/// Whether positive() is right for targets of 0, too.
FOCAL_INLINE bool serves_zero(const FocalLossParams& params) {
  return params.loss == FOCAL_SIGMOID || params.loss == FOCAL_QUALITY || params.loss == FOCAL_ASYMMETRIC;
}

/// The factor of a target that positive() is for, from those of targets 1 and 0.
template <class T>
FOCAL_INLINE T positive_scale(const FocalLossParams& params, T target, T foreground, T background) {
  return serves_zero(params) ? target * foreground + (1 - target) * background : foreground;
}

}  // namespace paddle_focal
