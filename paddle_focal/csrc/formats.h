// Number formats, with the conversions that processors do not have.
#pragma once

#include <cstdint>
#include <type_traits>

#include "focal.h"
#include "formulas/elementary.h"

namespace paddle_focal {

struct Float16 {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

FOCAL_INLINE float to_float(BFloat16 x) { return bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

FOCAL_INLINE float to_float(Float16 x) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
#else
  const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7fff) << 13;  // exponent and mantissa in their new places
  const float rebased = bit_cast<float>(magnitude) * bit_cast<float>(0x77800000u);  // 2^112, from bias 15 to bias 127
  const uint32_t special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;         // infinity and NaN stay so
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16;
  return bit_cast<float>(bit_cast<uint32_t>(rebased) | special | sign);
#endif
}

template <class S, class T>
FOCAL_INLINE T convert(S x) {
  if constexpr (std::is_class<S>::value) {
    return to_float(x);
  } else {
    return static_cast<T>(x);
  }
}

/// Calls function(a null pointer to the type) for a floating format.
template <class Function>
FOCAL_INLINE void visit_type(int64_t type, Function function) {
  switch (type) {
    case FOCAL_FLOAT16:
      return function(static_cast<Float16*>(nullptr));
    case FOCAL_BFLOAT16:
      return function(static_cast<BFloat16*>(nullptr));
    case FOCAL_FLOAT32:
      return function(static_cast<float*>(nullptr));
    default:
      return function(static_cast<double*>(nullptr));
  }
}

/// Rounds to nearest, ties to even, once. A NaN must be quiet, as computed ones are: its upper half is a NaN then, too.
template <>
FOCAL_INLINE BFloat16 convert<float, BFloat16>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint16_t result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return {result};
#else
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t increment = x == x ? 0x7fffu + ((bits >> 16) & 1u) : 0u;
  return {static_cast<uint16_t>((bits + increment) >> 16)};
#endif
}

template <>
FOCAL_INLINE Float16 convert<float, Float16>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return {result};
#else
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 0.5, whose last bit is the spacing of subnormal halves, rounds to them.
  const uint32_t subnormal = bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - bit_cast<uint32_t>(0.5f);
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return {static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u))};
#endif
}

}  // namespace paddle_focal
