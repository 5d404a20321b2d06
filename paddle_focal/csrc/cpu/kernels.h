// The kernels of one instruction set. Their code is compiled once for each, in kernels_*.cc.
#pragma once

#include "cpu/tasks.h"
#include "focal.h"

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define FOCAL_X86
#endif

namespace paddle_focal {
namespace cpu {

enum class Mode { kLoss, kGradient, kBoth };

/// One pass over the logits.
struct Pass {
  const FocalLossParams& params;
  Mode mode;
  double multiplier;           // upstream gradient of all losses
  const FocalArray* grad_out;  // upstream gradient of each loss, or null
  void* out;                   // losses, unless they are added up; or the gradient
};

/// Numbers to be multiplied in place.
struct Product {
  void* numbers;
  int64_t type, count;
  double factor;
};

/// Numbers of which those that are 1 are counted.
struct Counted {
  FocalArray numbers;
  int64_t count;
};

/// Pairs of logits whose probabilities are multiplied: joint logits are written, or, given their gradient, that of each.
struct Joint {
  const void *a, *b;
  int64_t type, count;
  double power;
  const void* grad_out;
  void *joint, *grad_a, *grad_b;
};

struct Kernels {
  const char* name;
  Result (*elementwise)(const Pass& pass);
  Result (*softmax)(const Pass& pass);
  Result (*multiply)(const Product& product);
  Result (*joint)(const Joint& joint);
  Result (*count_ones)(const Counted& counted);  // in its sum
};

extern const Kernels kBaseline;
#if defined(FOCAL_X86)
extern const Kernels kAvx2, kAvx512;
#endif

/// Those of the best instruction set that the processor has; PADDLE_FOCAL_ISA in the environment asks for another one,
/// by name. Null, with an error set, if the processor does not have it.
const Kernels* select_kernels();

}  // namespace cpu
}  // namespace paddle_focal
