#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/comm.hpp"
#include "core/element.hpp"

namespace selenite {

/// Values that any rank can work out for any other: no symmetry, of many magnitudes, so that the order of sums shows.
inline double value(std::int64_t rank, std::int64_t i) {
  auto x =
      static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(rank + 1) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  constexpr double magnitudes[] = {1, 10, 100, 1000};
  return (static_cast<double>(x >> 11) * 0x1p-52 - 1) * magnitudes[x & 3u];
}

struct Buffer {
  Buffer(DType dtype, std::int64_t count)
      : bytes(static_cast<std::size_t>(count * size_of(dtype))), tensor(bytes.data(), dtype, {count}) {}
  std::vector<std::byte> bytes;
  Tensor tensor;
};
inline Buffer filled(DType dtype, std::int64_t count, Rank rank) {
  Buffer b(dtype, count);
  for (std::int64_t i = 0; i < count; ++i) store(b.tensor, i, value(*rank, i));
  return b;
}
inline double rounded(DType dtype, double x) {
  std::byte place[8];
  Tensor const one(place, dtype, {1});
  store(one, 0, x);
  return load(one, 0);
}

/// The sum in group order as the contract says: in fp32 (fp64 for fp64), rounded once to the dtype.
inline double sum_in_order(DType dtype, std::vector<Rank> const& group, std::int64_t i) {
  if (dtype == DType::fp64) {
    double sum = value(*group[0], i);
    for (std::size_t r = 1; r < group.size(); ++r) sum += value(*group[r], i);
    return sum;
  }
  auto sum = static_cast<float>(rounded(dtype, value(*group[0], i)));
  for (std::size_t r = 1; r < group.size(); ++r) sum += static_cast<float>(rounded(dtype, value(*group[r], i)));
  return rounded(dtype, sum);
}

/// All elements of a small tensor; of a large one those at the ends, around the limits of pieces, and a sample.
inline void expect(Tensor const& got, std::function<double(std::int64_t)> const& wanted, std::string const& what) {
  std::int64_t const count = got.count();
  auto one = [&](std::int64_t i) {
    double const g = load(got, i), w = wanted(i);
    validate(g == w, what, ": element ", i, " of ", count, " ", name(got.dtype()), " is ", g, ", not ", w);
  };
  for (std::int64_t i = 0, step = count > 5000 ? 97 : 1; i < count; i += step) one(i);
  for (std::int64_t limit = 1 << 17; limit < count; limit += 1 << 17) one(limit - 1), one(limit);
  if (count > 0) one(count - 1);
}

struct Member {
  Comm& comm;
  AxisSet axes;
  std::vector<Rank> group;
  std::int64_t index, n;
  bool large;  ///< messages of more than one piece are tried in this group
};

inline std::vector<Coords> grids(std::int64_t n) {
  std::vector<Coords> all{{1, 1, 1, n, 1}, {n, 1, 1, 1, 1}, {1, 1, 1, 1, n}};
  if (n == 4) all.insert(all.end(), {{1, 1, 1, 2, 2}, {2, 1, 1, 2, 1}, {1, 2, 2, 1, 1}});
  if (n == 8) all.insert(all.end(), {{2, 1, 1, 2, 2}, {2, 2, 2, 1, 1}});
  if (n == 16) all.insert(all.end(), {{2, 2, 1, 2, 2}, {4, 1, 1, 1, 4}});
  return all;
}

/// Calls body for every group that this rank has in every grid of the world.
inline void for_each_group(Comm& comm, std::function<void(Member const&)> const& body) {
  for (Coords const& sizes : grids(comm.world())) {
    ProcessGrid const grid(sizes);
    comm.set_grid(grid);
    for (AxisSet const axes :
         {AxisSet{Axis::data}, AxisSet{Axis::pipe}, AxisSet{Axis::tensor}, AxisSet{Axis::data, Axis::pipe},
          AxisSet{Axis::context, Axis::expert, Axis::data}, AxisSet::all()}) {
      std::int64_t const n = grid.size(axes);
      if (n == 1) continue;
      try {
        body({comm, axes, grid.group(comm.rank(), axes), grid.index_in_group(comm.rank(), axes), n,
              n <= 4 && axes == AxisSet{Axis::data}});
      } catch (Stopped const&) {
        throw;
      } catch (Error const& e) {
        throw Error(concat(e.what(), " (", describe(grid, comm.rank()), ", group over ", to_string(axes), ")"));
      }
    }
  }
}

inline constexpr DType dtypes[] = {DType::fp32, DType::fp64, DType::bf16, DType::fp16};
inline std::vector<std::int64_t> counts(Member const& m, DType dtype) {
  std::vector<std::int64_t> all{0, 1, 2, 3, 1000, 4099};  // none, fewer than ranks, odd
  if (m.large) all.push_back((1 << 20) / size_of(dtype) * m.n + 7);
  return all;
}

}  // namespace selenite
