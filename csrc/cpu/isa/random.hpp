// Random integers and normals by counter, many counters at a time.
// Included by sampler.cpp inside its anonymous namespace.
constexpr int kMany = 2 * kLanes, kFew = 2;

template <int kCounters>
void draw_normals(uint64_t key, uint32_t step, uint32_t stream, uint32_t first, int64_t rows, int columns,
                  float* out) {
  const uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  const int blocks = (columns + 3) / 4;
  const int64_t total = rows * blocks;
  uint32_t row = 0, block = 0;
  for (int64_t base = 0; base < total; base += kCounters) {
    uint32_t r[kCounters], b[kCounters];
    uint32_t w0[kCounters], w1[kCounters], w2[kCounters], w3[kCounters];
    float z0[kCounters], z1[kCounters], z2[kCounters], z3[kCounters];
    for (int i = 0; i < kCounters; ++i) {
      r[i] = row;
      b[i] = block;
      if (++block == static_cast<uint32_t>(blocks)) {
        block = 0;
        ++row;
      }
    }
    for (int i = 0; i < kCounters; ++i) {
      const Words w = philox(k0, k1, Words{step, stream, first + r[i], b[i]});
      w0[i] = w.w0;
      w1[i] = w.w1;
      w2[i] = w.w2;
      w3[i] = w.w3;
    }
    for (int i = 0; i < kCounters; ++i) {
      const Normals z = box_muller(Words{w0[i], w1[i], w2[i], w3[i]});
      z0[i] = z.z0;
      z1[i] = z.z1;
      z2[i] = z.z2;
      z3[i] = z.z3;
    }
    const int count = total - base < kCounters ? static_cast<int>(total - base) : kCounters;
    for (int i = 0; i < count; ++i) {
      float* destination = out + static_cast<int64_t>(r[i]) * columns + 4 * b[i];
      const float z[4] = {z0[i], z1[i], z2[i], z3[i]};
      const int left = columns - 4 * static_cast<int>(b[i]);
      for (int j = 0; j < 4 && j < left; ++j) destination[j] = z[j];
    }
  }
}

void normals(uint64_t key, uint32_t step, uint32_t stream, uint32_t first, int64_t rows, int columns,
                   float* out) {
  // One action of up to 8 numbers needs two counters only.
  const auto draw = rows * ((columns + 3) / 4) <= kFew ? draw_normals<kFew> : draw_normals<kMany>;
  draw(key, step, stream, first, rows, columns, out);
}

void integers(uint64_t key, uint32_t step, uint32_t stream, int64_t rows, uint32_t bound, int64_t* out) {
  const uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int64_t base = 0; base < rows; base += kMany) {
    uint32_t drawn[kMany];
    for (int i = 0; i < kMany; ++i) {
      const uint32_t row = static_cast<uint32_t>(base) + static_cast<uint32_t>(i);
      drawn[i] = multiply_high(philox(k0, k1, Words{step, stream, row, 0}).w0, bound);
    }
    const int count = rows - base < kMany ? static_cast<int>(rows - base) : kMany;
    for (int i = 0; i < count; ++i) out[base + i] = drawn[i];
  }
}
