#include "core/error.hpp"

#include <algorithm>
#include <vector>

namespace selenite {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t const above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

void contract_failed(char const* expression, char const* file, int line) {
  throw std::logic_error(concat("Contract broken: ", expression, " (", file, ":", line,
                                "). This is a defect of Selenite; please report it."));
}

}  // namespace selenite
