// The mathematics of the sigmoid focal loss for one logit, on host and device (Lin et al., arXiv:1708.02002).
//
// With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (eq. 4):
//
//   1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)        FL = alpha_t (1 - p_t)^gamma * -log(p_t)
//   d FL / dz = alpha_t (1 - p_t)^gamma * (gamma p_t * -log(p_t) + (1 - p_t))
//
// Every function is branch-free in its arguments, so that a loop over it is vectorised; T is float or double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__CUDACC__)
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

/// What loss and gradient share: the logistic function at distance |x| from its centre.
template <class T>
struct Logistic {
  T small;    // exp(-|x|)
  T inverse;  // 1 / (1 + small) = sigmoid(|x|)
  T tail;     // log(1 + small) = softplus(-|x|)

  FOCAL_INLINE explicit Logistic(T distance) {
    small = exp_nonpositive(-distance);
#if defined(FOCAL_HAS_APPROXIMATIONS)
    if constexpr (std::is_same<T, float>::value) {
      inverse = approximate_reciprocal(1 + small);
      // Minimax on [0, 1]: longer than that of atanh, but without its quotient.
      tail = small * polynomial<T>(small, 0.9999998057f, -0.4999740531f, 0.3327547825f, -0.2449545429f, 0.1774521909f,
                                   -0.1076814115f, 0.04408942902f, -0.008539154675f);
      return;
    }
#endif
    const T one = 1 + small, two = 2 + small;
    const T shared = 1 / (one * two);  // one division for both quotients
    inverse = shared * two;
    tail = twice_atanh(small * (shared * one));
  }
};

/// The exponents that have a form without exp and log, and all others.
enum class Gamma { kZero, kOne, kTwo, kAny };

/// base^gamma; log_base is read for Gamma::kAny only.
template <Gamma kGamma, class T>
FOCAL_INLINE T power(T base, T log_base, T gamma) {
  if constexpr (kGamma == Gamma::kZero) {
    return 1;
  } else if constexpr (kGamma == Gamma::kOne) {
    return base;
  } else if constexpr (kGamma == Gamma::kTwo) {
    return base * base;
  } else {
    return exp_nonpositive(gamma * log_base);
  }
}

/// The terms of FL / alpha_t of a 0/1 target at z, the logit of the wrong answer.
template <Gamma kGamma, class T>
struct Hard {
  T wrong;          // 1 - p_t
  T right;          // p_t
  T cross_entropy;  // -log(p_t)
  T modulator;      // (1 - p_t)^gamma
  T gamma;

  FOCAL_INLINE Hard(T z, T gamma) : gamma(gamma) {
    const Logistic<T> at(std::fabs(z));
    const bool is_wrong = z > 0;
    const T far = at.inverse, near = at.small * at.inverse;
    wrong = is_wrong ? far : near;
    right = is_wrong ? near : far;
    cross_entropy = (is_wrong ? z : T(0)) + at.tail;
    modulator = power<kGamma>(wrong, (is_wrong ? T(0) : z) - at.tail, gamma);  // of log(1 - p_t)
  }

  FOCAL_INLINE T loss() const { return modulator * cross_entropy; }
  FOCAL_INLINE T derivative() const { return modulator * (gamma * (right * cross_entropy) + wrong); }  // by z
};

template <Gamma kGamma, bool kGradient, class T>
FOCAL_INLINE T focal_hard(T z, T gamma) {
  const Hard<kGamma, T> at(z, gamma);
  return kGradient ? at.derivative() : at.loss();
}

/// FL / alpha_t of any target y in [0, 1], or its derivative by x; smoothing moves the cross entropy's target only.
///
/// 1 - p_t = sigmoid(x) (1 - y) + sigmoid(-x) y and the cross entropy are sums of two terms, of which one vanishes as
/// |x| grows; both are written with the share of the other one, `lost`, so that a 0/1 target leaves exactly the right one.
template <Gamma kGamma, bool kGradient, class T>
FOCAL_INLINE T focal_soft(T x, T y, T gamma, T smoothing) {
  const T distance = std::fabs(x);
  const Logistic<T> at(distance);
  const T positive = x > 0 ? T(1) : T(0);
  const T smoothed = y * (1 - smoothing) + smoothing / 2;
  const T lost = std::fabs(positive - y);
  const T mixed = lost + (1 - lost) * at.small;
  const T cross_entropy = distance * std::fabs(positive - smoothed) + at.tail;
  const T log_wrong = (lost == 0 ? -distance : logarithm(mixed)) - at.tail;
  const T modulator = power<kGamma>(mixed * at.inverse, log_wrong, gamma);
  if constexpr (kGradient) {
    const T near = at.small * at.inverse;
    const T p = x > 0 ? at.inverse : near, q = x > 0 ? near : at.inverse;
    const T d_log_wrong = (1 - 2 * y) * (lost == 0 ? T(1) : at.small / mixed) * at.inverse;
    const T d_cross_entropy = (1 - smoothed) * p - smoothed * q;
    return modulator * (gamma * d_log_wrong * cross_entropy + d_cross_entropy);
  } else {
    return modulator * cross_entropy;
  }
}

}  // namespace paddle_focal
