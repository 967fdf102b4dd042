// What work costs on a machine given by physical figures: laws that must hold whatever the figures are, limits that are
// known, and what was measured.
#include "exec/price.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/error.hpp"
#include "tests/contains.hpp"

using namespace selenite;

namespace {

std::string const scaling = SELENITE_SOURCE "/scaling/";
Machine machine(std::string const& name) { return load_machine(scaling + "machines/" + name + ".toml"); }

double seconds(Cost const& cost, Machine const& m) { return price(cost, m, ProcessGrid(), Rank(0)); }
double seconds(Cost const& cost, Machine const& m, Coords const& sizes) {
  return price(cost, m, ProcessGrid(sizes), Rank(0));
}
Cost gemm(std::int64_t m, std::int64_t n, std::int64_t k, double bytes_a_result = 2) {
  auto const rows = static_cast<double>(m), cols = static_cast<double>(n), depth = static_cast<double>(k);
  double const results = rows * cols * bytes_a_result;
  return {.work = Work::gemm,
          .flops = 2 * rows * cols * depth,
          .bytes = 2 * depth * (rows + cols) + results,
          .m = m,
          .n = n,
          .k = k,
          .result_bytes = results,
          .dtype = DType::bf16};
}
Cost collective(Work work, double bytes, AxisSet group) { return {.work = work, .bytes = bytes, .group = group}; }

constexpr AxisSet tensor{Axis::tensor}, data{Axis::data};

}  // namespace

BOOST_AUTO_TEST_SUITE(pricing)

BOOST_AUTO_TEST_CASE(a_group_is_counted_by_node) {
  auto const at = [](Coords const& sizes, std::int64_t rank, AxisSet group, std::int64_t per_node) {
    Placement const p = place(ProcessGrid(sizes), Rank(rank), group, per_node);
    return std::array{p.ranks, p.in_node, p.nodes()};
  };
  using Three = std::array<std::int64_t, 3>;
  BOOST_CHECK((at({8, 1, 1, 4, 2}, 0, tensor, 8) == Three{8, 8, 1}));
  BOOST_CHECK((at({8, 1, 1, 4, 2}, 17, data, 8) == Three{4, 1, 4}));
  BOOST_CHECK((at({2, 1, 1, 32, 1}, 5, data, 8) == Three{32, 4, 8}));
  BOOST_CHECK((at({1, 1, 1, 32, 1}, 9, data, 8) == Three{32, 8, 4}));
  BOOST_CHECK((at({16, 1, 1, 4, 1}, 3, tensor, 8) == Three{16, 8, 2}));
  BOOST_CHECK((at({4, 1, 1, 2, 4}, 0, {Axis::data, Axis::pipe}, 8) == Three{8, 2, 4}));
  BOOST_CHECK((at({6, 1, 1, 2, 1}, 1, tensor, 8) == Three{6, 6, 1}));  // ranks 0 to 5 of a node of 8
  BOOST_CHECK((at({6, 1, 1, 2, 1}, 7, tensor, 8) == Three{6, 2, 3}));  // ranks 6 and 7, then 8 to 11
  BOOST_CHECK((at({6, 1, 1, 2, 1}, 9, tensor, 8) == Three{6, 4, 2}));
  BOOST_CHECK((at({8, 1, 1, 4, 2}, 0, AxisSet::all(), 0) == Three{64, 64, 1}));
  // against counting one by one
  for (Coords const& sizes : {Coords{3, 2, 1, 4, 2}, Coords{2, 1, 3, 5, 2}, Coords{1, 4, 1, 3, 3}})
    for (AxisSet const group : AxisSet::subsets())
      for (std::int64_t const per_node : {1, 4, 5, 8, 100})
        for (std::int64_t rank = 0; rank < ProcessGrid(sizes).world(); ++rank) {
          auto const ranks = ProcessGrid(sizes).group(Rank(rank), group);
          auto const same = std::ranges::count_if(ranks, [&](Rank r) { return *r / per_node == rank / per_node; });
          BOOST_TEST(place(ProcessGrid(sizes), Rank(rank), group, per_node).in_node == same);
        }
}

BOOST_AUTO_TEST_CASE(dropout_in_attention_costs_its_decisions) {
  Cost attention{.work = Work::attention, .flops = 1e12, .m = 2048, .n = 2048, .k = 128, .dtype = DType::bf16};
  Machine curves{.draw_rate = 1e9, .attention_bf16 = {{1}, {1e14}}, .stream = {{1}, {1e12}}};
  for (Machine const& m : {machine("dgx-h100"), machine("selene"), curves}) {
    double const without = seconds(attention, m);
    attention.draws = 2e9;
    BOOST_TEST(seconds(attention, m) - without == 2e9 / m.draw_rate, boost::test_tools::tolerance(1e-6));
    Machine unknown = m;
    unknown.draw_rate = 0;
    BOOST_TEST(seconds(attention, unknown) == without);
    attention.draws = 0;
  }
}

BOOST_AUTO_TEST_CASE(collectives_reach_their_known_limits) {
  Machine const m = machine("selene");
  double const large = 64e9, share = m.cluster.network_bandwidth / 8;
  auto const is = [&](double bandwidth_seconds, Work work, AxisSet group, Coords const& sizes) {
    BOOST_TEST(seconds(collective(work, large, group), m, sizes) == bandwidth_seconds,
               boost::test_tools::tolerance(5e-3));
  };
  is(2 * 7 / 8.0 * large / m.link_bandwidth, Work::all_reduce, tensor, {8, 1, 1, 4, 1});
  is(7 / 8.0 * large / m.link_bandwidth, Work::reduce_scatter, tensor, {8, 1, 1, 4, 1});
  is(7 / 8.0 * large / m.link_bandwidth, Work::all_gather, tensor, {8, 1, 1, 4, 1});
  // with 8 tensor ranks a node, 8 rings of data ranks share its adapters
  is(2 * 3 / 4.0 * large / share, Work::all_reduce, data, {8, 1, 1, 4, 1});
  is(2 * 31 / 32.0 * large / (2 * share), Work::all_reduce, data, {4, 1, 1, 32, 1});
  is(2 * 31 / 32.0 * large / (8 * share), Work::all_reduce, data, {1, 1, 1, 32, 1});
  is(2 * 15 / 16.0 * large / (8 * share), Work::all_reduce, tensor, {16, 1, 1, 2, 1});
  // one rank has nobody to talk to
  for (Work const work : {Work::all_reduce, Work::all_gather, Work::reduce_scatter, Work::all_to_all, Work::broadcast})
    BOOST_TEST(seconds(collective(work, large, tensor), m, {1, 1, 1, 16, 1}) == 0);
  // over very many ranks a small sum goes by a tree: its time grows with the logarithm
  double const few = seconds(collective(Work::all_reduce, 8, AxisSet::all()), m, {8, 1, 1, 12, 4}),
               many = seconds(collective(Work::all_reduce, 8, AxisSet::all()), m, {8, 1, 1, 96, 4});
  BOOST_TEST(many - few == 2 * 3 * m.cluster.network_latency, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(measured_collectives_take_what_was_measured) {
  Machine const m{.link_bandwidth = 1,
                  .all_reduce = {{1e3, 1e6}, {1e6, 1e8}},
                  .all_gather = {{1e3, 1e6}, {2e6, 2e8}},
                  .ring_shift = {{1e3, 1e6}, {3e6, 3e8}}};
  auto const is = [&](Cost const& cost, std::int64_t ranks, double expected) {
    BOOST_TEST(seconds(cost, m, {1, 1, 1, ranks, 1}) == expected, boost::test_tools::tolerance(1e-12));
  };
  is(collective(Work::all_reduce, 1e6, data), 4, 2 * 3 / 4.0 * 1e6 / 1e8);
  is(collective(Work::reduce_scatter, 1e6, data), 4, 3 / 4.0 * 1e6 / 2e8);
  is(collective(Work::all_gather, 1e6, data), 2, 1 / 2.0 * 1e6 / 2e8);
  is(collective(Work::send, 1e6, data), 4, 1e6 / 3e8);
  is({.work = Work::send, .bytes = 1e3, .peer = 1}, 4, 1e3 / 3e6);
  is(collective(Work::all_reduce, 8, data), 4, 2 * 3 / 4.0 * 1e3 / 1e6);  // all latency
  is(collective(Work::all_reduce, 1e6, data), 1, 0);
  is(collective(Work::all_reduce, std::sqrt(1e9), data), 2, std::sqrt(1e9) / 1e7);  // between: straight on log scales
}

BOOST_AUTO_TEST_CASE(messages_go_inside_a_node_or_between_nodes) {
  Machine const m = machine("selene");
  auto const message = [&](Rank from, std::int64_t to) {
    return price({.work = Work::send, .bytes = 1e10, .peer = to}, m, ProcessGrid({2, 1, 1, 1, 16}), from);
  };
  BOOST_TEST(message(Rank(0), 2) == 1e10 / m.link_bandwidth, boost::test_tools::tolerance(0.01));
  BOOST_TEST(message(Rank(6), 8) == 1e10 / (m.cluster.network_bandwidth / 8), boost::test_tools::tolerance(0.01));
}

BOOST_AUTO_TEST_CASE(links_that_are_not_known_are_missed_where_messages_need_them) {
  Machine const alone{.name = "alone"}, linked{.link_bandwidth = 1e9};
  Machine const nodes{.name = "nodes", .link_bandwidth = 1e9, .cluster = {.ranks_per_node = 4}};
  Machine const spread{.cluster = {.ranks_per_node = 1, .network_bandwidth = 1e9}};
  BOOST_TEST(knows_links(alone, 1));
  BOOST_TEST(!knows_links(alone, 2));
  BOOST_TEST(knows_links(linked, 1024));
  BOOST_TEST(knows_links(nodes, 4));
  BOOST_TEST(!knows_links(nodes, 5));
  BOOST_TEST(knows_links(spread, 8));
  auto const message = [](Machine const& machine, std::int64_t ranks) {
    try {
      require_links(machine, ranks);
    } catch (Error const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  BOOST_TEST(message(nodes, 4) == "");
  BOOST_TEST(contains(message(nodes, 8), "\"nodes\" has no figures for messages between 8 ranks"));
  BOOST_TEST(contains(message(nodes, 8), "Give network_bandwidth"));
  BOOST_TEST(contains(message(alone, 2), "calibrate"));
  // nothing comes out as no number
  for (Machine const& m : {alone, nodes}) {
    BOOST_TEST(seconds(collective(Work::all_reduce, 1e6, data), m, {1, 1, 1, 8, 1}) == 0);
    BOOST_TEST(seconds({.work = Work::send, .bytes = 1e6, .peer = 5}, m, {1, 1, 1, 1, 8}) == 0);
  }
  BOOST_TEST(seconds(collective(Work::all_reduce, 8e9, data), spread, {1, 1, 1, 8, 1}) > 7);
  BOOST_TEST(seconds({.work = Work::send, .bytes = 1e9, .peer = 1}, spread, {1, 1, 1, 1, 8}) == 1);
}

BOOST_AUTO_TEST_CASE(more_work_never_takes_less_and_nothing_jumps) {
  for (auto const& entry : std::filesystem::directory_iterator(scaling + "machines")) {
    if (entry.path().extension() != ".toml") continue;
    Machine const m = load_machine(entry.path().string());
    BOOST_TEST_CONTEXT(m.name) {
      for (double bytes = 1e3; bytes < 1e10; bytes *= 1.3) {
        BOOST_TEST(seconds({.bytes = 1.3 * bytes}, m) > seconds({.bytes = bytes}, m));
        for (Work const work : {Work::all_reduce, Work::all_gather, Work::broadcast})
          BOOST_TEST(seconds(collective(work, 1.3 * bytes, data), m, {2, 1, 1, 16, 1}) >
                     seconds(collective(work, bytes, data), m, {2, 1, 1, 16, 1}));
      }
      // one row, one column, one more in depth
      for (std::int64_t const other : {512, 4096, 20480})
        for (std::int64_t size = 64; size < 8192; size += size < 600 ? 1 : 37) {
          auto const step = [&](Cost const& less, Cost const& more) { return seconds(more, m) / seconds(less, m) - 1; };
          double const most = size < 512 ? 0.07 : 0.01;
          for (double const grows : {step(gemm(size, other, 2048), gemm(size + 1, other, 2048)),
                                     step(gemm(other, size, 2048), gemm(other, size + 1, 2048)),
                                     step(gemm(other, other, size), gemm(other, other, size + 1))})
            BOOST_TEST((grows >= -1e-12 && grows < most), grows << " at " << size << " of " << other);
        }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_slowest_of_many_devices_is_waited_for) {
  Machine m = machine("selene");
  m.cluster.device_spread = 0.1;
  auto const of = [&](std::int64_t ranks) { return seconds(gemm(4096, 4096, 4096), m, {1, 1, 1, ranks, 1}); };
  BOOST_TEST(of(3) / of(1) == 1.025, boost::test_tools::tolerance(1e-12));  // the largest of three even draws: 3/4
  BOOST_TEST(of(100000) / of(1) == 1.05, boost::test_tools::tolerance(1e-4));
  BOOST_TEST(seconds({.bytes = 1e9}, m, {1, 1, 1, 8, 1}) == seconds({.bytes = 1e9}, m));  // memory has one clock
}

BOOST_AUTO_TEST_CASE(another_program_moves_what_it_moves) {
  Machine m = machine("selene");
  Cost const forward{.bytes = 2e9, .logits = 1e9}, backward{.bytes = 4e9, .logits = 1e9, .backward = true};
  double const rate = m.processor->memory_bandwidth * m.processor->memory_efficiency;
  m.program = {.logit_forward_bytes = 38, .logit_backward_bytes = 14};
  BOOST_TEST(seconds(forward, m) == 38e9 / rate + m.launch_seconds, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(seconds(backward, m) == 14e9 / rate + m.launch_seconds, boost::test_tools::tolerance(1e-12));
  Cost const gradients{.gradients = 1e9};
  BOOST_TEST(seconds(gradients, m) == 0);
  m.program = {.gradient_bytes = 12};
  BOOST_TEST(seconds(gradients, m) == 12e9 / rate + m.launch_seconds, boost::test_tools::tolerance(1e-12));
  m.program = {};
  BOOST_TEST(seconds(forward, m) == seconds({.bytes = 2e9}, m));
}

BOOST_AUTO_TEST_CASE(products_of_8_bits_are_twice_as_fast_where_the_device_has_them) {
  auto const eight_bits = [](std::string const& name) {
    Machine const m = machine(name);
    Cost large = gemm(8192, 8192, 8192);
    double const half = seconds(large, m);
    large.dtype = DType::e4m3;
    return half / seconds(large, m);
  };
  BOOST_TEST(eight_bits("dgx-h100") > 1.8);
  BOOST_TEST(eight_bits("dgx-h100") < 2);
  BOOST_TEST(eight_bits("selene") == 1);
}

BOOST_AUTO_TEST_CASE(products_have_roof_ramp_and_waves) {
  Machine const m = machine("selene");
  Processor const& p = *m.processor;
  auto const rate = [&](Cost const& c) { return c.flops / seconds(c, m); };
  double const top = m.peak_bf16 * p.gemm_efficiency;
  BOOST_TEST(rate(gemm(16384, 16384, 16384)) > 0.9 * top);
  BOOST_TEST(rate(gemm(16384, 16384, 16384)) < top);
  BOOST_TEST(rate(gemm(16384, 16384, 256)) < 0.6 * top);  // shallow: ramp and results
  // one row of results: the weights are read once
  BOOST_TEST(seconds(gemm(1, 16384, 16384), m) > 2.0 * 16384 * 16384 / (p.memory_bandwidth * p.memory_efficiency));
  // 109 tiles take a second wave of 108 multiprocessors
  Cost const one = gemm(128 * 12, 256 * 9, 8192), more = gemm(128 * 14, 256 * 9, 8192);
  BOOST_TEST(seconds(more, m) / seconds(one, m) > 1.2);
  // fp32 results that are added to are read and written
  BOOST_TEST(seconds(gemm(8192, 8192, 2048, 8), m) > 1.05 * seconds(gemm(8192, 8192, 2048, 2), m));
}

namespace {
/// The number behind "key": in a line of JSON.
double field(std::string const& line, std::string const& key) {
  auto const at = line.find("\"" + key + "\":");
  return at == std::string::npos ? NAN : std::stod(line.substr(at + key.size() + 3));
}
bool has(std::string const& line, std::string const& text) { return line.find(text) != std::string::npos; }
}  // namespace

// The figures of the machine files come from these measurements: how well the law of tiles, ramp and results follows
// more than 2,000 products that were measured on two devices.
BOOST_AUTO_TEST_CASE(products_take_what_was_measured) {
  for (auto const& [folder, file] : {std::pair{"h100", "dgx-h100"}, {"h200", "h200"}}) {
    Machine const m = machine(file);
    std::ifstream lines(scaling + "results/" + folder + "/results.jsonl");
    std::vector<double> errors;
    double sum = 0;
    for (std::string line; std::getline(lines, line);) {
      if (!has(line, "\"s\":\"gemm\"") || has(line, "\"dtype\":\"f") || has(line, "\"dtype\":\"t")) continue;
      double const bytes = has(line, "\"acc32\"") ? 8 : has(line, "\"wgrad32\"") ? 4 : 2;
      if (bytes == 2 && !has(line, "\"fwd\"") && !has(line, "grad\"")) continue;
      auto const size = [&](char const* key) { return static_cast<std::int64_t>(field(line, key)); };
      double const ratio = seconds(gemm(size("m"), size("n"), size("k"), bytes), m) * 1e6 / field(line, "us");
      errors.push_back(std::abs(ratio - 1)), sum += ratio - 1;
    }
    BOOST_TEST_REQUIRE(errors.size() > 700u);
    std::ranges::sort(errors);
    auto const at = [&](double part) {
      return errors[static_cast<std::size_t>(part * static_cast<double>(errors.size()))];
    };
    BOOST_TEST_MESSAGE(folder << ": " << errors.size() << " products, error median " << at(0.5) << ", 90 % below "
                              << at(0.9) << ", largest " << errors.back() << ", mean "
                              << sum / static_cast<double>(errors.size()));
    BOOST_TEST(at(0.5) < 0.04);
    BOOST_TEST(at(0.9) < 0.12);
    BOOST_TEST(errors.back() < 0.45);
    BOOST_TEST(std::abs(sum) / static_cast<double>(errors.size()) < 0.02);
  }
}

BOOST_AUTO_TEST_SUITE_END()
