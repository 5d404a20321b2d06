// exp and log on host and device, branch-free, so that a loop over them is vectorised; T is float or double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(FOCAL_INLINE)  // of whoever compiles
#elif defined(__CUDACC__)
#define FOCAL_INLINE __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define FOCAL_INLINE __forceinline
#else
#define FOCAL_INLINE inline __attribute__((always_inline))
#endif

namespace paddle_focal {

template <class To, class From>
FOCAL_INLINE To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

#if defined(__CUDA_ARCH__)
#define FOCAL_HAS_APPROXIMATIONS

/// 2^x and 1 / x in one instruction each, with relative errors of 2^-22 and 2^-23 at most; subnormal numbers are 0.
__device__ __forceinline__ float approximate_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ __forceinline__ float approximate_reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
#endif

/// a / b for b far from overflow and underflow.
template <class T>
FOCAL_INLINE T divide(T a, T b) {
#if defined(FOCAL_HAS_APPROXIMATIONS)
  if constexpr (std::is_same<T, float>::value) return a * approximate_reciprocal(b);
#endif
  return a / b;
}

/// c0 + c1 t + c2 t^2 + ...
template <class T>
FOCAL_INLINE T polynomial(T, T c0) {
  return c0;
}
template <class T, class... Rest>
FOCAL_INLINE T polynomial(T t, T c0, Rest... rest) {
  return c0 + t * polynomial<T>(t, static_cast<T>(rest)...);
}

template <class T>
struct Format;

template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kShift = 12582912.0f;      // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kLowest = -87.33654f;      // exp(kLowest) is the smallest normal number
  static constexpr float kSmallest = 1.17549435e-38f;
  static constexpr float kLargest = 3.40282347e38f;
  static constexpr float kLn2High = 0.693359375f;   // nine bits: n * kLn2High is exact
  static constexpr float kLn2Low = -2.12194440e-4f;
};

template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLowest = -708.3964185322641;
  static constexpr double kSmallest = 2.2250738585072014e-308;
  static constexpr double kLargest = 1.7976931348623157e308;
  static constexpr double kLn2High = 0.693145751953125;  // 21 bits
  static constexpr double kLn2Low = 1.4286068203094173e-6;
};

/// exp(x) for x <= 0, relative error 2e-7 (float), 4e-16 (double). Results below the smallest normal number are 0.
template <class T>
FOCAL_INLINE T exp_nonpositive(T x) {
#if defined(FOCAL_HAS_APPROXIMATIONS)
  if constexpr (std::is_same<T, float>::value) {
    const float rounded = x * 1.44269504f;
    const float rest = fmaf(rounded, -0.693147182f, x);  // what rounding took, which 2^rounded would multiply by |x|
    const float power = approximate_exp2(rounded);
    return fmaf(power, fminf(rest, 1.0f), power);  // an infinite x has no rest
  }
#endif
  using F = Format<T>;
  using Bits = typename F::Bits;  // unsigned: the shift drops what does not belong to n
  const T log2e = static_cast<T>(1.4426950408889634);
  const T clamped = x < F::kLowest ? F::kLowest : x;
  const T shifted = clamped * log2e + F::kShift;
  const T n = shifted - F::kShift;
  const T r = clamped - n * F::kLn2High - n * F::kLn2Low;
  T exp_r;  // minimax on |r| <= log(2) / 2
  if constexpr (std::is_same<T, float>::value) {
    exp_r = polynomial<T>(r, 1.0f, 1.0f, 0.4999999305f, 0.1666651479f, 0.04166845677f, 0.0083694187f, 0.001381314355f);
  } else {
    exp_r = polynomial<T>(r, 1.0, 1.0, 0.499999999999981494, 0.166666666666070184, 0.0416666666682581406,
                          0.00833333337316670968, 0.00138888884932776448, 0.000198411818164169661,
                          0.0000248019457676424857, 2.76365465779093747e-6, 2.74751461701881752e-7);
  }
  // The last bits of `shifted` hold n: moved to the exponent, they multiply by 2^n.
  const T result = bit_cast<T>(bit_cast<Bits>(exp_r) + (bit_cast<Bits>(shifted) << F::kMantissa));
  return x < F::kLowest ? T(0) : result;
}

/// 2 atanh(u) for |u| <= 1/3: log((1 + u) / (1 - u)).
template <class T>
FOCAL_INLINE T twice_atanh(T u) {
  const T t = u * u;
  T ratio;  // 2 atanh(u) / u: minimax on t <= 1/9
  if constexpr (std::is_same<T, float>::value) {
    ratio = polynomial<T>(t, 2.0f, 0.6666641312f, 0.4002169938f, 0.2799913694f, 0.2802447568f);
  } else {
    ratio = polynomial<T>(t, 2.0, 0.666666666666778728, 0.399999999959977016, 0.285714290631741488, 0.222221926554074988,
                          0.1818282071185950724, 0.1536419245546041602, 0.1358724245346294998, 0.0989832653863379,
                          0.1774880854898103418);
  }
  return u * ratio;
}

/// log(v) for v > 0; v is taken as at least the smallest normal number.
template <class T>
FOCAL_INLINE T logarithm(T v) {
  using F = Format<T>;
  using Bits = typename F::Bits;
  using Integer = typename std::make_signed<Bits>::type;
  const Integer sqrt_half = bit_cast<Integer>(static_cast<T>(0.7071067811865476));
  const Integer bits = bit_cast<Integer>(v < F::kSmallest ? F::kSmallest : v);
  const Integer exponent = (bits - sqrt_half) >> F::kMantissa;
  const T m = bit_cast<T>(static_cast<Integer>(bits - exponent * (Integer(1) << F::kMantissa)));  // [sqrt(1/2), sqrt(2))
  const T k = static_cast<T>(exponent);
  return k * F::kLn2High + (k * F::kLn2Low + twice_atanh(divide(m - 1, m + 1)));
}

}  // namespace paddle_focal
