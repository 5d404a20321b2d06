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
// z is computed in double: where p_t is close to 1 the loss depends on it exponentially. Smoothing adds s times the
// mean of x_t - x_k to the cross entropy. Soft labels y add up the losses of all classes t, each times y_t, in double
// throughout, as each class has a z of its own there.
//
// Included after the choice of an instruction set.
#pragma once

#include "cpu/block.h"

namespace paddle_focal {
namespace cpu {
namespace FOCAL_ISA {
namespace {

constexpr int64_t kLanes = 64;             // labels of a tile: sums enough, side by side, to hide the latency of one
constexpr int64_t kSoftmaxTask = 1 << 16;  // logits
constexpr int64_t kGroup = 8;  // classes whose exponentials are added up before they are converted to double

template <class S, class T>
FOCAL_INLINE S narrowed(T value) {
  if constexpr (std::is_class<S>::value) {
    return convert<float, S>(static_cast<float>(value));
  } else {
    return static_cast<S>(value);
  }
}

/// Consecutive labels, one in each lane; what has a value for each class lies in rows of kLanes, one row a class.
struct LabelLanes {
  const FocalLossParams& params;
  int64_t first, n;
  int64_t offset[kLanes] = {};  // of the logit of class 0

  FOCAL_INLINE LabelLanes(const FocalLossParams& params, int64_t first)
      : params(params), first(first), n(lesser(kLanes, label_count(params) - first)) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t label = first + i;
      offset[i] = label / params.inner * params.classes * params.inner + label % params.inner;
    }
  }

  /// Calls function(row of the class, lane, index in memory) for each logit, along memory.
  template <class Function>
  FOCAL_INLINE void for_each_logit(Function function) const {
    const int64_t classes = params.classes, inner = params.inner;
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
  FOCAL_INLINE void load(const FocalArray& array, T* tile) const {
    visit_type(array.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      const S* in = static_cast<const S*>(array.data);
      for_each_logit([&](int64_t row, int64_t i, int64_t at) FOCAL_INLINE_LAMBDA {
        tile[row + i] = convert<S, T>(in[at]);
      });
    });
    for (int64_t c = 0; c < params.classes; ++c) fill(tile + c * kLanes + n, kLanes - n, T(0));
  }

  template <class T>
  FOCAL_INLINE void store(const T* tile, void* elements) const {
    visit_type(params.logit.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      S* out = static_cast<S*>(elements);
      for_each_logit([&](int64_t row, int64_t i, int64_t at) FOCAL_INLINE_LAMBDA {
        out[at] = narrowed<S>(tile[row + i]);
      });
    });
  }

  FOCAL_INLINE void store_losses(const double* losses, void* elements) const {
    visit_type(params.logit.type, [&](auto* null) FOCAL_INLINE_LAMBDA {
      using S = std::remove_pointer_t<decltype(null)>;
      S* out = static_cast<S*>(elements) + first;
      for (int64_t i = 0; i < n; ++i) out[i] = narrowed<S>(losses[i]);
    });
  }

  /// The factor of each label but for that of its class; 0 in the lanes without a label.
  FOCAL_INLINE void load_factors(const Pass& pass, double* factor) const {
    for (int64_t i = 0; i < kLanes; ++i) factor[i] = i < n ? pass.multiplier : 0;
    const FocalArray& weight = params.weight.array;
    for (int64_t i = 0; weight.data && i < n; ++i) factor[i] *= load_one<double>(weight, first + i);
    for (int64_t i = 0; pass.grad_out && i < n; ++i) factor[i] *= load_one<double>(*pass.grad_out, first + i);
  }
};

/// NaN for NaN, which logarithm() does not look for.
FOCAL_INLINE double logarithm_of_sum(double sum) { return logarithm(sum) + 0 * sum; }

FOCAL_INLINE double class_scale(const FocalLossParams& params, int64_t c) {
  const FocalScale& scale = params.scales[0];
  return params.logit.type == FOCAL_FLOAT64 ? scale_of<double>(scale, c) : scale_of<float>(scale, c);
}

/// Rows for all classes, aligned.
template <class T>
class Tile {
 public:
  explicit Tile(int64_t classes)
      : memory_(static_cast<T*>(std::malloc((classes + 1) * kLanes * sizeof(T)))),
        aligned_(reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_) + 63) / 64 * 64)) {}
  Tile(const Tile&) = delete;
  ~Tile() { std::free(memory_); }

  bool is_there() const { return memory_; }

  T* row(int64_t c) { return aligned_ + c * kLanes; }

 private:
  T *memory_, *aligned_;
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

FOCAL_INLINE void add_up(const Pass& pass, const LabelLanes& labels, const double* losses, Result& result) {
  if (pass.mode == Mode::kLoss && pass.out) return labels.store_losses(losses, pass.out);
  for (int64_t i = 0; i < labels.n; ++i) result.sum += losses[i];
}

/// Labels that are class indices.
template <class T>
struct IndexKernel {
  static void run(const Pass& pass, int64_t first, int64_t end, Result& result) {
    Tile<T> tile(pass.params.classes);
    result.is_out_of_memory = !tile.is_there();
    if (result.is_out_of_memory) return;
    for (int64_t label = first; label < end; label += kLanes) {
      run_tile(pass, LabelLanes(pass.params, label), tile, result);
    }
  }

  static void run_tile(const Pass& pass, const LabelLanes& labels, Tile<T>& tile, Result& result) {
    const FocalLossParams& params = pass.params;
    const int64_t classes = params.classes;
    const double smoothing = params.numbers[1];
    alignas(64) T own[kLanes], highest[kLanes];
    alignas(64) double factor[kLanes], total[kLanes], extra[kLanes];
    int64_t target[kLanes];

    labels.load(params.logit, tile.row(0));
    labels.load_factors(pass, factor);
    for (int64_t i = 0; i < kLanes; ++i) {
      target[i] = i < labels.n ? load_label(params.label, labels.first + i) : 0;
      if (target[i] < 0 || target[i] >= classes) {
        if (target[i] != params.ignore_index) result.reject(labels.first + i);
        for (int64_t c = 0; c < classes; ++c) tile.row(c)[i] = 0;
        target[i] = 0;
        factor[i] = 0;
      }
      factor[i] *= class_scale(params, target[i]);
      own[i] = tile.row(target[i])[i];
      highest[i] = -Format<T>::kLargest;
      total[i] = extra[i] = 0;
    }
    if (smoothing != 0) {
      for (int64_t c = 0; c < classes; ++c) {
        for (int64_t i = 0; i < kLanes; ++i) {
          extra[i] += smoothing / classes * (static_cast<double>(own[i]) - static_cast<double>(tile.row(c)[i]));
        }
      }
    }
    for (int64_t i = 0; i < kLanes; ++i) tile.row(target[i])[i] = -static_cast<T>(INFINITY);
    for (int64_t c = 0; c < classes; ++c) raise_to(highest, tile.row(c));
    exponentiate(classes, highest, tile, total);

    alignas(64) double loss[kLanes], slope[kLanes], modulator[kLanes];
    visit_gamma(kind_of(params.numbers[0]), [&](auto kind) FOCAL_INLINE_LAMBDA {
#pragma omp simd
      for (int64_t i = 0; i < kLanes; ++i) {
        const double z = logarithm_of_sum(total[i]) + (static_cast<double>(highest[i]) - static_cast<double>(own[i]));
        Hard<decltype(kind)::value, double> at(z, params.numbers[0]);
        at.cross_entropy += extra[i];
        loss[i] = factor[i] * at.loss();
        slope[i] = factor[i] * at.derivative();
        modulator[i] = factor[i] * at.modulator;
      }
    });
    if (pass.mode != Mode::kGradient) add_up(pass, labels, loss, result);
    if (pass.mode == Mode::kLoss) return;

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
      for (int64_t c = begin; c < lesser(classes, begin + kGroup); ++c) {
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
  static void run(const Pass& pass, int64_t first, int64_t end, Result& result) {
    Tile<double> logit(pass.params.classes), power(pass.params.classes), share(pass.params.classes);
    result.is_out_of_memory = !(logit.is_there() && power.is_there() && share.is_there());
    if (result.is_out_of_memory) return;
    for (int64_t label = first; label < end; label += kLanes) {
      run_tile(pass, LabelLanes(pass.params, label), logit, power, share, result);
    }
  }

  static void run_tile(const Pass& pass, const LabelLanes& labels, Tile<double>& logit, Tile<double>& power,
                                    Tile<double>& share, Result& result) {
    const FocalLossParams& params = pass.params;
    const int64_t classes = params.classes;
    const double smoothing = params.numbers[1];
    alignas(64) double factor[kLanes], highest[kLanes], total[kLanes], others[kLanes];
    alignas(64) double depth[kLanes];  // of the mean of all logits, below the highest
    alignas(64) double loss[kLanes], taken[kLanes], taken_by_highest[kLanes], even[kLanes];
    int64_t first_highest[kLanes];

    labels.load(params.logit, logit.row(0));
    labels.load(params.label, share.row(0));
    labels.load_factors(pass, factor);
    for (int64_t i = 0; i < kLanes; ++i) {
      for (int64_t c = 0; c < classes; ++c) {
        if (!(share.row(c)[i] >= 0 && share.row(c)[i] <= 1)) result.reject(labels.first + i);
      }
      highest[i] = -Format<double>::kLargest;
      first_highest[i] = -1;
      total[i] = others[i] = depth[i] = loss[i] = taken[i] = taken_by_highest[i] = even[i] = 0;
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
        depth[i] += (highest[i] - x[i]) / classes;
      }
    }
    // For each class t: its share of the loss, and what its z takes to the gradients of the other classes.
    visit_gamma(kind_of(params.numbers[0]), [&](auto kind) FOCAL_INLINE_LAMBDA {
      for (int64_t c = 0; c < classes; ++c) {
        double *x = logit.row(c), *e = power.row(c), *y = share.row(c);
        const double scale = class_scale(params, c);
        for (int64_t i = 0; i < kLanes; ++i) {
          const double rest = first_highest[i] == c ? others[i] : total[i] - e[i];
          Hard<decltype(kind)::value, double> at(logarithm_of_sum(rest) + (highest[i] - x[i]), params.numbers[0]);
          if (smoothing != 0) at.cross_entropy += smoothing * (depth[i] - (highest[i] - x[i]));
          const double part = factor[i] * scale * y[i];
          // A class without a share may be ruled out, by a logit of -infinity.
          const double modulator = part * at.modulator, slope = part == 0 ? 0 : part * at.derivative();
          loss[i] += part == 0 ? 0 : part * at.loss();
          const double evenly = smoothing / classes * modulator;  // a class alone gets it all back
          x[i] = classes * evenly - slope;
          y[i] = rest == 0 ? 0 : slope / rest;
          (first_highest[i] == c ? taken_by_highest : taken)[i] += y[i];
          even[i] += evenly;
        }
      }
    });
    if (pass.mode != Mode::kGradient) add_up(pass, labels, loss, result);
    if (pass.mode == Mode::kLoss) return;
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
Result run_softmax(const Pass& pass) {
  struct Work {
    const Pass& pass;
    int64_t step;  // labels of a task
  };
  const int64_t tile = pass.params.classes * kLanes;
  const Work work{pass, (tile < kSoftmaxTask ? kSoftmaxTask / tile : 1) * kLanes};
  const auto task = [](const void* data, int64_t number, Result& result) {
    const Work& work = *static_cast<const Work*>(data);
    const int64_t first = number * work.step;
    Kernel::run(work.pass, first, lesser(label_count(work.pass.params), first + work.step), result);
  };
  return run_tasks((label_count(pass.params) + work.step - 1) / work.step, task, &work);
}

Result softmax(const Pass& pass) {
  if (is_dense(pass.params)) return run_softmax<SoftKernel>(pass);
  return pass.params.logit.type == FOCAL_FLOAT64 ? run_softmax<IndexKernel<double>>(pass)
                                                 : run_softmax<IndexKernel<float>>(pass);
}

}  // namespace
}  // namespace FOCAL_ISA
}  // namespace cpu
}  // namespace paddle_focal
