#include "io/checkpoint.hpp"

#include "core/text.hpp"
#include "io/boxes.hpp"

namespace selenite {
namespace {

constexpr char const* table_title = "selenite piece table 1";

std::string list(Shape const& shape) {
  std::string text;
  for (int d = 0; d < shape.rank(); ++d) text += concat(d ? "," : "", shape[d]);
  return text;
}

Shape parse_list(std::string_view text) {
  auto const numbers = split(text, ',');
  validate(!numbers.empty() && numbers.size() <= 4, "A piece table has a shape of ", numbers.size(), " dimensions.");
  Shape const shapes[] = {{0}, {0, 0}, {0, 0, 0}, {0, 0, 0, 0}};
  Shape shape = shapes[numbers.size() - 1];
  for (int d = 0; d < shape.rank(); ++d)
    shape[d] = parse_integer(numbers[static_cast<std::size_t>(d)], "an extent of a piece table");
  return shape;
}

bool good_name(std::string_view name) {
  if (name.empty() || name == ".") return false;
  for (char const c : name)
    if (c == '/' || static_cast<unsigned char>(c) < 0x20) return false;
  return true;
}

}  // namespace

std::vector<CheckpointPiece> pieces_of_run(CheckpointPiece const& part, std::int64_t first, Tensor const& flat) {
  std::vector<CheckpointPiece> pieces;
  std::int64_t done = 0;
  for (Box const& box : boxes_of_run(part.box, first, flat.count())) {
    std::byte* const data = flat.raw() ? flat.raw() + done * size_of(flat.dtype()) : nullptr;
    pieces.push_back({part.kind, part.name, part.shape, box, Tensor(data, flat.dtype(), box.count, flat.device())});
    done += box.count.count();
  }
  return pieces;
}

void check_piece(CheckpointPiece const& piece) {
  validate(good_name(piece.kind) && good_name(piece.name), "A checkpoint cannot hold a tensor named \"", piece.kind,
           "/", piece.name, "\" (names are not empty, without slashes and control characters).");
  validate(piece.shape.rank() >= 1 && contains(whole(piece.shape), piece.box), "The box at ",
           to_string(piece.box.begin), " of ", to_string(piece.box.count), " is not inside of ", piece.name,
           ", whose shape is ", to_string(piece.shape), ".");
  validate(piece.data.shape() == piece.box.count, "The data of ", piece.name, " have the shape ",
           to_string(piece.data.shape()), ", its box ", to_string(piece.box.count), ".");
}

std::string shard_name(int writer) { return concat("shard-", writer, ".h5"); }

std::vector<std::string> dataset_names(std::span<CheckpointPiece const> pieces) {
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (CheckpointPiece const& piece : pieces) {
    std::string const base = concat("/", piece.kind, "/", piece.name, ".");
    names.push_back(piece.box.count.count() == 0 ? std::string() : concat(base, seen[base]++));
  }
  return names;
}

std::string piece_table(std::span<CheckpointPiece const> pieces, int writer) {
  std::string text = concat(table_title, "\t", writer, "\n");
  for (CheckpointPiece const& p : pieces) {
    check_piece(p);
    text += concat(p.kind, "\t", p.name, "\t", name(p.data.dtype()), "\t", list(p.shape), "\t", list(p.box.begin), "\t",
                   list(p.box.count), "\n");
  }
  return text;
}

PieceTable parse_piece_table(std::string const& text) {
  PieceTable table;
  bool title = true;
  for (std::string const& line : split(text, '\n')) {
    if (line.empty()) continue;
    auto const words = split(line, '\t');
    if (title) {
      validate(words.size() == 2 && words[0] == table_title, "A piece table begins with \"", line.substr(0, 40), "\".");
      table.writer = static_cast<int>(parse_integer(words[1], "the writer of a piece table"));
      title = false;
      continue;
    }
    validate(words.size() == 6, "A line of a piece table has ", words.size(), " columns instead of 6.");
    Shape const count = parse_list(words[5]);
    table.pieces.push_back({words[0],
                            words[1],
                            parse_list(words[3]),
                            {parse_list(words[4]), count},
                            Tensor(nullptr, parse_dtype(words[2]), count)});
    check_piece(table.pieces.back());
  }
  validate(!title, "A piece table is empty.");
  return table;
}

}  // namespace selenite
