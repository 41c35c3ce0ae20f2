/* A CUDA runtime library without a GPU: device memory is host memory, work is done at once unless
   it is being captured. It counts what is alive and fails the call that a test names. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Work)(void *);
typedef struct { int kind; char *start; size_t size; } Live;
typedef struct { void *target; const void *source; size_t size; Work work; void *argument; } Step;
typedef struct { Step *steps; int count; int capturing; } Queue;

enum { DEVICE, HOST, STREAM, EVENT, GRAPH, EXECUTABLE, KINDS };
enum { INVALID_VALUE = 1, INVALID_DEVICE = 101, CAPTURE_UNMATCHED = 903 };
enum { ROOM = 4096, STEPS = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Live live[ROOM];
static int calls, bad, devices = 1, fail_nth, fail_code, last_error;
static char fail_name[64], failed_name[64];

/* The test's side. */

void fake_reset(void) {
  memset(live, 0, sizeof live);
  calls = bad = fail_nth = fail_code = last_error = 0;
  devices = 1;
  fail_name[0] = 0;
}
void fake_devices(int count) { devices = count; }
void fake_fail(const char *name, int nth, int code) {
  strncpy(fail_name, name, sizeof fail_name - 1);
  fail_nth = nth;
  fail_code = code;
}
const char *fake_failed(void) { return failed_name; }
int fake_calls(void) { return calls; }
int fake_bad(void) { return bad; }
int fake_live(int kind) {
  int found = 0;
  for (int i = 0; i < ROOM; i++) found += live[i].start && live[i].kind == kind;
  return found;
}

/* Whether this call is the one to fail; an empty name means any call. */
static int enter(const char *name) {
  pthread_mutex_lock(&lock);
  calls++;
  int code = 0;
  if (fail_nth > 0 && (!fail_name[0] || !strcmp(fail_name, name)) && --fail_nth == 0)
  {
    code = last_error = fail_code;
    strncpy(failed_name, name, sizeof failed_name - 1);
  }
  pthread_mutex_unlock(&lock);
  return code;
}
#define ENTER int failed = enter(__func__); if (failed) return failed

static int wrong(int code) {
  bad++;
  return last_error = code;
}
static void *add(int kind, size_t size) {
  char *start = calloc(1, size);
  pthread_mutex_lock(&lock);
  for (int i = 0; i < ROOM; i++)
    if (!live[i].start) {
      live[i] = (Live){kind, start, size};
      break;
    }
  pthread_mutex_unlock(&lock);
  return start;
}
static int take(int kind, void *handle) {
  int code = INVALID_VALUE;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < ROOM && code; i++)
    if (live[i].start && live[i].start == handle && live[i].kind == kind) {
      live[i].start = 0;
      code = 0;
    }
  pthread_mutex_unlock(&lock);
  if (code) return wrong(code);
  free(handle);
  return 0;
}
static int inside(const void *address, size_t size, int kind) {
  const char *start = address;
  int found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < ROOM; i++)
    found |= live[i].start && live[i].kind == kind && start >= live[i].start &&
             start + size <= live[i].start + live[i].size;
  pthread_mutex_unlock(&lock);
  return found;
}
static void do_step(const Step *step) {
  if (step->work) step->work(step->argument);
  else memcpy(step->target, step->source, step->size);
}
static void put(Queue *stream, Step step) {
  if (stream->capturing) stream->steps[stream->count++] = step;
  else do_step(&step);
}
static Queue *new_queue(int kind) {
  Queue *queue = add(kind, sizeof(Queue) + STEPS * sizeof(Step));
  queue->steps = (Step *)(queue + 1);
  return queue;
}
static Queue *copy_queue(const Queue *from, int kind) {
  Queue *queue = new_queue(kind);
  queue->count = from->count;
  memcpy(queue->steps, from->steps, STEPS * sizeof(Step));
  return queue;
}

/* What an engine puts on a stream. */
void fake_enqueue(Queue *stream, Work work, void *argument) {
  put(stream, (Step){0, 0, 0, work, argument});
}

/* The library. */

const char *cudaGetErrorName(int code) {
  return code == 35 ? "cudaErrorInsufficientDriver" : code == 2 ? "cudaErrorMemoryAllocation"
                                                                : "cudaErrorOther";
}
const char *cudaGetErrorString(int code) {
  return code == 35 ? "CUDA driver version is insufficient for CUDA runtime version"
                    : code == 2 ? "out of memory" : "some other error";
}
int cudaGetLastError(void) {
  int code = last_error;
  last_error = 0;
  return code;
}
int cudaRuntimeGetVersion(int *version) { ENTER; *version = 12060; return 0; }
int cudaDriverGetVersion(int *version) { ENTER; *version = 12080; return 0; }
int cudaGetDeviceCount(int *count) { ENTER; *count = devices; return 0; }
int cudaSetDevice(int device) { ENTER; return device < devices ? 0 : (last_error = INVALID_DEVICE); }
int cudaDeviceGetAttribute(int *value, int name, int device) {
  ENTER;
  if (device >= devices) return last_error = INVALID_DEVICE;
  *value = name == 75 ? 8 : name == 76 ? 7 : name == 18 ? 1 : -1;
  return 0;
}
int cudaGetDeviceProperties(void *properties, int device) {
  ENTER;
  if (device >= devices) return last_error = INVALID_DEVICE;
  strcpy(properties, "Fake Orin");
  return 0;
}
int cudaMemGetInfo(size_t *unused, size_t *total) {
  ENTER;
  *unused = (size_t)3 << 30;
  *total = (size_t)8 << 30;
  return 0;
}
int cudaMalloc(void **address, size_t size) { ENTER; *address = add(DEVICE, size); return 0; }
int cudaFree(void *address) { ENTER; return take(DEVICE, address); }
int cudaHostAlloc(void **address, size_t size, unsigned flags) {
  ENTER;
  *address = add(HOST, size);
  return flags ? wrong(INVALID_VALUE) : 0;
}
int cudaFreeHost(void *address) { ENTER; return take(HOST, address); }
int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, Queue *stream) {
  ENTER;
  int down = kind == 2;
  if (!inside(target, size, down ? HOST : DEVICE) || !inside(source, size, down ? DEVICE : HOST))
    return wrong(INVALID_VALUE);
  put(stream, (Step){target, source, size, 0, 0});
  return 0;
}
int cudaStreamCreateWithFlags(Queue **stream, unsigned flags) {
  ENTER;
  *stream = new_queue(STREAM);
  return flags == 1 ? 0 : wrong(INVALID_VALUE);
}
int cudaStreamDestroy(Queue *stream) { ENTER; return take(STREAM, stream); }
int cudaStreamSynchronize(Queue *stream) {
  ENTER;
  return stream->capturing ? wrong(CAPTURE_UNMATCHED) : 0;
}
int cudaEventCreate(void **event) { ENTER; *event = add(EVENT, 1); return 0; }
int cudaEventDestroy(void *event) { ENTER; return take(EVENT, event); }
int cudaEventRecord(void *event, Queue *stream) { ENTER; return 0; }
int cudaEventSynchronize(void *event) { ENTER; return 0; }
int cudaEventElapsedTime(float *ms, void *start, void *end) { ENTER; *ms = 1.5f; return 0; }
int cudaStreamBeginCapture(Queue *stream, int mode) {
  ENTER;
  stream->capturing = 1;
  stream->count = 0;
  return mode == 1 ? 0 : wrong(INVALID_VALUE);
}
int cudaStreamEndCapture(Queue *stream, Queue **graph) {
  int capturing = stream->capturing;
  stream->capturing = 0; /* also when it fails, as CUDA has it */
  *graph = 0;
  ENTER;
  if (!capturing) return wrong(CAPTURE_UNMATCHED);
  *graph = copy_queue(stream, GRAPH);
  return 0;
}
int cudaGraphInstantiateWithFlags(Queue **executable, Queue *graph, unsigned long long flags) {
  ENTER;
  *executable = copy_queue(graph, EXECUTABLE);
  return 0;
}
int cudaGraphLaunch(Queue *executable, Queue *stream) {
  ENTER;
  for (int i = 0; i < executable->count; i++) do_step(&executable->steps[i]);
  return 0;
}
int cudaGraphDestroy(Queue *graph) { ENTER; return take(GRAPH, graph); }
int cudaGraphExecDestroy(Queue *executable) { ENTER; return take(EXECUTABLE, executable); }
