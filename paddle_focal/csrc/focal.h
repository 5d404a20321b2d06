/* The native library's whole interface: focal losses and their gradients over plain memory.
 *
 * It knows neither a framework nor Python. Structs hold 8-byte fields only, so that other languages lay them out alike.
 */
#ifndef PADDLE_FOCAL_FOCAL_H
#define PADDLE_FOCAL_FOCAL_H

#include <stdint.h>

#define FOCAL_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Number formats. */
enum { FOCAL_FLOAT16, FOCAL_BFLOAT16, FOCAL_FLOAT32, FOCAL_FLOAT64, FOCAL_INT32, FOCAL_INT64 };

/* Losses, with the `numbers` of each. */
enum {
  FOCAL_SIGMOID,   /* gamma, label smoothing, epsilon of Poly-1 focal loss */
  FOCAL_SOFTMAX,   /* gamma, label smoothing */
  FOCAL_QUALITY,   /* gamma */
  FOCAL_VARIFOCAL, /* gamma, whether the weight p^gamma is a constant for the gradient */
  FOCAL_GAUSSIAN,  /* gamma, beta */
  FOCAL_ASYMMETRIC /* gamma of target 0, gamma of target 1, margin */
};

/* What a function returns; focal_error() says more about a failure. */
enum { FOCAL_OK, FOCAL_INVALID_LABEL, FOCAL_FAILED };

typedef struct {
  const void* data;
  int64_t type;
} FocalArray;

/* A factor for each class: data[c * stride] in the computing type, or `value` if there is no data. */
typedef struct {
  double value;
  const void* data;
  int64_t stride;
} FocalScale;

/* A factor for each loss: data[o * outer + c * classes + i * inner]; none if there is no data. */
typedef struct {
  FocalArray array;
  int64_t outer, classes, inner;
} FocalWeight;

/* One loss of contiguous logits [outer, classes, inner], computed in float, or in double for double logits. */
typedef struct {
  FocalArray logit;
  FocalArray label;     /* integers [outer, inner]; or floating targets in the logits' shape */
  FocalArray score;     /* floating [outer, inner]: the target of the label's own class; 1 if there is no data */
  FocalScale scales[2]; /* of targets 1 and 0; softmax: of the labelled class */
  FocalWeight weight;
  int64_t loss;
  int64_t outer, classes, inner;
  double numbers[3];    /* see the losses */
  int64_t ignore_index; /* a label without loss and gradient */
  int64_t reduce;       /* whether the losses are added up */
} FocalLossParams;

/* The loss: where it is reduced, one number in the computing type, else one for each logit (softmax: for each label) in
 * the logits' type. `grad`, if not null, receives the gradient of the logits for a reduced loss: float or double only.
 * FOCAL_INVALID_LABEL: a label or a score is out of range; results are undefined then. The same bits for any number of threads. */
FOCAL_EXPORT int focal_forward(const FocalLossParams* params, void* loss, void* grad);

/* The gradient of the logits in their type, given that of the result: one number, or one for each in the logits'
 * type. */
FOCAL_EXPORT int focal_backward(const FocalLossParams* params, const FocalArray* grad_out, void* grad);

/* Multiplies `count` numbers, float or double, in place. */
FOCAL_EXPORT int focal_multiply(void* numbers, int64_t type, int64_t count, double factor);

/* Logits of (sigmoid(a) sigmoid(b))^power, of `count` floating numbers a and b of a type, and their gradients. */
FOCAL_EXPORT int focal_joint_forward(const void* a, const void* b, int64_t type, int64_t count, double power,
                                     void* joint);
FOCAL_EXPORT int focal_joint_backward(const void* a, const void* b, int64_t type, int64_t count, double power,
                                      const void* grad_out, void* grad_a, void* grad_b);

/* How many of `count` floating numbers are 1, as a heatmap's peaks are. */
FOCAL_EXPORT int64_t focal_count_ones(const FocalArray* numbers, int64_t count);

/* Which anchor is trained to find which box, by the greatest IoU, in the arithmetic of PaddleDetection: anchors and the
 * boxes of several images, as corners x0, y0, x1, y1 in float. */
typedef struct {
  const void* anchors;       /* [anchor_count, 4] */
  const void* boxes;         /* [starts[images], 4]: image by image */
  FocalArray classes;        /* integers, of each box; their type is that of the labels */
  const int64_t* starts;     /* where the boxes of each image begin, and where those of the last one end */
  int64_t anchor_count, images;
  double positive, negative; /* IoUs from which an anchor is foreground, and below which it is background */
  double tolerance;          /* by how much an IoU may be less than a box's greatest one and count as equal */
  int64_t keeps_best;        /* whether anchors with a box's greatest IoU are foreground, whatever it is */
  int64_t background, ignore_index; /* the labels of background, and of what is neither */
} FocalAssignment;

/* Of each anchor of each image, [images, anchor_count]. */
typedef struct {
  int32_t* best;          /* 0 for each box, and changed; asked for with keeps_best only */
  void* label;
  int64_t* row;           /* of the anchor's box; starts[images] if it is not foreground */
  uint8_t* is_foreground;
} FocalAssigned;

FOCAL_EXPORT int focal_assign(const FocalAssignment* assignment, const FocalAssigned* assigned);

/* A GPU whose context is current: its driver's cuLaunchKernel and cuGetErrorString, and by number the functions that
 * focal_gpu_kernel names. */
enum { FOCAL_GPU_KERNELS = 152 };

typedef struct {
  int (*launch)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                unsigned block_z, unsigned shared, void* stream, void** arguments, void** extra);
  int (*error_string)(int result, const char** text);
  void* kernels[FOCAL_GPU_KERNELS];
} FocalGpu;

/* The name of a kernel; null beyond the last one. */
FOCAL_EXPORT const char* focal_gpu_kernel(int64_t index);

/* How many bytes on the GPU the forward pass needs beside the loss. */
FOCAL_EXPORT int64_t focal_gpu_workspace(const FocalLossParams* params);

/* The same as focal_forward and focal_backward, with everything that params point to on the GPU.
 * They return before the stream has done it. A label out of range gives NaN, and the forward pass no gradient. */
FOCAL_EXPORT int focal_gpu_forward(const FocalGpu* gpu, const FocalLossParams* params, void* loss, void* workspace,
                                   void* stream);
FOCAL_EXPORT int focal_gpu_backward(const FocalGpu* gpu, const FocalLossParams* params, const FocalArray* grad_out,
                                    void* grad, void* stream);

/* The same as focal_assign, with everything but the starts on the GPU; it returns before the stream has done it. */
FOCAL_EXPORT int focal_gpu_assign(const FocalGpu* gpu, const FocalAssignment* assignment, const FocalAssigned* assigned,
                                  void* stream);

/* Memory in huge pages for large results, and released memory again if it fits; null if there is none. */
FOCAL_EXPORT void* focal_allocate(int64_t bytes);
FOCAL_EXPORT void focal_release(void* data, int64_t bytes);

/* The OpenMP runtime that shares out the work: its GOMP_parallel, omp_get_thread_num, omp_get_num_threads and
 * omp_get_max_threads. Without it one thread does everything. */
FOCAL_EXPORT void focal_use_openmp(void (*parallel)(void (*)(void*), void*, unsigned, unsigned), int (*thread)(void),
                      int (*threads)(void), int (*max_threads)(void));

/* The number of threads that a large loss is shared out among. */
FOCAL_EXPORT int focal_max_threads(void);

/* avx512, avx2 or baseline; null if PADDLE_FOCAL_ISA in the environment asks for one that the processor has not. */
FOCAL_EXPORT const char* focal_instruction_set(void);

/* What failed last on this thread. */
FOCAL_EXPORT const char* focal_error(void);

/* The fingerprint of the sources that the library was built from. */
FOCAL_EXPORT const char* focal_fingerprint(void);

#ifdef __cplusplus
}
#endif

#endif
