#include "kernels/cuda/map.cuh"
#include "kernels/dropout/dropout.hpp"

namespace selenite {
namespace {

/// The mask of one site, as the CPU draws it.
struct Mask {
  std::int64_t const* samples;
  std::int32_t const* places;
  std::uint64_t seed;
  std::uint32_t layer, site, threshold;
  float scale;
  std::int64_t first_feature;

  /// v scaled where kept, 0 where dropped.
  template <int width>
  __device__ void apply(std::int64_t token, std::int64_t col, FloatPack<width>& v) const {
    auto const sample = static_cast<std::uint64_t>(samples[token]), place = static_cast<std::uint64_t>(places[token]);
    auto const first = static_cast<std::uint64_t>(first_feature + col);
    auto const quad = [&](std::uint64_t number) {
      return philox(pack_counter(Purpose::hidden_dropout, layer, site, sample, hidden_detail(place, number)), seed);
    };
    Words4 words{};
    if (width % 4 == 0 && first % 4 == 0) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        if (i % 4 == 0) words = quad(first / 4 + i / 4);
        v.at[i] = words[i % 4] < threshold ? 0.0f : v.at[i] * scale;
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < width; ++i) {
      std::uint64_t const feature = first + static_cast<std::uint64_t>(i);
      if (i == 0 || feature % 4 == 0) words = quad(feature / 4);
      // without an index that is known at run time only: the words stay in registers
      std::uint32_t const even = feature % 4 < 2 ? words[0] : words[2], odd = feature % 4 < 2 ? words[1] : words[3];
      v.at[i] = (feature % 2 ? odd : even) < threshold ? 0.0f : v.at[i] * scale;
    }
  }
};
Mask mask_of(DropoutSite const& site, TokenPlaces const& tokens, std::int64_t first_feature) {
  return {data_of<std::int64_t const>(tokens.samples),
          data_of<std::int32_t const>(tokens.places),
          site.seed,
          site.layer,
          site.site,
          dropout_threshold(site.probability),
          static_cast<float>(1 / (1 - site.probability)),
          first_feature};
}

template <class T, bool drop>
struct DropoutBody {
  RowsOf<T const> x, residual;  ///< residual null: none
  RowsOf<T> y;
  T const* bias;  ///< null: none
  Mask mask;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> v = load_floats<width>(x[row] + col);
    if (bias) {
      FloatPack<width> const b = load_floats<width>(bias + col);
#pragma unroll
      for (int i = 0; i < width; ++i) v.at[i] += b.at[i];
    }
    if constexpr (drop) mask.apply(row, col, v);
    if (residual.data) {
      FloatPack<width> const r = load_floats<width>(residual[row] + col);
#pragma unroll
      for (int i = 0; i < width; ++i) v.at[i] += r.at[i];
    }
    store_floats<width>(y[row] + col, v);
  }
};

template <class T, bool drop>
void launch_dropout(Cuda const& cuda, DropoutAdd const& op) {
  DropoutBody<T, drop> const body{rows_of<T const>(op.x), rows_of<T const>(op.residual), rows_of<T>(op.y),
                                  data_of<T const>(op.bias), mask_of(op.site, op.tokens, op.first_feature)};
  bool const packs = rows_take(full_width<T>, op.x, op.residual, op.y, op.bias);
  map<full_width<T>>(cuda, op.y.rows(), op.y.cols(), packs, body);
}

template <class T>
struct AddBody {
  RowsOf<T const> x;
  RowsOf<T> y;
  float alpha;
  bool accumulate;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> v = load_floats<width>(x[row] + col);
    FloatPack<width> sum = {};
    if (accumulate) sum = load_floats<width>(y[row] + col);
#pragma unroll
    for (int i = 0; i < width; ++i) v.at[i] = fmaf(v.at[i], alpha, sum.at[i]);
    store_floats<width>(y[row] + col, v);
  }
};

}  // namespace

void launch(Cuda& cuda, DropoutAdd const& op) {
  visit_device_float(op.y.dtype(), [&]<class T>(T) {
    op.site.probability == 0 ? launch_dropout<T, false>(cuda, op) : launch_dropout<T, true>(cuda, op);
  });
}

void launch(Cuda& cuda, DropoutBackward const& op) {
  launch(cuda, DropoutAdd{.x = op.dy,
                          .residual = {},
                          .y = op.dx,
                          .bias = {},
                          .site = op.site,
                          .tokens = op.tokens,
                          .first_feature = op.first_feature});
}

void launch(Cuda& cuda, Add const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    AddBody<T> const body{rows_of<T const>(op.x), rows_of<T>(op.y), static_cast<float>(op.alpha), op.accumulate};
    map_tensors<full_width<T>>(cuda, body, op.y, op.x);
  });
}

}  // namespace selenite
