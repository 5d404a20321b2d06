// Any loss of single logits on a GPU: the work of one thread, which can be run on the host, too.
//
// A thread takes kAtATime logits at a time, kThreads apart, so that those of a warp lie together, aligned or not. They
// are brought into one form: a factor, and a target for those few that have one, on which the formula depends.
#pragma once

#include <cmath>

#include "cuda/focal_pack.cuh"
#include "cuda/focal_pass.cuh"

namespace paddle_focal {
namespace cuda {

template <class S, bool kGradient>
class AnyLoss {
  using T = Computing<S>;

 public:
  static constexpr int kBlocks = std::is_same<S, double>::value ? 2 : 3;  // at a time on a multiprocessor

  FOCAL_INLINE AnyLoss(const Pass& pass, int64_t block, int thread)
      : pass(pass),
        params(pass.params),
        scales(pass),
        base(block * pass.share.per_block),
        start(pass.axes, base),
        first(thread),
        left(pass.share.left(block, thread)) {}

  /// Writes the results, or returns their sum.
  FOCAL_INLINE double run() {
    Sum<T> sum;
    for (; left > 0; left -= kAtATime * kThreads, first += kAtATime * kThreads) {
      own = 0;
#pragma unroll
      for (int j = 0; j < kAtATime; ++j) {
        x[j] = factor[j] = target[j] = 0;
        if (j * kThreads < left) prepare(j, first + j * kThreads);
      }
      evaluate();
      if (pass.out) {
        store();
      } else {
        sum.add((x[0] + x[1]) + (x[2] + x[3]));
      }
    }
    sum.flush();
    return sum.total;
  }

 private:
  FOCAL_INLINE void prepare(int j, int32_t local) {
    const Place place = start.moved(pass.axes, local);
    const int64_t index = base + local, label = place.outer * params.inner + place.inner;
    x[j] = convert<S, T>(static_cast<const S*>(params.logit.data)[index]);
    factor[j] = scales.background_of(params, place.c);
    if (is_dense(params)) {
      params.label.type == FOCAL_FLOAT64 ? apply_target(j, load_one<double>(params.label, index), place.c)
                                         : apply_target(j, load_one<T>(params.label, index), place.c);
    } else {
      apply_label(j, load_label(params.label, label), label, place.c);
    }
    if (params.weight.array.data) {
      const FocalWeight& weight = params.weight;
      const int64_t at = place.outer * weight.outer + place.c * weight.classes + place.inner * weight.inner;
      factor[j] *= load_one<T>(weight.array, at);
    }
    if (kGradient && !params.reduce) {
      factor[j] *= convert<S, T>(static_cast<const S*>(pass.grad_out.data)[index]);
    }
  }

  /// NaN for what is out of range, whatever the logit.
  template <class Number>
  FOCAL_INLINE void apply_target(int j, Number value, int64_t c) {
    if (!is_share(value)) return drop(j, static_cast<T>(NAN));
    if (is_positive(params, value)) return set_own(j, static_cast<T>(value), c);
    if (params.loss == FOCAL_GAUSSIAN) {
      factor[j] *= static_cast<T>(off_peak_factor(value, static_cast<Number>(params.numbers[1])));
    }
  }

  FOCAL_INLINE void apply_label(int j, int64_t label, int64_t index, int64_t c) {
    if (static_cast<uint64_t>(label) > static_cast<uint64_t>(params.classes)) {
      return drop(j, label == params.ignore_index ? T(0) : static_cast<T>(NAN));
    }
    if (label != c) return;
    const T score = params.score.data ? load_one<T>(params.score, index) : T(1);
    is_share(score) ? set_own(j, score, c) : drop(j, static_cast<T>(NAN));
  }

  FOCAL_INLINE void drop(int j, T with) {
    x[j] = 0;
    factor[j] = with;
  }

  FOCAL_INLINE void set_own(int j, T value, int64_t c) {
    own |= 1u << j;
    target[j] = value;
    factor[j] = positive_scale(params, value, scales.foreground_of(params, c), factor[j]);
  }

  /// Results in place of the logits.
  FOCAL_INLINE void evaluate() {
    visit_formula<T>(params, [&](auto formula) {
      T result[kAtATime];
#pragma unroll
      for (int j = 0; j < kAtATime; ++j) {
        const auto terms = formula.negative()(x[j]);
        result[j] = kGradient ? terms.derivative() : terms.loss();
      }
      for (uint32_t rest = own; rest;) {
        const int k = take_lowest(rest);
        const auto terms = formula.positive(pick(x, k), pick(target, k));
        put(result, k, static_cast<T>(kGradient ? terms.derivative() : terms.loss()));
      }
#pragma unroll
      for (int j = 0; j < kAtATime; ++j) x[j] = result[j] * factor[j];
    });
  }

  FOCAL_INLINE void store() const {
    S* to = static_cast<S*>(pass.out) + base + first;
#pragma unroll
    for (int j = 0; j < kAtATime; ++j) {
      if (j * kThreads < left) to[j * kThreads] = convert<T, S>(x[j]);
    }
  }

  const Pass& pass;
  const FocalLossParams& params;
  const Scales<T> scales;
  const int64_t base;  // the block's first logit, and where it is
  const Place start;
  int32_t first, left;  // the next logit from there on, and how many are left then
  T x[kAtATime], factor[kAtATime], target[kAtATime];
  uint32_t own;  // those that positive() is for, one bit each
};

}  // namespace cuda
}  // namespace paddle_focal
