#pragma once
#include <optional>
#include <string>

#include "core/arena.hpp"
#include "kernels/attention/attention.hpp"

/// What a library (cuDNN) is given of attention, decided from shapes and strides alone: here it is planned and priced
/// on machines that have neither the library nor a device.
namespace selenite {

/// One rectangle of every sample's (query, key) pairs outside of which nothing is seen, and within which all is seen or
/// (causal) by query i of it the keys 0 to i of it; with documents, of those only the keys from where the query's
/// document starts.
struct SeenBlock {
  std::int64_t first_query = 0, queries = 0, first_key = 0, keys = 0;
  bool causal = false, documents = false;
  bool operator==(SeenBlock const&) const = default;
};
/// Of a zig-zag ring's pairs of chunks: the own one causally, the front half of an earlier rank's keys by all queries,
/// a later rank's keys by the back half of the queries. Nothing where the mask is not of this form. Documents are taken
/// in whole samples with a causal mask, and with AttentionLibrary::cudnn alone: the library masks every score, where
/// our kernel skips blocks of other documents. (As sequences of their own, packed with offsets, documents would need a
/// bound on their number, and each sum of sizes that depends on it.)
std::optional<SeenBlock> seen_block(AttentionShape const& shape, AttentionPlaces const& query_places,
                                    AttentionPlaces const& key_places);

/// Temporaries of a pass by the library; undefined where what it makes goes to its place at once.
struct LibraryForward {
  SeenBlock block;
  Tensor out;                   ///< [samples * block.queries, heads * head_dim], dtype of q
  Tensor logsumexp;             ///< fp32 [samples, heads, block.queries]
  std::int64_t plan_bytes = 0;  ///< that the library itself needs beyond these
};
struct LibraryBackward {
  SeenBlock block;
  Tensor logsumexp, delta;  ///< of the block's queries, where they are not all
  Tensor dq_sums;           ///< fp32 [samples, heads, block.queries, head_dim]; not if deterministic
  Tensor dq, dk, dv;        ///< of the block's queries and keys, dtype of q
  std::int64_t plan_bytes = 0;
};
/// Takes the temporaries from an arena, which may be measuring. The problem must have a SeenBlock.
LibraryForward place_library(Attention const& op, Arena& arena);
LibraryBackward place_library(AttentionBackward const& op, Arena& arena);

/// All scratch that the pass needs by the library.
std::int64_t library_bytes(Attention const& op);
std::int64_t library_bytes(AttentionBackward const& op);

/// A backward pass in parts, one after the other in the same scratch: some samples at a time, or of one sample the
/// heads of some kv heads. (For sums in a fixed order the library keeps dP of all of a part's heads.)
struct LibraryParts {
  std::int64_t samples = 0, kv_heads = 0;  ///< of a part
};
/// The fewest parts that fit into `workspace` bytes each; the smallest there are if none fit; one if it is refused.
LibraryParts library_parts(AttentionBackward const& op, std::int64_t workspace);
std::int64_t part_count(AttentionShape const& shape, LibraryParts const& parts);
AttentionBackward part_of(AttentionBackward const& op, LibraryParts const& parts, std::int64_t index);

/// Why the library is not used with `workspace` bytes of scratch; empty: it is. What the device at hand has no plan for
/// is known only there (see Cudnn).
std::string library_refusal(Attention const& op, std::int64_t workspace);
std::string library_refusal(AttentionBackward const& op, std::int64_t workspace);

/// Runs the pass by the library; false: nothing was done, our kernel is to do it. Throws Error where
/// AttentionLibrary::cudnn can't be had.
bool launch_library(Cuda& cuda, Attention const& op);
bool launch_library(Cuda& cuda, AttentionBackward const& op);
/// Makes the plan of the pass. Returns what will run it, for the log.
std::string prepare_library(Cuda& cuda, Attention const& op);
std::string prepare_library(Cuda& cuda, AttentionBackward const& op);

}  // namespace selenite
