// A block of logits in the first-level cache: how it is loaded, evaluated, added up and stored.
//
// Included after the choice of an instruction set.
#pragma once

#include "formulas/losses.h"
#include "loss_params.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

template <class T>
constexpr int64_t kBlock = 4096 / sizeof(T);  // logits: with factors, losses and gradients they fill half of the cache
constexpr int64_t kVectors = 64;  // blocks are padded to a multiple of it, so that no loop has a remainder

/// The labels of a block as 32-bit class indices, read once for all classes; -1 is every label without loss.
template <class T>
struct Labels {
  alignas(64) int32_t index[kBlock<T>];
  bool has_ignored = false;
  uint64_t foreground_bits = 0;  // the classes that occur, modulo 64
};

inline int64_t size_of(int64_t type) {
  switch (type) {
    case FOCAL_FLOAT16:
    case FOCAL_BFLOAT16:
      return 2;
    case FOCAL_FLOAT32:
    case FOCAL_INT32:
      return 4;
    default:
      return 8;
  }
}

FOCAL_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

template <class S, class T>
FOCAL_INLINE void convert_all(const void* from, void* to, int64_t n) {
  const S* in = static_cast<const S*>(from);
  T* out = static_cast<T*>(to);
  if (std::is_same<S, T>::value) {
    memcpy(out, in, n * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = convert<S, T>(in[i]);
  }
}

template <class T>
FOCAL_NOINLINE void load(const FocalArray& array, int64_t offset, int64_t n, T* out) {
  visit_type(array.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
    using S = std::remove_pointer_t<decltype(null)>;
    convert_all<S, T>(static_cast<const S*>(array.data) + offset, out, n);
  });
}

/// Rounds to a format of at most T's precision.
template <class T>
FOCAL_NOINLINE void store(const T* values, int64_t n, int64_t type, void* out) {
  visit_type(type, [&](auto* null) FOCAL_INLINE_LAMBDA {
    using S = std::remove_pointer_t<decltype(null)>;
    if constexpr (sizeof(S) == sizeof(T) || (sizeof(S) == 2 && sizeof(T) == 4)) convert_all<T, S>(values, out, n);
  });
}

template <class T>
FOCAL_INLINE T load_one(const FocalArray& array, int64_t index) {
  T value;
  visit_type(array.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
    using S = std::remove_pointer_t<decltype(null)>;
    value = convert<S, T>(static_cast<const S*>(array.data)[index]);
  });
  return value;
}

template <class T>
FOCAL_INLINE void fill(T* out, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

template <class T>
FOCAL_INLINE void multiply(T* factor, const T* by, int64_t n) {
  for (int64_t i = 0; i < n; ++i) factor[i] *= by[i];
}

/// The logits of a block whose target is not 0: of dense labels, or of each label's own class.
template <class T>
struct Own {
  int64_t n;
  bool is_all;                        // all logits of the block, in order: those of target 0 come with the others
  alignas(64) int32_t at[kBlock<T>];  // in the block
  alignas(64) T logit[kBlock<T>];     // and then the derivative
  alignas(64) T target[kBlock<T>];    // and then the loss
  alignas(64) T factor[kBlock<T>];

  FOCAL_INLINE void add(int64_t position, T value) {
    at[n] = static_cast<int32_t>(position);
    target[n++] = value;
  }

  /// Lists those positions below `size` for which is_own(position) is true; their targets are left to the caller.
  template <class IsOwn>
  FOCAL_INLINE void collect(int64_t size, IsOwn is_own) {
    for (int64_t begin = 0; begin < size; begin += kVectors) {
      const int64_t end = lesser(size, begin + kVectors);
      int32_t is_any = 0;
      for (int64_t i = begin; i < end; ++i) is_any |= is_own(i);
      for (int64_t i = begin; is_any && i < end; ++i) {
        at[n] = static_cast<int32_t>(i);
        n += is_own(i);
      }
    }
  }

  /// Takes all logits of a block, whose targets are there.
  FOCAL_INLINE void take_all(int64_t size) {
    n = size;
    is_all = true;
  }
};

template <class T>
struct Block {
  FocalArray logit;  // in memory, from offset on
  int64_t offset;
  int64_t n;
  bool is_buffered;                 // the logits are in z
  Own<T> own;
  alignas(64) T z[kBlock<T>];       // logits that had to be converted or changed; results on their way out
  alignas(64) T factor[kBlock<T>];  // alpha / normalizer * weight * upstream gradient
  alignas(64) T other[kBlock<T>];   // a factor on its way in; exponentials; losses beside gradients

  FOCAL_INLINE void begin(const FocalArray& array, int64_t first, int64_t length) {
    logit = array;
    offset = first;
    n = length;
    is_buffered = false;
    own.n = 0;
    own.is_all = false;
  }

  FOCAL_INLINE T* buffered_logit() {
    if (!is_buffered) load(logit, offset, n, z);
    is_buffered = true;
    return z;
  }
};

/// Whether so many targets are not 0 that the formula for those, if it is right for all, takes less time without a list.
FOCAL_INLINE bool is_crowded(const FocalLossParams& params, int64_t count, int64_t n) {
  return 3 * count > n && serves_zero(params);
}

/// The target of a label's own class; the index of one that is out of range goes to the result.
template <class T>
FOCAL_INLINE T load_score(const FocalLossParams& params, int64_t index, Result& result) {
  if (!params.score.data) return 1;
  const T score = load_one<T>(params.score, index);
  if (!(score >= 0 && score <= 1)) result.reject(index);
  return score;
}

/// exp(-|x|) of n logits x. A loop of its own, because a processor overlaps the turns of a short one: each step of a
/// formula waits for the one before, and one with its exponential has too many of them for two turns to be under way.
template <class In, class T>
FOCAL_NOINLINE void exponentiate(const In* in, int64_t n, T* small) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) small[i] = exp_nonpositive(-std::fabs(convert<In, T>(in[i])));
}

/// Results of n logits, each as if its target were 0: losses, or derivatives; or derivatives, while the losses go to
/// block.other.
///
/// GCC vectorises the loop if the terms are more than 16 bytes, and neither derived from a struct nor made of one.
template <Mode kMode, class Negative, class T, class In, class Out>
FOCAL_NOINLINE void evaluate_negative(Block<T>& block, int64_t n, Negative negative, const In* in, Out* out) {
  exponentiate(in, n, block.other);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const auto terms = negative(Logistic<T>(convert<In, T>(in[i]), block.other[i]));
    if (kMode == Mode::kBoth) block.other[i] = terms.loss() * block.factor[i];
    const T value = kMode == Mode::kLoss ? terms.loss() : terms.derivative();
    out[i] = convert<T, Out>(value * block.factor[i]);
  }
}

/// Losses and derivatives of own logits, which may take the place of their targets and of the logits.
template <class Formula, class T>
FOCAL_NOINLINE void evaluate_positive(Formula formula, int64_t n, const T* logit, const T* target, const T* factor,
                                      T* loss, T* derivative) {
  using Number = decltype(formula.positive(T(), T()).loss());  // what it is computed in
  alignas(64) Number small[kBlock<T>];
  exponentiate(logit, n, small);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const auto terms = formula.positive(Logistic<Number>(logit[i], small[i]), target[i]);
    derivative[i] = static_cast<T>(terms.derivative()) * factor[i];
    loss[i] = static_cast<T>(terms.loss()) * factor[i];
  }
}

/// The sum in double of numbers of which four at a time are added first.
template <class T>
FOCAL_INLINE double sum(const T* values, int64_t n) {
  const int64_t quarter = n / 4;
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < quarter; ++i) {
    total += (values[i] + values[i + quarter]) + (values[i + 2 * quarter] + values[i + 3 * quarter]);
  }
  return total;
}

}  // namespace
}  // namespace FOCAL_ISA
}  // namespace cpu
}  // namespace paddle_focal
