#define BOOST_TEST_MODULE schedule
#include "schedule/schedule.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <iterator>

#include "core/error.hpp"
#include "schedule/play.hpp"

using namespace selenite;

namespace {

std::string message_of(auto const& body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}
bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }
std::string file(std::string const& name) {
  std::ifstream in("tests/golden/schedules/" + name + ".txt");
  return {std::istreambuf_iterator<char>(in), {}};
}

ActionSeconds passes(double forward, double backward, double message) {
  return {.forward = forward, .backward = backward, .forward_message = message, .backward_message = message};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedule)

// Written by hand after figure 4 of Narayanan et al. 2021.
BOOST_AUTO_TEST_CASE(one_f_one_b_is_the_table_of_the_paper) {
  BOOST_TEST(to_string(one_f_one_b(1, 3)) == file("1f1b_1x3"));
  BOOST_TEST(to_string(one_f_one_b(2, 2)) == file("1f1b_2x2"));
  BOOST_TEST(to_string(one_f_one_b(4, 6)) == file("1f1b_4x6"));
  BOOST_TEST(to_string(one_f_one_b(4, 2)) == file("1f1b_4x2"));
}

BOOST_AUTO_TEST_CASE(what_is_printed_is_parsed_back) {
  for (auto const& [stages, micros] : {std::pair{1, 1}, {1, 5}, {3, 7}, {8, 4}, {64, 100}}) {
    Schedule const s = one_f_one_b(stages, micros);
    BOOST_CHECK(parse_schedule(to_string(s)) == s);
  }
  BOOST_CHECK(parse_schedule(to_string(forward_only(3, 4))) == forward_only(3, 4));
  for (Action const a : {Action{What::forward, Chunk(3), Micro(17)},
                         {What::backward, Chunk(0), Micro(511)},
                         {What::sync, Chunk(0), Micro(0)},
                         {What::step, Chunk(0), Micro(0)}})
    BOOST_CHECK(parse_action(to_string(a)) == a);
  BOOST_TEST(to_string(Action{What::forward, Chunk(0), Micro(3)}) == "F0.3");
}

BOOST_AUTO_TEST_CASE(what_is_no_action_is_refused_by_name) {
  for (char const* text : {"", "X", "F", "F0", "F0.", "F.3", "B0.x", "G1", "OO", "f0.3", "F0.3 ", "F-1.3", "F0.-2"})
    BOOST_TEST(contains(message_of([&] { parse_action(text); }), "is not an action"), text);
}

// Time and memory of 1F1B are known in closed form.
BOOST_AUTO_TEST_CASE(step_time_and_slots_are_the_closed_forms) {
  ActionSeconds const seconds{.forward = 1, .backward = 2};
  for (std::int64_t const p : {1, 2, 3, 4, 7, 8, 16, 33, 64})
    for (std::int64_t const m : {1, 2, 3, 5, 8, 31, 64, 128, 512}) {
      Schedule const s = one_f_one_b(p, m);
      BOOST_TEST_REQUIRE(play(s, same_seconds(s, seconds, 0.25, 0.5)) == static_cast<double>(m + p - 1) * 3 + 0.75);
      for (std::int64_t r = 0; r < p; ++r)
        BOOST_TEST_REQUIRE(slots_needed(s, Stage(r), Chunk(0)) == std::min(p - r, m));
      validate_schedule(s);
    }
}

BOOST_AUTO_TEST_CASE(uneven_stages_and_messages_cost_what_a_hand_finds) {
  // Two stages, one micro-batch: F 1, message 0.5, F 3, B 6, message 0.5, B 2, then sync and step of stage 0.
  Schedule const s = one_f_one_b(2, 1);
  BOOST_TEST(play(s, {{{passes(1, 2, 0.5)}, 0.25, 0.5}, {{passes(3, 6, 0.5)}, 0.25, 0.5}}) == 1 + 0.5 + 3 + 6 + 0.5 + 2 + 0.75);
  // The slower stage sets the pace: m of its passes, one forward of the first before and one backward after.
  BOOST_TEST(play(one_f_one_b(2, 10), {{{passes(1, 1, 0)}, 0, 0}, {{passes(2, 4, 0)}, 0, 0}}) == 1 + 10 * 6 + 1);
  Schedule const forward = forward_only(4, 10);
  BOOST_TEST(play(forward, same_seconds(forward, {.forward = 1})) == 13);
}

BOOST_AUTO_TEST_CASE(a_deadlock_is_found_and_its_cell_marked) {
  // Stage 0 wants its backward before it sends the second forward, stage 1 both forwards first.
  Schedule const s = parse_schedule("F0.0 B0.0 F0.1 B0.1 G O\nF0.0 F0.1 B0.0 B0.1 G O\n");
  std::string const message = message_of([&] { validate_schedule(s); });
  BOOST_TEST(contains(message, "The schedule deadlocks: stage 0 waits for ever before B0.0"), message);
  BOOST_TEST(contains(message, "stage 0: F0.0 [B0.0] F0.1 B0.1 G O\n"), message);
  BOOST_TEST(contains(message, "stage 1: F0.0 F0.1 B0.0 B0.1 G O\n"), message);
  // A backward before its own forward waits for ever even on one stage.
  BOOST_TEST(contains(message_of([] { validate_schedule(parse_schedule("B0.0 F0.0\n")); }), "stage 0: [B0.0] F0.0"));
}

BOOST_AUTO_TEST_CASE(a_missing_or_double_action_is_named) {
  std::string const missing =
      message_of([] { validate_schedule(parse_schedule("F0.0 F0.1 B0.0 B0.1 G O\nF0.0 B0.0 B0.1 G O\n")); });
  BOOST_TEST(contains(missing, "stage 1 does B0.1 before the forward pass of its micro-batch"), missing);
  BOOST_TEST(contains(missing, "stage 1: F0.0 B0.0 [B0.1] G O"), missing);
  std::string const backward = message_of([] { validate_schedule(parse_schedule("F0.0 F0.1 B0.1\n")); });
  BOOST_TEST(contains(backward, "stage 0 lacks the backward pass of micro-batch 0 of chunk 0"), backward);
  std::string const twice = message_of([] { validate_schedule(parse_schedule("F0.0 B0.0 F0.0\n")); });
  BOOST_TEST(contains(twice, "stage 0 does F0.0 twice"), twice);
  BOOST_TEST(contains(twice, "[F0.0]"), twice);
}

BOOST_AUTO_TEST_SUITE_END()
