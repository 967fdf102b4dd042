#include "core/element.hpp"
#include "core/normal.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/cuda/map.cuh"

namespace selenite {
namespace {

template <class From, class To>
struct ConvertBody {
  RowsOf<From const> x;
  RowsOf<To> y;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    auto const from = load_pack<width>(x[row] + col);
    Pack<To, width> to;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      if constexpr (std::is_same_v<From, To>)
        to.at[i] = from.at[i];
      else  // fp64 passes through fp32: a checkpoint's doubles become weights once, which is no hot path
        to.at[i] = from_float<To>(to_float(from.at[i]));
    }
    store_pack<width>(y[row] + col, to);
  }
};

/// Elements by accesses of 16 bytes on the narrower side.
template <class From, class To>
void convert(Cuda const& cuda, Tensor const& x, Tensor const& y) {
  constexpr int width = sizeof(From) < sizeof(To) ? full_width<From> : full_width<To>;
  ConvertBody<From, To> const body{{reinterpret_cast<From const*>(x.raw()), x.row_stride()},
                                   {reinterpret_cast<To*>(y.raw()), y.row_stride()}};
  map_tensors<width>(cuda, body, x, y);
}

template <class F>
void visit_any_float(DType type, F&& f) {
  type == DType::fp64 ? f(double{}) : visit_device_float(type, f);
}

/// f with an unsigned integer of `size` bytes: what is copied or filled bit by bit.
template <class F>
void visit_bits(std::int64_t size, F&& f) {
  if (size == 8) return f(std::uint64_t{});
  if (size == 4) return f(std::uint32_t{});
  if (size == 2) return f(std::uint16_t{});
  f(std::uint8_t{});
}

template <class Bits>
struct FillBody {
  RowsOf<Bits> x;
  Bits bits;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    Pack<Bits, width> pack;
#pragma unroll
    for (int i = 0; i < width; ++i) pack.at[i] = bits;
    store_pack<width>(x[row] + col, pack);
  }
};

template <class T>
struct InitBody {
  RowsOf<T> x;
  std::uint64_t seed, name_hash, first;  ///< first: logical element of (0, 0)
  std::int64_t logical_cols;
  float std;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    std::uint64_t const element = first + static_cast<std::uint64_t>(row * logical_cols + col);
    FloatPack<width> values;
    Words4 words{};
#pragma unroll
    for (int i = 0; i < width; ++i) {
      std::uint64_t const e = element + static_cast<std::uint64_t>(i);
      if (i == 0 || e % 4 == 0) words = init_words(seed, name_hash, e / 4);
      std::uint32_t const pair[2] = {e % 2 ? words[1] : words[0], e % 2 ? words[3] : words[2]};
      values.at[i] = static_cast<float>(normal::from_word<normal::ScalarMath>(e % 4 < 2 ? pair[0] : pair[1])) * std;
    }
    store_floats<width>(x[row] + col, values);
  }
};

}  // namespace

void launch(Cuda& cuda, Cast const& op) {
  EXPECTS(op.x.count() == op.y.count() && op.x.cols() == op.y.cols());
  if (op.x.dtype() == op.y.dtype())
    return visit_bits(size_of(op.x.dtype()), [&]<class Bits>(Bits) { convert<Bits, Bits>(cuda, op.x, op.y); });
  visit_any_float(op.x.dtype(), [&]<class From>(From) {
    visit_any_float(op.y.dtype(), [&]<class To>(To) { convert<From, To>(cuda, op.x, op.y); });
  });
}

void launch(Cuda& cuda, Fill const& op) {
  std::byte element[8];
  store(Tensor(element, op.x.dtype(), {1}), 0, 0, op.value);
  visit_bits(size_of(op.x.dtype()), [&]<class Bits>(Bits bits) {
    std::memcpy(&bits, element, sizeof bits);
    map_tensors<full_width<Bits>>(cuda, FillBody<Bits>{{reinterpret_cast<Bits*>(op.x.raw()), op.x.row_stride()}, bits},
                                  op.x);
  });
}

void launch(Cuda& cuda, InitNormal const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    auto const first = static_cast<std::uint64_t>(op.row0 * op.logical_cols + op.col0);
    InitBody<T> const body{rows_of<T>(op.x), op.seed, op.name_hash, first, op.logical_cols, static_cast<float>(op.std)};
    map<4>(cuda, op.x.rows(), op.x.cols(), rows_take(4, op.x), body);
  });
}

}  // namespace selenite
