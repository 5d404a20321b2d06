// A stand-in for NVIDIA's driver, libcuda.so.1: its GPUs are the host, which runs every thread of a launch.

#include "cuda_on_host.cc"

#include <algorithm>
#include <string>

namespace {

constexpr int kInvalidValue = 1, kInvalidImage = 200, kInvalidContext = 201, kInvalidHandle = 400, kNotFound = 500;
constexpr int kDevices = 2, kFunctions = 512;
const std::string kImage = "kernels of the host";

using Launch = bool (*)(unsigned blocks, unsigned threads, unsigned shared, void** arguments);

template <class Thread>
bool run_blocks(unsigned blocks, unsigned threads, unsigned shared, void** arguments) {
  if (threads != cuda::kThreads || shared) return false;
  const auto& pass = *static_cast<const cuda::Pass*>(arguments[0]);
  double* partials = *static_cast<double**>(arguments[1]);
  for (unsigned block = 0; block < blocks; ++block) {
    double sum = 0;
    for (unsigned thread = 0; thread < threads; ++thread) sum += Thread(pass, block, thread).run();
    if (!pass.out) partials[block] = sum;
  }
  return true;
}

template <class Thread>
bool run_softmax_blocks(unsigned blocks, unsigned threads, unsigned shared, void** arguments) {
  const auto& pass = *static_cast<const cuda::SoftmaxPass*>(arguments[0]);
  double* partials = *static_cast<double**>(arguments[1]);
  if (static_cast<int>(threads) != pass.threads() || shared != pass.shared_bytes()) return false;
  for (unsigned block = 0; block < blocks; ++block) {
    const double sum = run_softmax_block<Thread>(pass, block);
    if (!pass.out) partials[block] = sum;
  }
  return true;
}

template <class T>
bool add_partials(unsigned blocks, unsigned threads, unsigned shared, void** arguments) {
  if (blocks != 1 || threads != cuda::kTotalThreads || shared) return false;
  const double* partials = *static_cast<const double**>(arguments[0]);
  double sum = 0;
  for (int64_t i = 0; i < *static_cast<const int64_t*>(arguments[1]); ++i) sum += partials[i];
  **static_cast<T**>(arguments[2]) = static_cast<T>(sum);
  return true;
}

template <class Run>
bool run_assignment(unsigned blocks, unsigned threads, unsigned shared, void** arguments, Run run) {
  const auto& pass = *static_cast<const cuda::AssignPass*>(arguments[0]);
  if (threads != cuda::kThreads || shared || blocks != pass.images * pass.blocks) return false;
  for (unsigned block = 0; block < blocks; ++block) {
    for (unsigned thread = 0; thread < threads; ++thread) run(pass, cuda::Assignment(pass, block, thread));
  }
  return true;
}

bool find_best(unsigned blocks, unsigned threads, unsigned shared, void** arguments) {
  return run_assignment(blocks, threads, shared, arguments, [](auto& pass, const cuda::Assignment& thread) {
    thread.find_best([&](int32_t box, int32_t bits) { pass.assigned.best[box] = std::max(pass.assigned.best[box], bits); });
  });
}

bool assign(unsigned blocks, unsigned threads, unsigned shared, void** arguments) {
  return run_assignment(blocks, threads, shared, arguments, [](auto&, const cuda::Assignment& one) { one.assign(); });
}

struct Kernel {
  std::string name;
  Launch launch;
};

#define ENTRY(NAME, ...) {#NAME, run_blocks<cuda::Thread<__VA_ARGS__>>},
#define SOFTMAX_ENTRY(NAME, THREAD, ...) {#NAME, run_softmax_blocks<cuda::THREAD<__VA_ARGS__>>},
const Kernel kernels[] = {FOCAL_KERNELS(ENTRY) FOCAL_SOFTMAX_KERNELS(SOFTMAX_ENTRY){"focal_add_float32", add_partials<float>},
                          {"focal_add_float64", add_partials<double>},
                          {"focal_best_overlaps", find_best}, {"focal_label_anchors", assign}};

struct Context {
  int retained = 0;
} contexts[kDevices];

struct Function {
  Context* context;
  Launch launch;
} functions[kFunctions];

int function_count = 0, failure = 0, launches = 0;
std::string failing;
void* expected_stream = nullptr;
std::vector<Context*> current;  // the innermost last

int result_of(const char* function, int result = 0) { return failing == function ? failure : result; }

}  // namespace

extern "C" {

void reset(void* stream) {
  for (Context& context : contexts) context.retained = 0;
  function_count = launches = 0;
  expected_stream = stream;
  failing.clear();
  current.clear();
}

void fail(const char* function, int result) {
  failing = function;
  failure = result;
}

int launch_count() { return launches; }
int context_count() { return static_cast<int>(current.size()); }

int cuInit(unsigned) { return result_of("cuInit"); }

int cuGetErrorString(int result, const char** text) {
  *text = result == 719 ? "unspecified launch failure" : result == kInvalidImage ? "device kernel image is invalid" : nullptr;
  return *text ? 0 : kInvalidValue;
}

int cuDeviceGet(int* device, int number) {
  *device = 100 + number;  // not the number
  return number < kDevices ? result_of("cuDeviceGet") : 101;
}

int cuDevicePrimaryCtxRetain(Context** context, int device) {
  *context = &contexts[device - 100];
  ++(*context)->retained;
  return result_of("cuDevicePrimaryCtxRetain");
}

int cuCtxGetCurrent(Context** context) {
  *context = current.empty() ? nullptr : current.back();
  return 0;
}

int cuCtxPushCurrent_v2(Context* context) {
  current.push_back(context);
  return 0;
}

int cuCtxPopCurrent_v2(Context** context) {
  *context = current.back();
  current.pop_back();
  return 0;
}

int cuModuleLoadData(Context** module, const char* image) {
  if (current.empty()) return kInvalidContext;
  *module = current.back();
  return result_of("cuModuleLoadData", kImage == image ? 0 : kInvalidImage);
}

int cuModuleGetFunction(Function** function, Context* module, const char* name) {
  for (const Kernel& kernel : kernels) {
    if (kernel.name != name || function_count == kFunctions) continue;
    *function = &functions[function_count++];
    **function = {module, kernel.launch};
    return result_of("cuModuleGetFunction");
  }
  return kNotFound;
}

int cuLaunchKernel(Function* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared, void* stream, void** arguments, void** extra) {
  if (current.empty() || current.back() != function->context) return kInvalidHandle;
  if (!x || y != 1 || z != 1 || ty != 1 || tz != 1 || extra || stream != expected_stream) return kInvalidValue;
  if (failing == "cuLaunchKernel") return failure;
  ++launches;
  return function->launch(x, threads, shared, arguments) ? 0 : kInvalidValue;
}
}
