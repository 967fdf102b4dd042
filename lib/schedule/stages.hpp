#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace selenite {

/// Layers of each part (virtual stage), as equal as can be; the first layers % parts parts have one more.
std::vector<std::int64_t> even_split(std::int64_t layers, std::int64_t parts);
/// Layers of each part from the text of layout.stages, such as "2,3,3,2"; throws Error unless it has `parts` counts,
/// none negative, that add up to `layers`.
std::vector<std::int64_t> parse_stages(std::string_view text, std::int64_t parts, std::int64_t layers);
/// The text that parse_stages reads back.
std::string stages_text(std::vector<std::int64_t> const& counts);
/// Layers of each part, so that the slowest part is as fast as can be. Each layer takes layer_seconds, the first part
/// first_extra (embedding) and the last part last_extra (head and loss) more. Every part has a layer where there are
/// enough of them.
std::vector<std::int64_t> balanced_split(std::vector<double> const& layer_seconds, double first_extra,
                                         double last_extra, std::int64_t parts);

}  // namespace selenite
