// Rows of a cache in bf16 or in GGUF's blocks of 8 bits: rounding and storing them, and widening a tile of them.
//
// Attention widens a tile of keys once for all lanes of a task, into memory that stays near, and goes on as with f32: so
// its bits are those of the widened cache, and what is read from far is a half or a quarter of it. Rows of the cache may
// be longer than those that are stored, so that they are whole blocks: zeros follow.
#pragma once
#include "latent-quantized.h"
#include "quantize.h"

namespace MINKE_NS {

typedef uint16_t vh __attribute__((vector_size(2 * W)));

/** W numbers in bf16, subnormal ones as they are. */
MINKE_INLINE vf loadBfloats(const char* p) {
  vh halves;
  __builtin_memcpy(&halves, p, sizeof halves);
  return (vf)(__builtin_convertvector(halves, vu) << 16);
}

/** The first n numbers of a block of 8 bits, zeros after them: the scale, then the integers. */
static void writeBlock8(const float* from, idx n, char* block) {
  d4 q[8];
  float whole[groupSize] = {};
  if (n < groupSize) {
    copy(whole, from, n * 4);
    from = whole;
  }
  const uint16_t scale = quantizeBlock(from, blockFormats[0], false, q);
  __builtin_memcpy(block, &scale, 2);
  for (int i = 0; i < groupSize; i++) block[2 + i] = (char)(int8_t)q[i / 4][i % 4];
}

/** A matrix of rounded rows; empty where the rows are f32, which are read where they lie. */
struct RoundedRows {
  const char* p = nullptr;
  int dtype = F32;
  idx width = 0, bytes = 0;  // numbers and bytes of a row

  RoundedRows() = default;
  explicit RoundedRows(const Tensor& t)
      : p(t.dtype == F32 ? nullptr : t.p), dtype(t.dtype), width(t.d[1]), bytes(bytesOf(t.dtype, t.d[1])) {}

  explicit operator bool() const { return p; }
  const char* at(idx row) const { return p + row * bytes; }

  /** Columns of rows first .. first + n as f32, close together. */
  void widen(idx first, idx n, idx column, idx columns, float* to) const {
    if (column == 0 && columns == width) return widenWhole(first, n, to);
    for (idx i = 0; i < n; i++, to += columns) {
      const char* from = at(first + i);
      idx c = 0;
      if (dtype == Q8_0 && column % groupSize == 0) {
        for (; c + groupSize <= columns; c += groupSize) widenBlock(from + bytesOf(Q8_0, column + c), to + c);
      } else if (dtype == BF16) {
        for (; c + W <= columns; c += W) store(to + c, loadBfloats(from + 2 * (column + c)));
      }
      for (; c < columns; c++) to[c] = number(from, column + c);
    }
  }

 private:
  static void widenBlock(const char* from, float* to) {
    vf numbers[groupVectors];
    readBlock8(from, numbers);
    MINKE_UNROLL
    for (int v = 0; v < groupVectors; v++) store(to + v * W, numbers[v]);
  }
  float number(const char* row, idx column) const {
    if (dtype != Q8_0) return readElement(row, BF16, column);
    const char* block = row + column / groupSize * block8Bytes;
    return readElement(block, F16, 0) * (float)(int8_t)block[2 + column % groupSize];
  }
  void widenWhole(idx first, idx n, float* to) const {
    const char* from = at(first);
    if (dtype == Q8_0) {  // rows are whole blocks
      for (idx b = 0; b < n * (width / groupSize); b++, from += block8Bytes, to += groupSize) widenBlock(from, to);
      return;
    }
    const idx count = n * width;
    idx i = 0;
    for (; i + W <= count; i += W) store(to + i, loadBfloats(from + 2 * i));
    for (; i < count; i++) to[i] = readElement(from, BF16, i);
  }
};

static void storeRounded(const Call& call) {
  const Tensor &table = call.t[0], &x = call.t[1], &ids = call.t[2], &rows = call.t[3];
  const idx N = x.d[0], D = x.d[1], V = table.d[0], bytes = bytesOf(table.dtype, table.d[1]);
  call.pieces(N, table.dtype == Q8_0 ? 64 * D : D, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const float* from = x.f() + n * D;
      char* to = rows.p + n * bytes;
      if (table.dtype == Q8_0)
        for (idx c = 0; c < D; c += groupSize, to += block8Bytes) writeBlock8(from + c, min(groupSize, D - c), to);
      else
        for (idx c = 0; c < table.d[1]; c++) ((uint16_t*)to)[c] = c < D ? toBfloat(from[c]) : (uint16_t)0;
    }
  });
  // Strips of bytes, so that of rows with equal ids the last one stays.
  const idx strip = N * bytes < 131072 ? bytes : 256;
  if (!bytes) return;
  call.parallel((bytes + strip - 1) / strip, [&](idx s, int) {
    const idx begin = s * strip, size = min(strip, bytes - begin);
    for (idx n = 0; n < N; n++) {
      const idx id = ids.i()[n];
      if (id >= 0 && id < V) copy(table.p + id * bytes + begin, rows.p + n * bytes + begin, size);
    }
  });
}

}  // namespace MINKE_NS
