#include "schedule/draw.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <vector>

#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {

/// Tags of an XML text and how often they come; fails unless every tag is closed in turn, attributes are quoted, and
/// the characters between tags are escaped.
std::map<std::string, int> checked_tags(std::string const& xml) {
  std::map<std::string, int> count;
  std::vector<std::string> open;
  for (std::size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') BOOST_TEST_REQUIRE(xml.find(';', at) - at < 6);
    BOOST_TEST_REQUIRE(xml[at] != '>');
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    std::size_t const end = xml.find('>', at);
    BOOST_TEST_REQUIRE(end != std::string::npos);
    std::string const tag = xml.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.starts_with("?")) continue;
    BOOST_TEST_REQUIRE(std::count(tag.begin(), tag.end(), '"') % 2 == 0);
    BOOST_TEST_REQUIRE(std::count(tag.begin(), tag.end(), '"') == 2 * std::count(tag.begin(), tag.end(), '='));
    if (tag.starts_with("/")) {
      BOOST_TEST_REQUIRE((!open.empty() && open.back() == tag.substr(1)));
      open.pop_back();
      continue;
    }
    std::string const name = tag.substr(0, tag.find_first_of(" /"));
    ++count[name];
    if (!tag.ends_with("/")) open.push_back(name);
  }
  BOOST_TEST_REQUIRE(open.empty());
  return count;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(schedule_drawings)

BOOST_AUTO_TEST_CASE(svg_is_well_formed_and_has_a_box_an_action) {
  for (Schedule const& s : {one_f_one_b(1, 1), one_f_one_b(4, 8), interleaved(4, 3, 8, 4), zero_bubble_h2(4, 9),
                            forward_only(3, 2, 5), one_f_one_b(64, 128)}) {
    Played const played = timeline(s, same_seconds(s, {1, 2, 1, 1}, 0.5, 0.25));
    std::string const svg = draw_svg(s, played, "a < b & \"c\" > d");
    auto tags = checked_tags(svg);
    std::size_t actions = 0, kinds = 0;
    std::map<What, bool> seen;
    for (auto const& row : s.rows)
      for (Action a : row) ++actions, kinds += !seen[a.what], seen[a.what] = true;
    // one for the page, one a stage, one an action, one a kind in the legend
    BOOST_TEST(tags["rect"] == static_cast<int>(1 + s.rows.size() + actions + kinds));
    BOOST_TEST(tags["svg"] == 1);
    BOOST_TEST(contains(svg, "a &lt; b &amp;"));
  }
}

BOOST_AUTO_TEST_CASE(svg_of_no_time_at_all) {
  Schedule const s = one_f_one_b(2, 2);
  checked_tags(draw_svg(s, timeline(s, same_seconds(s, {}))));
  BOOST_TEST(draw(s, timeline(s, same_seconds(s, {}))) == "stage 0  \nstage 1  \n");
}

// Each column that is one pass wide is what the played spans say.
BOOST_AUTO_TEST_CASE(text_shows_each_span_where_it_is) {
  Schedule const s = one_f_one_b(3, 4);
  Played const played = timeline(s, same_seconds(s, {.forward = 1, .backward = 2}));
  std::vector<std::string> lines;
  std::string const text = draw(s, played);
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    lines.push_back(text.substr(at, text.find('\n', at) - at));
  BOOST_TEST_REQUIRE(lines.size() == 3);
  for (std::size_t r = 0; r < 3; ++r) {
    std::size_t const label = std::string("stage 0  ").size();
    BOOST_TEST(lines[r].size() == label + 3 * static_cast<std::size_t>(played.seconds));
    for (std::size_t i = 0; i < s.rows[r].size(); ++i) {
      Action const a = s.rows[r][i];
      if (!is_pass(a.what)) continue;
      std::string const cell = concat(static_cast<char>(a.what), *a.micro);
      BOOST_TEST(lines[r].substr(label + 3 * static_cast<std::size_t>(played.spans[r][i].start), 2) == cell);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
