// Leaky integrate-and-fire neurons over whole sequences, forward and backward, on a CPU.
//
// The equations are those of equations.py; a test compares both. A sequence is [steps, count]
// and lies in one piece; neurons are independent, so threads take tiles of them through all steps,
// and what a tile works on stays in the first cache. Spikes are kept for the backward pass in a
// bit each, [steps, (count + 7) / 8].

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "common.h"

namespace {

enum Surrogate { SIGMOID, ARCTAN, RECTANGLE, TRIANGLE };
enum Charge { INPUT_TIMES_RATE, INPUT_BY_TAU, INPUT_AS_IT_IS };

}  // namespace

extern "C" struct Neuron {
  float threshold, tau, alpha;
  int32_t soft, decay_input, exact, detach_reset, surrogate;
};

namespace {

template <int N>
using Constant = std::integral_constant<int, N>;

// Call `f` with the options as constants, so that each form of the neuron gets a loop of its own
// that does several neurons at a time.
template <typename F>
void with_dynamics(const Neuron& k, F f) {
  auto with_reset = [&](auto charge) {
    if (k.soft)
      f(charge, Constant<1>{});
    else
      f(charge, Constant<0>{});
  };
  if (!k.decay_input)
    with_reset(Constant<INPUT_AS_IT_IS>{});
  else if (k.exact)  // The reciprocal of tau is exact: a product gives the same number for less.
    with_reset(Constant<INPUT_TIMES_RATE>{});
  else
    with_reset(Constant<INPUT_BY_TAU>{});
}

template <typename F>
void with_slope(const Neuron& k, F f) {
  if (k.surrogate == SIGMOID)
    f(Constant<SIGMOID>{});
  else if (k.surrogate == ARCTAN)
    f(Constant<ARCTAN>{});
  else if (k.surrogate == RECTANGLE)
    f(Constant<RECTANGLE>{});
  else
    f(Constant<TRIANGLE>{});
}

template <int CHARGE>
inline float charged(float v, float x, float rate, float tau) {
  if (CHARGE == INPUT_TIMES_RATE) return v + (x - v) * rate;
  if (CHARGE == INPUT_BY_TAU) return v + (x - v) / tau;
  return v - v / tau + x;
}

template <int SOFT>
inline float after_reset(float u, bool fired, float threshold) {
  return SOFT ? u - (fired ? threshold : 0.f) : (fired ? 0.f : u);
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

// The surrogate gradients of surrogate.py; x is the potential above the threshold.
template <int SURROGATE>
inline float slope(float x, float alpha) {
  if (SURROGATE == SIGMOID) {
    float e = exp_negative(std::fabs(alpha * x));
    float s = 1.f / (1.f + e);
    return alpha * e * s * s;
  }
  if (SURROGATE == ARCTAN) {
    float scaled = 1.57079633f * alpha * x;
    return alpha / 2 / (1.f + scaled * scaled);
  }
  if (SURROGATE == RECTANGLE) return std::fabs(x) < 0.5f / alpha ? alpha : 0.f;
  float height = alpha - alpha * alpha * std::fabs(x);
  return height > 0.f ? height : 0.f;
}

// Write spikes, 0 or 1, in bits, the first one lowest.
void pack_spikes(const float* spikes, uint8_t* bits, int64_t n) {
  int64_t j = 0;
#if defined(__AVX512F__)
  for (; j + 16 <= n; j += 16) {
    __m512i values = _mm512_loadu_si512(spikes + j);
    uint16_t mask = _mm512_test_epi32_mask(values, values);
    std::memcpy(bits + j / 8, &mask, 2);
  }
#elif defined(__AVX2__)
  for (; j + 8 <= n; j += 8) {
    __m256 values = _mm256_loadu_ps(spikes + j);
    bits[j / 8] = _mm256_movemask_ps(_mm256_cmp_ps(values, _mm256_setzero_ps(), _CMP_NEQ_OQ));
  }
#endif
  for (; j < n; j += 8) {
    uint8_t fired[8] = {};
    for (int64_t i = 0; i < 8 && j + i < n; ++i) fired[i] = spikes[j + i] != 0.f;
    pack(fired, bits + j / 8, 8);
  }
}

// Write bits as spikes, 0 or 1.
template <typename T>
void unpack_spikes(const uint8_t* bits, T* spikes, int64_t n) {
  int64_t j = 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    for (; j + 16 <= n; j += 16) {
      uint16_t mask;
      std::memcpy(&mask, bits + j / 8, 2);
      _mm512_storeu_ps(spikes + j, _mm512_maskz_mov_ps(mask, _mm512_set1_ps(1.f)));
    }
#if defined(__AVX512BW__)
  else
    for (; j + 32 <= n; j += 32) {
      uint32_t mask;
      std::memcpy(&mask, bits + j / 8, 4);
      _mm512_storeu_si512(spikes + j, _mm512_maskz_set1_epi16(mask, 0x3f80));  // 1 in bfloat16
    }
#endif
#elif defined(__AVX2__)
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  if constexpr (sizeof(T) == 4)
    for (; j + 8 <= n; j += 8) {
      __m256i own = _mm256_and_si256(_mm256_set1_epi32(bits[j / 8]), each);
      __m256 fired = _mm256_castsi256_ps(_mm256_cmpeq_epi32(own, each));
      _mm256_storeu_ps(spikes + j, _mm256_and_ps(fired, _mm256_set1_ps(1.f)));
    }
#endif
  for (; j < n; j += 8) {
    uint8_t fired[8];
    unpack(bits + j / 8, fired, 8);
    for (int64_t i = 0; i < 8 && j + i < n; ++i) store(spikes[j + i], float(fired[i]));
  }
}

// Fetch what the next tile will read: it lies apart, where the processor does not expect it.
template <typename T>
inline void fetch(const T* at, int64_t n) {
  for (int64_t j = 0; j < n; j += 64 / sizeof(T)) __builtin_prefetch(at + j);
}

// `spikes` are of x's precision, or a byte each.
template <typename T, typename S>
void run_forward(const T* x, S* spikes, uint8_t* bits, int64_t steps, int64_t count,
                 const Neuron& k, int threads) {
  constexpr bool BYTES = sizeof(S) == 1;
  using Flag = std::conditional_t<BYTES, uint8_t, float>;
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
  with_dynamics(k, [&](auto charge, auto soft) {
    constexpr int CHARGE = decltype(charge)::value, SOFT = decltype(soft)::value;
    float threshold = k.threshold, tau = k.tau, rate = 1.f / k.tau;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      float v[TILE] = {};
      Flag fired[TILE];
      int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
      for (int64_t t = 0; t < steps; ++t) {
        int64_t at = t * count + from;
        for (int64_t j = 0; j < n; ++j) {
          float u = charged<CHARGE>(v[j], load(x[at + j]), rate, tau);
          bool f = u >= threshold;
          fired[j] = f ? Flag(1) : Flag(0);  // A choice: several at a time.
          if constexpr (!BYTES) store(spikes[at + j], fired[j]);
          v[j] = after_reset<SOFT>(u, f, threshold);
        }
        if constexpr (BYTES)
          std::memcpy(spikes + at, fired, n);
        else if (bits)
          pack_spikes(fired, bits + t * row + from / 8, n);
      }
    }
  });
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

// The potentials of a tile, computed again from its input; with `NORMED` from what went into the
// norm before.
template <bool NORMED, typename T>
void charge_again(const T* source, const float* factor, const float* addend, const float* fired,
                  float* u, int64_t steps, int64_t count, int64_t n, const Neuron& k) {
  with_dynamics(k, [&](auto charge, auto soft) {
    constexpr int CHARGE = decltype(charge)::value, SOFT = decltype(soft)::value;
    float threshold = k.threshold, tau = k.tau, rate = 1.f / k.tau;
    float v[TILE] = {};
    for (int64_t t = 0; t < steps; ++t) {
      const T* xt = source + t * count;
      fetch(xt + n, n);
      const float* ft = fired + t * TILE;
      float* ut = u + t * TILE;
      for (int64_t j = 0; j < n; ++j) {
        float x = NORMED ? load(xt[j]) * factor[j] + addend[j] : load(xt[j]);
        ut[j] = charged<CHARGE>(v[j], x, rate, tau);
        v[j] = after_reset<SOFT>(ut[j], ft[j] != 0.f, threshold);
      }
    }
  });
}

// `kept` holds the input; with `scale` it holds what went into a norm, out of which the input came.
template <typename T>
void run_backward(const T* kept, const float* scale, const float* shift, int64_t length,
                  bool columns, const uint8_t* bits, const T* grad, T* out, int64_t steps,
                  int64_t count, const Neuron& k, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
  with_slope(k, [&](auto surrogate) {
    constexpr int SURROGATE = decltype(surrogate)::value;
    float threshold = k.threshold, alpha = k.alpha, leak = 1.f - 1.f / k.tau;
    float into = k.decay_input ? 1.f / k.tau : 1.f;
    bool soft = k.soft, detach = k.detach_reset;
#pragma omp parallel num_threads(threads)
    {
      std::vector<float> u(steps * TILE);
      std::vector<float> fired(steps * TILE);
      float factor[TILE], addend[TILE], g[TILE];
#pragma omp for schedule(static)
      for (int64_t tile = 0; tile < tiles; ++tile) {
        int64_t from = tile * TILE, n = count - from < TILE ? count - from : TILE;
        for (int64_t t = 0; t < steps; ++t)
          unpack_spikes(bits + t * row + from / 8, fired.data() + t * TILE, n);
        if (scale) {
          spread(scale, factor, from, n, length, columns);
          spread(shift, addend, from, n, length, columns);
          charge_again<true>(kept + from, factor, addend, fired.data(), u.data(), steps, count, n, k);
        } else {
          charge_again<false>(kept + from, factor, addend, fired.data(), u.data(), steps, count, n, k);
        }
        for (int64_t j = 0; j < TILE; ++j) g[j] = 0.f;
        for (int64_t t = steps - 1; t >= 0; --t) {
          const float* ut = u.data() + t * TILE;
          const float* ft = fired.data() + t * TILE;
          const T* gt = grad + t * count + from;
          T* grad_x = out + t * count + from;
          fetch(gt + n, n);
          auto run = [&](auto is_soft, auto is_detached) {
            for (int64_t j = 0; j < n; ++j) {
              float above = ut[j] - threshold, of_spike = load(gt[j]);
              if (!is_detached.value) of_spike -= g[j] * (is_soft.value ? threshold : ut[j]);
              float past = is_soft.value ? g[j] : (ft[j] != 0.f ? 0.f : g[j]);
              float d = slope<SURROGATE>(above, alpha) * of_spike + past;
              store(grad_x[j], d * into);
              g[j] = d * leak;
            }
          };
          if (soft && detach)
            run(Constant<1>{}, Constant<1>{});
          else if (soft)
            run(Constant<1>{}, Constant<0>{});
          else if (detach)
            run(Constant<0>{}, Constant<1>{});
          else
            run(Constant<0>{}, Constant<0>{});
        }
      }
    }
  });
}

template <typename T>
void run_unpack(const uint8_t* bits, T* spikes, int64_t steps, int64_t count, int threads) {
  int64_t tiles = (count + TILE - 1) / TILE, row = (count + 7) / 8;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < steps * tiles; ++i) {
    int64_t t = i / tiles, from = i % tiles * TILE;
    int64_t n = count - from < TILE ? count - from : TILE;
    unpack_spikes(bits + t * row + from / 8, spikes + t * count + from, n);
  }
}

}  // namespace

#define FOR_TYPE(T, NAME)                                                                       \
  extern "C" void forward_##NAME(const T* x, T* spikes, uint8_t* bits, int64_t steps,           \
                                 int64_t count, Neuron k, int threads) {                        \
    run_forward(x, spikes, bits, steps, count, k, threads);                                     \
  }                                                                                             \
  extern "C" void counts_##NAME(const T* x, uint8_t* counts, int64_t steps, int64_t count,       \
                                Neuron k, int threads) {                                        \
    run_forward(x, counts, nullptr, steps, count, k, threads);                                  \
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
