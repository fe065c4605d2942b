// The layer norm of rows in panels, forward and backward.
// Included by mlp.cpp inside its anonymous namespace, after mlp_products.hpp.
constexpr float kNormEpsilon = 1e-6f;

// The first `count` numbers of a vector, then zeros: the padding of a panel is not initialised.
GTP_INLINE V leading(V x, int count) {
  if (count == kLanes) return x;
  I lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < I{} + count ? x : V{};
}

// Calls work(offset in a row's panels, column, how many columns) for each vector of a row.
template <class Work>
GTP_INLINE void each_vector(int columns, size_t plane, const Work& work) {
  int column = 0;
  const auto offset = [&] { return column / kPanel * plane + column % kPanel; };
  for (; column + kLanes <= columns; column += kLanes) work(offset(), column, kLanes);
  if (column < columns) work(offset(), column, columns - column);
}

// The mean of term(offset, column) over a row.
template <class Term>
GTP_INLINE V row_mean(int columns, size_t plane, const Term& term) {
  V sum = {};
  each_vector(columns, plane, [&](size_t at, int column, int count) { sum += leading(term(at, column), count); });
  return broadcast(lane_sum(sum) / static_cast<float>(columns));
}

void normalise(float* y, size_t plane, int rows, int columns, const float* scale, const float* shift, float* normal,
               float* inverse) {
  for (int r = 0; r < rows; ++r, y += kPanel) {
    const V near = row_mean(columns, plane, [&](size_t at, int) { return load(y + at); });
    // A sum of large numbers is rounded; the mean of what is left corrects it, so that a constant row has no variance.
    const V rest = row_mean(columns, plane, [&](size_t at, int) { return load(y + at) - near; });
    const V variance = row_mean(columns, plane, [&](size_t at, int) {
      const V distance = (load(y + at) - near) - rest;
      return distance * distance;
    });
    const float deviation = 1.0f / __builtin_sqrtf(variance[0] + kNormEpsilon);
    float* const kept = normal ? normal + static_cast<size_t>(r) * kPanel : nullptr;
    each_vector(columns, plane, [&](size_t at, int column, int) {
      const V value = ((load(y + at) - near) - rest) * deviation;
      if (kept) store(kept + at, value);
      store(y + at, value * load(scale + column) + load(shift + column));
    });
    if (inverse) inverse[r] = deviation;
  }
}

// With g = dy scale: dz = slope / deviation (g - mean(g) - normal mean(g normal)).
void normalise_backward(const float* dy, const float* normal, const float* slope, size_t plane, const float* inverse,
                        const float* scale, int rows, int columns, float* dz) {
  for (int r = 0; r < rows; ++r, dy += kPanel, normal += kPanel, slope += kPanel, dz += kPanel) {
    // g is rounded and stored once, so that every pass reads the same number: equal g then give exactly zero.
    each_vector(columns, plane,
                [&](size_t at, int column, int) { store(dz + at, load(dy + at) * load(scale + column)); });
    const V mean = row_mean(columns, plane, [&](size_t at, int) { return load(dz + at); });
    const V along = row_mean(columns, plane, [&](size_t at, int) { return load(dz + at) * load(normal + at); });
    each_vector(columns, plane, [&](size_t at, int, int) {
      const V error = load(dz + at) - mean - load(normal + at) * along;
      store(dz + at, error * inverse[r] * load(slope + at));
    });
  }
}
