// Work in tasks that are shared out among the threads of the framework's OpenMP.
#pragma once

#include <cstdint>

namespace paddle_focal {
namespace cpu {

/// What a task adds to the whole.
struct Result {
  double sum = 0;
  int64_t invalid_label = -1;  // the first one
  bool is_out_of_memory = false;

  void reject(int64_t label) {
    if (invalid_label < 0 || label < invalid_label) invalid_label = label;
  }

  void add(const Result& other) {
    sum += other.sum;
    if (other.invalid_label >= 0) reject(other.invalid_label);
    is_out_of_memory |= other.is_out_of_memory;
  }
};

/// A task by its number; `work` is what all of them belong to.
using Task = void (*)(const void* work, int64_t task, Result& result);

/// Runs all tasks; the sum is the same for any number of threads.
Result run_tasks(int64_t count, Task task, const void* work);

}  // namespace cpu
}  // namespace paddle_focal
