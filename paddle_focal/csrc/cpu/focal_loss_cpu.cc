// The loop over the logits on the CPU: block by block, in the first-level cache, in the widest vectors there are.
//
// A block is brought into one form, whatever the labels: logits z and a factor for each. All that is inlined into a task
// is compiled for each instruction set.

#include <algorithm>
#include <cstring>

#include "cpu/cpu_tasks.h"
#include "cpu/focal_block.h"
#include "focal_loss.h"

namespace paddle_focal {
namespace cpu {
namespace {

constexpr int64_t kTaskSize = 1 << 14;  // logits: a task's sum is the same whichever thread runs it
constexpr int64_t kStrip = 4;  // blocks of one class in a row, so that memory is read in runs of 32 KiB

/// One pass over the logits: results go to `elements`, or are added up if it is null.
struct Pass {
  const Problem& problem;
  bool is_gradient;
  double multiplier;      // upstream gradient of all logits
  const Array* upstream;  // upstream gradient of each logit, or null
  char* elements;

  /// d FL / dx = factor * d FL / dz; targets that are not 0/1 numbers are differentiated by x itself.
  double foreground_multiplier() const { return is_gradient && !problem.is_soft() ? -multiplier : multiplier; }
};

template <bool kSoft, class T, class In, class Out>
FOCAL_INLINE void evaluate(const Pass& pass, const Block<T>& block, int64_t n, const In* in, Out* out) {
  const T gamma = static_cast<T>(pass.problem.gamma), smoothing = static_cast<T>(pass.problem.label_smoothing);
  pass.is_gradient ? evaluate<kSoft, true>(block, n, gamma, smoothing, in, out)
                   : evaluate<kSoft, false>(block, n, gamma, smoothing, in, out);
}

/// The logits' own order with the class axis last: a block runs across classes and labels.
struct Rows {
  const Problem& problem;
  int64_t begin, n;  // logits

  /// Calls function(label, class, position in the block, length) for each label's part of the block.
  template <class Function>
  FOCAL_INLINE void for_each_label(Function function) const {
    const int64_t classes = problem.classes;
    for (int64_t label = begin / classes, at = label * classes - begin; at < n; ++label, at += classes) {
      const int64_t first = std::max<int64_t>(at, 0);
      function(label, first - at, first, std::min(at + classes, n) - first);
    }
  }

  int64_t offset() const { return begin; }

  template <class T>
  FOCAL_INLINE void fill_scale(const Scale& scale, T multiplier, T* out) const {
    if (!scale.stride) return fill(out, n, scale_of<T>(scale, 0) * multiplier);
    for_each_label([&](int64_t, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const T* data = static_cast<const T*>(scale.data) + c;
      for (int64_t i = 0; i < length; ++i) out[at + i] = data[i] * multiplier;
    });
  }

  template <class T>
  FOCAL_INLINE void fill_weight(T* out) const {
    const Weight& weight = problem.weight;
    if (weight.outer_stride && weight.class_stride) return load(weight.array, begin, n, out);
    for_each_label([&](int64_t label, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t row = label * weight.outer_stride;
      weight.class_stride ? load(weight.array, row + c, length, out + at)
                          : fill(out + at, length, load_one<T>(weight.array, row));
    });
  }

  template <class T>
  FOCAL_INLINE void apply_labels(T multiplier, Block<T>& block, Result& result) const {
    const bool is_soft = problem.is_soft();
    for_each_label([&](int64_t index, int64_t c, int64_t at, int64_t length) FOCAL_INLINE_LAMBDA {
      const int64_t label = load_label(problem.label, index);
      if (label == problem.classes) return;
      if (label < 0 || label > problem.classes) {
        if (label != problem.ignore_index) result.reject(index);
        fill(block.own_logit() + at, length, T(0));
        fill(block.factor + at, length, T(0));
      } else if (label >= c && label < c + length) {
        const int64_t i = at + label - c;
        block.factor[i] = scale_of<T>(problem.foreground, label) * multiplier;
        if (is_soft) {
          block.target[i] = 1;
        } else {
          T* z = block.own_logit();
          z[i] = -z[i];
        }
      }
    });
  }
};

/// One class of consecutive labels: a block of logits with the class axis not last.
template <class T>
struct Columns {
  const Problem& problem;
  const Labels<T>& labels;
  int64_t outer, c, begin, n;  // labels [begin, begin + n) of the inner axis

  int64_t offset() const { return (outer * problem.classes + c) * problem.inner + begin; }

  FOCAL_INLINE void fill_scale(const Scale& scale, T multiplier, T* out) const {
    fill(out, n, scale_of<T>(scale, c) * multiplier);
  }

  FOCAL_INLINE void fill_weight(T* out) const {
    const Weight& weight = problem.weight;
    const int64_t at = outer * weight.outer_stride + c * weight.class_stride;
    weight.inner_stride ? load(weight.array, at + begin, n, out) : fill(out, n, load_one<T>(weight.array, at));
  }

  FOCAL_INLINE void apply_labels(T multiplier, Block<T>& block, Result&) const {
    const bool is_soft = problem.is_soft();
    const int32_t own = static_cast<int32_t>(c);
    if (labels.foreground_bits >> (c & 63) & 1) {
      const T foreground = scale_of<T>(problem.foreground, c) * multiplier;
      T* z = block.own_logit();
      for (int64_t i = 0; i < n; ++i) {
        const bool is_foreground = labels.index[i] == own;
        block.factor[i] = is_foreground ? foreground : block.factor[i];
        block.target[i] = is_foreground ? T(1) : T(0);
        z[i] = is_foreground && !is_soft ? -z[i] : z[i];
      }
    }
    if (labels.has_ignored) {
      T* z = block.own_logit();
      for (int64_t i = 0; i < n; ++i) {
        const bool is_ignored = labels.index[i] < 0;
        block.factor[i] = is_ignored ? T(0) : block.factor[i];
        z[i] = is_ignored ? T(0) : z[i];
      }
    }
  }
};

template <class T>
FOCAL_INLINE void load_labels(const Problem& problem, int64_t first, int64_t n, Labels<T>& labels, Result& result) {
  labels.has_ignored = false;
  labels.foreground_bits = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t label = load_label(problem.label, first + i);
    const bool counts = label >= 0 && label <= problem.classes;
    if (!counts && label != problem.ignore_index) result.reject(first + i);
    labels.has_ignored |= !counts;
    labels.foreground_bits |= uint64_t(counts && label < problem.classes) << (label & 63);
    labels.index[i] = counts ? static_cast<int32_t>(label) : -1;
  }
}

/// Factors of dense targets from those of targets 0 (in block.factor) and 1 (in block.other).
template <class T>
FOCAL_INLINE void mix_scales(Block<T>& block, int64_t offset, int64_t n, Result& result) {
  bool is_valid = true;
  for (int64_t i = 0; i < n; ++i) {
    const T target = block.target[i];
    is_valid &= (target >= 0) & (target <= 1);
    block.factor[i] = target * block.other[i] + (1 - target) * block.factor[i];
  }
  for (int64_t i = 0; !is_valid && i < n; ++i) {
    if (!(block.target[i] >= 0 && block.target[i] <= 1)) return result.reject(offset + i);
  }
}

/// Whether a block's logits are evaluated where they lie. That saves a copy, and for bfloat16 the pass over it that
/// converts; float16 converts faster in a loop of its own.
template <class T>
FOCAL_INLINE bool is_evaluated_in_memory(const Problem& problem) {
  const Type type = problem.logit.type;
  return size_of(type) == sizeof(T) || (type == Type::kBFloat16 && !problem.is_soft());
}

/// Results of a whole block of logits of type S, to `elements` or, if that is null, to z.
template <class S, bool kSoft, class T>
FOCAL_INLINE void evaluate_in_memory(const Pass& pass, Block<T>& block, char* elements) {
  const S* in = static_cast<const S*>(block.logit.data) + block.offset;
  elements ? evaluate<kSoft>(pass, block, block.n, in, reinterpret_cast<S*>(elements))
           : evaluate<kSoft>(pass, block, block.n, in, block.z);
}

template <class T, class Layout>
FOCAL_INLINE void run_block(const Pass& pass, const Layout& layout, Block<T>& block, Result& result) {
  const Problem& problem = pass.problem;
  const int64_t offset = layout.offset(), n = layout.n;
  const int64_t padded = (n + kVectors - 1) / kVectors * kVectors;
  const bool is_soft = problem.is_soft();

  block.begin(problem.logit, offset, n);
  if (n != padded || !is_evaluated_in_memory<T>(problem)) block.own_logit();
  layout.fill_scale(problem.background, static_cast<T>(pass.multiplier), block.factor);
  const T foreground_multiplier = static_cast<T>(pass.foreground_multiplier());
  if (problem.is_dense()) {
    load(problem.label, offset, n, block.target);
    layout.fill_scale(problem.foreground, foreground_multiplier, block.other);
    mix_scales(block, offset, n, result);
  } else {
    if (is_soft) fill(block.target, n, T(0));
    layout.apply_labels(foreground_multiplier, block, result);
  }
  if (problem.weight.array.data) {
    layout.fill_weight(block.other);
    multiply(block.factor, block.other, n);
  }
  if (pass.upstream) {
    load(*pass.upstream, offset, n, block.other);
    multiply(block.factor, block.other, n);
  }

  char* elements = pass.elements ? pass.elements + offset * size_of(problem.logit.type) : nullptr;
  if (block.is_own) {
    fill(block.z + n, padded - n, T(0));
    fill(block.factor + n, padded - n, T(0));
    fill(block.target + n, padded - n, T(0));
    is_soft ? evaluate<true>(pass, block, padded, block.z, block.z)
            : evaluate<false>(pass, block, padded, block.z, block.z);
    if (elements) store(block.z, n, problem.logit.type, elements);
  } else if (problem.logit.type == Type::kBFloat16) {
    using Half = std::conditional_t<std::is_same<T, float>::value, BFloat16, T>;  // never computed in double
    evaluate_in_memory<Half, false>(pass, block, elements);
  } else {
    is_soft ? evaluate_in_memory<T, true>(pass, block, elements) : evaluate_in_memory<T, false>(pass, block, elements);
  }
  if (!elements) result.sum += sum(block.z, padded);
}

/// How the logits are shared out in tasks. It depends on their shape only, and so do the sums.
struct Tasks {
  bool is_rows;
  int64_t strip;            // labels of a unit of Columns
  int64_t strips;           // for each index of the outer axis
  int64_t units, per_task;  // a unit: a block of Rows, or a strip of Columns for every class

  Tasks(const Problem& problem, int64_t block) {
    is_rows = problem.inner == 1;
    const int64_t blocks = (problem.inner + block - 1) / block;
    strips = (blocks + kStrip - 1) / kStrip;
    strip = std::min(problem.inner, (blocks + strips - 1) / strips * block);  // of about equal length
    units = is_rows ? (problem.size() + block - 1) / block : problem.outer * strips;
    per_task = std::max<int64_t>(1, kTaskSize / (is_rows ? block : problem.classes * strip));
  }

  int64_t count() const { return (units + per_task - 1) / per_task; }
};

template <class T>
FOCAL_INLINE void run_rows(const Pass& pass, int64_t begin, Block<T>& block, Result& result) {
  const Rows rows{pass.problem, begin, std::min(kBlock<T>, pass.problem.size() - begin)};
  run_block(pass, rows, block, result);
}

/// A strip of consecutive labels, class after class: the next block in memory follows wherever there is one.
template <class T>
FOCAL_INLINE void run_columns(const Pass& pass, int64_t outer, int64_t begin, int64_t end, Block<T>& block,
                              Result& result) {
  const Problem& problem = pass.problem;
  Labels<T> labels[kStrip];
  const auto for_each_block = [&](auto function) FOCAL_INLINE_LAMBDA {
    for (int64_t i = 0, at = begin; at < end; ++i, at += kBlock<T>) {
      function(labels[i], at, std::min(kBlock<T>, end - at));
    }
  };
  if (!problem.is_dense()) {
    for_each_block([&](Labels<T>& own, int64_t at, int64_t n) FOCAL_INLINE_LAMBDA {
      load_labels(problem, outer * problem.inner + at, n, own, result);
    });
  }
  for (int64_t c = 0; c < problem.classes; ++c) {
    for_each_block([&](const Labels<T>& own, int64_t at, int64_t n) FOCAL_INLINE_LAMBDA {
      run_block(pass, Columns<T>{problem, own, outer, c, at, n}, block, result);
    });
  }
}

template <class T>
struct Kernel {
  static FOCAL_INLINE void run(const Pass& pass, const Tasks& tasks, const int64_t& task, Result& result) {
    Block<T> block;
    const int64_t end = std::min(tasks.units, (task + 1) * tasks.per_task);
    for (int64_t unit = task * tasks.per_task; unit < end; ++unit) {
      if (tasks.is_rows) {
        run_rows(pass, unit * kBlock<T>, block, result);
      } else {
        const int64_t begin = unit % tasks.strips * tasks.strip;
        const int64_t stop = std::min(begin + tasks.strip, pass.problem.inner);
        run_columns(pass, unit / tasks.strips, begin, stop, block, result);
      }
    }
  }
};

template <class T>
Result run_all(const Pass& pass) {
  const InstructionSet set = select_instruction_set();
  const Tasks tasks(pass.problem, kBlock<T>);
  return run_tasks(tasks.count(), [&](const int64_t& task, Result& result) {
    run_on<Kernel<T>>(set, pass, tasks, task, result);
  });
}

Result run(const Pass& pass) {
  return pass.problem.logit.type == Type::kFloat64 ? run_all<double>(pass) : run_all<float>(pass);
}

}  // namespace

int64_t loss(const Problem& problem, void* elements, double* sum) {
  const Result result = run({problem, false, 1, nullptr, static_cast<char*>(elements)});
  if (sum) *sum = result.sum;
  return result.invalid_label;
}

void gradient(const Problem& problem, const Upstream& upstream, void* out) {
  const double multiplier = upstream.per_element ? 1 : load_one<double>(upstream.array, 0);
  run({problem, true, multiplier, upstream.per_element ? &upstream.array : nullptr, static_cast<char*>(out)});
}

}  // namespace cpu
}  // namespace paddle_focal
