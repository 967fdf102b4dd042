#include "data/splits.hpp"

#include <charconv>
#include <cmath>

#include "core/error.hpp"

namespace selenite {

std::string_view name(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::valid:
      return "valid";
    case Split::test:
      return "test";
  }
  return "unknown";
}

SplitFractions parse_split(std::string_view text) {
  auto const fail = [&](char const* why) {
    throw Error(concat("data.split = \"", text, "\" is not understood (", why,
                       "). Give the shares of train, valid and test, as in \"969,30,1\"."));
  };
  std::array<double, 3> shares{};
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == ',' || text[at] == ' ') {
      ++at;
      continue;
    }
    if (count == shares.size()) fail("it has more than three numbers");
    auto const [end, error] =
        std::from_chars(text.data() + at, text.data() + text.size(), shares[count], std::chars_format::fixed);
    if (error != std::errc{} || !std::isfinite(shares[count])) fail("it is no list of numbers");
    if (shares[count] < 0) fail("a share is negative");
    at = static_cast<std::size_t>(end - text.data());
    ++count;
  }
  double const sum = shares[0] + shares[1] + shares[2];
  if (!(sum > 0) || !std::isfinite(sum)) fail("the shares add up to nothing");
  SplitFractions fractions;
  double first = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    double const last = first + shares[i] / sum;
    if (last > first) fractions[i] = {first, last};
    first = last;
  }
  return fractions;
}

ElementRange split_range(std::array<double, 2> fractions, std::int64_t elements) {
  auto const count = static_cast<double>(elements);
  // nearbyint rounds half to even in the default mode, which nothing in the suite changes.
  return {static_cast<std::int64_t>(std::nearbyint(fractions[0] * count)),
          static_cast<std::int64_t>(std::nearbyint(fractions[1] * count))};
}

}  // namespace selenite
