#include "cpu/tasks.h"

#include <cstdlib>

#include "focal.h"

namespace paddle_focal {
namespace cpu {
namespace {

/// The runtime's functions, from outside: linked to one of its own, the library would not use the framework's threads.
struct OpenMp {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*thread)() = nullptr;
  int (*threads)() = nullptr;
  int (*max_threads)() = nullptr;
};

OpenMp open_mp;

struct Share {
  int64_t count;
  Task task;
  const void* work;
  Result* results;

  /// A thread's consecutive tasks.
  void run(int64_t thread, int64_t threads) const {
    const int64_t end = count * (thread + 1) / threads;
    for (int64_t i = count * thread / threads; i < end; ++i) task(work, i, results[i]);
  }
};

}  // namespace

Result run_tasks(int64_t count, Task task, const void* work) {
  Result total;
  if (count <= 1) {
    if (count) task(work, 0, total);
    return total;
  }
  Share share{count, task, work, static_cast<Result*>(std::malloc(count * sizeof(Result)))};
  if (!share.results) {
    total.is_out_of_memory = true;
    return total;
  }
  for (int64_t i = 0; i < count; ++i) share.results[i] = Result();
  if (open_mp.parallel) {
    const auto run = [](void* data) { static_cast<Share*>(data)->run(open_mp.thread(), open_mp.threads()); };
    open_mp.parallel(run, &share, 0, 0);
  } else {
    share.run(0, 1);
  }
  for (int64_t i = 0; i < count; ++i) total.add(share.results[i]);
  std::free(share.results);
  return total;
}

}  // namespace cpu
}  // namespace paddle_focal

void focal_use_openmp(void (*parallel)(void (*)(void*), void*, unsigned, unsigned), int (*thread)(void),
                      int (*threads)(void), int (*max_threads)(void)) {
  paddle_focal::cpu::open_mp = {parallel, thread, threads, max_threads};
}

int focal_max_threads(void) {
  const auto count = paddle_focal::cpu::open_mp.max_threads;
  return count ? count() : 1;
}
