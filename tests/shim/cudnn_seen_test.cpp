// Which part of the pairs of queries and keys is given to cuDNN.
#include <boost/test/unit_test.hpp>

#include "attention_cases.hpp"
#include "core/grid.hpp"
#include "kernels/attention/library.hpp"

using namespace selenite;
using namespace selenite::test;

BOOST_AUTO_TEST_CASE(blocks_that_are_seen) {
  AttentionShape s = sizes(1, 8, 8, 1, 1, 8);
  Tensors t(Tensors::rounded);
  Tensor const some = t.in(DType::int32, {1, 8}, Values([](std::int64_t i) { return static_cast<double>(i); }));
  auto const at = [&](PositionRuns const& runs) { return AttentionPlaces{.positions = some, .runs = runs}; };
  BOOST_CHECK(seen_block(s, {}, {}) == (SeenBlock{0, 8, 0, 8, true}));
  BOOST_CHECK(!seen_block(s, at({}), {}));
  BOOST_CHECK(!seen_block(s, at({1, {3}}), {}));                                   // query 0 sees four keys
  BOOST_CHECK(seen_block(s, at({1, {8}}), {}) == (SeenBlock{0, 8, 0, 8, false}));  // all keys are before all queries
  BOOST_CHECK(!seen_block(s, {}, at({1, {8}})));                                   // and here after them
  AttentionPlaces documents;
  documents.document_starts = some;
  BOOST_CHECK(!seen_block(s, documents, documents));  // ours is taken, unless cuDNN's is asked for
  s.library = AttentionLibrary::cudnn;
  BOOST_CHECK(seen_block(s, documents, documents) == (SeenBlock{0, 8, 0, 8, true, true}));
  AttentionPlaces elsewhere = documents;
  elsewhere.positions = some, elsewhere.runs = {2, {0, 20}};
  BOOST_CHECK(!seen_block(s, elsewhere, elsewhere));
  s.causal = false;
  BOOST_CHECK(!seen_block(s, documents, documents));
  s.causal = true, s.library = AttentionLibrary::automatic;

  // A ring of any number of ranks has nothing else, and what is left out is not seen.
  for (std::int64_t const ranks : {2, 3, 4})
    for (std::int64_t rank = 0; rank < ranks; ++rank)
      for (std::int64_t from = 0; from < ranks; ++from) {
        auto const runs = [&](std::int64_t r) {
          return PositionRuns{2, {zigzag_place(0, 8, ranks, r), zigzag_place(4, 8, ranks, r)}};
        };
        auto const block = seen_block(s, at(runs(rank)), at(runs(from)));
        BOOST_REQUIRE(block.has_value());
        for (std::int64_t q = 0; q < 8; ++q)
          for (std::int64_t k = 0; k < 8; ++k) {
            bool const seen = zigzag_place(k, 8, ranks, from) <= zigzag_place(q, 8, ranks, rank);
            std::int64_t const i = q - block->first_query, j = k - block->first_key;
            bool const inside = i >= 0 && i < block->queries && j >= 0 && j < block->keys && (!block->causal || j <= i);
            BOOST_CHECK_EQUAL(seen, inside);
          }
      }
  s.causal = false;
  BOOST_CHECK(seen_block(s, at({}), {}) == (SeenBlock{0, 8, 0, 8, false}));
}
