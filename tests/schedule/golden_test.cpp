#include <boost/test/unit_test.hpp>
#include <functional>
#include <sstream>

#include "core/files.hpp"
#include "schedule/draw.hpp"
#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {

struct Golden {
  char const* name;
  std::function<std::string()> text;
};

std::string drawn(Schedule const& schedule, ActionSeconds const& seconds, std::int64_t send_buffers = 1) {
  return draw(schedule, timeline(schedule, same_seconds(schedule, seconds, 1, 1), send_buffers));
}

// The tables of the papers' figures, and cases where nothing divides.
std::vector<Golden> const goldens{
    {"1f1b_1x3", [] { return to_string(one_f_one_b(1, 3)); }},
    {"1f1b_2x2", [] { return to_string(one_f_one_b(2, 2)); }},
    {"1f1b_4x2", [] { return to_string(one_f_one_b(4, 2)); }},
    {"1f1b_4x6", [] { return to_string(one_f_one_b(4, 6)); }},
    {"1f1b_4x8", [] { return to_string(one_f_one_b(4, 8)); }},
    {"interleaved_4x2x8_group4", [] { return to_string(interleaved(4, 2, 8, 4)); }},
    {"interleaved_2x3x5_group2", [] { return to_string(interleaved(2, 3, 5, 2)); }},
    {"interleaved_3x2x4_group3", [] { return to_string(interleaved(3, 2, 4, 3)); }},
    {"interleaved_4x2x6_group2", [] { return to_string(interleaved(4, 2, 6, 2)); }},
    {"interleaved_2x2x7_group3", [] { return to_string(interleaved(2, 2, 7, 3)); }},
    {"zero_bubble_h1_4x8", [] { return to_string(zero_bubble_h1(4, 8)); }},
    {"zero_bubble_h1_3x2", [] { return to_string(zero_bubble_h1(3, 2)); }},
    {"zero_bubble_h2_4x8", [] { return to_string(zero_bubble_h2(4, 8)); }},
    {"zero_bubble_h2_3x4", [] { return to_string(zero_bubble_h2(3, 4)); }},
    {"forward_only_3x4", [] { return to_string(forward_only(3, 4)); }},
    {"forward_only_3x2x4", [] { return to_string(forward_only(3, 2, 4)); }},
    {"drawn_1f1b_4x8", [] { return drawn(one_f_one_b(4, 8), {.forward = 1, .backward = 2}); }},
    {"drawn_interleaved_4x2x8", [] { return drawn(interleaved(4, 2, 8, 4), {.forward = 1, .backward = 2}, 8); }},
    {"drawn_zero_bubble_h1_4x8",
     [] { return drawn(zero_bubble_h1(4, 8), {.forward = 1, .backward_input = 1, .backward_weight = 1}); }},
    {"drawn_zero_bubble_h2_4x8",
     [] { return drawn(zero_bubble_h2(4, 8), {.forward = 1, .backward_input = 1, .backward_weight = 1}, 2); }},
};

bool asked_to_write() {
  auto const& suite = boost::unit_test::framework::master_test_suite();
  return suite.argc > 1 && std::string(suite.argv[1]) == "write-goldens";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedule_goldens)

// tests/golden/schedules/README.md says how the files are written and what they were checked against.
BOOST_AUTO_TEST_CASE(every_schedule_and_drawing_is_its_golden_file) {
  for (Golden const& g : goldens) {
    if (asked_to_write()) write_file_atomically(golden_path(g.name), g.text());
    BOOST_TEST(g.text() == golden(g.name), g.name);
  }
}

BOOST_AUTO_TEST_CASE(golden_tables_are_parsed_back) {
  for (Golden const& g : goldens)
    if (!std::string(g.name).starts_with("drawn"))
      BOOST_TEST(to_string(parse_schedule(golden(g.name))) == golden(g.name), g.name);
}

BOOST_AUTO_TEST_SUITE_END()
