// The focal loss of a softmax on the CPU, tile by tile: all classes of 64 labels, in the cache.
//
// For a label t, the logit of the wrong answer against all others is
//
//   z = log(sum of exp(x_k) over k != t) - x_t,   1 - p_t = sigmoid(z),   -log(p_t) = softplus(z),
//
// so that the loss is the sigmoid's, F(z), and with the shares r_k = exp(x_k) / (sum over k != t) of the others
//
//   dL / dx_k = F'(z) r_k,   dL / dx_t = -F'(z).
//
// z is computed in double: where p_t is close to 1 the loss depends on it exponentially. Smoothing adds s times the mean
// of x_t - x_k to the cross entropy. Soft labels y add up the losses of all classes t, each times y_t, in double
// throughout, as each class has a z of its own there.

#include <algorithm>
#include <limits>
#include <memory>
#include <type_traits>

#include "cpu/cpu_tasks.h"
#include "cpu/focal_block.h"
#include "softmax_focal_loss.h"

namespace paddle_focal {
namespace cpu {
namespace {

constexpr int64_t kLanes = 64;         // labels of a tile: sums enough, side by side, to hide the latency of one
constexpr int64_t kTaskSize = 1 << 16;  // logits
constexpr int64_t kGroup = 8;           // classes whose exponentials are added up before they are converted to double

struct Pass {
  const SoftmaxProblem& problem;
  bool is_gradient;
  double multiplier;      // upstream gradient of all labels
  const Array* upstream;  // upstream gradient of each label, or null
  char* out;              // losses or gradients; null: losses are added up
};

template <class S, class T>
FOCAL_INLINE S narrowed(T value) {
  if constexpr (std::is_class<S>::value) {
    return convert<float, S>(static_cast<float>(value));
  } else {
    return static_cast<S>(value);
  }
}

/// Calls function(a null pointer to the type).
template <class Function>
FOCAL_INLINE void with_type(Type type, Function function) {
  switch (type) {
    case Type::kFloat16:
      return function(static_cast<Float16*>(nullptr));
    case Type::kBFloat16:
      return function(static_cast<BFloat16*>(nullptr));
    case Type::kFloat32:
      return function(static_cast<float*>(nullptr));
    default:
      return function(static_cast<double*>(nullptr));
  }
}

/// Consecutive labels, one in each lane; what has a value for each class lies in rows of kLanes, one row a class.
struct Labels {
  const SoftmaxProblem& problem;
  int64_t first, n;
  int64_t offset[kLanes] = {};  // of the logit of class 0

  FOCAL_INLINE Labels(const SoftmaxProblem& problem, int64_t first)
      : problem(problem), first(first), n(std::min(kLanes, problem.labels() - first)) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t label = first + i;
      offset[i] = label / problem.inner * problem.classes * problem.inner + label % problem.inner;
    }
  }

  /// Calls function(row of the class, lane, index in memory) for each logit, along memory.
  template <class Function>
  FOCAL_INLINE void for_each_logit(Function function) const {
    const int64_t classes = problem.classes, inner = problem.inner;
    if (inner >= kLanes && offset[n - 1] - offset[0] == n - 1) {
      for (int64_t c = 0; c < classes; ++c) {
        const int64_t start = offset[0] + c * inner;
        for (int64_t i = 0; i < n; ++i) function(c * kLanes, i, start + i);
      }
    } else {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t c = 0; c < classes; ++c) function(c * kLanes, i, offset[i] + c * inner);
      }
    }
  }

  template <class T>
  FOCAL_INLINE void load(const Array& array, T* tile) const {
    with_type(array.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      const S* in = static_cast<const S*>(array.data);
      for_each_logit([&](int64_t row, int64_t i, int64_t at) FOCAL_INLINE_LAMBDA {
        tile[row + i] = convert<S, T>(in[at]);
      });
    });
    for (int64_t c = 0; c < problem.classes; ++c) fill(tile + c * kLanes + n, kLanes - n, T(0));
  }

  template <class T>
  FOCAL_INLINE void store(const T* tile, char* elements) const {
    with_type(problem.logit.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      S* out = reinterpret_cast<S*>(elements);
      for_each_logit([&](int64_t row, int64_t i, int64_t at) FOCAL_INLINE_LAMBDA {
        out[at] = narrowed<S>(tile[row + i]);
      });
    });
  }

  FOCAL_INLINE void store_losses(const double* losses, char* elements) const {
    with_type(problem.logit.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      S* out = reinterpret_cast<S*>(elements) + first;
      for (int64_t i = 0; i < n; ++i) out[i] = narrowed<S>(losses[i]);
    });
  }

  /// The factor of each label but for that of its class; 0 in the lanes without a label.
  FOCAL_INLINE void load_factors(const Pass& pass, double* factor) const {
    for (int64_t i = 0; i < kLanes; ++i) factor[i] = i < n ? pass.multiplier : 0;
    for (int64_t i = 0; problem.weight.data && i < n; ++i) factor[i] *= load_one<double>(problem.weight, first + i);
    for (int64_t i = 0; pass.upstream && i < n; ++i) factor[i] *= load_one<double>(*pass.upstream, first + i);
  }
};

/// NaN for NaN, which logarithm() does not look for.
FOCAL_INLINE double logarithm_of_sum(double sum) { return logarithm(sum) + 0 * sum; }

FOCAL_INLINE double class_scale(const SoftmaxProblem& problem, int64_t c) {
  return problem.logit.type == Type::kFloat64 ? scale_of<double>(problem.scale, c) : scale_of<float>(problem.scale, c);
}

/// Rows for all classes, aligned.
template <class T>
class Tile {
 public:
  explicit Tile(int64_t classes) : memory_(new T[(classes + 1) * kLanes]) {
    void* data = memory_.get();
    size_t space = (classes + 1) * kLanes * sizeof(T);
    data_ = static_cast<T*>(std::align(64, classes * kLanes * sizeof(T), data, space));
  }

  T* row(int64_t c) { return data_ + c * kLanes; }

 private:
  std::unique_ptr<T[]> memory_;
  T* data_;
};

/// exp(x - highest), with what rounding takes from the difference put back.
template <class T>
FOCAL_INLINE T exp_difference(T x, T highest) {
  const T difference = x - highest;
  const T back = difference - x;
  const T lost = (x - (difference - back)) - (highest + back);
  const T power = exp_nonpositive(difference);
  return power + power * (difference < Format<T>::kLowest ? T(0) : lost);
}

template <class T>
FOCAL_INLINE void raise_to(T* highest, const T* row) {
  for (int64_t i = 0; i < kLanes; ++i) highest[i] = row[i] > highest[i] ? row[i] : highest[i];
}

/// Calls function with the kind of gamma as a compile-time constant.
template <class Function>
FOCAL_INLINE void with_gamma(double gamma, Function function) {
  if (gamma == 0) return function(std::integral_constant<Gamma, Gamma::kZero>());
  if (gamma == 1) return function(std::integral_constant<Gamma, Gamma::kOne>());
  if (gamma == 2) return function(std::integral_constant<Gamma, Gamma::kTwo>());
  return function(std::integral_constant<Gamma, Gamma::kAny>());
}

FOCAL_INLINE void add_up(const Pass& pass, const Labels& labels, const double* losses, Result& result) {
  if (pass.out) return labels.store_losses(losses, pass.out);
  for (int64_t i = 0; i < labels.n; ++i) result.sum += losses[i];
}

/// Labels that are class indices.
template <class T>
struct IndexKernel {
  static FOCAL_INLINE void run(const Pass& pass, const int64_t& first, const int64_t& end, Result& result) {
    Tile<T> tile(pass.problem.classes);
    for (int64_t label = first; label < end; label += kLanes) run_tile(pass, Labels(pass.problem, label), tile, result);
  }

  static FOCAL_INLINE void run_tile(const Pass& pass, const Labels& labels, Tile<T>& tile, Result& result) {
    const SoftmaxProblem& problem = pass.problem;
    const int64_t classes = problem.classes;
    const double smoothing = problem.label_smoothing;
    alignas(64) T own[kLanes], highest[kLanes];
    alignas(64) double factor[kLanes], total[kLanes], extra[kLanes];
    int64_t target[kLanes];

    labels.load(problem.logit, tile.row(0));
    labels.load_factors(pass, factor);
    for (int64_t i = 0; i < kLanes; ++i) {
      target[i] = i < labels.n ? load_label(problem.label, labels.first + i) : 0;
      if (target[i] < 0 || target[i] >= classes) {
        if (target[i] != problem.ignore_index) result.reject(labels.first + i);
        for (int64_t c = 0; c < classes; ++c) tile.row(c)[i] = 0;
        target[i] = 0;
        factor[i] = 0;
      }
      factor[i] *= class_scale(problem, target[i]);
      own[i] = tile.row(target[i])[i];
      highest[i] = std::numeric_limits<T>::lowest();
      total[i] = extra[i] = 0;
    }
    if (smoothing != 0) {
      for (int64_t c = 0; c < classes; ++c) {
        for (int64_t i = 0; i < kLanes; ++i) {
          extra[i] += smoothing / classes * (static_cast<double>(own[i]) - static_cast<double>(tile.row(c)[i]));
        }
      }
    }
    for (int64_t i = 0; i < kLanes; ++i) tile.row(target[i])[i] = -std::numeric_limits<T>::infinity();
    for (int64_t c = 0; c < classes; ++c) raise_to(highest, tile.row(c));
    exponentiate(classes, highest, tile, total);

    alignas(64) double loss[kLanes], slope[kLanes], modulator[kLanes];
    with_gamma(problem.gamma, [&](auto kind) FOCAL_INLINE_LAMBDA {
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) {
        const double z = logarithm_of_sum(total[i]) + (static_cast<double>(highest[i]) - static_cast<double>(own[i]));
        Hard<decltype(kind)::value, double> at(z, problem.gamma);
        at.cross_entropy += extra[i];
        loss[i] = factor[i] * at.loss();
        slope[i] = factor[i] * at.derivative();
        modulator[i] = factor[i] * at.modulator;
      }
    });
    if (!pass.is_gradient) return add_up(pass, labels, loss, result);

    alignas(64) T share[kLanes], even[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      share[i] = static_cast<T>(total[i] > 0 ? slope[i] / total[i] : slope[i] + total[i]);  // 0, or NaN for NaN
      even[i] = static_cast<T>(modulator[i] * smoothing / classes);
    }
    for (int64_t c = 0; c < classes; ++c) {
      T* row = tile.row(c);
      for (int64_t i = 0; i < kLanes; ++i) row[i] = row[i] * share[i] - even[i];
    }
    for (int64_t i = 0; i < kLanes; ++i) {
      tile.row(target[i])[i] = static_cast<T>(modulator[i] * smoothing * (1 - 1.0 / classes) - slope[i]);
    }
    labels.store(tile.row(0), pass.out);
  }

  /// Logits become exponentials, which are added up in double.
  static FOCAL_INLINE void exponentiate(int64_t classes, const T* highest, Tile<T>& tile, double* total) {
    for (int64_t begin = 0; begin < classes; begin += kGroup) {
      alignas(64) T partial[kLanes] = {};
      for (int64_t c = begin; c < std::min(classes, begin + kGroup); ++c) {
        T* row = tile.row(c);
#pragma omp simd
        for (int64_t i = 0; i < kLanes; ++i) {
          row[i] = exp_difference(row[i], highest[i]);
          partial[i] += row[i];
        }
      }
      for (int64_t i = 0; i < kLanes; ++i) total[i] += partial[i];
    }
  }
};

/// Labels that are shares of the classes.
struct SoftKernel {
  static FOCAL_INLINE void run(const Pass& pass, const int64_t& first, const int64_t& end, Result& result) {
    Tile<double> logit(pass.problem.classes), power(pass.problem.classes), share(pass.problem.classes);
    for (int64_t label = first; label < end; label += kLanes) {
      run_tile(pass, Labels(pass.problem, label), logit, power, share, result);
    }
  }

  static FOCAL_INLINE void run_tile(const Pass& pass, const Labels& labels, Tile<double>& logit, Tile<double>& power,
                                    Tile<double>& share, Result& result) {
    const SoftmaxProblem& problem = pass.problem;
    const int64_t classes = problem.classes;
    const double smoothing = problem.label_smoothing;
    alignas(64) double factor[kLanes], highest[kLanes], total[kLanes], others[kLanes], mean[kLanes];
    alignas(64) double loss[kLanes], taken[kLanes], taken_by_highest[kLanes], even[kLanes];
    int64_t first_highest[kLanes];

    labels.load(problem.logit, logit.row(0));
    labels.load(problem.label, share.row(0));
    labels.load_factors(pass, factor);
    for (int64_t i = 0; i < kLanes; ++i) {
      for (int64_t c = 0; c < classes; ++c) {
        if (!(share.row(c)[i] >= 0 && share.row(c)[i] <= 1)) result.reject(labels.first + i);
      }
      highest[i] = std::numeric_limits<double>::lowest();
      first_highest[i] = -1;
      total[i] = others[i] = mean[i] = loss[i] = taken[i] = taken_by_highest[i] = even[i] = 0;
    }
    for (int64_t c = 0; c < classes; ++c) raise_to(highest, logit.row(c));
    for (int64_t c = 0; c < classes; ++c) {
      double *x = logit.row(c), *e = power.row(c);
      for (int64_t i = 0; i < kLanes; ++i) {
        const bool is_first = x[i] == highest[i] && first_highest[i] < 0;
        first_highest[i] = is_first ? c : first_highest[i];
        e[i] = exp_difference(x[i], highest[i]);
        total[i] += e[i];
        others[i] += is_first ? 0 : e[i];
        mean[i] += x[i] / classes;
      }
    }
    // For each class t: its share of the loss, and what its z takes to the gradients of the other classes.
    with_gamma(problem.gamma, [&](auto kind) FOCAL_INLINE_LAMBDA {
      for (int64_t c = 0; c < classes; ++c) {
        double *x = logit.row(c), *e = power.row(c), *y = share.row(c);
        const double scale = class_scale(problem, c);
        for (int64_t i = 0; i < kLanes; ++i) {
          const double rest = first_highest[i] == c ? others[i] : total[i] - e[i];
          Hard<decltype(kind)::value, double> at(logarithm_of_sum(rest) + (highest[i] - x[i]), problem.gamma);
          if (smoothing != 0) at.cross_entropy += smoothing * (x[i] - mean[i]);
          const double part = factor[i] * scale * y[i];
          // A class without a share may be ruled out, by a logit of -infinity.
          const double modulator = part * at.modulator, slope = part == 0 ? 0 : part * at.derivative();
          loss[i] += part == 0 ? 0 : part * at.loss();
          x[i] = smoothing * modulator - slope;
          y[i] = rest == 0 ? 0 : slope / rest;
          (first_highest[i] == c ? taken_by_highest : taken)[i] += y[i];
          even[i] += smoothing / classes * modulator;
        }
      }
    });
    if (!pass.is_gradient) return add_up(pass, labels, loss, result);
    for (int64_t c = 0; c < classes; ++c) {
      double *x = logit.row(c), *e = power.row(c), *y = share.row(c);
      for (int64_t i = 0; i < kLanes; ++i) {
        // Of the highest, which may be nearly everything, no difference is taken.
        const double by_others = first_highest[i] == c ? taken[i] : taken_by_highest[i] + (taken[i] - y[i]);
        x[i] += e[i] * by_others - even[i];
      }
    }
    labels.store(logit.row(0), pass.out);
  }
};

template <class Kernel>
Result run_all(const Pass& pass) {
  const InstructionSet set = select_instruction_set();
  const int64_t labels = pass.problem.labels();
  const int64_t tiles = std::max<int64_t>(1, kTaskSize / (pass.problem.classes * kLanes));
  const int64_t step = tiles * kLanes;
  return run_tasks((labels + step - 1) / step, [&](int64_t task, Result& result) {
    const int64_t first = task * step, end = std::min(labels, first + step);
    run_on<Kernel>(set, pass, first, end, result);
  });
}

Result run(const Pass& pass) {
  if (pass.problem.is_dense()) return run_all<SoftKernel>(pass);
  return pass.problem.logit.type == Type::kFloat64 ? run_all<IndexKernel<double>>(pass)
                                                   : run_all<IndexKernel<float>>(pass);
}

}  // namespace

int64_t softmax_loss(const SoftmaxProblem& problem, void* elements, double* sum) {
  const Result result = run({problem, false, 1, nullptr, static_cast<char*>(elements)});
  if (sum) *sum = result.sum;
  return result.invalid_label;
}

void softmax_gradient(const SoftmaxProblem& problem, const Upstream& upstream, void* out) {
  const double multiplier = upstream.per_element ? 1 : load_one<double>(upstream.array, 0);
  run({problem, true, multiplier, upstream.per_element ? &upstream.array : nullptr, static_cast<char*>(out)});
}

}  // namespace cpu
}  // namespace paddle_focal
