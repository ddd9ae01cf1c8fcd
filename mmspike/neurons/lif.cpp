// Leaky integrate-and-fire neurons over whole sequences, forward and backward, on a CPU.
//
// The equations are those of functional.py; a test compares both. A sequence is [steps, count]
// and lies in one piece; neurons are independent, so threads take tiles of them through all steps,
// and what a tile works on stays in the first cache. Spikes are kept for the backward pass in a
// bit each, [steps, (count + 7) / 8].

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t TILE = 1024;

struct bfloat16 {
  uint16_t bits;
};

inline float load(float x) { return x; }
inline float load(bfloat16 x) {
  uint32_t wide = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
inline void store(float& to, float x) { to = x; }
inline void store(bfloat16& to, float x) {  // to the nearest, ties to even
  uint32_t wide;
  std::memcpy(&wide, &x, 4);
  bool nan = x != x;
  wide += 0x7fff + ((wide >> 16) & 1);
  to.bits = nan ? 0x7fc0 : uint16_t(wide >> 16);
}

enum Surrogate { SIGMOID, ARCTAN, RECTANGLE, TRIANGLE };

}  // namespace

extern "C" struct Neuron {
  float threshold, tau, alpha;
  int32_t soft, decay_input, exact, detach_reset, surrogate;
};

namespace {

inline void charge(float* v, const float* x, int64_t n, const Neuron& k) {
  // Where the reciprocal of tau is exact, a product gives the same number for less.
  float rate = 1.f / k.tau, tau = k.tau;
  if (k.decay_input && k.exact)
    for (int64_t j = 0; j < n; ++j) v[j] += (x[j] - v[j]) * rate;
  else if (k.decay_input)
    for (int64_t j = 0; j < n; ++j) v[j] += (x[j] - v[j]) / tau;
  else
    for (int64_t j = 0; j < n; ++j) v[j] = v[j] - v[j] / tau + x[j];
}

inline void reset(float* v, const float* fired, int64_t n, const Neuron& k) {
  float threshold = k.threshold;
  if (k.soft)
    for (int64_t j = 0; j < n; ++j) v[j] -= threshold * fired[j];
  else
    for (int64_t j = 0; j < n; ++j) v[j] = fired[j] != 0.f ? 0.f : v[j];
}

void pack(const float* fired, uint8_t* bits, int64_t n) {
  uint8_t bytes[TILE];
  for (int64_t j = 0; j < TILE; ++j) bytes[j] = j < n ? uint8_t(fired[j]) : 0;
  for (int64_t j = 0; j < (n + 7) / 8; ++j) {
    uint64_t eight;
    std::memcpy(&eight, bytes + 8 * j, 8);
    bits[j] = uint8_t((eight * 0x0102040810204080ull) >> 56);  // the first is the lowest bit
  }
}

template <typename T>
void unpack(const uint8_t* bits, T* fired, int64_t n) {
  T one, zero;
  store(one, 1.f);
  store(zero, 0.f);
  int64_t whole = n / 8;
  for (int64_t i = 0; i < whole; ++i)
    for (int j = 0; j < 8; ++j) fired[8 * i + j] = bits[i] & (1 << j) ? one : zero;
  for (int64_t j = 8 * whole; j < n; ++j) fired[j] = bits[whole] & (1 << (j % 8)) ? one : zero;
}

// exp(-z) for z >= 0 to 2 units in the last place.
inline float exp_negative(float z) {
  float power = z * -1.44269504f;
  power = power > -126.f ? power : -126.f;
  float whole = (power + 12582912.f) - 12582912.f;
  float part = power - whole;
  float p = 1.535336188319500e-4f;
  p = p * part + 1.339887440266574e-3f;
  p = p * part + 9.618437357674640e-3f;
  p = p * part + 5.550332471162809e-2f;
  p = p * part + 2.402264791363012e-1f;
  p = p * part + 6.931472028550421e-1f;
  p = p * part + 1.f;
  int32_t exponent = (int32_t(whole) + 127) << 23;
  float scale;
  std::memcpy(&scale, &exponent, 4);
  return p * scale;
}

// The surrogate gradients of surrogate.py.
inline void slope(const float* u, float* to, int64_t n, const Neuron& k) {
  float threshold = k.threshold, alpha = k.alpha;
  if (k.surrogate == SIGMOID)
    for (int64_t j = 0; j < n; ++j) {
      float e = exp_negative(std::fabs(alpha * (u[j] - threshold)));
      float s = 1.f / (1.f + e);
      to[j] = alpha * e * s * s;
    }
  else if (k.surrogate == ARCTAN)
    for (int64_t j = 0; j < n; ++j) {
      float x = 1.57079633f * alpha * (u[j] - threshold);
      to[j] = alpha / 2 / (1.f + x * x);
    }
  else if (k.surrogate == RECTANGLE)
    for (int64_t j = 0; j < n; ++j)
      to[j] = std::fabs(u[j] - threshold) < 0.5f / alpha ? alpha : 0.f;
  else
    for (int64_t j = 0; j < n; ++j) {
      float x = alpha - alpha * alpha * std::fabs(u[j] - threshold);
      to[j] = x > 0.f ? x : 0.f;
    }
}

template <typename T>
void run_forward(const T* x, T* spikes, T* potentials, uint8_t* bits, int64_t steps, int64_t count,
                 const Neuron& k, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t tile = 0; tile < tiles; ++tile) {
    float v[TILE] = {}, current[TILE], fired[TILE];
    int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
    float threshold = k.threshold;
    for (int64_t t = 0; t < steps; ++t) {
      int64_t at = t * count + from;
      for (int64_t j = 0; j < n; ++j) current[j] = load(x[at + j]);
      charge(v, current, n, k);
      if (potentials)
        for (int64_t j = 0; j < n; ++j) store(potentials[at + j], v[j]);
      for (int64_t j = 0; j < n; ++j) fired[j] = v[j] >= threshold ? 1.f : 0.f;
      for (int64_t j = 0; j < n; ++j) store(spikes[at + j], fired[j]);
      if (bits) pack(fired, bits + t * row + from / 8, n);
      reset(v, fired, n, k);
    }
  }
}

// What a norm multiplies with and adds, for each neuron of a tile: one value a column of a matrix
// with `length` columns, or one a row.
void spread(const float* values, float* to, int64_t from, int64_t n, int64_t length, bool columns) {
  int64_t j = 0;
  while (j < n) {
    int64_t row = (from + j) / length, column = (from + j) % length;
    int64_t run = length - column < n - j ? length - column : n - j;
    if (columns)
      std::memcpy(to + j, values + column, run * sizeof(float));
    else
      for (int64_t i = 0; i < run; ++i) to[j + i] = values[row];
    j += run;
  }
}

// `kept` holds the potentials; with `scale` it holds what went into a norm, out of which the
// input came, and the potentials are computed again.
template <typename T>
void run_backward(const T* kept, const float* scale, const float* shift, int64_t length,
                  bool columns, const uint8_t* bits, const T* grad, T* out, int64_t steps,
                  int64_t count, const Neuron& k, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> held(2 * steps * TILE);
    float *u = held.data(), *fired = u + steps * TILE;
#pragma omp for schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      float v[TILE] = {}, factor[TILE], addend[TILE], slopes[TILE], g[TILE] = {};
      int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
      if (scale) {
        spread(scale, factor, from, n, length, columns);
        spread(shift, addend, from, n, length, columns);
      }
      for (int64_t t = 0; t < steps; ++t) {
        float *ut = u + t * TILE, *ft = fired + t * TILE;
        const T* source = kept + t * count + from;
        unpack(bits + t * row + from / 8, ft, n);
        if (!scale) {
          for (int64_t j = 0; j < n; ++j) ut[j] = load(source[j]);
          continue;
        }
        for (int64_t j = 0; j < n; ++j) slopes[j] = load(source[j]) * factor[j] + addend[j];
        charge(v, slopes, n, k);
        std::memcpy(ut, v, n * sizeof(float));
        reset(v, ft, n, k);
      }
      float threshold = k.threshold, rate = 1.f / k.tau, leak = 1.f - rate;
      float into = k.decay_input ? rate : 1.f;
      for (int64_t t = steps - 1; t >= 0; --t) {
        const float *ut = u + t * TILE, *ft = fired + t * TILE;
        int64_t at = t * count + from;
        slope(ut, slopes, n, k);
        if (k.detach_reset)
          for (int64_t j = 0; j < n; ++j) slopes[j] *= load(grad[at + j]);
        else if (k.soft)
          for (int64_t j = 0; j < n; ++j) slopes[j] *= load(grad[at + j]) - g[j] * threshold;
        else
          for (int64_t j = 0; j < n; ++j) slopes[j] *= load(grad[at + j]) - g[j] * ut[j];
        if (k.soft)
          for (int64_t j = 0; j < n; ++j) slopes[j] += g[j];
        else
          for (int64_t j = 0; j < n; ++j) slopes[j] += ft[j] != 0.f ? 0.f : g[j];
        for (int64_t j = 0; j < n; ++j) store(out[at + j], slopes[j] * into);
        for (int64_t j = 0; j < n; ++j) g[j] = slopes[j] * leak;
      }
    }
  }
}

template <typename T>
void run_unpack(const uint8_t* bits, T* spikes, int64_t steps, int64_t count, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < steps * tiles; ++i) {
    int64_t t = i / tiles, from = i % tiles * TILE;
    int64_t n = count - from < TILE ? count - from : TILE;
    unpack(bits + t * row + from / 8, spikes + t * count + from, n);
  }
}

}  // namespace

#define FOR_TYPE(T, NAME)                                                                       \
  extern "C" void forward_##NAME(const T* x, T* spikes, T* potentials, uint8_t* bits,           \
                                 int64_t steps, int64_t count, Neuron k, int threads) {         \
    run_forward(x, spikes, potentials, bits, steps, count, k, threads);                         \
  }                                                                                             \
  extern "C" void backward_##NAME(const T* kept, const float* scale, const float* shift,        \
                                  int64_t length, int columns, const uint8_t* bits,             \
                                  const T* grad, T* out, int64_t steps, int64_t count,          \
                                  Neuron k, int threads) {                                      \
    run_backward(kept, scale, shift, length, columns != 0, bits, grad, out, steps, count, k,    \
                 threads);                                                                      \
  }                                                                                             \
  extern "C" void unpack_##NAME(const uint8_t* bits, T* spikes, int64_t steps, int64_t count,   \
                                int threads) {                                                  \
    run_unpack(bits, spikes, steps, count, threads);                                            \
  }

FOR_TYPE(float, float32)
FOR_TYPE(bfloat16, bfloat16)
