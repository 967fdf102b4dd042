#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "core/files.hpp"
#include "io/hdf5.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

BOOST_AUTO_TEST_SUITE(checkpoint)

namespace {

std::string message_of(auto&& job) {
  try {
    job();
  } catch (Error const& error) {
    return error.what();
  }
  return "";
}

void read_back(IoThread& io, std::filesystem::path const& folder, std::vector<Known> const& tensors) {
  CheckpointReader reader(io, folder);
  for (Known const& tensor : tensors) {
    OwnedPiece piece(tensor, whole(tensor.shape));
    reader.read(piece.piece);
    BOOST_TEST(mismatches(piece, tensor) == 0, tensor.name);
  }
}

/// Cuts a box in two at random until there are `parts`.
std::vector<Box> random_tiling(Shape const& shape, int parts, std::mt19937& random) {
  std::vector<Box> boxes{whole(shape)};
  for (int tries = 0; tries < 100 && static_cast<int>(boxes.size()) < parts; ++tries) {
    std::size_t const i = random() % boxes.size();
    int const d = static_cast<int>(random() % static_cast<unsigned>(shape.rank()));
    if (boxes[i].count[d] < 2) continue;
    std::int64_t const at = 1 + static_cast<std::int64_t>(random()) % (boxes[i].count[d] - 1);
    Box rest = boxes[i];
    rest.begin[d] += at, rest.count[d] -= at;
    boxes[i].count[d] = at;
    boxes.push_back(rest);
  }
  return boxes;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_dtype_comes_back_and_the_header_too) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> tensors;
  std::uint64_t seed = 0;
  for (DType dtype :
       {DType::fp64, DType::fp32, DType::bf16, DType::fp16, DType::int64, DType::int32, DType::uint16, DType::uint8})
    tensors.push_back({"weight", "t." + std::string(name(dtype)), dtype, {7, 5}, ++seed});
  tensors.push_back({"m", "vector", DType::fp32, {19}, 20});
  tensors.push_back({"v", "cube", DType::fp32, {3, 4, 5}, 21});
  tensors.push_back({"v", "four", DType::bf16, {5, 2, 3, 4}, 22});
  auto const folder = save_known(io, root.path(), tensors, 100, 3);
  BOOST_TEST(folder.filename() == "step-00000100");
  read_back(io, folder, tensors);
  CheckpointReader reader(io, folder);
  BOOST_TEST(reader.header().step == 100);
  BOOST_TEST(reader.header().consumed_samples == 800);
  BOOST_TEST(reader.header().config == "[model]\nlayers = 2\n");
  BOOST_TEST(reader.header().info.at("layout") == "data 4");
  BOOST_TEST(reader.header().info.at("empty") == "");
  BOOST_TEST(reader.names("weight").size() == 8u);
  BOOST_TEST(reader.names("nothing").empty());
  BOOST_TEST((reader.find("v", "cube")->shape == Shape{3, 4, 5}));
  BOOST_TEST(!reader.find("v", "sphere"));
  reader.check_bytes();
}

BOOST_AUTO_TEST_CASE(big_tensors_have_several_chunks) {
  TemporaryFolder const root;
  IoThread io;
  // more than a chunk of rows; rows longer than a chunk; a long vector
  std::vector<Known> const tensors{{"weight", "tall", DType::fp32, {3001, 700}, 1},
                                   {"weight", "wide", DType::fp32, {3, 1500000}, 2},
                                   {"weight", "long", DType::bf16, {5000001}, 3}};
  read_back(io, save_known(io, root.path(), tensors, 1, 2), tensors);
}

BOOST_AUTO_TEST_CASE(boxes_written_by_four_are_read_as_other_boxes) {
  std::mt19937 random(7);
  for (int draw = 0; draw < 25; ++draw) {
    TemporaryFolder const root;
    IoThread io;
    int const writers = 1 + static_cast<int>(random() % 4);
    std::vector<Known> tensors;
    for (int t = 0; t < 4; ++t) {
      auto const extent = [&] { return static_cast<std::int64_t>(1 + random() % 40); };
      DType const dtype = std::array{DType::fp32, DType::bf16, DType::fp64}[random() % 3];
      Shape const shape = t == 0   ? Shape{extent()}
                          : t == 1 ? Shape{extent(), extent()}
                          : t == 2 ? Shape{extent(), extent(), extent()}
                                   : Shape{extent() * 40, extent() * 30};
      tensors.push_back({t == 1 ? "m" : "weight", concat("layer.", t), dtype, shape, random()});
    }
    std::vector<std::vector<OwnedPiece>> owned(static_cast<std::size_t>(writers));
    for (Known const& tensor : tensors)
      for (Box const& box : random_tiling(tensor.shape, 6, random)) {
        auto& mine = owned[random() % owned.size()];
        mine.emplace_back(tensor, box, tensor.shape.rank() == 2 ? static_cast<std::int64_t>(random() % 3) : 0);
        fill(mine.back(), tensor);
      }
    std::vector<std::string> tables;
    for (int w = 0; w < writers; ++w) {
      std::vector<CheckpointPiece> pieces;
      for (auto const& o : owned[static_cast<std::size_t>(w)]) pieces.push_back(o.piece);
      CheckpointWriter writer(io, staging_bytes(pieces));
      writer.start(partial_folder(root.path(), draw), draw, pieces, w);
      writer.wait();
      tables.push_back(piece_table(pieces, w));
    }
    CheckpointHeader header;
    header.step = draw;
    CheckpointReader reader(io, commit_checkpoint(io, root.path(), header, tables, 0));
    for (Known const& tensor : tensors)
      for (Box const& box : random_tiling(tensor.shape, 5, random)) {
        OwnedPiece piece(tensor, box, tensor.shape.rank() == 2 ? 2 : 0);
        reader.read(piece.piece);
        BOOST_TEST(mismatches(piece, tensor) == 0, concat("draw ", draw, " ", tensor.name));
      }
  }
}

BOOST_AUTO_TEST_CASE(flat_shards_of_an_optimizer) {
  TemporaryFolder const root;
  IoThread io;
  Known const tensor{"m", "matrix", DType::fp32, {50, 33}, 5};
  Box const local{{10, 3}, {30, 21}};  // what a tensor rank holds of it
  std::vector<float> flat(static_cast<std::size_t>(local.count.count()));
  for (std::size_t i = 0; i < flat.size(); ++i)
    flat[i] =
        static_cast<float>(known_value(tensor, global_element(local, tensor.shape, static_cast<std::int64_t>(i))));
  auto const run = [&](std::vector<float>& memory, std::int64_t first, std::int64_t last) {
    return pieces_of_run({"m", "matrix", {30, 21}, whole({30, 21}), {}}, first,
                         Tensor::of(memory.data() + first, {last - first}));
  };
  // three data ranks, cut mid-row
  std::vector<std::string> tables;
  std::int64_t const cuts[] = {0, 100, 517, 630};
  for (int w = 0; w < 3; ++w) {
    auto const pieces = run(flat, cuts[w], cuts[w + 1]);
    BOOST_TEST(pieces.size() <= 3u);
    CheckpointWriter writer(io, staging_bytes(pieces));
    writer.start(partial_folder(root.path(), 3), 3, pieces, w);
    writer.wait();
    tables.push_back(piece_table(pieces, w));
  }
  CheckpointHeader header;
  header.step = 3;
  CheckpointReader reader(io, commit_checkpoint(io, root.path(), header, tables, 0));
  std::vector<float> back(flat.size());  // two data ranks
  reader.read(run(back, 0, 333));
  reader.read(run(back, 333, 630));
  BOOST_TEST(back == flat, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_run_of_an_expert_cube_is_a_few_boxes) {
  Box const cube = whole({4, 5, 6});
  for (std::int64_t first = 0; first < 120; first += 7)
    for (std::int64_t count = 1; first + count <= 120; ++count) {
      auto const boxes = boxes_of_run(cube, first, count);
      BOOST_TEST(boxes.size() <= 5u);
      std::int64_t next = first;
      for (Box const& box : boxes)
        for (std::int64_t i = 0; i < box.count.count(); ++i) BOOST_REQUIRE(global_element(box, {4, 5, 6}, i) == next++);
      BOOST_TEST(next == first + count);
    }
}

BOOST_AUTO_TEST_CASE(floats_are_converted_on_request) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> const tensors{{"weight", "a", DType::fp32, {9, 11}, 1}, {"weight", "i", DType::int32, {9}, 2}};
  CheckpointReader reader(io, save_known(io, root.path(), tensors, 1, 2));
  for (DType as : {DType::bf16, DType::fp16, DType::fp64, DType::fp32}) {
    OwnedPiece piece(tensors[0], {{2, 1}, {5, 7}}, 3, as, true);
    reader.read(piece.piece);
    BOOST_TEST(mismatches(piece, tensors[0]) == 0, name(as));
  }
  OwnedPiece piece(tensors[1], whole({9}), 0, DType::fp32, true);
  BOOST_TEST(message_of([&] { reader.read(piece.piece); }).find("cannot be read as fp32") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_not_finite_is_not_written) {
  TemporaryFolder const root;
  IoThread io;
  double const infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  Known const known{"weight", "a", DType::fp32, {9, 11}, 1};
  for (DType dtype : {DType::fp64, DType::fp32, DType::bf16, DType::fp16, DType::int32})
    for (double value : {infinity, -infinity, nan, dtype == DType::fp16 ? 65504 : 1e38, 1e-40}) {
      bool const good = std::isfinite(value) || dtype == DType::int32;
      OwnedPiece piece({"weight", "a", dtype, {9, 11}, 1}, whole({9, 11}));
      fill(piece, known);
      if (dtype != DType::int32) store(piece.piece.data, 8, 10, value);
      std::vector<CheckpointPiece> const pieces{piece.piece};
      CheckpointWriter writer(io, staging_bytes(pieces));
      writer.start(partial_folder(root.path(), 7), 7, pieces, 0);
      std::string const said = message_of([&] { writer.wait(); });
      BOOST_TEST(said.empty() == good, name(dtype) << " " << value << ": " << said);
      if (!good) BOOST_TEST(said.find("step 7 is not saved (weight of a is not finite") != std::string::npos, said);
      BOOST_TEST(std::filesystem::exists(partial_folder(root.path(), 7)) == good);
      discard_partial(root.path(), 7);
    }
}

BOOST_AUTO_TEST_CASE(what_is_missing_or_other_is_said) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> const tensors{{"weight", "a", DType::fp32, {9, 11}, 1}};
  auto const folder = save_known(io, root.path(), tensors, 1, 2);
  auto const error_of = [&](Known const& asked) {
    return message_of([&] {
      OwnedPiece const piece(asked, whole(asked.shape));
      CheckpointReader(io, folder).read(piece.piece);
    });
  };
  BOOST_TEST(error_of({"weight", "b", DType::fp32, {9, 11}}).find("holds no weight/b") != std::string::npos);
  BOOST_TEST(error_of({"m", "a", DType::fp32, {9, 11}}).find("holds no m/a") != std::string::npos);
  BOOST_TEST(error_of({"weight", "a", DType::fp32, {9, 12}}).find("[9, 11]") != std::string::npos);
  std::filesystem::rename(folder / "shard-1.h5", folder / "gone");
  BOOST_TEST(error_of(tensors[0]).find("shard-1.h5 is missing") != std::string::npos);
  std::filesystem::copy(folder / "shard-0.h5", folder / "shard-1.h5");
  BOOST_TEST(error_of(tensors[0]).find("shard-1.h5") != std::string::npos);
  std::filesystem::remove(folder / "index.h5");
  BOOST_TEST(error_of(tensors[0]).find("no index.h5") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(writers_must_tile_every_tensor) {
  IoThread io;
  TemporaryFolder const root;
  auto const table = [](std::int64_t begin, std::int64_t count, int writer, DType dtype = DType::fp32) {
    std::vector<CheckpointPiece> const pieces{
        {"weight", "a", {10}, {{begin}, {count}}, Tensor(nullptr, dtype, {count})}};
    return piece_table(pieces, writer);
  };
  auto const error_of = [](std::vector<std::string> const& texts) {
    std::vector<PieceTable> tables;
    for (auto const& text : texts) tables.push_back(parse_piece_table(text));
    return message_of([&] { join_tables(tables); });
  };
  BOOST_TEST(error_of({table(0, 4, 0), table(4, 6, 1)}) == "");
  BOOST_TEST(error_of({table(0, 4, 0), table(5, 5, 1)}).find("9 of the 10") != std::string::npos);
  BOOST_TEST(error_of({table(0, 5, 0), table(4, 6, 1)}).find("same part") != std::string::npos);
  BOOST_TEST(error_of({table(0, 5, 0), table(5, 5, 1, DType::bf16)}).find("disagree") != std::string::npos);
  // a commit that fails leaves nothing behind
  std::vector<std::string> const tables{table(0, 10, 0)};
  CheckpointHeader header;
  header.step = 5;
  BOOST_TEST(message_of([&] { commit_checkpoint(io, root.path(), header, tables, 0); }).find("shard-0.h5") !=
             std::string::npos);
  BOOST_TEST(std::filesystem::is_empty(root.path()));
}

BOOST_AUTO_TEST_CASE(the_newest_whole_one_is_found_and_old_ones_go) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> const tensors{{"weight", "a", DType::fp32, {9, 11}, 1}};
  BOOST_TEST(!newest_checkpoint(io, root / "nowhere").found);
  for (int step : {10, 20, 30}) save_known(io, root.path(), tensors, step, 2, 2);
  BOOST_TEST(list_checkpoints(root.path()).size() == 2u);
  BOOST_TEST(newest_checkpoint(io, root.path()).found->step == 30);
  // broken and half-written ones are passed over, and never removed in place of whole ones
  std::filesystem::resize_file(root.path() / "step-00000030" / "shard-1.h5", 100);
  std::filesystem::create_directory(root / "step-00000040");
  std::filesystem::create_directory(root / "step-00000050.partial");
  auto const newest = newest_checkpoint(io, root.path());
  BOOST_TEST(newest.found->step == 20);
  BOOST_REQUIRE(newest.skipped.size() == 2u);
  BOOST_TEST(newest.skipped[0].find("no index.h5") != std::string::npos);
  BOOST_TEST(newest.skipped[1].find("has 100 bytes") != std::string::npos);
  save_known(io, root.path(), tensors, 25, 1, 2);
  BOOST_TEST(newest_checkpoint(io, root.path()).found->step == 25);
  BOOST_TEST(std::filesystem::exists(root / "step-00000020"));
  discard_leftovers(root.path());
  BOOST_TEST(!std::filesystem::exists(root / "step-00000050.partial"));
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_listed_is_not_empty) {
  TemporaryFolder const root;
  IoThread io;
  BOOST_TEST(list_checkpoints(root / "missing").empty());
  std::filesystem::create_symlink("loop", root / "loop");
  write_file_atomically(root / "file", "");
  for (char const* name : {"loop", "file"}) {
    BOOST_TEST(message_of([&] { list_checkpoints(root / name); }).find("can't be listed (") != std::string::npos);
    BOOST_TEST(message_of([&] { newest_checkpoint(io, root / name); }).find("can't be listed (") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_the_same_step_is_replaced) {
  TemporaryFolder const root;
  IoThread io;
  std::vector<Known> tensors{{"weight", "a", DType::fp32, {9, 11}, 1}};
  save_known(io, root.path(), tensors, 10, 4);
  tensors[0].seed = 2;
  // left over from a killed save by more writers
  std::filesystem::create_directory(partial_folder(root.path(), 10));
  write_file_atomically(partial_folder(root.path(), 10) / "shard-3.h5", "rubbish");
  auto const folder = save_known(io, root.path(), tensors, 10, 2);
  read_back(io, folder, tensors);
  BOOST_TEST(!std::filesystem::exists(folder / "shard-3.h5"));
  BOOST_TEST(!std::filesystem::exists(partial_folder(root.path(), 10)));
}

BOOST_AUTO_TEST_SUITE_END()
