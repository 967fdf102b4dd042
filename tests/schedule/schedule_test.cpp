#define BOOST_TEST_MODULE schedule
#include "schedule/schedule.hpp"

#include <boost/test/unit_test.hpp>

#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {

ActionSeconds passes(double forward, double backward, double message) {
  return {.forward = forward, .backward = backward, .forward_message = message, .backward_message = message};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedule)

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

BOOST_AUTO_TEST_CASE(uneven_stages_and_messages_cost_what_a_hand_finds) {
  // Two stages, one micro-batch: F 1, message 0.5, F 3, B 6, message 0.5, B 2, then sync and step of stage 0.
  Schedule const s = one_f_one_b(2, 1);
  BOOST_TEST(play(s, {{{passes(1, 2, 0.5)}, 0.25, 0.5}, {{passes(3, 6, 0.5)}, 0.25, 0.5}}) ==
             1 + 0.5 + 3 + 6 + 0.5 + 2 + 0.75);
  // The slower stage sets the pace: m of its passes, one forward of the first before and one backward after.
  BOOST_TEST(play(one_f_one_b(2, 10), {{{passes(1, 1, 0)}, 0, 0}, {{passes(2, 4, 0)}, 0, 0}}) == 1 + 10 * 6 + 1);
  Schedule const forward = forward_only(4, 10);
  BOOST_TEST(play(forward, same_seconds(forward, {.forward = 1})) == 13);
}

BOOST_AUTO_TEST_SUITE_END()
