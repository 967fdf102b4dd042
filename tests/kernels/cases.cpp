#include "cases.hpp"

#include <cmath>
#include <cstring>
#include <new>
#include <sys/mman.h>

#include "core/element.hpp"
#include "core/parallel_for.hpp"
#include "core/rng.hpp"

namespace selenite::test {
namespace {

constexpr std::int64_t guard = 256;  // bytes before and after
constexpr std::byte poison{0xff};    // a NaN in every floating dtype

/// What the reference takes as fp64. The 8-bit floats stay what they are: saturation is a part of what they hold.
bool floating(DType type) {
  return type == DType::fp64 || type == DType::fp32 || type == DType::bf16 || type == DType::fp16;
}

double round_to(DType type, double value) {
  switch (type) {
    case DType::fp32:
      return static_cast<float>(value);
    case DType::bf16:
      return static_cast<float>(bf16(static_cast<float>(value)));
    case DType::fp16:
      return static_cast<float>(fp16(static_cast<float>(value)));
    case DType::e4m3:
      return static_cast<float>(e4m3(static_cast<float>(value)));
    case DType::e5m2:
      return static_cast<float>(e5m2(static_cast<float>(value)));
    default:
      return value;
  }
}

bool close(double got, double want, double tolerance) {
  if (std::isnan(want) || std::isinf(want)) return std::isnan(want) ? std::isnan(got) : got == want;
  return std::abs(got - want) <= tolerance;  // false for NaN
}

}  // namespace

double unit_roundoff(DType type) {
  switch (type) {
    case DType::fp64:
      return 0x1p-53;
    case DType::fp32:
      return 0x1p-24;
    case DType::bf16:
      return 0x1p-8;
    case DType::fp16:
      return 0x1p-11;
    default:
      return 0;
  }
}

void Tensors::Free::operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{alignment}); }

Tensor Tensors::add(DType type, Shape shape, Rows rows, Role role) {
  Item item;
  item.asked = type;
  item.role = role;
  DType const held = kind_ == doubles && floating(type) ? DType::fp64 : type;
  asked_strided_ |= rows == strided;
  std::int64_t const cols = shape.rank() ? shape[-1] : 1, count = shape.count();
  bool const wide = rows == strided && rows_ == strided;
  std::int64_t const before = wide ? 3 : 0, width = cols + (wide ? 11 : 0);  // the matrix that holds the columns
  std::int64_t const elements = cols ? count / cols * width : 0;
  item.size = elements * size_of(held) + 2 * guard;
  bool const large = item.size > (8 << 20);
  std::size_t const alignment = large ? 2 << 20 : 256;
  std::size_t const allocated = (static_cast<std::size_t>(item.size) + alignment - 1) / alignment * alignment;
  // by operator new, which tests on a device replace
  item.bytes = {static_cast<std::byte*>(::operator new (allocated, std::align_val_t{alignment})), Free{alignment}};
  if (large) madvise(item.bytes.get(), allocated, MADV_HUGEPAGE);
  parallel_for(item.size, 4 << 20, [&](std::int64_t first, std::int64_t last) {
    std::memset(item.bytes.get() + first, static_cast<int>(poison), static_cast<std::size_t>(last - first));
  });
  item.tensor = wide ? Tensor(item.bytes.get() + guard, held, {count / cols, width}).columns(before, cols)
                     : Tensor(item.bytes.get() + guard, held, shape);
  items_.push_back(std::move(item));
  return items_.back().tensor;
}

Tensor Tensors::fill(Tensor const& x, DType type, Values const& values) {
  parallel_for(x.count(), 1 << 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) store(x, i, round_to(type, values(i)));
  });
  return x;
}

Values Tensors::drawn(Uniform range) const {
  auto const stream = static_cast<std::uint32_t>(items_.size());
  return [=](std::int64_t i) {
    auto const u = static_cast<std::uint64_t>(i);
    Words4 const words = philox({static_cast<std::uint32_t>(u), static_cast<std::uint32_t>(u >> 32), stream, 0}, 2026);
    return range.low + (range.high - range.low) * uniform(words[0]);
  };
}

Tensor Tensors::in(DType type, Shape shape, Uniform range, Rows rows) { return in(type, shape, drawn(range), rows); }
Tensor Tensors::in(DType type, Shape shape, Values const& values, Rows rows) {
  return fill(add(type, shape, rows, read), type, values);
}
Tensor Tensors::integers(DType type, Shape shape, std::int64_t low, std::int64_t high) {
  Values const real = drawn({static_cast<double>(low), static_cast<double>(high)});
  return in(type, shape, [&](std::int64_t i) { return std::floor(real(i)); });
}
Tensor Tensors::out(DType type, Shape shape, Rows rows) { return add(type, shape, rows, compared); }
Tensor Tensors::inout(DType type, Shape shape, Uniform range, Rows rows) {
  Values const values = drawn(range);
  return fill(add(type, shape, rows, compared), type, values);
}
Tensor Tensors::scratch(DType type, Shape shape, Rows rows) { return add(type, shape, rows, written); }

void Tensors::freeze() {
  for (Item& item : items_) item.frozen.assign(item.bytes.get(), item.bytes.get() + item.size);
}

void Tensors::check_untouched() const {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item const& item = items_[i];
    std::vector<std::byte> expected = item.frozen;
    Tensor const& x = item.tensor;
    auto const row_bytes = static_cast<std::size_t>(x.cols() * size_of(x.dtype()));
    for (std::int64_t row = 0; item.role != read && row < x.rows(); ++row) {
      std::byte const* const p = x.raw() + row * x.row_stride() * size_of(x.dtype());
      std::memcpy(expected.data() + (p - item.bytes.get()), p, row_bytes);
    }
    BOOST_CHECK_MESSAGE(std::memcmp(expected.data(), item.bytes.get(), expected.size()) == 0,
                        "tensor " << i << " " << to_string(x.shape()) << " was written "
                                  << (item.role == read ? "but is an input" : "outside of its rows"));
  }
}

// The only tolerance of the kernel tests. An output may be off by its own rounding; by the rounding of sums and
// functions in fp32, relative to the larger of the element and the tensor's root mean square (sums cancel); and, where
// intermediates are held in the inputs' dtype, by as many roundings there as the case names.
void Tensors::check_close(Tensors const& want, double sum_length, double roundings_inside, DType type) const {
  BOOST_REQUIRE_EQUAL(items_.size(), want.items_.size());
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item const& item = items_[i];
    if (item.role != compared) continue;
    Tensor const &x = item.tensor, &y = want.items_[i].tensor;
    double squares = 0;
    for (std::int64_t j = 0; j < y.count(); ++j) squares += std::isfinite(load(y, j)) ? load(y, j) * load(y, j) : 0;
    double const rms = std::sqrt(squares / static_cast<double>(std::max<std::int64_t>(1, y.count())));
    bool const real = floating(item.asked);
    double const inside =
        real ? (16 + sum_length) * unit_roundoff(DType::fp32) + roundings_inside * unit_roundoff(type) : 0;
    for (std::int64_t j = 0; j < y.count(); ++j) {
      double const got = load(x, j), exact = load(y, j), size = std::max(std::abs(exact), rms);
      double const tolerance = unit_roundoff(item.asked) * std::abs(exact) * 1.01 + inside * size + (real ? 1e-30 : 0) +
                               (item.asked == DType::fp16 ? 0x1p-25 : 0);
      if (close(got, exact, tolerance)) continue;
      BOOST_ERROR("tensor " << i << " " << to_string(x.shape()) << ", element " << j << ": " << got << ", reference "
                            << exact << ", tolerance " << tolerance);
      break;
    }
  }
}

void Tensors::check_same_bits(Tensors const& other) const {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].role != compared) continue;
    BOOST_CHECK_MESSAGE(
        std::memcmp(items_[i].bytes.get(), other.items_[i].bytes.get(), static_cast<std::size_t>(items_[i].size)) == 0,
        "two launches give different bits in tensor " << i);
  }
}

GuardedWorkspace::GuardedWorkspace(std::int64_t bytes)
    : bytes_(static_cast<std::size_t>(bytes + 3 * guard), poison), size_(bytes) {
  auto const address = reinterpret_cast<std::uintptr_t>(bytes_.data());
  offset_ = guard + (guard - static_cast<std::int64_t>(address % guard)) % guard;
}

GuardedWorkspace::~GuardedWorkspace() {
  bool whole = true;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(bytes_.size()); ++i)
    if (i < offset_ || i >= offset_ + size_) whole &= bytes_[static_cast<std::size_t>(i)] == poison;
  BOOST_CHECK_MESSAGE(whole, "the launch wrote outside of its " << size_ << " bytes of workspace");
}

namespace detail {

void check_cost(Cost const& cost, double counted_flops) {
  BOOST_CHECK_MESSAGE(cost.bytes > 0, "cost() says that nothing is read or written");
  if (cost.work == Work::gemm) BOOST_CHECK_EQUAL(cost.flops, counted_flops);
  if (cost.work == Work::attention)
    BOOST_CHECK_MESSAGE(counted_flops > 0 && counted_flops <= cost.flops,
                        "executed " << counted_flops << " FLOPs, cost() says " << cost.flops);
}

}  // namespace detail

namespace {
double weighted_sum(Pairs const& outputs) {
  double sum = 0;
  for (auto const& [y, dy] : outputs)
    for (std::int64_t i = 0; i < y.count(); ++i) sum += load(y, i) * load(dy, i);
  return sum;
}
}  // namespace

void check_gradient(std::function<void()> const& forward, std::function<void()> const& backward, Pairs const& outputs,
                    Pairs const& inputs, double step, double tolerance) {
  forward();
  backward();
  for (std::size_t n = 0; n < inputs.size(); ++n) {
    Tensor const &x = inputs[n].first, &dx = inputs[n].second;
    for (std::int64_t i = 0; i < x.count(); ++i) {
      double const value = load(x, i), gradient = load(dx, i);
      store(x, i, value + step);
      forward();
      double const above = weighted_sum(outputs);
      store(x, i, value - step);
      forward();
      double const difference = (above - weighted_sum(outputs)) / (2 * step);
      store(x, i, value);
      BOOST_CHECK_MESSAGE(
          std::abs(gradient - difference) <= tolerance * std::max(1.0, std::abs(difference)),
          "input " << n << ", element " << i << ": gradient " << gradient << ", finite difference " << difference);
    }
  }
  forward();
}

}  // namespace selenite::test
