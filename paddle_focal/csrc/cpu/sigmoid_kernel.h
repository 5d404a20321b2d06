// The sigmoid focal loss on the CPU: block by block, in the first-level cache, in the widest vectors there are.
//
// A block is brought into one form, whatever the labels: logits z and a factor for each. Included after the choice of
// an instruction set.
#pragma once

#include "cpu/block.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

constexpr int64_t kTaskSize = 1 << 14;  // logits: a task's sum is the same whichever thread runs it
constexpr int64_t kStrip = 4;  // blocks of one class in a row, so that memory is read in runs of 32 KiB

/// Blocks of the class-last layout, which run across classes and labels.
struct ClassLast {
  const FocalLossParams& params;
  int64_t begin, n;  // logits

  /// Calls function(label, class, position in the block, length) for each label's part of the block.
  template <class Function>
  FOCAL_INLINE void for_each_label(Function function) const {
    const int64_t classes = params.classes;
    for (int64_t label = begin / classes, at = label * classes - begin; at < n; ++label, at += classes) {
      const int64_t first = at < 0 ? 0 : at;
      function(label, first - at, first, lesser(at + classes, n) - first);
    }
  }

  int64_t offset() const { return begin; }

  template <class T>
  FOCAL_INLINE void fill_scale(const FocalScale& scale, T multiplier, T* out) const {
    if (!scale.stride) return fill(out, n, scale_of<T>(scale, 0) * multiplier);
    for_each_label([&](int64_t, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const T* data = static_cast<const T*>(scale.data) + c;
      for (int64_t i = 0; i < length; ++i) out[at + i] = data[i] * multiplier;
    });
  }

  template <class T>
  FOCAL_INLINE void fill_weight(T* out) const {
    const FocalWeight& weight = params.weight;
    if (weight.outer && weight.classes) return load(weight.array, begin, n, out);
    for_each_label([&](int64_t label, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t row = label * weight.outer;
      weight.classes ? load(weight.array, row + c, length, out + at)
                     : fill(out + at, length, load_one<T>(weight.array, row));
    });
  }

  template <class T>
  FOCAL_INLINE void apply_labels(T multiplier, Block<T>& block, Result& result) const {
    const bool has_targets = is_soft(params);
    for_each_label([&](int64_t index, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t label = load_label(params.label, index);
      if (label == params.classes) return;
      if (label < 0 || label > params.classes) {
        if (label != params.ignore_index) result.reject(index);
        fill(block.buffered_logit() + at, length, T(0));
        fill(block.factor + at, length, T(0));
      } else if (label >= c && label < c + length) {
        const int64_t i = at + label - c;
        block.factor[i] = scale_of<T>(params.scales[0], label) * multiplier;
        if (has_targets) {
          block.target[i] = 1;
        } else {
          T* z = block.buffered_logit();
          z[i] = -z[i];
        }
      }
    });
  }

  template <class T>
  FOCAL_INLINE void negate_foreground(T* values) const {
    for_each_label([&](int64_t index, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t own = load_label(params.label, index) - c;
      if (own >= 0 && own < length) values[at + own] = -values[at + own];
    });
  }
};

/// Blocks of the class-major layout: one class of consecutive labels.
template <class T>
struct ClassMajor {
  const FocalLossParams& params;
  const Labels<T>& labels;
  int64_t outer, c, begin, n;  // labels [begin, begin + n) of the inner axis

  int64_t offset() const { return (outer * params.classes + c) * params.inner + begin; }

  FOCAL_INLINE void fill_scale(const FocalScale& scale, T multiplier, T* out) const {
    fill(out, n, scale_of<T>(scale, c) * multiplier);
  }

  FOCAL_INLINE void fill_weight(T* out) const {
    const FocalWeight& weight = params.weight;
    const int64_t at = outer * weight.outer + c * weight.classes;
    weight.inner ? load(weight.array, at + begin, n, out) : fill(out, n, load_one<T>(weight.array, at));
  }

  FOCAL_INLINE void apply_labels(T multiplier, Block<T>& block, Result&) const {
    const bool has_targets = is_soft(params);
    const int32_t own = static_cast<int32_t>(c);
    if (labels.foreground_bits >> (c & 63) & 1) {
      const T foreground = scale_of<T>(params.scales[0], c) * multiplier;
      T* z = block.buffered_logit();
      for (int64_t i = 0; i < n; ++i) {
        const bool is_foreground = labels.index[i] == own;
        block.factor[i] = is_foreground ? foreground : block.factor[i];
        block.target[i] = is_foreground ? T(1) : T(0);
        z[i] = is_foreground && !has_targets ? -z[i] : z[i];
      }
    }
    if (labels.has_ignored) {
      T* z = block.buffered_logit();
      for (int64_t i = 0; i < n; ++i) {
        const bool is_ignored = labels.index[i] < 0;
        block.factor[i] = is_ignored ? T(0) : block.factor[i];
        z[i] = is_ignored ? T(0) : z[i];
      }
    }
  }

  FOCAL_INLINE void negate_foreground(T* values) const {
    const int32_t own = static_cast<int32_t>(c);
    if (!(labels.foreground_bits >> (c & 63) & 1)) return;
    for (int64_t i = 0; i < n; ++i) values[i] = labels.index[i] == own ? -values[i] : values[i];
  }
};

template <class T>
FOCAL_INLINE void load_labels(const FocalLossParams& params, int64_t first, int64_t n, Labels<T>& labels,
                              Result& result) {
  labels.has_ignored = false;
  labels.foreground_bits = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t label = load_label(params.label, first + i);
    const bool counts = label >= 0 && label <= params.classes;
    if (!counts && label != params.ignore_index) result.reject(first + i);
    labels.has_ignored |= !counts;
    labels.foreground_bits |= uint64_t(counts && label < params.classes) << (label & 63);
    labels.index[i] = counts ? static_cast<int32_t>(label) : -1;
  }
}

/// Factors of dense targets from those of targets 0 (in block.factor) and 1 (in block.other).
template <class T>
FOCAL_INLINE void mix_scales(Block<T>& block, int64_t offset, int64_t n, Result& result) {
  bool is_valid = true;
  for (int64_t i = 0; i < n; ++i) {
    const T target = block.target[i];
    is_valid &= (target >= 0) & (target <= 1);
    block.factor[i] = target * block.other[i] + (1 - target) * block.factor[i];
  }
  for (int64_t i = 0; !is_valid && i < n; ++i) {
    if (!(block.target[i] >= 0 && block.target[i] <= 1)) return result.reject(offset + i);
  }
}

/// Whether a block's logits are evaluated where they lie. That saves a copy, and for bfloat16 the pass over it that
/// converts; float16 converts faster in a loop of its own.
template <class T>
FOCAL_INLINE bool is_evaluated_in_memory(const Pass& pass) {
  const int64_t type = pass.params.logit.type;
  if (size_of(type) == sizeof(T)) return true;
  return type == FOCAL_BFLOAT16 && !is_soft(pass.params) && pass.mode != Mode::kBoth;
}

/// Evaluates n logits for the pass's mode, gamma and kind of targets.
template <class T, class In, class Out>
FOCAL_INLINE void evaluate(const Pass& pass, Block<T>& block, int64_t n, const In* in, Out* out) {
  constexpr bool kConverts = !std::is_same<In, T>::value;  // only what is_evaluated_in_memory() says
  const T gamma = static_cast<T>(pass.params.gamma), smoothing = static_cast<T>(pass.params.label_smoothing);
  const auto run = [&](auto mode, auto is_soft) FOCAL_INLINE_LAMBDA {
    visit_gamma(kind_of(pass.params.gamma), [&](auto kind) FOCAL_INLINE_LAMBDA {
      evaluate<decltype(mode)::value, decltype(kind)::value, decltype(is_soft)::value>(block, n, gamma, smoothing, in,
                                                                                      out);
    });
  };
  const auto run_hard_or_soft = [&](auto mode) FOCAL_INLINE_LAMBDA {
    if constexpr (!kConverts) {
      if (is_soft(pass.params)) return run(mode, std::true_type());
    }
    run(mode, std::false_type());
  };
  if (pass.mode == Mode::kLoss) return run_hard_or_soft(std::integral_constant<Mode, Mode::kLoss>());
  if constexpr (std::is_same<In, Out>::value) {
    if (pass.mode == Mode::kGradient) return run_hard_or_soft(std::integral_constant<Mode, Mode::kGradient>());
  }
  if constexpr (!kConverts) run_hard_or_soft(std::integral_constant<Mode, Mode::kBoth>());
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
  const T multiplier = static_cast<T>(pass.multiplier);

  block.begin(params.logit, offset, n);
  if (n != padded || !is_evaluated_in_memory<T>(pass)) block.buffered_logit();
  layout.fill_scale(params.scales[1], multiplier, block.factor);
  if (is_dense(params)) {
    load(params.label, offset, n, block.target);
    layout.fill_scale(params.scales[0], multiplier, block.other);
    mix_scales(block, offset, n, result);
  } else {
    if (is_soft(params)) fill(block.target, n, T(0));
    layout.apply_labels(multiplier, block, result);
  }
  if (params.weight.array.data) {
    layout.fill_weight(block.other);
    multiply(block.factor, block.other, n);
  }
  if (pass.grad_out) {
    load(*pass.grad_out, offset, n, block.other);
    multiply(block.factor, block.other, n);
  }

  char* out = pass.out ? static_cast<char*>(pass.out) + offset * size_of(params.logit.type) : nullptr;
  if (block.is_buffered) {
    fill(block.z + n, padded - n, T(0));
    fill(block.factor + n, padded - n, T(0));
    fill(block.target + n, padded - n, T(0));
    evaluate(pass, block, padded, block.z, block.z);
    if (pass.mode != Mode::kLoss && !is_soft(params)) layout.negate_foreground(block.z);  // d z / d x
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
struct SigmoidPass {
  const Pass& pass;
  bool is_class_last;
  int64_t strip;            // labels of a unit of the class-major layout
  int64_t strips;           // for each index of the outer axis
  int64_t units, per_task;  // a unit: a block of the class-last layout; or a strip, for every class

  explicit SigmoidPass(const Pass& pass) : pass(pass), is_class_last(pass.params.inner == 1) {
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
Result run_sigmoid(const Pass& pass) {
  const SigmoidPass<T> whole(pass);
  const auto task = [](const void* work, int64_t number, Result& result) {
    static_cast<const SigmoidPass<T>*>(work)->run_task(number, result);
  };
  return run_tasks(whole.task_count(), task, &whole);
}

Result sigmoid(const Pass& pass) {
  return pass.params.logit.type == FOCAL_FLOAT64 ? run_sigmoid<double>(pass) : run_sigmoid<float>(pass);
}

}  // namespace
}  // namespace FOCAL_ISA
}  // namespace cpu
}  // namespace paddle_focal
