#pragma once
#include <algorithm>

#include "kernels/attention/check.hpp"
#include "kernels/attention/places.cuh"
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/rows.cuh"

/// What the passes of flash attention share: blocks of rows in shared memory, one warp's scores, and rows written back.
/// head_dim is filled up with zeros to `depth`, one of a few sizes known at compile time.
namespace selenite::attention_cuda {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr double log2e = 1.4426950408889634;

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % warp_size; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / warp_size; }

/// What both passes are given.
template <class T>
struct Inputs {
  RowsOf<T const> q, k, v;
  DevicePlaces query_places, key_places;
  std::int64_t const* sample_ids;  ///< null: 0
  AttentionDropout dropout;
  std::int64_t first_head;
  int queries, keys, heads, kv_heads, head_dim;
  float scale, factor;             ///< of the scores; factor in units of log 2
  bool causal, packs;              ///< packs: rows can be read 16 bytes at a time
  bool indexed;                    ///< places are indices, one document a sample
  int query_section, key_section;  ///< of blocks of queries and of keys: see own_tokens

  /// Of a query, or of the last one for one that is not there.
  __device__ Place query_at(std::int64_t sample, int query) const {
    return query_places(sample, query < queries ? query : queries - 1);
  }
  __device__ std::int64_t stat(std::int64_t sample, int head, int query) const {
    return (sample * heads + head) * queries + query;
  }
  __device__ HeadDropout dropout_of(std::int64_t sample, int head) const {
    return {dropout, sample_ids ? static_cast<std::uint64_t>(sample_ids[sample]) : 0u,
            static_cast<std::uint64_t>(first_head + head)};
  }
};
/// As many heads as a third of the device's cache holds what their blocks read of the other side: two tensors of
/// `tokens` rows and, for a head, `elements` each.
template <class T>
int section_heads(Cuda const& cuda, std::int64_t tokens, std::int64_t elements) {
  constexpr std::int64_t most = 1 << 20;
  std::int64_t const bytes = 2 * tokens * elements * static_cast<std::int64_t>(sizeof(T));
  return static_cast<int>(
      std::clamp<std::int64_t>(cuda.device.cache_bytes / 3 / std::max<std::int64_t>(bytes, 1), 1, most));
}
/// `others`: tensors that are read like q, k and v.
template <class T, class Op, class... Tensors>
Inputs<T> inputs_of(Cuda const& cuda, Op const& op, Tensors const&... others) {
  AttentionShape const& s = op.shape;
  return {rows_of<T const>(op.q),
          rows_of<T const>(op.k),
          rows_of<T const>(op.v),
          places_of(op.query_places),
          places_of(op.key_places),
          data_of<std::int64_t const>(op.sample_ids),
          AttentionDropout(s.dropout),
          s.first_head,
          static_cast<int>(s.queries),
          static_cast<int>(s.keys),
          static_cast<int>(s.heads),
          static_cast<int>(s.kv_heads),
          static_cast<int>(s.head_dim),
          static_cast<float>(s.scale),
          static_cast<float>(s.scale * log2e),
          s.causal,
          rows_take(full_width<T>, op.q, op.k, op.v, others...) && s.head_dim % full_width<T> == 0,
          are_indices(op.query_places) && are_indices(op.key_places),
          static_cast<int>(s.heads / s.kv_heads) * section_heads<T>(cuda, s.keys, s.head_dim),
          section_heads<T>(cuda, s.queries, s.heads / s.kv_heads * s.head_dim)};
}

/// Consecutive tokens of a sample; none where there is no further block.
struct TokenBlock {
  int first, count;
  PlaceRange range;
};
/// The first block of `size` tokens from `first` on whose range the other side sees something of; by a whole warp.
template <int size, class Visible>
__device__ TokenBlock next_block(DevicePlaces const& places, std::int64_t sample, int first, int total,
                                 Visible visible) {
  for (; first < total; first += size) {
    int const count = total - first < size ? total - first : size;
    PlaceRange const range = range_of(places, sample, first, count);
    if (visible(range)) return {first, count, range};
  }
  return {total, 0, {}};
}

/// The tokens of one head that a block of threads makes results for, and the part of them that the calling warp or
/// warpgroup has.
struct OwnTokens {
  std::int64_t sample;
  int head, first, count, part_first, part_count;  ///< a part may have none
  PlaceRange range, part_range;

  /// How much the part's tokens as queries see of keys, or as keys are seen by queries.
  __device__ Seen sees(bool causal, PlaceRange const& keys) const {
    return part_count > 0 ? seen(causal, part_range, keys) : Seen::nothing;
  }
  __device__ Seen seen_by(bool causal, PlaceRange const& queries) const {
    return part_count > 0 ? seen(causal, queries, part_range) : Seen::nothing;
  }
};
/// Of block blockIdx.x, in `parts` of `rows`. Sections of `section` heads come one after the other, so that what their
/// blocks read again and again stays in the cache; in a section, the same tokens of all heads are side by side.
/// `last_first`: from the last tokens on.
template <int parts, int rows>
__device__ OwnTokens own_tokens(DevicePlaces const& places, int total, int heads, int section, bool last_first,
                                int part) {
  constexpr int size = parts * rows;
  int const blocks = (total + size - 1) / size, heads_in_all = static_cast<int>(gridDim.x) / blocks,
            index = static_cast<int>(blockIdx.x), first_head = index / blocks / section * section,
            side_by_side = heads_in_all - first_head < section ? heads_in_all - first_head : section,
            in_section = index - first_head * blocks, block = in_section / side_by_side,
            head = first_head + in_section % side_by_side;
  OwnTokens own;
  own.sample = head / heads, own.head = head % heads;
  own.first = (last_first ? blocks - 1 - block : block) * size, own.part_first = own.first + part * rows;
  own.count = total - own.first < size ? total - own.first : size;
  own.part_count = total - own.part_first < rows ? total - own.part_first : rows;
  own.range = own.part_range = range_of(places, own.sample, own.first, own.count);
  if (own.part_count > 0) own.part_range = range_of(places, own.sample, own.part_first, own.part_count);
  return own;
}

/// The first `count` elements, then zeros.
template <class T>
__device__ Pack<T, full_width<T>> front(T const* from, int count) {
  Pack<T, full_width<T>> pack{};
  for (int i = 0; i < full_width<T>; ++i)
    if (i < count) pack.at[i] = from[i];
  return pack;
}

/// A block of rows in shared memory, `depth` elements each. They lie 16 bytes apart modulo 128, so that neighbours are
/// in different banks.
template <class T, int rows, int depth>
struct RowBlock {
  static constexpr int ld = depth + full_width<T>, bytes = rows * ld * static_cast<int>(sizeof(T));
  T* data;

  /// Starts the copy of `count` rows of head_dim elements; what lies beyond is zero. By all threads of the block: each
  /// has the same columns of every few rows.
  template <int threads>
  __device__ void copy(RowsOf<T const> const& from, std::int64_t row, std::int64_t col, int count, int head_dim,
                       bool packs) const {
    constexpr int width = full_width<T>, across = depth / width, at_once = threads / across;
    int const thread = static_cast<int>(threadIdx.x), c = thread % across * width;
    int r = thread / across;
    if (r >= at_once) return;  // threads that are left over
    T const* source = from[row + r] + col + c;
    std::int64_t const step = at_once * from.stride;
    T* to = data + r * ld + c;
    if (packs) {
#pragma unroll
      for (int n = 0; n < rows; n += at_once, source += step)
        if (rows % at_once == 0 || n + r < rows) copy_pack_async(to + n * ld, source, n + r < count && c < head_dim);
      return;
    }
#pragma unroll 1
    for (; r < rows; r += at_once, source += step, to += at_once * ld)
      store_pack<width>(to, r < count ? front(source, head_dim - c) : Pack<T, width>{});
  }
};

/// What a row's sums are multiplied by on their way out, and what the output that is there, where it is added to.
struct RowFactors {
  float sums, old;
};
/// A tensor of T or of fp32 that is written, or added to.
template <class T>
struct Output {
  RowsOf<T> rows;
  RowsOf<float> singles;  ///< one of the two is null
  bool packs, add;

  /// `count` elements of x at most; `old`: what is there is multiplied by this, where it is added to.
  template <int width>
  __device__ void write(std::int64_t row, std::int64_t col, FloatPack<width> const& x, int count, float old = 1) const {
    singles.data ? write_to(singles[row] + col, x, count, old) : write_to(rows[row] + col, x, count, old);
  }

 private:
  template <class E, int width>
  __device__ void write_to(E* to, FloatPack<width> x, int count, float old) const {
    bool const adds = add && old != 0;
    if (packs) {
      if (count <= 0) return;
      if (adds) add_to(x, load_floats<width>(to), old);
      return store_floats<width>(to, x);
    }
    for (int i = 0; i < width; ++i)
      if (i < count) to[i] = from_float<E>(adds ? fmaf(to_float(to[i]), old, x.at[i]) : x.at[i]);
  }
  template <int width>
  static __device__ void add_to(FloatPack<width>& x, FloatPack<width> const& there, float old) {
    for (int i = 0; i < width; ++i) x.at[i] = fmaf(there.at[i], old, x.at[i]);
  }
};
template <class T>
Output<T> output_of(Tensor const& x, std::int64_t head_dim, bool add) {
  bool const single = x.dtype() == DType::fp32, packs = rows_take(full_width<T>, x) && head_dim % full_width<T> == 0;
  if (single) return {{nullptr, 0}, rows_of<float>(x), packs, add};
  return {rows_of<T>(x), {nullptr, 0}, packs, add};
}

[[noreturn]] inline void refuse_head_dim(std::int64_t head_dim) {
  throw Error(concat("Attention on heads of size ", head_dim,
                     " (the CUDA kernels take 256 at most). Use more heads, or run.backend = \"cpu\"."));
}

/// FLOPs of a launch. Which pairs are seen is on the device, where the host must not wait for it: chunks are counted as
/// whole samples with one document each, as cost() does; the CPU counts the pairs that it met.
inline double counted_flops(AttentionShape const& s, double flops_a_pair) {
  return flops_a_pair * static_cast<double>(s.head_dim * s.samples * s.heads) * visible_pairs(s);
}

}  // namespace selenite::attention_cuda
