#include "core/grid.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>

#include "core/error.hpp"
#include "core/param.hpp"

using namespace selenite;

namespace {
// The layouts of the 3,072 GPU study, and odd ones.
Coords const grids[] = {{1, 1, 1, 1, 1},  {8, 1, 1, 6, 64}, {8, 1, 1, 12, 32},
                        {4, 2, 3, 8, 16}, {3, 5, 1, 7, 2},  {1, 1, 1, 3072, 1}};
}  // namespace

BOOST_AUTO_TEST_SUITE(grid)

BOOST_AUTO_TEST_CASE(coordinates_and_ranks_are_inverse) {
  for (Coords const& sizes : grids) {
    ProcessGrid const g(sizes);
    for (std::int64_t r = 0; r < g.world(); ++r) {
      Coords const c = g.coords(Rank(r));
      BOOST_TEST_REQUIRE(*g.rank(c) == r);
      for (std::size_t a = 0; a < c.size(); ++a) BOOST_TEST_REQUIRE((c[a] >= 0 && c[a] < sizes[a]));
    }
  }
  ProcessGrid const g({8, 1, 1, 6, 64});
  BOOST_TEST(g.world() == 3072);
  // tensor varies fastest, then data, then pipe
  BOOST_TEST((g.coords(Rank(8)) == Coords{0, 0, 0, 1, 0}));
  BOOST_TEST((g.coords(Rank(3071)) == Coords{7, 0, 0, 5, 63}));
}

BOOST_AUTO_TEST_CASE(groups_over_any_axes_cut_the_world_into_equal_parts) {
  for (Coords const& sizes : grids) {
    ProcessGrid const g(sizes);
    for (unsigned bits = 0; bits < 1u << axis_count; ++bits) {
      AxisSet axes;
      for (int a = 0; a < axis_count; ++a)
        if (bits >> a & 1) axes = axes.with(static_cast<Axis>(a));
      std::vector<int> seen(static_cast<std::size_t>(g.world()), 0);
      for (std::int64_t r = 0; r < g.world(); ++r) {
        if (g.index_in_group(Rank(r), axes) != 0) continue;
        auto const group = g.group(Rank(r), axes);
        BOOST_TEST_REQUIRE(static_cast<std::int64_t>(group.size()) == g.size(axes));
        BOOST_TEST_REQUIRE(std::is_sorted(group.begin(), group.end()));
        for (std::size_t i = 0; i < group.size(); ++i) {
          ++seen[static_cast<std::size_t>(*group[i])];
          BOOST_TEST_REQUIRE(g.index_in_group(group[i], axes) == static_cast<std::int64_t>(i));
        }
        BOOST_TEST_REQUIRE((g.group(group.back(), axes) == group));
      }
      BOOST_TEST_REQUIRE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
    }
  }
}

BOOST_AUTO_TEST_CASE(small_groups_are_what_a_hand_finds) {
  ProcessGrid const g({2, 1, 1, 2, 2});
  auto numbers = [](std::vector<Rank> const& ranks) {
    std::vector<std::int64_t> all;
    for (Rank r : ranks) all.push_back(*r);
    return all;
  };
  BOOST_TEST(numbers(g.group(Rank(5), {Axis::tensor})) == (std::vector<std::int64_t>{4, 5}),
             boost::test_tools::per_element());
  BOOST_TEST(numbers(g.group(Rank(5), {Axis::data})) == (std::vector<std::int64_t>{5, 7}),
             boost::test_tools::per_element());
  BOOST_TEST(numbers(g.group(Rank(5), {Axis::pipe})) == (std::vector<std::int64_t>{1, 5}),
             boost::test_tools::per_element());
  BOOST_TEST(numbers(g.group(Rank(5), {Axis::data, Axis::pipe})) == (std::vector<std::int64_t>{1, 3, 5, 7}),
             boost::test_tools::per_element());
  BOOST_TEST(*g.ends(Rank(7)).first == 3);
  BOOST_TEST(*g.ends(Rank(3)).second == 7);
  BOOST_TEST(describe(g, Rank(5)) == "tensor 1 data 0 pipe 1");
  BOOST_TEST(describe(ProcessGrid(), Rank(0)) == "");
  BOOST_CHECK_THROW(ProcessGrid({1, 1, 1, 0, 1}), Error);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(param)

BOOST_AUTO_TEST_CASE(boxes_of_a_cut_parameter_tile_it) {
  Param const rows{.name = "rows", .shape = {48, 10}, .cuts = {{0, Axis::tensor}}},
      columns{.name = "columns", .shape = {6, 64}, .cuts = {{1, Axis::tensor}}};
  Param const shared{.name = "kv", .shape = {4, 10}, .cuts = {{0, Axis::tensor, 2}}},
      whole{.name = "whole", .shape = {7}};
  ProcessGrid const g({8, 1, 1, 3, 2});
  for (Param const* p : {&rows, &columns, &shared, &whole}) {
    std::vector<int> counted(static_cast<std::size_t>(p->shape.count()), 0);
    for (std::int64_t r = 0; r < 24; ++r) {
      Box const box = box_of(*p, g, Rank(r));
      if (!counts(*p, g, Rank(r))) continue;
      for (std::int64_t i = 0; i < box.count.count(); ++i) {
        std::int64_t const cols = p->shape.rank() == 2 ? box.count[1] : 1, row = box.begin[0] + i / cols,
                           col = p->shape.rank() == 2 ? box.begin[1] + i % cols : 0;
        ++counted[static_cast<std::size_t>(row * (p->shape.rank() == 2 ? p->shape[1] : 1) + col)];
      }
    }
    BOOST_TEST(std::all_of(counted.begin(), counted.end(), [](int n) { return n == 1; }), p->name);
  }
  // two parts over eight ranks: four neighbours hold the same
  BOOST_TEST((box_of(shared, g, Rank(3)) == Box{{0, 0}, {2, 10}}));
  BOOST_TEST((box_of(shared, g, Rank(4)) == Box{{2, 0}, {2, 10}}));
}

BOOST_AUTO_TEST_CASE(a_cut_that_does_not_divide_is_refused) {
  Param const p{.name = "odd", .shape = {7, 4}, .cuts = {{0, Axis::tensor}}};
  BOOST_CHECK_EXCEPTION(box_of(p, ProcessGrid({2, 1, 1, 1, 1}), Rank(0)), Error, [](Error const& e) {
    return std::string(e.what()).find("odd [7, 4] can't be cut into 2 parts") == 0;
  });
}

BOOST_AUTO_TEST_CASE(gradients_are_summed_over_the_ranks_that_saw_other_tokens) {
  Param dense{.name = "d", .shape = {4}}, expert{.name = "e", .shape = {4}, .expert = true},
      partial{.name = "p", .shape = {4}, .partial = {Axis::tensor}};
  BOOST_TEST(to_string(dense.gradient_axes()) == "context+expert+data");
  BOOST_TEST(to_string(expert.gradient_axes()) == "context+data");
  BOOST_TEST(to_string(partial.gradient_axes()) == "tensor+context+expert+data");
}

BOOST_AUTO_TEST_SUITE_END()
