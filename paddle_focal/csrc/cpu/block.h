// A block of logits in the first-level cache: how it is loaded, evaluated, added up and stored.
//
// Included after the choice of an instruction set.
#pragma once

#include "formulas/sigmoid_focal.h"
#include "loss_params.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

template <class T>
constexpr int64_t kBlock = 8192 / sizeof(T);
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

template <class T>
struct Block {
  FocalArray logit;  // in memory, from offset on
  int64_t offset;
  int64_t n;
  bool is_buffered = false;         // the logits are in z
  alignas(64) T z[kBlock<T>];       // logits that had to be converted or changed; results on their way out
  alignas(64) T factor[kBlock<T>];  // alpha / normalizer * weight * upstream gradient
  alignas(64) T target[kBlock<T>];  // where they may be other numbers than 0 and 1
  alignas(64) T other[kBlock<T>];   // a factor on its way in; losses beside gradients

  FOCAL_INLINE void begin(const FocalArray& array, int64_t first, int64_t length) {
    logit = array;
    offset = first;
    n = length;
    is_buffered = false;
  }

  FOCAL_INLINE T* buffered_logit() {
    if (!is_buffered) load(logit, offset, n, z);
    is_buffered = true;
    return z;
  }
};

template <Gamma kGamma, bool kSoft, class T>
FOCAL_INLINE auto terms_of(T logit, T target, T gamma, T smoothing) {
  if constexpr (kSoft) {
    return Soft<kGamma, T>(logit, target, gamma, smoothing);
  } else {
    return Hard<kGamma, T>(logit, gamma);
  }
}

/// Results of a block: losses, or derivatives; or derivatives, while the losses go to block.other.
template <Mode kMode, Gamma kGamma, bool kSoft, class T, class In, class Out>
FOCAL_NOINLINE void evaluate(Block<T>& block, int64_t n, T gamma, T smoothing, const In* in, Out* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T logit = convert<In, T>(in[i]);
    const auto terms = terms_of<kGamma, kSoft>(logit, block.target[i], gamma, smoothing);
    if (kMode == Mode::kBoth) block.other[i] = terms.loss() * block.factor[i];
    const T value = kMode == Mode::kLoss ? terms.loss() : terms.derivative();
    out[i] = convert<T, Out>(value * block.factor[i]);
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
