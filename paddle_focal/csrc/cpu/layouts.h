// Blocks of the two layouts of logits: how labels, scales and weights lie beside them.
//
// Included after the choice of an instruction set.
#pragma once

#include "cpu/block.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

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
  FOCAL_INLINE void apply_labels(Block<T>& block, Result& result) const {
    for_each_label([&](int64_t index, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t label = load_label(params.label, index);
      if (label == params.classes) return;
      if (label < 0 || label > params.classes) {
        if (label != params.ignore_index) result.reject(index);
        fill(block.buffered_logit() + at, length, T(0));
        fill(block.factor + at, length, T(0));
      } else if (label >= c && label < c + length) {
        block.own.add(at + label - c, load_score<T>(params, index, result));
      }
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

  FOCAL_INLINE void apply_labels(Block<T>& block, Result& result) const {
    if (labels.foreground_bits >> (c & 63) & 1) list_own(block.own, result);
    if (labels.has_ignored) {
      T* z = block.buffered_logit();
      for (int64_t i = 0; i < n; ++i) {
        const bool is_ignored = labels.index[i] < 0;
        block.factor[i] = is_ignored ? T(0) : block.factor[i];
        z[i] = is_ignored ? T(0) : z[i];
      }
    }
  }

 private:
  FOCAL_INLINE void list_own(Own<T>& list, Result& result) const {
    const int32_t own = static_cast<int32_t>(c);
    const int64_t first = outer * params.inner + begin;
    int32_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += labels.index[i] == own;
    if (is_crowded(params, count, n)) {
      for (int64_t i = 0; i < n; ++i) list.target[i] = labels.index[i] == own ? T(1) : T(0);
      for (int64_t i = 0; params.score.data && i < n; ++i) {
        if (labels.index[i] == own) list.target[i] = load_score<T>(params, first + i, result);
      }
      return list.take_all(n);
    }
    list.collect(n, [&](int64_t i) FOCAL_INLINE_LAMBDA { return labels.index[i] == own; });
    for (int64_t k = 0; k < list.n; ++k) list.target[k] = load_score<T>(params, first + list.at[k], result);
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

}  // namespace
}  // namespace FOCAL_ISA
}  // namespace cpu
}  // namespace paddle_focal
