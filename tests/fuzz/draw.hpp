#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace selenite::test {

/// A training drawn from a seed, as `--set` texts: what makes the training, and how it is laid out.
struct Draw {
  std::vector<std::string> training, layout;
  std::int64_t world = 1;
  std::string text() const;  ///< on one line, as --config takes it
};
/// The same seed gives the same draw. Layouts have 2 to `most_ranks` ranks; what resolve() refuses is drawn again.
Draw draw(std::uint64_t seed, std::int64_t most_ranks);
/// The same training under another layout.
Draw draw_layout(Draw const& training, std::uint64_t seed, std::int64_t most_ranks);
/// Reads what Draw::text wrote; a second layout, behind another "|", is `other`'s.
Draw parse_draw(std::string const& text, Draw* other = nullptr);

}  // namespace selenite::test
