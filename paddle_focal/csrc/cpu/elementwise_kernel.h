// The losses of single logits on the CPU: block by block, in the first-level cache, in the widest vectors there are.
//
// Nearly all logits have the target 0: a block is evaluated as if all had, where it lies, and then those few that have
// not once more. Included after the choice of an instruction set.
#pragma once

#include "cpu/layouts.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

constexpr int64_t kTaskSize = 1 << 14;  // logits: a task's sum is the same whichever thread runs it
constexpr int64_t kStrip = 8;  // blocks of one class in a row, so that memory is read in runs of 32 KiB

/// The factors of the logits off a heatmap's peaks.
template <class T, class TargetOf, class Number>
FOCAL_NOINLINE void apply_heatmap(TargetOf target_of, int64_t n, Number beta, T* factor) {
  const auto apply = [&](Number exponent) FOCAL_INLINE_LAMBDA {
    for (int64_t i = 0; i < n; ++i) {
      const Number heatmap = target_of(i);
      factor[i] *= heatmap == 1 ? T(1) : static_cast<T>(off_peak_factor(heatmap, exponent));
    }
  };
  beta == 4 ? apply(4) : apply(beta);  // a constant, so that the loop has no choice in it and becomes one of vectors
}

/// Dense targets: which logits are not of target 0, as they stand, for rounding may make one of a double.
template <class S, class T>
FOCAL_INLINE void apply_targets(const FocalLossParams& params, const S* targets, Block<T>& block, Result& result) {
  using Number = std::conditional_t<std::is_same<S, double>::value, double, T>;
  const auto target_of = [=](int64_t i) FOCAL_INLINE_LAMBDA { return convert<S, Number>(targets[i]); };
  Own<T>& own = block.own;
  const int64_t n = block.n;
  int32_t invalid = 0, count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Number target = target_of(i);
    invalid += !((target >= 0) & (target <= 1));
    count += target != 0;
  }
  for (int64_t i = 0; invalid && i < n; ++i) {
    if (!(target_of(i) >= 0 && target_of(i) <= 1)) return result.reject(block.offset + i);
  }
  if (is_crowded(params, count, n)) {
    convert_all<S, T>(targets, own.target, n);
    return own.take_all(n);
  }
  if (!count) return;
  if (params.loss == FOCAL_GAUSSIAN) {
    apply_heatmap<T>(target_of, n, static_cast<Number>(params.numbers[1]), block.factor);
    own.collect(n, [=](int64_t i) FOCAL_INLINE_LAMBDA { return target_of(i) == 1; });
  } else {
    own.collect(n, [=](int64_t i) FOCAL_INLINE_LAMBDA { return target_of(i) != 0; });
  }
  for (int64_t k = 0; k < own.n; ++k) own.target[k] = convert<S, T>(targets[own.at[k]]);
}

/// The factors of own logits, whose target is not 0.
template <class T, class Layout>
FOCAL_INLINE void apply_own_scale(const Pass& pass, const Layout& layout, Block<T>& block) {
  const FocalLossParams& params = pass.params;
  Own<T>& own = block.own;
  layout.fill_scale(params.scales[0], static_cast<T>(pass.multiplier), block.other);
  if (own.is_all) {
    for (int64_t i = 0; i < own.n; ++i) {
      block.factor[i] = positive_scale(params, own.target[i], block.other[i], block.factor[i]);
    }
    return;
  }
  for (int64_t k = 0; k < own.n; ++k) {
    T& factor = block.factor[own.at[k]];
    factor = positive_scale(params, own.target[k], block.other[own.at[k]], factor);
  }
}

/// Brings a block into its form: a factor for each logit, and the list of those whose target is not 0.
template <class T, class Layout>
FOCAL_INLINE void prepare(const Pass& pass, const Layout& layout, Block<T>& block, Result& result) {
  const FocalLossParams& params = pass.params;
  layout.fill_scale(params.scales[1], static_cast<T>(pass.multiplier), block.factor);
  if (is_dense(params)) {
    visit_type(params.label.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      apply_targets(params, static_cast<const S*>(params.label.data) + block.offset, block, result);
    });
  } else {
    layout.apply_labels(block, result);
  }
  if (block.own.n) apply_own_scale(pass, layout, block);
  if (params.weight.array.data) {
    layout.fill_weight(block.other);
    multiply(block.factor, block.other, block.n);
  }
  if (pass.grad_out) {
    load(*pass.grad_out, block.offset, block.n, block.other);
    multiply(block.factor, block.other, block.n);
  }
}

/// Whether a block's logits are evaluated where they lie. That saves a copy, and for bfloat16 the pass over it that
/// converts; float16 converts faster in a loop of its own.
template <class T>
FOCAL_INLINE bool is_evaluated_in_memory(const Pass& pass) {
  const FocalLossParams& params = pass.params;
  if (size_of(params.logit.type) == sizeof(T)) return true;
  const bool is_plain = params.numbers[1] == 0 && params.numbers[2] == 0;
  return params.logit.type == FOCAL_BFLOAT16 && pass.mode != Mode::kBoth && is_plain;
}

/// Results of all n logits by the formula for own ones.
template <class T, class In, class Out, class Formula>
FOCAL_INLINE void evaluate_all(const Pass& pass, Block<T>& block, int64_t n, Formula formula, const In* in, Out* out) {
  Own<T>& own = block.own;
  fill(own.target + own.n, n - own.n, T(0));
  const T* logit;
  if constexpr (std::is_same<In, T>::value) {
    logit = in;
  } else {
    logit = own.logit;
    for (int64_t i = 0; i < n; ++i) own.logit[i] = convert<In, T>(in[i]);
  }
  T* result;
  if constexpr (std::is_same<Out, T>::value) {
    result = out;
  } else {
    result = own.factor;
  }
  const bool is_loss = pass.mode == Mode::kLoss;
  evaluate_positive(formula, n, logit, own.target, block.factor, is_loss ? result : block.other,
                    is_loss ? block.other : result);
  if constexpr (!std::is_same<Out, T>::value) {
    for (int64_t i = 0; i < n; ++i) out[i] = convert<T, Out>(result[i]);
  }
}

/// Results of the own ones.
template <class T, class Out, class Formula>
FOCAL_INLINE void evaluate_own(const Pass& pass, Block<T>& block, Formula formula, Out* out) {
  Own<T>& own = block.own;
  for (int64_t k = 0; k < own.n; ++k) own.factor[k] = block.factor[own.at[k]];
  evaluate_positive(formula, own.n, own.logit, own.target, own.factor, own.target, own.logit);
  const T* result = pass.mode == Mode::kLoss ? own.target : own.logit;
  for (int64_t k = 0; k < own.n; ++k) out[own.at[k]] = convert<T, Out>(result[k]);
  for (int64_t k = 0; pass.mode == Mode::kBoth && k < own.n; ++k) block.other[own.at[k]] = own.target[k];
}

/// Results of n logits in memory or in the block's buffer, to memory or to the buffer; losses beside gradients to
/// block.other.
template <class T, class In, class Out>
FOCAL_INLINE void evaluate(const Pass& pass, Block<T>& block, int64_t n, const In* in, Out* out) {
  constexpr bool kConverts = !std::is_same<In, T>::value;  // only what is_evaluated_in_memory() says
  Own<T>& own = block.own;
  visit_formula<T>(pass.params, [&](auto formula) FOCAL_INLINE_LAMBDA {
    if constexpr (!kConverts || formula.kIsPlain) {
      if (own.is_all) return evaluate_all(pass, block, n, formula, in, out);
      for (int64_t k = 0; k < own.n; ++k) own.logit[k] = convert<In, T>(in[own.at[k]]);  // before `out` overwrites it
      const auto run = [&](auto mode) FOCAL_INLINE_LAMBDA {
        evaluate_negative<decltype(mode)::value>(block, n, formula.negative(), in, out);
      };
      if (pass.mode == Mode::kLoss) run(std::integral_constant<Mode, Mode::kLoss>());
      if constexpr (std::is_same<In, Out>::value) {
        if (pass.mode == Mode::kGradient) run(std::integral_constant<Mode, Mode::kGradient>());
      }
      if constexpr (!kConverts) {
        if (pass.mode == Mode::kBoth) run(std::integral_constant<Mode, Mode::kBoth>());
      }
      if (own.n) evaluate_own(pass, block, formula, out);
    }
  });
}

/// Results of a whole block of logits of type S, to `out` or, if that is null, to z.
template <class S, class T>
FOCAL_INLINE void evaluate_in_memory(const Pass& pass, Block<T>& block, char* out) {
  const S* in = static_cast<const S*>(block.logit.data) + block.offset;
  out ? evaluate(pass, block, block.n, in, reinterpret_cast<S*>(out)) : evaluate(pass, block, block.n, in, block.z);
}

template <class T, class Layout>
FOCAL_NOINLINE void run_block(const Pass& pass, const Layout& layout, Block<T>& block, Result& result) {
  const FocalLossParams& params = pass.params;
  const int64_t offset = layout.offset(), n = layout.n;
  const int64_t padded = (n + kVectors - 1) / kVectors * kVectors;

  block.begin(params.logit, offset, n);
  if (n != padded || !is_evaluated_in_memory<T>(pass)) block.buffered_logit();
  prepare(pass, layout, block, result);

  char* out = pass.out ? static_cast<char*>(pass.out) + offset * size_of(params.logit.type) : nullptr;
  if (block.is_buffered) {
    fill(block.z + n, padded - n, T(0));
    fill(block.factor + n, padded - n, T(0));
    evaluate(pass, block, padded, block.z, block.z);
    if (out) store(block.z, n, params.logit.type, out);
  } else if (params.logit.type == FOCAL_BFLOAT16) {
    using Half = std::conditional_t<std::is_same<T, float>::value, BFloat16, T>;  // never computed in double
    evaluate_in_memory<Half>(pass, block, out);
  } else {
    evaluate_in_memory<T>(pass, block, out);
  }
  if (pass.mode == Mode::kBoth) {
    result.sum += sum(block.other, padded);
  } else if (!out) {
    result.sum += sum(block.z, padded);
  }
}

/// A pass over logits that are computed in T, and how they are shared out in tasks. The tasks depend on the shape only,
/// and so do the sums.
template <class T>
struct ElementwisePass {
  const Pass& pass;
  bool is_class_last;
  int64_t strip;            // labels of a unit of the class-major layout
  int64_t strips;           // for each index of the outer axis
  int64_t units, per_task;  // a unit: a block of the class-last layout; or a strip, for every class

  explicit ElementwisePass(const Pass& pass) : pass(pass), is_class_last(pass.params.inner == 1) {
    const FocalLossParams& params = pass.params;
    const int64_t blocks = (params.inner + kBlock<T> - 1) / kBlock<T>;
    strips = (blocks + kStrip - 1) / kStrip;
    strip = lesser(params.inner, (blocks + strips - 1) / strips * kBlock<T>);  // of about equal length
    units = is_class_last ? (logit_count(params) + kBlock<T> - 1) / kBlock<T> : params.outer * strips;
    const int64_t unit_size = is_class_last ? kBlock<T> : params.classes * strip;
    per_task = unit_size < kTaskSize ? kTaskSize / unit_size : 1;
  }

  int64_t task_count() const { return (units + per_task - 1) / per_task; }

  void run_task(int64_t task, Result& result) const {
    Block<T> block;
    const int64_t end = lesser(units, (task + 1) * per_task);
    for (int64_t unit = task * per_task; unit < end; ++unit) {
      if (is_class_last) {
        const int64_t begin = unit * kBlock<T>, n = lesser(kBlock<T>, logit_count(pass.params) - begin);
        run_block(pass, ClassLast{pass.params, begin, n}, block, result);
      } else {
        const int64_t begin = unit % strips * strip;
        run_strip(unit / strips, begin, lesser(begin + strip, pass.params.inner), block, result);
      }
    }
  }

  /// A strip of consecutive labels, class after class: the next block in memory follows wherever there is one.
  void run_strip(int64_t outer, int64_t begin, int64_t end, Block<T>& block, Result& result) const {
    const FocalLossParams& params = pass.params;
    Labels<T> labels[kStrip];
    const auto for_each_block = [&](auto function) FOCAL_INLINE_LAMBDA {
      for (int64_t i = 0, at = begin; at < end; ++i, at += kBlock<T>) {
        function(labels[i], at, lesser(kBlock<T>, end - at));
      }
    };
    if (!is_dense(params)) {
      for_each_block([&](Labels<T>& own, int64_t at, int64_t n) FOCAL_INLINE_LAMBDA {
        load_labels(params, outer * params.inner + at, n, own, result);
      });
    }
    for (int64_t c = 0; c < params.classes; ++c) {
      for_each_block([&](const Labels<T>& own, int64_t at, int64_t n) FOCAL_INLINE_LAMBDA {
        run_block(pass, ClassMajor<T>{params, own, outer, c, at, n}, block, result);
      });
    }
  }
};

template <class T>
Result run_elementwise(const Pass& pass) {
  const ElementwisePass<T> whole(pass);
  const auto task = [](const void* work, int64_t number, Result& result) {
    static_cast<const ElementwisePass<T>*>(work)->run_task(number, result);
  };
  return run_tasks(whole.task_count(), task, &whole);
}

Result elementwise(const Pass& pass) {
  return pass.params.logit.type == FOCAL_FLOAT64 ? run_elementwise<double>(pass) : run_elementwise<float>(pass);
}

}  // namespace
}  // namespace FOCAL_ISA
}  // namespace cpu
}  // namespace paddle_focal
