// The sum of a loss of single logits and its gradient on a GPU, in whole packs: which of them a thread takes, and what
// lies beside them.
#pragma once

#include <cmath>

#include "cuda/focal_pack_loss.cuh"

namespace paddle_focal {
namespace cuda {

template <class S, bool kGradient, Kind kKind, Gamma kGamma>
class PackedLoss {
  using T = Computing<S>;
  static constexpr int kSize = kWidth<S>;
  static constexpr int kUnroll = unroll_of(kSize);
  static constexpr int kAll = kUnroll * kSize;
  static constexpr int kStep = kThreads * kSize;
  static constexpr bool kHeat = has_heatmap(kKind), kDense = has_targets(kKind);
  static constexpr bool kRunning = has_runs(kKind), kWeighted = has_weights(kKind);
  static constexpr bool kShortLabel = kKind == Kind::kRows32 || kKind == Kind::kWeightedRows32;
  using Label = std::conditional_t<kShortLabel, int32_t, int64_t>;
  using Target = std::conditional_t<kKind == Kind::kFloatTargets || kKind == Kind::kFloatHeatmap, float, S>;

  /// The packs that a thread takes at a time, one after the other, and what lies beside them.
  struct Item {
    T x[kAll];
    T target[kDense ? kAll : 1];
    Label label[kUnroll];  // rows: of the first logit of each pack
    uint32_t row[kUnroll];  // rows: of the label, from the block's first one on
    int32_t c[kUnroll];     // rows: class of the first logit
  };

 public:
  // At a time on a multiprocessor: as many as leave enough registers.
  static constexpr int kBlocks =
      std::is_same<S, double>::value ? 2 : kRunning || kWeighted || kGamma == Gamma::kAny ? 3 : 4;

  FOCAL_INLINE PackedLoss(const Pass& pass, int64_t block, int thread)
      : pass(pass), params(pass.params), block(block), thread(thread), loss(pass) {}

  FOCAL_INLINE double run() {
    if constexpr (kRunning) {
      run_units();
    } else {
      run_tiles();
    }
    return loss.sum();
  }

 private:
  // Packs that follow each other, in tiles of a block.

  FOCAL_INLINE void run_tiles() {
    const int64_t base = block * pass.share.per_block;
    const int64_t first_row = kDense ? 0 : pass.axes.by_classes.quotient(base);
    const Label* labels = static_cast<const Label*>(params.label.data) + (kDense ? 0 : first_row);
    const T* weights = static_cast<const T*>(params.weight.array.data) + first_row;
    uint32_t place = static_cast<uint32_t>(kDense ? 0 : base - first_row * params.classes) + thread * kSize;
    const S* from = static_cast<const S*>(params.logit.data) + base + thread * kSize;
    const Target* target = static_cast<const Target*>(params.label.data) + base + thread * kSize;
    S* to = static_cast<S*>(pass.out) + base + thread * kSize;
    const uint32_t classes = static_cast<uint32_t>(params.classes);
    int count = 0;
    for (int32_t left = pass.share.left(block, thread * kSize); left > 0; left -= kUnroll * kStep) {
      Item item;
      if constexpr (!kDense) find_rows(item, place, classes);
      if (left >= (kUnroll - 1) * kStep + kSize) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          load_pack<S, T, kSize>(from + u * kStep, item.x + u * kSize);
          if constexpr (kDense) load_pack<Target, T, kSize>(target + u * kStep, item.target + u * kSize);
          if constexpr (!kDense) item.label[u] = labels[item.row[u]];
        }
      } else {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          const int32_t n = left - u * kStep;
          load_some<S, T, kSize>(from + u * kStep, n, -static_cast<T>(INFINITY), item.x + u * kSize);
          if constexpr (kDense) load_some<Target, T, kSize>(target + u * kStep, n, T(0), item.target + u * kSize);
          if constexpr (!kDense) item.label[u] = n > 0 ? labels[item.row[u]] : static_cast<Label>(classes);
        }
      }
      const auto marks_of = [&] {
        if constexpr (kDense) {
          return marks_of_targets(item);
        } else {
          return marks_of_rows(item, labels, left);
        }
      };
      const auto row_of = [&](int k) {
        const uint32_t c = pick(item.c, k / kSize) + k % kSize;
        return pick(item.row, k / kSize) + pass.axes.classes.by_length.quotient(c);
      };
      const auto target_of = [&](int k) {
        if constexpr (kDense) {
          return pick(item.target, k);
        } else {
          return score_of(first_row + row_of(k));
        }
      };
      const auto weight_of = [&](int k) { return weights[row_of(k)]; };
      const auto weigh = [&](T (&weight)[kAll]) { weigh_rows(item, weights, left, weight); };
      loss.take(item.x, item.target, is_special(item, classes), marks_of, target_of, weight_of, weigh);
      if constexpr (kGradient) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) store_most<S, T, kSize>(item.x + u * kSize, left - u * kStep, to + u * kStep);
      }
      from += kUnroll * kStep;
      if constexpr (kDense) target += kUnroll * kStep;
      if constexpr (kGradient) to += kUnroll * kStep;
      place += kUnroll * kStep;
      if (!kGradient && ++count % 16 == 0) loss.flush();
    }
  }

  /// Whether marks have to be looked for: they may be.
  static FOCAL_INLINE bool is_special(const Item& item, uint32_t classes) {
    bool result = false;
    if constexpr (kDense) {
#pragma unroll
      for (int j = 0; j < kAll; ++j) {
        result |= kHeat ? !(item.target[j] >= 0 && item.target[j] < 1) : !(item.target[j] == 0);
      }
    } else {
      using Unsigned = std::make_unsigned_t<Label>;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const uint32_t distance = static_cast<uint32_t>(item.label[u]) - static_cast<uint32_t>(item.c[u]);
        result |= distance < static_cast<uint32_t>(kSize) || static_cast<Unsigned>(item.label[u]) > classes ||
                  static_cast<uint32_t>(item.c[u]) + kSize > classes;
      }
    }
    return result;
  }

  FOCAL_INLINE void find_rows(Item& item, uint32_t place, uint32_t classes) const {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      item.row[u] = pass.axes.classes.by_length.quotient(place + u * kStep);
      item.c[u] = static_cast<int32_t>(place + u * kStep - item.row[u] * classes);
    }
  }

  FOCAL_INLINE Marks marks_of_rows(const Item& item, const Label* labels, int32_t left) const {
    Marks marks;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      Label label = item.label[u];
      uint32_t row = item.row[u];
      int64_t c = item.c[u];
#pragma unroll
      for (int j = 0; j < kSize; ++j, ++c) {
        const bool is_there = u * kStep + j < left;
        if (c == params.classes) {
          c = 0;
          ++row;
          if (is_there) label = labels[row];
        }
        if (is_there) marks.set_label(u * kSize + j, label, c, params);
      }
    }
    return marks;
  }

  FOCAL_INLINE void weigh_rows(const Item& item, const T* weights, int32_t left, T (&weight)[kAll]) const {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const T* from = weights + item.row[u];
      const T first = u * kStep < left ? *from : T(0);
#pragma unroll
      for (int j = 0; j < kSize; ++j) weight[u * kSize + j] = first;
      if (item.c[u] + kSize <= params.classes) continue;
#pragma unroll
      for (int j = 1; j < kSize; ++j) {
        const uint32_t row = pass.axes.classes.by_length.quotient(static_cast<uint32_t>(item.c[u]) + j);
        if (row && u * kStep + j < left) weight[u * kSize + j] = from[row];
      }
    }
  }

  static FOCAL_INLINE Marks marks_of_targets(const Item& item) {
    Marks marks;
#pragma unroll
    for (int j = 0; j < kAll; ++j) {
      const T target = item.target[j];
      marks.invalid |= static_cast<uint32_t>(!is_share(target)) << j;
      marks.own |= static_cast<uint32_t>(is_share(target) && (kHeat ? target == 1 : target != 0)) << j;
    }
    return marks;
  }

  // One pack of labels at a time, for some classes.

  FOCAL_INLINE void run_units() {
    const int64_t base = block * pass.share.per_block;
    for (int32_t left = pass.share.left(block, thread), n = thread; left > 0; left -= kThreads, n += kThreads) {
      run_unit(base + n);
      loss.flush();
    }
  }

  FOCAL_INLINE void run_unit(int64_t unit) {
    const Runs& runs = pass.runs;
    const int64_t rest = runs.by_groups.quotient(unit), o = runs.by_chunks.quotient(rest);
    const int64_t i = (unit - rest * runs.groups) * kSize, first_label = o * params.inner + i;
    const int32_t begin = static_cast<int32_t>((rest - o * runs.chunks) * runs.classes);
    const int32_t end = static_cast<int32_t>(begin + runs.classes < params.classes ? begin + runs.classes : params.classes);
    const int count = params.inner - i < kSize ? static_cast<int>(params.inner - i) : kSize;
    const int64_t first_logit = (o * params.classes + begin) * params.inner + i;
    const S* from = static_cast<const S*>(params.logit.data) + first_logit;
    S* to = static_cast<S*>(pass.out) + first_logit;

    const T* weights = static_cast<const T*>(params.weight.array.data) + o * params.weight.outer + i;

    int32_t label[kSize];
    Marks dropped;
    params.label.type == FOCAL_INT32 ? load_run<int32_t>(first_label, count, label, dropped)
                                     : load_run<int64_t>(first_label, count, label, dropped);
    const bool has_dropped = dropped.ignored | dropped.invalid;
    int32_t next = next_own(label, begin - 1);
    for (int32_t c = begin; c < end; c += kUnroll) {
      Item item;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const S* pack = from + u * params.inner;
        if (count == kSize && c + u < end) {
          load_pack<S, T, kSize>(pack, item.x + u * kSize);
        } else {
          load_some<S, T, kSize>(pack, c + u < end ? count : 0, -static_cast<T>(INFINITY), item.x + u * kSize);
        }
      }
      const auto marks_of = [&] {
        Marks marks;
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          if (c + u == end) break;
#pragma unroll
          for (int j = 0; j < kSize; ++j) marks.own |= static_cast<uint32_t>(label[j] == c + u) << (u * kSize + j);
          marks.ignored |= dropped.ignored << u * kSize;
          marks.invalid |= dropped.invalid << u * kSize;
        }
        next = next_own(label, c + kUnroll - 1);
        return marks;
      };
      const auto target_of = [&](int k) { return score_of(first_label + k % kSize); };
      const auto weight_of = [&](int k) { return weights[k % kSize]; };
      const auto weigh = [&](T (&weight)[kSize]) {
        if (count < kSize) return load_some<T, T, kSize>(weights, count, T(0), weight);
#pragma unroll
        for (int j = 0; j < kSize; ++j) weight[j] = weights[j];
      };
      loss.take(item.x, item.target, has_dropped || next < c + kUnroll, marks_of, target_of, weight_of, weigh);
      if constexpr (kGradient) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          store_most<S, T, kSize>(item.x + u * kSize, c + u < end ? count : 0, to + u * params.inner);
        }
      }
      from += kUnroll * params.inner;
      to += kUnroll * params.inner;
    }
  }

  /// Labels in 32 bits, those that are no class being kShort + 1.
  template <class From>
  FOCAL_INLINE void load_run(int64_t first, int count, int32_t (&label)[kSize], Marks& dropped) const {
    const From* from = static_cast<const From*>(params.label.data) + first;
    From wide[kSize];
    if (count == kSize) {
      load_pack<From, From, kSize>(from, wide);
    } else {
      load_some<From, From, kSize>(from, count, static_cast<From>(params.classes), wide);
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      dropped.set_label(j, wide[j], -1, params);
      const bool is_class = static_cast<uint64_t>(wide[j]) < static_cast<uint64_t>(params.classes);
      label[j] = is_class ? static_cast<int32_t>(wide[j]) : static_cast<int32_t>(kShort + 1);
    }
    dropped.own = 0;
  }

  /// The lowest label above a class.
  static FOCAL_INLINE int32_t next_own(const int32_t (&label)[kSize], int32_t c) {
    int32_t next = static_cast<int32_t>(kShort + 1);
#pragma unroll
    for (int j = 0; j < kSize; ++j) next = label[j] > c && label[j] < next ? label[j] : next;
    return next;
  }

  FOCAL_INLINE T score_of(int64_t label) const { return params.score.data ? load_one<T>(params.score, label) : T(1); }

  const Pass& pass;
  const FocalLossParams& params;
  const int64_t block;
  const int thread;
  PackLoss<S, kGradient, kKind, kGamma> loss;
};

}  // namespace cuda
}  // namespace paddle_focal
