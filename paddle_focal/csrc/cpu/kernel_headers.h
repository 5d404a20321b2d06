// What the kernels need that is not compiled for their instruction set: it comes before they choose it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "cpu/kernels.h"
#include "focal.h"

#if defined(__GNUC__)
#define FOCAL_INLINE_LAMBDA __attribute__((always_inline))
#define FOCAL_NOINLINE __attribute__((noinline))
#else
#define FOCAL_INLINE_LAMBDA
#define FOCAL_NOINLINE
#endif
