// What all neurons share: two precisions, tiles, and flags in a bit each.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t TILE = 512;  // neurons

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
inline void store(uint8_t& to, float x) { to = uint8_t(int32_t(x)); }  // a count

// Flags of a byte each, 0 or 1, in bits; `fired` has room up to a multiple of eight.
void pack(uint8_t* fired, uint8_t* bits, int64_t n) {
  for (int64_t j = n; j % 8; ++j) fired[j] = 0;
  for (int64_t j = 0; j < (n + 7) / 8; ++j) {
    uint64_t eight;
    std::memcpy(&eight, fired + 8 * j, 8);
    bits[j] = uint8_t((eight * 0x0102040810204080ull) >> 56);  // the first is the lowest bit
  }
}

// The eight bytes of each byte of bits.
struct Table {
  uint64_t bytes[256];
  Table() {
    for (int value = 0; value < 256; ++value) {
      uint8_t eight[8];
      for (int j = 0; j < 8; ++j) eight[j] = (value >> j) & 1;
      std::memcpy(bytes + value, eight, 8);
    }
  }
};
const Table TABLE;

void unpack(const uint8_t* bits, uint8_t* fired, int64_t n) {  // to a multiple of eight
  for (int64_t j = 0; j < (n + 7) / 8; ++j) std::memcpy(fired + 8 * j, TABLE.bytes + bits[j], 8);
}

}  // namespace
