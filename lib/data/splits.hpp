#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace selenite {

/// The three splits of a corpus, in the order in which they are cut.
enum class Split : std::uint8_t { train, valid, test };
std::string_view name(Split split);

/// Numbers of the elements (sequences, for GPT) of a split: [first, last).
struct ElementRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// Where each split begins and ends as a fraction of the corpus; none for a split of no share.
using SplitFractions = std::array<std::optional<std::array<double, 2>>, 3>;

/// Reads "969,30,1": up to three shares, which need not add up to anything. Throws Error for other text.
SplitFractions parse_split(std::string_view text);

/// The elements of a split among `elements`, its ends rounded half to even as Python's round() does.
ElementRange split_range(std::array<double, 2> fractions, std::int64_t elements);

}  // namespace selenite
