#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/param.hpp"
#include "core/tensor.hpp"

struct CUstream_st;

/// Arithmetic of boxes of logical tensors, and the copies between a packed box and a tensor with strided rows.
namespace selenite {

/// What two boxes of one tensor have in common; count has a zero where they are disjoint.
Box intersect(Box const& a, Box const& b);
bool contains(Box const& outer, Box const& inner);
/// `box` moved by `offset`.
Box shift(Box box, Shape const& offset);
/// The box of all elements.
Box whole(Shape const& shape);

/// The boxes, in order, that make up elements [first, first + count) of `box` in row-major order: a run that begins and
/// ends mid-row takes three in a matrix.
std::vector<Box> boxes_of_run(Box const& box, std::int64_t first, std::int64_t count);

/// How a packed box is cut into chunks of at most 4 MiB, each a run of its elements, all but the last of a row of
/// chunks equal.
struct ChunkGrid {
  static constexpr std::int64_t largest = 4 << 20;  ///< bytes
  ChunkGrid(Shape const& extents, DType dtype);

  Shape extents, chunk;
  int dimension = 0;                         ///< that is cut; those before it have chunk extent 1
  std::int64_t along = 1;                    ///< chunks along it
  std::int64_t total = 1;                    ///< chunks
  std::int64_t bytes = 0;                    ///< of one chunk, whole
  Shape offset(std::int64_t i) const;        ///< the first element of chunk i
  Box box(std::int64_t i) const;             ///< its elements; smaller than `chunk` at the edge
  std::int64_t first(std::int64_t i) const;  ///< of its elements, in the packed box
};

/// Copies elements [first, first + count) of `from` in row-major order to packed memory. From a device by a stream,
/// where one is given, to pinned memory: then it returns before that is done.
void pack(Tensor const& from, std::int64_t first, std::int64_t count, std::byte* to, CUstream_st* stream = nullptr);
/// Copies `part` out of packed `from`, which holds `from_box` in `dtype`, to its place in `to`, which holds `to_box`. A
/// float type is rounded to another; an integer type must be the same.
void unpack(Box const& part, std::byte const* from, DType dtype, Box const& from_box, Tensor const& to,
            Box const& to_box);

}  // namespace selenite
