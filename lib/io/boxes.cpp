#include "io/boxes.hpp"

#include <algorithm>
#include <cstring>

#include "core/arena.hpp"
#include "core/cuda_event.hpp"

namespace selenite {
namespace {

/// The place of an index in a box, counted in row-major order.
std::int64_t ravel(Shape const& index, Box const& box) {
  std::int64_t place = 0;
  for (int d = 0; d < index.rank(); ++d) place = place * box.count[d] + index[d] - box.begin[d];
  return place;
}

/// The inverse of ravel.
Shape unravel(std::int64_t place, Box const& box) {
  Shape index = box.begin;
  for (int d = index.rank() - 1; d >= 0; --d) index[d] += place % box.count[d], place /= box.count[d];
  return index;
}

/// The largest box of at most `count` elements that begins at element `first` of `box` and is a run of its elements.
Box leading_box(Box const& box, std::int64_t first, std::int64_t count) {
  Box part{unravel(first, box), box.count};
  std::int64_t inner = box.count.count();  // elements of one step along d
  for (int d = 0; d < part.count.rank(); ++d) {
    inner /= box.count[d];
    if (first % inner == 0 && count >= inner) {
      part.count[d] = std::min(count / inner, box.begin[d] + box.count[d] - part.begin[d]);
      break;
    }
    part.count[d] = 1;
  }
  return part;
}

template <class To, class From>
void convert_row(std::byte const* from, std::byte* to, std::int64_t n) {
  auto const* source = reinterpret_cast<From const*>(from);
  auto* target = reinterpret_cast<To*>(to);
  for (std::int64_t i = 0; i < n; ++i)
    if constexpr (std::is_same_v<From, double> && std::is_same_v<To, double>)
      target[i] = source[i];
    else
      target[i] = To(static_cast<float>(source[i]));
}

using RowCopy = void (*)(std::byte const*, std::byte*, std::int64_t);

template <class From>
RowCopy row_copy_from(DType to) {
  switch (to) {
    case DType::fp64:
      return convert_row<double, From>;
    case DType::fp32:
      return convert_row<float, From>;
    case DType::bf16:
      return convert_row<bf16, From>;
    case DType::fp16:
      return convert_row<fp16, From>;
    default:
      return nullptr;
  }
}

/// Null where no conversion is allowed.
RowCopy row_copy(DType from, DType to) {
  switch (from) {
    case DType::fp64:
      return row_copy_from<double>(to);
    case DType::fp32:
      return row_copy_from<float>(to);
    case DType::bf16:
      return row_copy_from<bf16>(to);
    case DType::fp16:
      return row_copy_from<fp16>(to);
    default:
      return nullptr;
  }
}

}  // namespace

Box intersect(Box const& a, Box const& b) {
  EXPECTS(a.begin.rank() == b.begin.rank());
  Box both = a;
  for (int d = 0; d < a.begin.rank(); ++d) {
    both.begin[d] = std::max(a.begin[d], b.begin[d]);
    both.count[d] =
        std::max<std::int64_t>(0, std::min(a.begin[d] + a.count[d], b.begin[d] + b.count[d]) - both.begin[d]);
  }
  return both;
}

bool contains(Box const& outer, Box const& inner) {
  if (outer.begin.rank() != inner.begin.rank() || outer.count.rank() != inner.count.rank()) return false;
  for (int d = 0; d < outer.begin.rank(); ++d)
    if (inner.begin[d] < outer.begin[d] || inner.count[d] < 0 ||
        inner.begin[d] + inner.count[d] > outer.begin[d] + outer.count[d])
      return false;
  return true;
}

Box shift(Box box, Shape const& offset) {
  for (int d = 0; d < offset.rank(); ++d) box.begin[d] += offset[d];
  return box;
}

Box whole(Shape const& shape) {
  Box box{shape, shape};
  for (int d = 0; d < shape.rank(); ++d) box.begin[d] = 0;
  return box;
}

std::vector<Box> boxes_of_run(Box const& box, std::int64_t first, std::int64_t count) {
  validate(first >= 0 && count >= 0 && first + count <= box.count.count(), "A run of elements [", first, ", ",
           first + count, ") is outside of its box of ", box.count.count(), ".");
  std::vector<Box> boxes;
  while (count > 0) {
    boxes.push_back(leading_box(box, first, count));
    first += boxes.back().count.count(), count -= boxes.back().count.count();
  }
  return boxes;
}

ChunkGrid::ChunkGrid(Shape const& e, DType dtype) : extents(e), chunk(e) {
  std::int64_t inner = e.count() * size_of(dtype);  // bytes of one step along `dimension`
  validate(inner > 0, "An empty box has no chunks.");
  inner /= e[0];
  while (inner > largest && dimension + 1 < e.rank()) {
    chunk[dimension] = 1;
    total *= e[dimension];
    inner /= e[++dimension];
  }
  std::int64_t const steps = std::max<std::int64_t>(1, largest / inner);
  along = (e[dimension] + steps - 1) / steps;
  chunk[dimension] = (e[dimension] + along - 1) / along;  // equal shares: the last chunk is nearly full, too
  along = (e[dimension] + chunk[dimension] - 1) / chunk[dimension];
  total *= along;
  bytes = chunk.count() * size_of(dtype);
}

Shape ChunkGrid::offset(std::int64_t i) const {
  Shape place = extents;
  for (int d = dimension + 1; d < extents.rank(); ++d) place[d] = 0;
  place[dimension] = i % along * chunk[dimension];
  i /= along;
  for (int d = dimension - 1; d >= 0; --d) place[d] = i % extents[d], i /= extents[d];
  return place;
}

Box ChunkGrid::box(std::int64_t i) const { return intersect({offset(i), chunk}, whole(extents)); }

std::int64_t ChunkGrid::first(std::int64_t i) const { return ravel(offset(i), whole(extents)); }

void pack(Tensor const& from, std::int64_t first, std::int64_t count, std::byte* to, CUstream_st* stream) {
  std::int64_t const element = size_of(from.dtype()), cols = from.cols();
  auto const copy = [&](std::byte* target, std::byte const* source, std::int64_t bytes) {
    if (stream)
      copy_cuda_on(stream, target, source, bytes);
    else
      copy_to_host(target, source, bytes, from.device());
  };
  if (from.contiguous()) return copy(to, from.raw() + first * element, count * element);
  while (count > 0) {
    std::int64_t const row = first / cols, col = first % cols, n = std::min(cols - col, count);
    copy(to, from.raw() + (row * from.row_stride() + col) * element, n * element);
    to += n * element, first += n, count -= n;
  }
}

namespace {

/// Rows on their way to a device: those that follow each other there go together.
class DeviceRows {
 public:
  explicit DeviceRows(Device device) : device_(device) {}
  /// Where to write `bytes` that belong to `target`, until the next call.
  std::byte* room(std::byte* target, std::int64_t bytes) {
    if (target != begin_ + bytes_.size()) flush();
    if (bytes_.empty()) begin_ = target;
    bytes_.resize(bytes_.size() + static_cast<std::size_t>(bytes));
    return bytes_.data() + bytes_.size() - bytes;
  }
  void flush() {
    if (!bytes_.empty()) copy_from_host(begin_, bytes_.data(), std::ssize(bytes_), device_);
    bytes_.clear();
  }

 private:
  Device device_;
  std::byte* begin_ = nullptr;
  std::vector<std::byte> bytes_;
};

}  // namespace

void unpack(Box const& part, std::byte const* from, DType dtype, Box const& from_box, Tensor const& to,
            Box const& to_box) {
  RowCopy const convert = dtype == to.dtype() ? nullptr : row_copy(dtype, to.dtype());
  validate(dtype == to.dtype() || convert, "Elements of dtype ", name(dtype), " cannot be read as ", name(to.dtype()),
           ".");
  int const last = part.begin.rank() - 1;
  std::int64_t const n = part.count[last], rows = n > 0 ? part.count.count() / n : 0;
  DeviceRows device(to.device());
  for (std::int64_t r = 0; r < rows; ++r) {
    Shape const index = unravel(r * n, part);
    std::int64_t const place = ravel(index, to_box);
    std::byte const* const source = from + ravel(index, from_box) * size_of(dtype);
    std::byte* target = to.raw() + (place / to.cols() * to.row_stride() + place % to.cols()) * size_of(to.dtype());
    if (to.device() != Device::cpu) target = device.room(target, n * size_of(to.dtype()));
    if (convert)
      convert(source, target, n);
    else
      std::memcpy(target, source, static_cast<std::size_t>(n * size_of(dtype)));
  }
  device.flush();
}

}  // namespace selenite
