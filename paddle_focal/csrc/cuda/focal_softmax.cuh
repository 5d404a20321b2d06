// The focal loss of a softmax on a GPU: the work of one thread, in steps between which threads exchange numbers.
//
// Some threads, the lanes, share a label: each takes every so-manieth class, reads its logits once and keeps them in
// shared memory where they fit. Everything is computed in the computing type. The logit of the wrong answer,
//
//   z = log(total) + highest - x_t,   total = sum of exp(x_k - highest) over k != t,
//
// on which the loss depends exponentially where it is negative, is not used there: exp(z) is total exp(highest - x_t).
// For the rest see cpu/softmax_kernel.h.
#pragma once

#include <cmath>

#include "cuda/focal_pack.cuh"
#include "cuda/focal_softmax_pass.cuh"
#include "formulas/sigmoid_focal.h"

namespace paddle_focal {
namespace cuda {

/// exp(x - highest), with what rounding takes from the difference put back; 0 for -infinity.
template <class T>
FOCAL_INLINE T exp_difference(T x, T highest) {
  const T difference = x - highest, back = difference - x;
  const T lost = (x - (difference - back)) - (highest + back);
#if defined(FOCAL_HAS_APPROXIMATIONS)
  if constexpr (std::is_same<T, float>::value) {  // as exp_nonpositive(), in which rounding takes something, too
    const float rounded = difference * 1.44269504f;
    const float rest = fmaf(rounded, -0.693147182f, difference) + lost;
    const float power = approximate_exp2(rounded);
    return fmaf(power, fminf(rest, 1.0f), power);
  }
#endif
  const T power = exp_nonpositive(difference);
  return power + power * (difference < Format<T>::kLowest ? T(0) : lost);
}

/// What a thread of both kernels has: its label, its lane, and the logits of its classes, which are kept or read again.
template <class S, bool kKept>
class SoftmaxThread {
 public:
  using T = Computing<S>;
  static constexpr int kBlocks = std::is_same<S, double>::value ? 2 : 4;  // at a time on a multiprocessor

  T mail[4];        // what the lanes exchange, and then have in common
  double sum = 0;   // of the losses of the thread's labels

  FOCAL_INLINE SoftmaxThread(const SoftmaxPass& pass, int64_t block, int thread, T* kept)
      : pass(pass),
        params(pass.params),
        classes(static_cast<int32_t>(params.classes)),
        lane(pass.is_rows ? thread % pass.lanes : thread / pass.slots),
        slot(pass.is_rows ? thread / pass.lanes : thread % pass.slots),
        threads(pass.threads()),
        block(block),
        kept(kept + thread) {}

 protected:
  /// Goes to the label of the lanes in a tile; the last one there is in place of those beyond.
  FOCAL_INLINE void enter(int32_t tile) {
    const int64_t base = block * pass.share.per_block;
    const int32_t count = pass.share.left(block, 0), wanted = tile + slot;
    is_there = wanted < count;
    label = base + (is_there ? wanted : count - 1);
    const int64_t outer = pass.is_rows ? label : pass.by_inner.quotient(label);
    offset = outer * classes * params.inner + (label - outer * params.inner);
    highest = -Format<T>::kLargest;
    factor = 1;
    if (pass.grad_out.data) {
      factor = params.reduce ? load_one<T>(pass.grad_out, 0) : load_one<T>(pass.grad_out, label);
    }
    if (params.weight.array.data) factor *= load_one<T>(params.weight.array, label);
  }

  FOCAL_INLINE T logit(int32_t c) const {
    return convert<S, T>(static_cast<const S*>(params.logit.data)[offset + c * params.inner]);
  }

  /// Calls function(class, index of its logit, where something is kept for it) for the first of each kAtOnce classes of
  /// the lane, the others following at a distance of lanes, class_step() and threads.
  template <class Function>
  FOCAL_INLINE void for_each_few(Function function) const {
    int64_t index = offset + lane * params.inner;
    T* at = kept;
    for (int32_t c = lane; c < classes; c += kAtOnce * pass.lanes) {
      function(c, index, at);
      index += kAtOnce * class_step();
      if constexpr (kKept) at += kAtOnce * threads;
    }
  }

  /// Calls function(class, where something is kept for it) for each class of the lane.
  template <class Function>
  FOCAL_INLINE void for_each_class(Function function) const {
    T* at = kept;
#pragma unroll 1
    for (int32_t c = lane; c < classes; c += pass.lanes) {
      function(c, at);
      if constexpr (kKept) at += threads;
    }
  }

  FOCAL_INLINE int64_t class_step() const { return pass.lanes * params.inner; }

  FOCAL_INLINE T kept_logit(int32_t c, const T* at) const { return kKept ? *at : logit(c); }

  FOCAL_INLINE T kept_power(int32_t c, const T* at) const { return kKept ? *at : exp_difference(logit(c), highest); }

  /// The loss without its factor, from z and exp(z) or its reciprocal.
  template <Gamma kGamma>
  FOCAL_INLINE Hard<kGamma, T> terms(T z, T odds, bool is_reciprocal) const {
    const bool is_large = odds > 1;
    const T small = is_large ? 1 / odds : odds;
    // Near exp(z) = 1 rounding may have z on the other side.
    const bool is_wrong = is_large != is_reciprocal;
    const T magnitude = std::fabs(z);
    return {Logistic<T>(is_wrong ? magnitude : -magnitude, small), static_cast<T>(params.numbers[0])};
  }

  FOCAL_INLINE void store_gradient(int32_t c, T value) const {
    if (is_there) static_cast<S*>(pass.out)[offset + c * params.inner] = convert<T, S>(value);
  }

  FOCAL_INLINE void take_loss(T loss) {
    if (!is_there || lane != 0) return;
    if (pass.out) {
      static_cast<S*>(pass.out)[label] = convert<T, S>(loss);
    } else {
      sum += loss;
    }
  }

  const SoftmaxPass& pass;
  const FocalLossParams& params;
  const int32_t classes, lane, slot, threads;
  const int64_t block;
  T* const kept;
  bool is_there;
  int64_t label, offset;  // of the label, and of the logit of its class 0
  T highest, factor;
};

/// Labels that are class indices.
template <class S, bool kGradient, bool kKept>
class IndexSoftmax : public SoftmaxThread<S, kKept> {
  using Base = SoftmaxThread<S, kKept>;

 public:
  using Base::Base;
  using typename Base::T;

  template <class Group>
  static FOCAL_INLINE void run(Group& group, int32_t tile) {
    group.each([&](IndexSoftmax& thread) { thread.load(tile); });
    group.template share<Most>(1);
    group.each([](IndexSoftmax& thread) { thread.exponentiate(); });
    group.template share<Total>(2);
    group.each([](IndexSoftmax& thread) { thread.finish(); });
  }

 private:
  /// Logits of the lane from one on; -infinity for the labelled class and beyond the last one.
  FOCAL_INLINE void load_few(int32_t c, int64_t index, T (&x)[kAtOnce]) {
    const S* from = static_cast<const S*>(this->params.logit.data) + index;
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j, c += this->pass.lanes, from += this->class_step()) {
      x[j] = c < this->classes && c != target ? convert<S, T>(*from) : -static_cast<T>(INFINITY);
    }
  }

  FOCAL_INLINE void load(int32_t tile) {
    this->enter(tile);
    const int64_t given = load_label(this->params.label, this->label);
    is_class = given >= 0 && given < this->classes;
    is_ignored = !is_class && given == this->params.ignore_index;
    target = is_class ? static_cast<int32_t>(given) : 0;
    this->factor *= scale_of<T>(this->params.scales[0], target);
    own = this->logit(target);
    distance = 0;
    const bool is_smooth = this->params.numbers[1] != 0;
    T most = this->highest;
    this->for_each_few([&](int32_t c, int64_t index, T* at) {
      T x[kAtOnce];
      load_few(c, index, x);
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if constexpr (kKept) at[j * this->threads] = x[j];
        most = x[j] > most ? x[j] : most;
      }
      if (!is_smooth) return;
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j, c += this->pass.lanes) {
        distance += c < this->classes && c != target ? own - x[j] : T(0);
      }
    });
    this->mail[0] = most;
  }

  FOCAL_INLINE void exponentiate() {
    this->highest = this->mail[0];
    T total = 0;
    this->for_each_few([&](int32_t c, int64_t index, T* at) {
      T x[kAtOnce];
      if constexpr (kKept) {
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) x[j] = at[j * this->threads];
      } else {
        load_few(c, index, x);
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        x[j] = exp_difference(x[j], this->highest);
        if constexpr (kKept && kGradient) at[j * this->threads] = x[j];
      }
      total += (x[0] + x[1]) + (x[2] + x[3]);
    });
    this->mail[0] = total;
    this->mail[1] = distance;
  }

  FOCAL_INLINE void finish() {
    const T total = this->mail[0], smoothing = static_cast<T>(this->params.numbers[1]) / this->classes;
    const bool is_ahead = this->highest > own;  // another class
    const T ratio = is_ahead ? exp_difference(own, this->highest) : exp_difference(this->highest, own);
    const T z = logarithm(total) + (this->highest - own), odds = is_ahead ? ratio / total : ratio * total;
    T loss, slope, even;
    visit_gamma(kind_of(this->params.numbers[0]), [&](auto kind) {
      auto at = this->template terms<decltype(kind)::value>(z, odds, is_ahead);
      if (smoothing != 0) at.cross_entropy += smoothing * this->mail[1];
      loss = of_label(this->factor * at.loss());
      slope = of_label(this->factor * at.derivative());
      even = smoothing * of_label(this->factor * at.modulator);
    });
    if constexpr (kGradient) {
      if (this->is_there) store_gradient(total > 0 ? slope / total : slope + total, slope, even);  // 0, or NaN for NaN
    } else {
      this->take_loss(loss);
    }
  }

  FOCAL_INLINE void store_gradient(T share, T slope, T even) const {
    S* out = static_cast<S*>(this->pass.out);
    this->for_each_few([&](int32_t c, int64_t index, const T* at) {
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j, c += this->pass.lanes, index += this->class_step()) {
        if (c >= this->classes) break;
        const T power = kKept ? at[j * this->threads] : exp_difference(this->logit(c), this->highest);
        out[index] = convert<T, S>(is_class ? power * share - even : slope);
      }
    });
    if (target % this->pass.lanes != this->lane) return;
    out[this->offset + target * this->params.inner] = convert<T, S>((this->classes * even - slope) - even);
  }

  /// NaN for a label out of range, whatever the logits.
  FOCAL_INLINE T of_label(T value) const { return is_class ? value : is_ignored ? T(0) : static_cast<T>(NAN); }

  bool is_class, is_ignored;
  int32_t target;
  T own, distance;  // from the labelled class to all others
};

/// Labels that are shares of the classes.
template <class S, bool kGradient, bool kKept>
class SoftSoftmax : public SoftmaxThread<S, kKept> {
  using Base = SoftmaxThread<S, kKept>;

 public:
  using Base::Base;
  using typename Base::T;

  template <class Group>
  static FOCAL_INLINE void run(Group& group, int32_t tile) {
    group.each([&](SoftSoftmax& thread) { thread.load(tile); });
    group.template share<Most>(1);
    group.each([](SoftSoftmax& thread) { thread.find_highest(); });
    group.template share<Most>(1);
    group.each([](SoftSoftmax& thread) { thread.exponentiate(); });
    group.template share<Total>(2);
    group.each([](SoftSoftmax& thread) { thread.evaluate(); });
    group.template share<Total>(4);
    group.each([](SoftSoftmax& thread) { thread.finish(); });
  }

 private:
  /// What one class adds: to the loss, and to the gradient of itself and of the others.
  struct Part {
    T loss, slope, evenly, taken;
  };

  FOCAL_INLINE void load(int32_t tile) {
    this->enter(tile);
    T most = this->highest;
    this->for_each_class([&](int32_t c, T* at) {
      const T x = this->logit(c);
      if constexpr (kKept) *at = x;
      most = x > most ? x : most;
    });
    this->mail[0] = most;
  }

  /// The first class of the highest logit, as a negative number.
  FOCAL_INLINE void find_highest() {
    this->highest = this->mail[0];
    T first = -static_cast<T>(this->classes);
    this->for_each_class([&](int32_t c, T* at) {
      if (this->kept_logit(c, at) == this->highest && -static_cast<T>(c) > first) first = -static_cast<T>(c);
    });
    this->mail[0] = first;
  }

  FOCAL_INLINE void exponentiate() {
    first = static_cast<int32_t>(-this->mail[0]);
    T others = 0, below = 0;
    this->for_each_class([&](int32_t c, T* at) {
      const T x = this->kept_logit(c, at), power = exp_difference(x, this->highest);
      if constexpr (kKept) *at = power;
      others += c == first ? T(0) : power;
      below += this->highest - x;
    });
    this->mail[0] = others;
    this->mail[1] = below;
  }

  FOCAL_INLINE void evaluate() {
    others = this->mail[0];
    mean_below = this->mail[1] / this->classes;
    for (T& number : this->mail) number = 0;
    visit_gamma(kind_of(this->params.numbers[0]), [&](auto kind) {
      this->for_each_class([&](int32_t c, T* at) {
        const Part part = part_of<decltype(kind)::value>(c, this->kept_power(c, at));
        this->mail[0] += part.loss;
        this->mail[1] += part.evenly;
        this->mail[c == first ? 2 : 3] += part.taken;
      });
    });
  }

  FOCAL_INLINE void finish() {
    if (!kGradient) return this->take_loss(this->mail[0]);
    const T even = this->mail[1], by_highest = this->mail[2], by_others = this->mail[3];
    visit_gamma(kind_of(this->params.numbers[0]), [&](auto kind) {
      this->for_each_class([&](int32_t c, T* at) {
        const T power = this->kept_power(c, at);
        const Part part = part_of<decltype(kind)::value>(c, power);
        // Of the highest, which may be nearly everything, no difference is taken.
        const T taken = c == first ? by_others : by_highest + (by_others - part.taken);
        this->store_gradient(c, this->classes * part.evenly - part.slope + power * taken - even);
      });
    });
  }

  template <Gamma kGamma>
  FOCAL_INLINE Part part_of(int32_t c, T power) const {
    const FocalLossParams& params = this->params;
    const T share = load_one<T>(params.label, this->offset + c * params.inner), x = this->logit(c);
    const T smoothing = static_cast<T>(params.numbers[1]);
    if (!is_share(share)) {
      const T nan = static_cast<T>(NAN);
      return {nan, nan, nan, nan};
    }
    const T part = this->factor * scale_of<T>(params.scales[0], c) * share;
    const T rest = c == first ? others : others + (1 - power);
    const bool is_behind = c != first;
    auto at = this->template terms<kGamma>(logarithm(rest) + (this->highest - x), is_behind ? power / rest : rest,
                                           is_behind);
    if (smoothing != 0) at.cross_entropy += smoothing * (mean_below - (this->highest - x));
    // A class without a share may be ruled out, by a logit of -infinity.
    const T slope = part == 0 ? T(0) : part * at.derivative();
    return {part == 0 ? T(0) : part * at.loss(), slope, smoothing / this->classes * (part * at.modulator),
            rest == 0 ? T(0) : slope / rest};
  }

  int32_t first;  // class of the highest logit
  T others;       // the powers of all other classes
  T mean_below;   // the mean distance from the highest logit
};

/// The work of a block, by whoever has its threads.
template <class Thread, class Group>
FOCAL_INLINE void run_softmax(const SoftmaxPass& pass, int64_t block, Group& group) {
  for (int32_t tile = 0; tile < pass.share.left(block, 0); tile += pass.slots) Thread::run(group, tile);
}

}  // namespace cuda
}  // namespace paddle_focal
