// A block of logits in the first-level cache: how it is loaded, evaluated, added up and stored.
//
// Everything here is inlined into a function that is compiled for one instruction set and takes its vector width there.
#pragma once

#include <cstring>
#include <type_traits>

#include "focal_loss.h"

namespace paddle_focal {
namespace cpu {

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

inline int64_t size_of(Type type) {
  switch (type) {
    case Type::kFloat16:
    case Type::kBFloat16:
      return 2;
    case Type::kFloat32:
    case Type::kInt32:
      return 4;
    default:
      return 8;
  }
}

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
FOCAL_INLINE void load(const Array& array, int64_t offset, int64_t n, T* out) {
  const char* in = static_cast<const char*>(array.data) + offset * size_of(array.type);
  switch (array.type) {
    case Type::kFloat16:
      return convert_all<Float16, T>(in, out, n);
    case Type::kBFloat16:
      return convert_all<BFloat16, T>(in, out, n);
    case Type::kFloat32:
      return convert_all<float, T>(in, out, n);
    default:
      return convert_all<double, T>(in, out, n);
  }
}

FOCAL_INLINE void store(const float* values, int64_t n, Type type, char* out) {
  switch (type) {
    case Type::kFloat16:
      return convert_all<float, Float16>(values, out, n);
    case Type::kBFloat16:
      return convert_all<float, BFloat16>(values, out, n);
    default:
      return convert_all<float, float>(values, out, n);
  }
}

FOCAL_INLINE void store(const double* values, int64_t n, Type, char* out) {
  convert_all<double, double>(values, out, n);
}

template <class T>
FOCAL_INLINE T load_one(const Array& array, int64_t index) {
  T value;
  load<T>(array, index, 1, &value);
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
  Array logit;  // in memory, from offset on
  int64_t offset;
  int64_t n;
  bool is_own = false;              // the logits are in z
  alignas(64) T z[kBlock<T>];       // logits that had to be converted or changed; results on their way out
  alignas(64) T factor[kBlock<T>];  // alpha / normalizer * weight * upstream gradient * dz / dx
  alignas(64) T target[kBlock<T>];  // soft targets
  alignas(64) T other[kBlock<T>];   // a factor on its way in

  FOCAL_INLINE void begin(const Array& array, int64_t first, int64_t length) {
    logit = array;
    offset = first;
    n = length;
    is_own = false;
  }

  FOCAL_INLINE T* own_logit() {
    if (!is_own) load(logit, offset, n, z);
    is_own = true;
    return z;
  }
};

template <Gamma kGamma, bool kSoft, bool kGradient, class T, class In, class Out>
FOCAL_INLINE void evaluate(const Block<T>& block, int64_t n, T gamma, T smoothing, const In* in, Out* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T logit = convert<In, T>(in[i]);
    T value;
    if constexpr (kSoft) {
      value = focal_soft<kGamma, kGradient>(logit, block.target[i], gamma, smoothing);
    } else {
      value = focal_hard<kGamma, kGradient>(logit, gamma);
    }
    out[i] = convert<T, Out>(value * block.factor[i]);
  }
}

template <bool kSoft, bool kGradient, class T, class In, class Out>
FOCAL_INLINE void evaluate(const Block<T>& block, int64_t n, T gamma, T smoothing, const In* in, Out* out) {
  if (gamma == 0) {
    evaluate<Gamma::kZero, kSoft, kGradient>(block, n, gamma, smoothing, in, out);
  } else if (gamma == 1) {
    evaluate<Gamma::kOne, kSoft, kGradient>(block, n, gamma, smoothing, in, out);
  } else if (gamma == 2) {
    evaluate<Gamma::kTwo, kSoft, kGradient>(block, n, gamma, smoothing, in, out);
  } else {
    evaluate<Gamma::kAny, kSoft, kGradient>(block, n, gamma, smoothing, in, out);
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

}  // namespace cpu
}  // namespace paddle_focal
