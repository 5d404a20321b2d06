// Packs of consecutive numbers, which a thread reads and writes at once; and single numbers of any format.
#pragma once

#include "loss_params.h"

namespace paddle_focal {
namespace cuda {

/// The type in which logits of type S are computed.
template <class S>
using Computing = std::conditional_t<std::is_same<S, double>::value, double, float>;

template <class S, int kSize>
struct alignas(kSize * sizeof(S) < 16 ? kSize * sizeof(S) : 16) Pack {
  S at[kSize];
};

template <class S, class T, int kSize>
FOCAL_INLINE void load_pack(const S* from, T* to) {
  const auto pack = *reinterpret_cast<const Pack<S, kSize>*>(from);
#pragma unroll
  for (int j = 0; j < kSize; ++j) to[j] = convert<S, T>(pack.at[j]);
}

/// The first `count` numbers of a pack, and another one in place of the others.
template <class S, class T, int kSize>
FOCAL_INLINE void load_some(const S* from, int count, T other, T* to) {
#pragma unroll
  for (int j = 0; j < kSize; ++j) to[j] = j < count ? convert<S, T>(from[j]) : other;
}

/// Two numbers of 16 bits, converted at once.
template <class S>
FOCAL_INLINE uint32_t convert_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t pair;
  if constexpr (std::is_same<S, Float16>::value) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
#else
  return convert<float, S>(low).bits | static_cast<uint32_t>(convert<float, S>(high).bits) << 16;
#endif
}

template <class S, class T, int kSize>
FOCAL_INLINE void store_pack(const T* from, S* to) {
  if constexpr (sizeof(S) == 2) {
    Pack<uint32_t, kSize / 2> pack;
#pragma unroll
    for (int j = 0; j < kSize / 2; ++j) pack.at[j] = convert_pair<S>(from[2 * j], from[2 * j + 1]);
    *reinterpret_cast<Pack<uint32_t, kSize / 2>*>(to) = pack;
  } else {
    Pack<S, kSize> pack;
#pragma unroll
    for (int j = 0; j < kSize; ++j) pack.at[j] = from[j];
    *reinterpret_cast<Pack<S, kSize>*>(to) = pack;
  }
}

template <class S, class T, int kSize>
FOCAL_INLINE void store_some(const T* from, int count, S* to) {
#pragma unroll
  for (int j = 0; j < kSize; ++j) {
    if (j < count) to[j] = convert<T, S>(from[j]);
  }
}

/// As many of a pack as there are.
template <class S, class T, int kSize>
FOCAL_INLINE void store_most(const T* from, int count, S* to) {
  count >= kSize ? store_pack<S, T, kSize>(from, to) : store_some<S, T, kSize>(from, count, to);
}

/// The number of an index that is not known at compile time, of an array in registers.
template <class T, int kSize>
FOCAL_INLINE T pick(const T (&from)[kSize], int index) {
  T result = from[0];
#pragma unroll
  for (int j = 1; j < kSize; ++j) result = j == index ? from[j] : result;
  return result;
}

template <class T, int kSize>
FOCAL_INLINE void put(T (&to)[kSize], int index, T value) {
#pragma unroll
  for (int j = 0; j < kSize; ++j) to[j] = j == index ? value : to[j];
}

/// The lowest bit of a number that is not 0; it is taken out.
FOCAL_INLINE int take_lowest(uint32_t& bits) {
#if defined(__CUDA_ARCH__)
  const int lowest = __ffs(static_cast<int>(bits)) - 1;
#else
  const int lowest = __builtin_ctz(bits);
#endif
  bits &= bits - 1;
  return lowest;
}

template <class T>
FOCAL_INLINE T load_one(const FocalArray& array, int64_t index) {
  T value;
  visit_type(array.type, [&](auto* null) {
    using S = std::remove_pointer_t<decltype(null)>;
    value = convert<S, T>(static_cast<const S*>(array.data)[index]);
  });
  return value;
}

/// What is special in a pack, one bit for each logit.
struct Marks {
  uint32_t own = 0, ignored = 0, invalid = 0;

  FOCAL_INLINE void set_label(int j, int64_t label, int64_t c, const FocalLossParams& params) {
    own |= static_cast<uint32_t>(label == c) << j;
    if (static_cast<uint64_t>(label) > static_cast<uint64_t>(params.classes)) {
      (label == params.ignore_index ? ignored : invalid) |= 1u << j;
    }
  }
};

/// A sum of many numbers: a few at a time in T, for all of them in double, which many GPUs add slowly.
template <class T>
struct Sum {
  double total = 0;
  T some = 0;
  int count = 0;

  FOCAL_INLINE void add(T value) {
    some += value;
    if (++count % 16 == 0) flush();
  }
  FOCAL_INLINE void flush() {
    total += some;
    some = 0;
  }
};

/// Scales of all logits alike, or of each class, times the gradient from above if that is one number.
template <class T>
struct Scales {
  T multiplier = 1, foreground, background;

  template <class Pass>
  FOCAL_INLINE explicit Scales(const Pass& pass) {
    const FocalLossParams& params = pass.params;
    if (pass.grad_out.data && params.reduce) multiplier = load_one<T>(pass.grad_out, 0);
    foreground = scale_of<T>(params.scales[0], 0) * multiplier;
    background = scale_of<T>(params.scales[1], 0) * multiplier;
  }

  FOCAL_INLINE T foreground_of(const FocalLossParams& params, int64_t c) const {
    return params.scales[0].stride ? scale_of<T>(params.scales[0], c) * multiplier : foreground;
  }
  FOCAL_INLINE T background_of(const FocalLossParams& params, int64_t c) const {
    return params.scales[1].stride ? scale_of<T>(params.scales[1], c) * multiplier : background;
  }
};

template <class T>
FOCAL_INLINE bool is_share(T target) {
  return target >= 0 && target <= 1;
}

}  // namespace cuda
}  // namespace paddle_focal
