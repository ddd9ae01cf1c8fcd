// Integer neurons over whole sequences, forward and backward, on a CPU.
//
// The equations are those of integer.py; a test compares both. A sequence is [steps, count] and
// lies in one piece. What is kept for the backward pass: the counts in a byte each, and a bit for
// each potential that says whether it lay inside the range, [steps, (count + 7) / 8].

#include <cstdint>
#include <cstring>

#include "common.h"

extern "C" struct IntegerNeuron {
  float levels, decay, threshold, unit;
  int32_t exact;  // The reciprocal of the threshold is exact: a product gives the same for less.
};

namespace {

// `spikes` are of x's precision, or counts in a byte each, for which the unit is 1.
template <bool EXACT, typename T, typename S>
void run_forward(const T* x, S* spikes, uint8_t* counts, uint8_t* bits, int64_t steps,
                 int64_t count, const IntegerNeuron& k, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
  float levels = k.levels, decay = k.decay, threshold = k.threshold, unit = k.unit;
  float rate = 1.f / threshold;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    float v[TILE] = {};
    uint8_t inside[TILE] = {}, byte[TILE];
    int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
    for (int64_t t = 0; t < steps; ++t) {
      int64_t at = t * count + from;
      for (int64_t j = 0; j < n; ++j) {
        float u = load(x[at + j]) + decay * v[j];
        float scaled = EXACT ? u * rate : u / threshold;
        float clipped = scaled < 0.f ? 0.f : (scaled > levels ? levels : scaled);
        float s = (clipped + 12582912.f) - 12582912.f;  // to the nearest, ties to even
        inside[j] = clipped == scaled;
        byte[j] = uint8_t(int32_t(s));
        store(spikes[at + j], s * unit);
        v[j] = u - threshold * s;
      }
      if (counts) {
        std::memcpy(counts + at, byte, n);
        pack(inside, bits + t * row + from / 8, n);
      }
    }
  }
}

template <typename T>
void run_backward(const uint8_t* bits, const T* grad, T* out, int64_t steps, int64_t count,
                  const IntegerNeuron& k, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
  float slope = k.unit / k.threshold, decay = k.decay;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    float g[TILE] = {};
    uint8_t inside[TILE];
    int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
    for (int64_t t = steps - 1; t >= 0; --t) {
      int64_t at = t * count + from;
      const uint8_t* own = bits + t * row + from / 8;
      unpack(own, inside, n);
      for (int64_t j = 0; j < n; ++j) {
        g[j] = float(inside[j]) * slope * load(grad[at + j]) + decay * g[j];
        store(out[at + j], g[j]);
      }
    }
  }
}

template <typename T>
void run_unpack(const uint8_t* counts, T* spikes, int64_t total, float unit, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < total; ++i) store(spikes[i], float(counts[i]) * unit);
}

}  // namespace

#define FOR_TYPE(T, NAME)                                                                       \
  extern "C" void forward_##NAME(const T* x, T* spikes, uint8_t* counts, uint8_t* bits,         \
                                 int64_t steps, int64_t count, IntegerNeuron k, int threads) {  \
    if (k.exact)                                                                                \
      run_forward<true>(x, spikes, counts, bits, steps, count, k, threads);                     \
    else                                                                                        \
      run_forward<false>(x, spikes, counts, bits, steps, count, k, threads);                    \
  }                                                                                             \
  extern "C" void counts_##NAME(const T* x, uint8_t* counts, int64_t steps, int64_t count,       \
                                IntegerNeuron k, int threads) {                                 \
    if (k.exact)                                                                                \
      run_forward<true>(x, counts, nullptr, nullptr, steps, count, k, threads);                 \
    else                                                                                        \
      run_forward<false>(x, counts, nullptr, nullptr, steps, count, k, threads);                \
  }                                                                                             \
  extern "C" void backward_##NAME(const uint8_t* bits, const T* grad, T* out, int64_t steps,    \
                                  int64_t count, IntegerNeuron k, int threads) {                \
    run_backward(bits, grad, out, steps, count, k, threads);                                    \
  }                                                                                             \
  extern "C" void unpack_##NAME(const uint8_t* counts, T* spikes, int64_t total, float unit,    \
                                int threads) {                                                  \
    run_unpack(counts, spikes, total, unit, threads);                                           \
  }

FOR_TYPE(float, float32)
FOR_TYPE(bfloat16, bfloat16)
