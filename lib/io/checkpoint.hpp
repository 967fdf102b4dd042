#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/param.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// A part of one logical tensor of a checkpoint: what it is, which box of it, and the memory that holds (or receives)
/// it. Checkpoints know boxes of named tensors only: no model, no layout, no ranks. So any layout loads any checkpoint.
struct CheckpointPiece {
  std::string kind;  ///< "weight" (master weights where there are such), "m", "v": the moments of AdamW; "amax"
  std::string name;  ///< global, as in the Param table
  Shape shape;       ///< global
  Box box;           ///< the part held here
  Tensor data;       ///< [box.count], rows may be strided; its dtype is the file's
};

/// The pieces of a run of a flat buffer: `flat` [n] holds elements [first, first + n) of the packed box of `part`
/// (whose data is not used). Where the run begins and ends mid-row there are up to three for a matrix.
std::vector<CheckpointPiece> pieces_of_run(CheckpointPiece const& part, std::int64_t first, Tensor const& flat);

struct CheckpointHeader {
  static constexpr std::int64_t current_format = 1;
  std::int64_t format = current_format;
  std::int64_t step = 0, consumed_samples = 0;
  std::string config;                       ///< the resolved config of the run, as TOML
  std::map<std::string, std::string> info;  ///< versions of program and libraries, layout, whatever else resuming needs
};

/// What one writer puts into its shard, as text: the caller moves it to the rank that commits. A pure function of the
/// pieces; their data may be null. Throws Error if a piece makes no sense.
std::string piece_table(std::span<CheckpointPiece const> pieces, int writer);

/// The same read back; the data of the pieces are null.
struct PieceTable {
  int writer = 0;
  std::vector<CheckpointPiece> pieces;
};
PieceTable parse_piece_table(std::string const& text);

/// "shard-3.h5"
std::string shard_name(int writer);
/// The dataset of each piece in its shard: "/weight/<name>.0", .1 where a writer holds several boxes of one tensor.
/// Beside each lies "<dataset>.xxh3", one checksum a chunk. Empty boxes have none: "".
std::vector<std::string> dataset_names(std::span<CheckpointPiece const> pieces);
constexpr char const* checksum_suffix = ".xxh3";

/// Throws Error if a piece makes no sense: a bad name, a box outside of the tensor, data of another shape.
void check_piece(CheckpointPiece const& piece);

}  // namespace selenite
