#include <boost/test/unit_test.hpp>

#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {
std::string refusal(Schedule const& s, SlotTable const& slots = {}, std::int64_t send_buffers = 1) {
  return message_of([&] { validate_schedule(s, slots, send_buffers); });
}
/// The message has the sentence and the table with its marked cell, and says what to do.
void check(std::string const& message, std::string const& problem, std::string const& marked_row) {
  BOOST_TEST(contains(message, problem), message);
  BOOST_TEST(contains(message, marked_row), message);
  BOOST_TEST(contains(message, "Correct the schedule."), message);
  BOOST_TEST(std::count(message.begin(), message.end(), '[') == 1, message);
}
}  // namespace

BOOST_AUTO_TEST_SUITE(schedule_faults)

BOOST_AUTO_TEST_CASE(a_deadlock_between_stages) {
  // Stage 0 wants its backward before it sends the second forward, stage 1 both forwards first.
  check(refusal(parse_schedule("F0.0 B0.0 F0.1 B0.1 G O\nF0.0 F0.1 B0.0 B0.1 G O\n")),
        "The schedule deadlocks: stage 0 waits for ever before B0.0 (its input never comes)",
        "  stage 0: F0.0 [B0.0] F0.1 B0.1 G O\n  stage 1: F0.0 F0.1 B0.0 B0.1 G O\n");
  // The same with the halves of the backward pass.
  check(refusal(parse_schedule("F0.0 I0.0 W0.0 F0.1 I0.1 W0.1 G O\nF0.0 F0.1 I0.0 I0.1 W0.0 W0.1 G O\n")),
        "stage 0 waits for ever before I0.0", "  stage 0: F0.0 [I0.0] W0.0 F0.1 I0.1 W0.1 G O\n");
  // A backward before its own forward waits for ever even on one stage.
  BOOST_TEST(contains(refusal(parse_schedule("B0.0 F0.0\n")), "stage 0: [B0.0] F0.0"));
}

BOOST_AUTO_TEST_CASE(a_deadlock_for_want_of_send_buffers) {
  Schedule const s = interleaved(2, 2, 8, 4);
  std::string const message = refusal(s, {}, 1);
  BOOST_TEST(contains(message, "the receiver's start with the message before, from the same buffer, never comes"),
             message);
  BOOST_TEST(contains(message, " ["), message);
  BOOST_TEST(refusal(s, {}, 3) == "");
}

BOOST_AUTO_TEST_CASE(a_missing_partner) {
  // Stage 1 waits for a message that stage 0 never sends, or sends one that nobody takes.
  for (char const* pass : {"F", "B"}) {
    std::string const gone = std::string(pass) + "0.1";
    std::string const message = refusal(without(one_f_one_b(2, 3), 0, [&](std::string const& a) { return a == gone; }));
    if (*pass == 'F')
      check(message, "stage 0 does B0.1 before the forward pass of its micro-batch",
            "stage 0: F0.0 B0.0 F0.2 [B0.1] B0.2");
    else
      check(message, "stage 0 lacks the backward pass of micro-batch 1 of chunk 0",
            "stage 0: F0.0 F0.1 B0.0 F0.2 B0.2 G O [B0.1]\n");
  }
  // A micro-batch that one stage has never heard of.
  check(refusal(without(one_f_one_b(3, 2), 1, [](std::string const& a) { return a.ends_with(".1"); })),
        "stage 1 lacks the forward pass of micro-batch 1 of chunk 0", "  stage 1: F0.0 B0.0 G O [F0.1]\n");
  check(refusal(without(zero_bubble_h1(2, 2), 1, [](std::string const& a) { return a == "W0.1"; })),
        "stage 1 lacks the weights' half of the backward pass of micro-batch 1", "[W0.1]\n");
  check(refusal(without(one_f_one_b(2, 2), 1, [](std::string const& a) { return a == "G"; })),
        "stage 1 does the optimizer step before the gradient sync", "[O]");
  check(refusal(without(one_f_one_b(2, 2), 1, [](std::string const& a) { return a == "O"; })),
        "stage 1 lacks the optimizer step", "G [O]\n");
}

BOOST_AUTO_TEST_CASE(too_few_slots) {
  Schedule const s = one_f_one_b(4, 6);
  BOOST_TEST(refusal(s, {{4}, {3}, {2}, {1}}) == "");
  check(refusal(s, {{4}, {2}, {2}, {1}}), "stage 1 needs 3 slots for chunk 0 and has 2",
        "  stage 1: F0.0 F0.1 [F0.2] B0.0 F0.3");
  Schedule const two = interleaved(2, 2, 4, 2);
  SlotTable slots(2);
  for (std::int64_t r = 0; r < 2; ++r)
    for (std::int64_t c = 0; c < 2; ++c)
      slots[static_cast<std::size_t>(r)].push_back(slots_needed(two, Stage(r), Chunk(c)));
  BOOST_TEST(refusal(two, slots) == "");
  for (auto& stage : slots)
    for (auto& count : stage) {
      --count;
      BOOST_TEST(contains(refusal(two, slots), concat("slots for chunk ", &count - stage.data(), " and has ", count)));
      ++count;
    }
  BOOST_TEST(contains(refusal(s, {{4}, {3}}), "Slots are given for 2 stages of 4"));
  BOOST_TEST(contains(refusal(two, {{4}, {3}}), "Slots are given for 1 chunks of 2"));
}

BOOST_AUTO_TEST_CASE(halves_out_of_order) {
  check(refusal(parse_schedule("F0.0 W0.0 I0.0 G O\n")), "stage 0 does W0.0 before its I",
        "stage 0: F0.0 [W0.0] I0.0 G O");
  check(refusal(parse_schedule("F0.0 B0.0 W0.0 G O\n")), "both whole (B) and in two (I, W)", "B0.0 [W0.0]");
  check(refusal(parse_schedule("I0.0 F0.0 W0.0 G O\n")), "does I0.0 before the forward pass", "stage 0: [I0.0]");
}

BOOST_AUTO_TEST_CASE(doubled_and_strange_actions) {
  check(refusal(parse_schedule("F0.0 B0.0 F0.0 G O\n")), "stage 0 does F0.0 twice", "stage 0: F0.0 B0.0 [F0.0] G O");
  check(refusal(parse_schedule("F0.0 I0.0 W0.0 W0.0 G O\n")), "stage 0 does W0.0 twice", "I0.0 W0.0 [W0.0]");
  check(refusal(parse_schedule("F0.0 B0.0 G G O\n")), "stage 0 does G twice", "G [G]");
  check(refusal(parse_schedule("F0.0 G B0.0 O\n")), "does B0.0 after the gradient sync", "G [B0.0]");
  check(refusal(parse_schedule("F0.0 G\n")), "does G in a schedule without backward passes", "[G]");
  Schedule beyond = one_f_one_b(2, 2);
  beyond.rows[1][0].micro = Micro(7);
  check(refusal(beyond), "does F0.7, beyond the schedule's 1 chunks of 2 micro-batches", "[F0.7]");
}

BOOST_AUTO_TEST_CASE(micro_batches_out_of_turn) {
  check(refusal(parse_schedule("F0.1 F0.0 B0.0 B0.1 G O\n")), "takes micro-batch 0 of chunk 0 after micro-batch 1",
        "[F0.0]");
  check(refusal(parse_schedule("F0.0 F0.1 B0.1 B0.0 G O\n")), "sends back micro-batch 0 of chunk 0 after micro-batch 1",
        "[B0.0]");
  check(refusal(parse_schedule("F0.0 F0.1 I0.0 I0.1 W0.1 W0.0 G O\n")),
        "frees micro-batch 0 of chunk 0 after micro-batch 1", "[W0.0]");
}

// The mark is still seen in a row of a thousand actions.
BOOST_AUTO_TEST_CASE(long_tables_are_shown_around_the_fault) {
  Schedule s = one_f_one_b(2, 300);
  s.rows[1][400] = s.rows[1][398];
  std::string const message = refusal(s);
  check(message, "twice", "...");
  BOOST_TEST(message.size() < 600);
}

BOOST_AUTO_TEST_SUITE_END()
