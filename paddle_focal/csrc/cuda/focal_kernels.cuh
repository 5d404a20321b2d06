// The work of one thread on a GPU as a function of its indices; compiled for the host, it can be run there as well.
//
// A thread takes packs of kWidth logits: 16 bytes, which it reads and writes at once where they lie together. Each pack
// is brought into one form, whatever the labels: logits z and a factor for each.
#pragma once

#include <cmath>
#include <type_traits>

#include "cuda/focal_pass.cuh"

namespace paddle_focal {
namespace cuda {

template <class S, int kWidth>
struct alignas(kWidth * sizeof(S) < 16 ? kWidth * sizeof(S) : 16) Pack {
  S at[kWidth];
};

template <class T>
FOCAL_INLINE T load_one(const FocalArray& array, int64_t index) {
  T value;
  visit_type(array.type, [&](auto* null) {
    using S = std::remove_pointer_t<decltype(null)>;
    value = convert<S, T>(static_cast<const S*>(array.data)[index]);
  });
  return value;
}

/// The work of one thread on logits of type S.
template <class S, bool kGradient, bool kSoft>
class Thread {
  using T = typename std::conditional<std::is_same<S, double>::value, double, float>::type;

 public:
  static constexpr int kWidth = cuda::kWidth<S>;
  static constexpr int kBlocks = kSoft ? 3 : 4;  // at a time on a multiprocessor: as many as leave registers enough

  FOCAL_INLINE Thread(const Pass& pass, int64_t block, int thread)
      : pass(pass), params(pass.params), partition(pass.partition), walk(partition, block, thread) {}

  /// Writes the results, or returns their sum: that of a pack is taken in T, all others in double.
  FOCAL_INLINE double run() {
    double sum = 0;
    if (walk.left <= 0) return sum;
    if (pass.grad_out.data && params.reduce) multiplier = load_one<T>(pass.grad_out, 0);
    foreground = scale_of<T>(params.scales[0], 0) * foreground_multiplier();
    background = scale_of<T>(params.scales[1], 0) * multiplier;
    const bool is_dense = kSoft && pass.is_dense;
    const T gamma = static_cast<T>(params.numbers[0]), smoothing = static_cast<T>(params.numbers[1]);
    if (!is_dense && !partition.is_flat) load_labels();
    for (; walk.left > 0; walk.advance(partition)) {
      load<S>(params.logit.data, walk.place.logit, z);
      if (is_dense) {
        load_targets();
      } else {
        if (partition.is_flat) load_labels();
        apply_labels();
      }
      drop_lanes();
      if (params.weight.array.data) apply_weight();
      if (kGradient && !params.reduce) apply_grad_out();
      evaluate(gamma, smoothing);
      if (pass.out) {
        store();
      } else {
        sum += sum_pack();
      }
    }
    return sum;
  }

 private:
  /// d FL / dx = factor * d FL / dz; targets that are not 0/1 numbers are differentiated by x itself.
  FOCAL_INLINE T foreground_multiplier() const { return kGradient && !kSoft ? -multiplier : multiplier; }

  FOCAL_INLINE int count() const { return walk.left < kWidth ? walk.left : kWidth; }

  /// One number for each logit of the pack; 0 beyond the end.
  template <class From, class To>
  FOCAL_INLINE void load(const void* data, int64_t index, To* to) const {
    const From* from = static_cast<const From*>(data) + index;
    if (pass.is_packed && walk.left >= kWidth) {
      const auto pack = *reinterpret_cast<const Pack<From, kWidth>*>(from);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) to[j] = convert<From, To>(pack.at[j]);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        to[j] = j < walk.left ? convert<From, To>(from[j * partition.lane_stride]) : To(0);
      }
    }
  }

  FOCAL_INLINE void store() const {
    S* to = static_cast<S*>(pass.out) + walk.place.logit;
    Pack<S, kWidth> pack;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) pack.at[j] = convert<T, S>(z[j] * factor[j]);
    if (pass.is_packed && walk.left >= kWidth) {
      *reinterpret_cast<Pack<S, kWidth>*>(to) = pack;
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        if (j < walk.left) to[j * partition.lane_stride] = pack.at[j];
      }
    }
  }

  FOCAL_INLINE double sum_pack() const {
    T sum = 0;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += z[j] * factor[j];
    return sum;
  }

  FOCAL_INLINE void load_labels() {
    Place place = walk.place;
    ignored = invalid = 0;
    if (partition.is_along_labels) {
      int64_t label[kWidth];
      params.label.type == FOCAL_INT32 ? load<int32_t>(params.label.data, place.label, label)
                                         : load<int64_t>(params.label.data, place.label, label);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) set_label(j, label[j], place.c, 1u << j);
      return;
    }
    int64_t label = load_label(params.label, place.label);
    if (!partition.is_flat || place.c + kWidth <= partition.classes) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) set_label(j, label, place.c + j, kAll);
      return;
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      set_label(j, label, place.c, 1u << j);
      place.advance(partition);
      if (place.c == 0 && j + 1 < walk.left) label = load_label(params.label, place.label);
    }
  }

  FOCAL_INLINE void set_label(int j, int64_t label, int64_t c, uint32_t bits) {
    relative[j] = static_cast<int32_t>(label - c);
    if (static_cast<uint64_t>(label) > static_cast<uint64_t>(partition.classes)) {
      (label == params.ignore_index ? ignored : invalid) |= bits;
    }
  }

  FOCAL_INLINE void apply_labels() {
    const int32_t moved = partition.is_flat ? 0 : static_cast<int32_t>(walk.place.c) % kTileClasses;
    for_each_scale([&](int j, T foreground, T background) {
      const bool is_foreground = relative[j] == moved;
      factor[j] = is_foreground ? foreground : background;
      target[j] = is_foreground ? T(1) : T(0);
      z[j] = is_foreground && !kSoft ? -z[j] : z[j];
    });
  }

  FOCAL_INLINE void load_targets() {
    visit_type(params.label.type, [&](auto* null) {
      using From = std::remove_pointer_t<decltype(null)>;
      load<From>(params.label.data, walk.place.logit, target);
    });
    invalid = 0;
    for_each_scale([&](int j, T foreground, T background) {
      factor[j] = target[j] * foreground + (1 - target[j]) * background;
      if (!(target[j] >= 0 && target[j] <= 1)) invalid |= 1u << j;
    });
  }

  /// Calls function(j, scale of target 1, scale of target 0) for each logit of the pack.
  template <class Function>
  FOCAL_INLINE void for_each_scale(Function function) const {
    if (!params.scales[0].stride && !params.scales[1].stride) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) function(j, foreground, background);
      return;
    }
    Place place = walk.place;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      function(j, scale_of<T>(params.scales[0], place.c) * foreground_multiplier(),
               scale_of<T>(params.scales[1], place.c) * multiplier);
      place.advance(partition);
    }
  }

  /// Labels without loss get 0 whatever the logit, those out of range NaN.
  FOCAL_INLINE void drop_lanes() {
    const uint32_t beyond = kAll & ~((1u << count()) - 1);
    if (!(ignored | invalid | beyond)) return;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (!((ignored | invalid | beyond) >> j & 1)) continue;
      z[j] = target[j] = 0;
      factor[j] = (invalid & ~beyond) >> j & 1 ? static_cast<T>(NAN) : T(0);
    }
  }

  FOCAL_INLINE void apply_weight() {
    visit_type(params.weight.array.type, [&](auto* null) { apply_weight<std::remove_pointer_t<decltype(null)>>(); });
  }

  template <class From>
  FOCAL_INLINE void apply_weight() {
    const FocalWeight& weight = params.weight;
    Place place = walk.place;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t o = partition.by_inner.quotient(place.label), i = place.label - o * partition.inner;
      const int64_t index = o * weight.outer + place.c * weight.classes + i * weight.inner;
      if (j < walk.left) factor[j] *= convert<From, T>(static_cast<const From*>(weight.array.data)[index]);
      place.advance(partition);
    }
  }

  FOCAL_INLINE void apply_grad_out() {
    T grad_out[kWidth];
    load<S>(pass.grad_out.data, walk.place.logit, grad_out);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) factor[j] *= grad_out[j];
  }

  FOCAL_INLINE void evaluate(T gamma, T smoothing) {
    visit_gamma(pass.gamma, [&](auto kind) { evaluate<decltype(kind)::value>(gamma, smoothing); });
  }

  template <Gamma kGamma>
  FOCAL_INLINE void evaluate(T gamma, T smoothing) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if constexpr (kSoft) {
        const Soft<kGamma, T> at(z[j], target[j], gamma, smoothing);
        z[j] = kGradient ? at.derivative() : at.loss();
      } else {
        const Hard<kGamma, T> at(z[j], gamma);
        z[j] = kGradient ? at.derivative() : at.loss();
      }
    }
  }

  static constexpr uint32_t kAll = (1u << kWidth) - 1;

  const Pass& pass;
  const FocalLossParams& params;
  const Partition& partition;
  Walk walk;
  T multiplier = 1;                   // upstream gradient of all logits
  T foreground, background;           // scales of all classes
  T z[kWidth];                        // logits, and then the results without their factor
  T factor[kWidth];                   // alpha / normalizer * weight * upstream gradient * dz / dx
  T target[kWidth];                   // soft targets
  int32_t relative[kWidth];           // label minus class, of the labels loaded last
  uint32_t ignored = 0, invalid = 0;  // labels, one bit each
};

}  // namespace cuda
}  // namespace paddle_focal
