#include "schedule/draw.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

namespace {

/// The shortest pass that takes time; if none does, the whole step, or a second for a step without time.
double unit_of(Schedule const& schedule, Played const& played) {
  double unit = std::numeric_limits<double>::infinity();
  for (std::size_t r = 0; r < schedule.rows.size(); ++r)
    for (std::size_t i = 0; i < schedule.rows[r].size(); ++i) {
      Span const span = played.spans[r][i];
      if (is_pass(schedule.rows[r][i].what) && span.end > span.start) unit = std::min(unit, span.end - span.start);
    }
  return std::isfinite(unit) ? unit : played.seconds > 0 ? played.seconds : 1;
}

std::string label(Schedule const& schedule, Action a) {
  if (schedule.chunks > 1 || !is_pass(a.what)) return to_string(a);
  return concat(static_cast<char>(a.what), *a.micro);
}

struct Drawn {
  What what;
  char const* name;
  std::array<int, 3> colour;  ///< red, green, blue
};
constexpr std::array<Drawn, 6> drawn{{{What::forward, "forward", {66, 113, 184}},
                                      {What::backward, "backward", {86, 156, 83}},
                                      {What::backward_input, "backward, input", {86, 156, 83}},
                                      {What::backward_weight, "backward, weights", {222, 143, 48}},
                                      {What::sync, "gradient sync", {140, 102, 173}},
                                      {What::step, "optimizer step", {120, 120, 120}}}};
Drawn const& drawn_as(What what) {
  return *std::find_if(drawn.begin(), drawn.end(), [&](Drawn const& k) { return k.what == what; });
}

/// "#rrggbb", the lighter the later the chunk.
std::string colour(Action a, std::int64_t chunks) {
  double const white = chunks > 1 ? 0.55 * static_cast<double>(*a.chunk) / static_cast<double>(chunks - 1) : 0;
  std::array<int, 3> c = drawn_as(a.what).colour;
  for (int& part : c) part = static_cast<int>(std::lround(part + (255 - part) * white));
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "#%02x%02x%02x", c[0], c[1], c[2]);
  return text.data();
}

std::string escaped(std::string const& text) {
  std::string safe;
  for (char c : text) safe += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return safe;
}

/// 1, 2 or 5 times a power of ten: the least that is at least `value`.
double round_step(double value) {
  double const power = std::pow(10, std::floor(std::log10(value)));
  for (double const times : {1, 2, 5})
    if (times * power >= value) return times * power;
  return 10 * power;
}

/// The picture, drawn part by part; lengths in pixels.
class Picture {
 public:
  Picture(Schedule const& schedule, Played const& played)
      : schedule_(schedule), played_(played), unit_(unit_of(schedule, played)) {
    // room for two digits in the shortest pass if the picture stays within a wide screen
    scale_ = std::clamp(1900 * unit_ / std::max(played.seconds, unit_), 2.0, 26.0) / unit_;
    width_ = std::max(left + played.seconds * scale_ + right, narrowest);
    below_ = top + row * static_cast<double>(schedule.rows.size());
    height_ = below_ + 76;
  }

  std::string draw(std::string const& title) const {
    std::string const body = text(left, 20, title, 14, "start", "bold") + boxes() + axis() + legend();
    return concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", std::lround(width_), "\" height=\"",
                  std::lround(height_), "\" font-family=\"Helvetica, Arial, sans-serif\">\n",
                  "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", body, "</svg>\n");
  }

 private:
  static constexpr double left = 64, right = 84, top = 34, row = 26, gap = 3;
  static constexpr double narrowest = 660;  ///< room for the legend

  static std::string number(double value) {
    std::array<char, 32> digits{};
    std::snprintf(digits.data(), digits.size(), "%.2f", value);
    return digits.data();
  }
  static std::string text(double x, double y, std::string const& words, int size, char const* anchor = "middle",
                          char const* weight = "normal", char const* fill = "#222") {
    return concat("<text x=\"", number(x), "\" y=\"", number(y), "\" font-size=\"", size, "\" text-anchor=\"", anchor,
                  "\" font-weight=\"", weight, "\" fill=\"", fill, "\">", escaped(words), "</text>\n");
  }
  static std::string box(double x, double y, double width, double height, std::string const& fill) {
    // a white edge would wash out the colour of a narrow box
    char const* const edge = width < 5 ? "" : " stroke=\"white\" stroke-width=\"0.6\"";
    return concat("<rect x=\"", number(x), "\" y=\"", number(y), "\" width=\"", number(width), "\" height=\"",
                  number(height), "\" fill=\"", fill, "\"", edge, "/>\n");
  }
  double x_of(double seconds) const { return left + seconds * scale_; }

  std::string boxes() const {
    std::string out = text(x_of(played_.seconds) + right - 8, top - 6, "idle", 11, "end");
    for (std::size_t r = 0; r < schedule_.rows.size(); ++r) {
      double const y = top + row * static_cast<double>(r);
      out += text(left - 8, y + row / 2 + 3, concat("stage ", r), 11, "end");
      out += box(left, y + gap / 2, played_.seconds * scale_, row - gap, "#eeeeee");
      for (std::size_t i = 0; i < schedule_.rows[r].size(); ++i)
        out += action(schedule_.rows[r][i], played_.spans[r][i], y);
      double const idle = played_.seconds > 0 ? 1 - played_.busy[r] / played_.seconds : 0;
      out += text(x_of(played_.seconds) + right - 8, y + row / 2 + 3, concat(number(100 * idle), " %"), 11, "end");
    }
    return out;
  }
  std::string action(Action a, Span span, double y) const {
    double const width = (span.end - span.start) * scale_;
    if (width <= 0) return "";
    std::string out = box(x_of(span.start), y + gap / 2, width, row - gap, colour(a, schedule_.chunks));
    std::string const words = is_pass(a.what) ? std::to_string(*a.micro) : to_string(a);
    bool const light = schedule_.chunks > 1 && 2 * *a.chunk >= schedule_.chunks;
    if (width >= 5.6 * static_cast<double>(words.size()) + 2)
      out += text(x_of((span.start + span.end) / 2), y + row / 2 + 3, words, 10, "middle", "normal",
                  light ? "#222" : "white");
    return out;
  }
  std::string axis() const {
    double const step = round_step(70 / scale_ / unit_), y = below_ + 4;
    std::string out = concat("<path d=\"M", number(left), " ", number(y), " H", number(x_of(played_.seconds)));
    std::string numbers;
    for (double t = 0; t * unit_ <= played_.seconds * (1 + 1e-9); t += step) {
      out += concat(" M", number(x_of(t * unit_)), " ", number(y), " v5");
      numbers += text(x_of(t * unit_), y + 17, concat(t), 11);
    }
    return out + "\" stroke=\"#222\" fill=\"none\"/>\n" + numbers +
           text(left, y + 34, concat("time, in units of the shortest pass (", format_duration(unit_), ")"), 11,
                "start");
  }
  std::string legend() const {
    std::string out;
    double x = left;
    double const y = height_ - 24;
    auto entry = [&](Action a, std::string const& name) {
      out += box(x, y, 14, 14, colour(a, schedule_.chunks)) + text(x + 18, y + 11, name, 11, "start");
      x += 34 + 6.2 * static_cast<double>(name.size());
    };
    for (Drawn const& kind : drawn) {
      bool const used = std::any_of(schedule_.rows.begin(), schedule_.rows.end(), [&](auto const& cells) {
        return std::any_of(cells.begin(), cells.end(), [&](Action a) { return a.what == kind.what; });
      });
      if (used) entry({kind.what, Chunk(0), Micro(0)}, kind.name);
    }
    if (schedule_.chunks > 1)
      out += text(x, y + 11, concat("chunks 0 to ", schedule_.chunks - 1, ": dark to light"), 11, "start");
    return out;
  }

  Schedule const& schedule_;
  Played const& played_;
  double unit_, scale_ = 1, width_ = 0, below_ = 0, height_ = 0;
};

}  // namespace

std::string draw(Schedule const& schedule, Played const& played) {
  double const unit = unit_of(schedule, played);
  std::size_t width = 1;
  for (auto const& row : schedule.rows)
    for (Action a : row) width = std::max(width, label(schedule, a).size() + 1);
  auto column = [&](double seconds) {
    return static_cast<std::size_t>(std::lround(seconds / unit * static_cast<double>(width)));
  };
  std::size_t const stage_digits = std::to_string(schedule.rows.size() - 1).size();
  std::string text;
  for (std::size_t r = 0; r < schedule.rows.size(); ++r) {
    std::string line(column(played.seconds), ' ');
    for (std::size_t i = 0; i < line.size(); i += width) line[i] = '.';
    for (std::size_t i = 0; i < schedule.rows[r].size(); ++i) {
      std::size_t const begin = column(played.spans[r][i].start), end = column(played.spans[r][i].end);
      if (begin == end) continue;
      std::string cell = label(schedule, schedule.rows[r][i]).substr(0, end - begin);
      if (cell.size() + 1 < end - begin) cell.resize(end - begin - 1, '-');
      cell.resize(end - begin, ' ');
      line.replace(begin, cell.size(), cell);
    }
    std::string const number = std::to_string(r);
    text += "stage " + std::string(stage_digits - number.size(), ' ') + number + "  " + line + "\n";
  }
  return text;
}

std::string draw_svg(Schedule const& schedule, Played const& played, std::string const& title) {
  return Picture(schedule, played).draw(title);
}

}  // namespace selenite
