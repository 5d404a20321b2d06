// Runs the CPU kernels on many problems whose arrays end where their memory ends, for the sanitizers to watch, and
// compares every element with the formula in double.

#include <omp.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "focal.h"
#include "loss_params.h"

extern "C" void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned);

namespace {

using namespace paddle_focal;

constexpr int64_t kFloating[] = {FOCAL_FLOAT16, FOCAL_BFLOAT16, FOCAL_FLOAT32, FOCAL_FLOAT64};
constexpr int64_t kIntegers[] = {FOCAL_INT32, FOCAL_INT64};
constexpr double kGammas[] = {0, 0.5, 1, 1.5, 2, 3};
const double kNaN = std::numeric_limits<double>::quiet_NaN();
const double kInfinity = std::numeric_limits<double>::infinity();

int64_t size_of(int64_t type) {
  if (type == FOCAL_FLOAT16 || type == FOCAL_BFLOAT16) return 2;
  return type == FOCAL_FLOAT32 || type == FOCAL_INT32 ? 4 : 8;
}

double largest(int64_t type) {
  if (type == FOCAL_FLOAT16) return 65504;
  return type == FOCAL_FLOAT64 ? std::numeric_limits<double>::max() : std::numeric_limits<float>::max();
}

/// Numbers of a type in memory of exactly their size.
class Numbers {
 public:
  Numbers(int64_t type, int64_t count) : type_(type), bytes_(new char[count * size_of(type)]) {}

  Numbers(int64_t type, const std::vector<double>& values) : Numbers(type, values.size()) {
    for (size_t i = 0; i < values.size(); ++i) store(i, values[i]);
  }

  FocalArray array() const { return {bytes_.get(), type_}; }
  void* data() { return bytes_.get(); }

  double operator[](int64_t i) const {
    switch (type_) {
      case FOCAL_FLOAT16: return to_float(load<Float16>(i));
      case FOCAL_BFLOAT16: return to_float(load<BFloat16>(i));
      case FOCAL_FLOAT32: return load<float>(i);
      case FOCAL_FLOAT64: return load<double>(i);
      case FOCAL_INT32: return load<int32_t>(i);
      default: return static_cast<double>(load<int64_t>(i));
    }
  }

 private:
  template <class T>
  T load(int64_t i) const {
    T value;
    std::memcpy(&value, bytes_.get() + i * sizeof(T), sizeof(T));
    return value;
  }

  template <class T>
  void put(int64_t i, T value) {
    std::memcpy(bytes_.get() + i * sizeof(T), &value, sizeof(T));
  }

  void store(int64_t i, double value) {
    switch (type_) {
      case FOCAL_FLOAT16: return put(i, convert<float, Float16>(static_cast<float>(value)));
      case FOCAL_BFLOAT16: return put(i, convert<float, BFloat16>(static_cast<float>(value)));
      case FOCAL_FLOAT32: return put(i, static_cast<float>(value));
      case FOCAL_FLOAT64: return put(i, value);
      case FOCAL_INT32: return put(i, static_cast<int32_t>(value));
      default: return put(i, static_cast<int64_t>(value));
    }
  }

  int64_t type_;
  std::unique_ptr<char[]> bytes_;
};

class Random {
 public:
  double uniform(double low, double high) { return std::uniform_real_distribution<>(low, high)(engine_); }
  int64_t below(int64_t count) { return std::uniform_int_distribution<int64_t>(0, count - 1)(engine_); }

  template <class T, size_t N>
  T one_of(const T (&values)[N]) {
    return values[below(N)];
  }

  std::vector<double> logits(int64_t count, int64_t type) {
    const double extreme = type == FOCAL_FLOAT16 ? 6e4 : 1e37;
    const double special[] = {0, -0.0, extreme, -extreme, 1e-39, 88.7, -103.9, 17.5, -745.1, kNaN};
    std::vector<double> values(count);
    for (double& value : values) value = below(20) ? uniform(-30, 30) : one_of(special);
    return values;
  }

  /// Class indices up to `highest`, some of them -1; or targets in [0, 1].
  std::vector<double> labels(int64_t count, bool dense, int64_t highest) {
    std::vector<double> values(count);
    for (double& value : values) {
      value = dense ? below(5) / 4.0 : below(4) ? static_cast<double>(below(highest + 1)) : -1;
    }
    return values;
  }

  std::vector<double> factors(int64_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = below(9) / 4.0;
    return values;
  }

 private:
  std::mt19937_64 engine_{20};
};

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

void require_close(double actual, double expected, int64_t type, double scale, const char* what) {
  if (std::isnan(expected) && std::isnan(actual)) return;
  if (std::abs(expected) > largest(type) && actual == std::copysign(kInfinity, expected)) return;
  const double relative = type == FOCAL_FLOAT16 ? 2e-3 : type == FOCAL_BFLOAT16 ? 8e-3 : 5e-5;
  if (std::abs(actual - expected) <= relative * std::abs(expected) + 1e-6 * scale) return;
  std::fprintf(stderr, "%s: %.9g in place of %.9g\n", what, actual, expected);
  std::exit(1);
}

struct Shape {
  int64_t outer, classes, inner;
  int64_t size() const { return outer * classes * inner; }
};

// Nothing, one, odd tails, more than a block, a tile of labels, a task.
constexpr Shape kShapes[] = {{0, 80, 1},   {1, 1, 1},    {1, 1, 17},  {5, 80, 1},   {1, 7, 9},   {2, 3, 65},
                             {2100, 1, 1}, {1, 1, 2100}, {130, 7, 1}, {1100, 3, 1}, {7, 19, 70}, {3, 80, 300}};

FocalLossParams params_of(int64_t loss, const Shape& shape, const Numbers& logit, const Numbers& label,
                          Random& random) {
  FocalLossParams params = {};
  params.logit = logit.array(), params.label = label.array();
  params.loss = loss;
  params.outer = shape.outer, params.classes = shape.classes, params.inner = shape.inner;
  params.numbers[0] = random.one_of(kGammas), params.numbers[1] = random.below(2) * 0.2;
  params.ignore_index = -1;
  return params;
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s (last error: %s)\n", what, focal_error());
  std::exit(1);
}

/// Losses, gradients for twice their sum, and the sum, which is returned; in full precision the gradient of the sum that
/// comes along with it, multiplied by two, has to be the other one to rounding.
double run(FocalLossParams params, const Numbers& upstream, bool per_element, Numbers& loss, Numbers& gradient) {
  const int64_t type = params.logit.type, count = logit_count(params);
  const FocalArray grad_out = upstream.array();
  require(focal_forward(&params, loss.data(), nullptr) == FOCAL_OK, "losses");
  params.reduce = !per_element;
  require(focal_backward(&params, &grad_out, gradient.data()) == FOCAL_OK, "gradients");
  params.reduce = 1;
  Numbers sum(type == FOCAL_FLOAT64 ? FOCAL_FLOAT64 : FOCAL_FLOAT32, 1), with_gradient(type == FOCAL_FLOAT64 ? FOCAL_FLOAT64 : FOCAL_FLOAT32, 1);
  require(focal_forward(&params, sum.data(), nullptr) == FOCAL_OK, "sum");
  if (type == FOCAL_FLOAT32 || type == FOCAL_FLOAT64) {
    Numbers both(type, count);
    require(focal_forward(&params, with_gradient.data(), both.data()) == FOCAL_OK, "sum and gradient");
    require(focal_multiply(both.data(), type, count, 2) == FOCAL_OK, "multiplied");
    require_close(with_gradient[0], sum[0], type, 1, "sum that comes with a gradient");
    for (int64_t i = 0; i < count; ++i) require_close(both[i], gradient[i], type, 1e-6, "gradient of both");
  }
  return sum[0];
}

void check_sigmoid(const Shape& shape, int64_t type, Random& random) {
  const bool dense = random.below(2), per_class = random.below(2);
  const int64_t label_type = dense ? random.one_of(kFloating) : random.one_of(kIntegers);
  const int64_t computed_in = type == FOCAL_FLOAT64 ? FOCAL_FLOAT64 : FOCAL_FLOAT32;
  const int64_t labels = dense ? shape.size() : shape.outer * shape.inner;
  const Numbers logit(type, random.logits(shape.size(), type));
  const Numbers label(label_type, random.labels(labels, dense, shape.classes));
  const Numbers scales(computed_in, random.factors(2 * shape.classes));
  const int kind = random.below(4);  // of weights: none, of labels, of classes, of logits
  const int64_t of_outer = kind % 2, of_classes = kind / 2;
  const int64_t weights = (of_outer ? shape.outer * shape.inner : 1) * (of_classes ? shape.classes : 1);
  const int64_t weight_type = random.one_of(kFloating);
  const Numbers weight(weight_type, random.factors(weights));

  FocalLossParams params = params_of(FOCAL_SIGMOID, shape, logit, label, random);
  params.scales[0].value = 0.25, params.scales[1].value = 0.75;
  if (per_class) {
    const char* data = static_cast<const char*>(scales.array().data);
    params.scales[0] = {0, data, 1};
    params.scales[1] = {0, data + shape.classes * size_of(computed_in), 1};
  }
  if (kind) {
    params.weight = {weight.array(), of_outer * (of_classes ? shape.classes : 1) * shape.inner,
                     of_classes * (of_outer ? shape.inner : 1), of_outer};
  }
  const bool per_element = random.below(2);
  const Numbers upstream(per_element ? type : random.one_of(kFloating),
                         std::vector<double>(per_element ? shape.size() : 1, 2));

  Numbers loss(type, shape.size()), gradient(type, shape.size());
  double expected_sum = 0;
  const double sum = run(params, upstream, per_element, loss, gradient);
  for (int64_t i = 0; i < shape.size(); ++i) {
    const int64_t o = i / (shape.classes * shape.inner), c = i / shape.inner % shape.classes, n = i % shape.inner;
    const double target = dense ? label[i] : label[o * shape.inner + n];
    const double y = dense ? target : target == c, x = logit[i];
    const double alpha = y * (per_class ? scales[c] : 0.25) + (1 - y) * (per_class ? scales[shape.classes + c] : 0.75);
    const FocalWeight& strides = params.weight;
    double factor = alpha;
    if (kind) factor *= weight[o * strides.outer + c * strides.classes + n * strides.inner];
    const double smooth = y * (1 - params.numbers[1]) + params.numbers[1] / 2;
    const double wrong = sigmoid(x) * (1 - y) + sigmoid(-x) * y, gamma = params.numbers[0];
    const double entropy = (smooth ? smooth * softplus(-x) : 0) + (smooth < 1 ? (1 - smooth) * softplus(x) : 0);
    double value = factor * std::pow(wrong, gamma) * entropy;
    double slope = std::pow(wrong, gamma) * (sigmoid(x) - smooth);
    if (gamma && wrong > 0) {
      slope += gamma * std::pow(wrong, gamma - 1) * (1 - 2 * y) * sigmoid(x) * sigmoid(-x) * entropy;
    }
    slope *= 2 * factor;
    if (std::isnan(x)) value = slope = kNaN;
    if (!dense && target == -1) value = slope = 0;
    require_close(loss[i], value, type, factor, "loss");
    require_close(gradient[i], slope, type, factor, "gradient");
    expected_sum += value;
  }
  require_close(sum, expected_sum, computed_in, 1, "sum");
}

void check_softmax(const Shape& shape, int64_t type, Random& random) {
  const bool dense = random.below(2);
  const int64_t label_type = dense ? random.one_of(kFloating) : random.one_of(kIntegers);
  const int64_t rows = shape.outer * shape.inner;
  const Numbers logit(type, random.logits(shape.size(), type));
  const Numbers label(label_type, random.labels(dense ? shape.size() : rows, dense, shape.classes - 1));
  const Numbers weight(random.one_of(kFloating), random.factors(rows));
  FocalLossParams params = params_of(FOCAL_SOFTMAX, shape, logit, label, random);
  params.scales[0].value = 1;
  params.weight = {weight.array(), shape.inner, 0, 1};
  const bool per_element = random.below(2);
  const Numbers upstream(type, std::vector<double>(per_element ? rows : 1, 2));
  Numbers loss(type, rows), gradient(type, shape.size());
  run(params, upstream, per_element, loss, gradient);
  if (dense || params.numbers[1]) return;  // whose values other tests hold
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = row / shape.inner * shape.classes * shape.inner + row % shape.inner;
    const int64_t target = static_cast<int64_t>(label[row]);
    double highest = -kInfinity, total = 0, others = 0;
    bool has_nan = false;
    for (int64_t c = 0; c < shape.classes; ++c) {
      has_nan |= std::isnan(logit[first + c * shape.inner]);
      highest = std::max(highest, logit[first + c * shape.inner]);
    }
    for (int64_t c = 0; c < shape.classes; ++c) {
      const double share = std::exp(logit[first + c * shape.inner] - highest);
      total += share;
      if (c != target) others += share;
    }
    double value = 0;
    if (target >= 0) {
      const double entropy = highest - logit[first + target * shape.inner] + std::log(total);
      value = has_nan ? kNaN : weight[row] * std::pow(others / total, params.numbers[0]) * entropy;
    }
    require_close(loss[row], value, type, weight[row], "softmax loss");
  }
}

/// A label out of range is reported, and nothing is read at its place.
void check_wrong_labels(Random& random) {
  const Numbers logit(FOCAL_FLOAT32, std::vector<double>(12, 0.5));
  for (const double wrong : {-2.0, 4.0, 1e9, -2147483648.0}) {
    const Numbers label(FOCAL_INT32, std::vector<double>{0, wrong, 1, 2});
    const Numbers upstream(FOCAL_FLOAT32, std::vector<double>{1});
    const FocalArray grad_out = upstream.array();
    Numbers sum(FOCAL_FLOAT32, 1), gradient(FOCAL_FLOAT32, 12);
    for (const int64_t loss : {FOCAL_SIGMOID, FOCAL_SOFTMAX}) {
      FocalLossParams params = params_of(loss, {4, 3, 1}, logit, label, random);
      params.reduce = 1;
      require(focal_forward(&params, sum.data(), nullptr) == FOCAL_INVALID_LABEL, "label that was not reported");
      const char* said = "the label or score of index 1 is out of range";
      require(std::strcmp(focal_error(), said) == 0, "another label was reported");
      require(focal_forward(&params, sum.data(), gradient.data()) == FOCAL_INVALID_LABEL, "label beside a gradient");
      focal_backward(&params, &grad_out, gradient.data());
    }
  }
}

/// Boxes of many images among squares in a row, each box that of one square.
void check_assignment(Random& random) {
  for (const int64_t count : {1, 255, 256, 4097, 10000}) {
    const int64_t images = 1 + random.below(5);
    std::vector<double> anchors(4 * count), boxes, classes;
    for (int64_t i = 0; i < 4 * count; ++i) anchors[i] = i % 2 ? (i % 4 == 3) * 8 : 8 * (i / 4) + (i % 4 == 2) * 8;
    std::vector<int64_t> starts{0}, chosen;
    for (int64_t image = 0; image < images; ++image) {
      for (int64_t g = random.below(4); g > 0; --g) {
        chosen.push_back(random.below(count));
        boxes.insert(boxes.end(), &anchors[4 * chosen.back()], &anchors[4 * chosen.back()] + 4);
        classes.push_back(static_cast<double>(chosen.size()));
      }
      starts.push_back(chosen.size());
    }
    const Numbers anchor(FOCAL_FLOAT32, anchors), box(FOCAL_FLOAT32, boxes);
    const Numbers label(random.one_of(kIntegers), classes);
    std::vector<int32_t> best(chosen.size());
    std::vector<int64_t> row(images * count);
    std::vector<uint8_t> is_foreground(images * count);
    Numbers found(label.array().type, images * count);
    const FocalAssignment given{anchor.array().data, box.array().data, label.array(), starts.data(), count, images,
                                0.5, 0.4, 0, random.below(2), 0, -1};
    const FocalAssigned assigned{best.data(), found.data(), row.data(), is_foreground.data()};
    require(focal_assign(&given, &assigned) == FOCAL_OK, "assignment that failed");
    for (int64_t i = 0; i < images * count; ++i) {
      int64_t expected = starts[images];
      for (int64_t g = starts[i / count + 1] - 1; g >= starts[i / count]; --g) expected = chosen[g] == i % count ? g : expected;
      require(row[i] == expected && is_foreground[i] == (expected < starts[images]), "row of an anchor");
      require(found[i] == (is_foreground[i] ? expected + 1 : 0), "label of an anchor");
    }
  }
}

/// Blocks that are given back and taken again, larger and smaller ones.
void check_memory(Random& random) {
  for (int i = 0; i < 60; ++i) {
    const int64_t bytes = (2 << 20) + random.below(3 << 20);
    char* block = static_cast<char*>(focal_allocate(bytes));
    block[0] = block[bytes - 1] = 1;
    focal_release(block, bytes);
  }
}

}  // namespace

int main(int, char** arguments) {
  focal_use_openmp(GOMP_parallel, omp_get_thread_num, omp_get_num_threads, omp_get_max_threads);
  Random random;
  const int rounds = std::atoi(arguments[1]);
  for (int round = 0; round < rounds; ++round) {
    for (const Shape& shape : kShapes) {
      for (const int64_t type : kFloating) {
        check_sigmoid(shape, type, random);
        check_softmax(shape, type, random);
      }
    }
  }
  check_wrong_labels(random);
  check_assignment(random);
  check_memory(random);
}
