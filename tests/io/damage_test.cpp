#include <boost/test/unit_test.hpp>
#include <fstream>

#include "child.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<Known> const& tensors() {
  static std::vector<Known> const list{{"weight", "a", DType::fp32, {9, 11}, 1},
                                       {"weight", "several.chunks", DType::bf16, {1200, 3000}, 2},
                                       {"m", "a", DType::fp32, {9, 11}, 3},
                                       {"v", "vector", DType::fp64, {300}, 4}};
  return list;
}

/// 0: all is as it was written. 1: a clear error. 2: something wrong was taken for right.
int load_all(std::filesystem::path const& folder) {
  std::string error;
  try {
    IoThread io;
    CheckpointReader reader(io, folder);
    if (reader.header().step != 100 || reader.header().consumed_samples != 800 ||
        reader.header().info.at("layout") != "data 4" || reader.header().config != "[model]\nlayers = 2\n")
      return 2;
    for (Known const& tensor : tensors()) {
      OwnedPiece piece(tensor, whole(tensor.shape));
      reader.read(piece.piece);
      if (mismatches(piece, tensor) != 0) return 2;
    }
    return 0;
  } catch (Error const& e) {
    error = e.what();
  }
  return error.find(folder.string()) != std::string::npos ? 1 : 2;  // the error names the checkpoint
}

std::string content(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A byte of a file, more often one that says something than one of the zeros between.
std::size_t place(std::string const& bytes, std::mt19937& random) {
  std::size_t at = random() % bytes.size();
  for (int tries = 0; tries < 1000 && bytes[at] == 0 && random() % 16; ++tries) at = random() % bytes.size();
  return at;
}

/// Damages the bytes of a file in one of the ways in which disks and copies do.
std::string damaged(std::string bytes, std::mt19937& random) {
  std::size_t const at = place(bytes, random);
  switch (random() % 6) {
    case 0:
      bytes.resize(at);
      break;
    case 1:
      bytes.append(1 + random() % 100, static_cast<char>(random()));
      break;
    case 2:
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min<std::size_t>(bytes.size() - at, random() % 4096), '\0');
      break;
    case 3:
      for (int i = 0; i < 8; ++i) bytes[place(bytes, random)] ^= static_cast<char>(1 + random() % 255);
      break;
    default:
      bytes[at] ^= static_cast<char>(1u << random() % 8);
      break;  // one flipped bit
  }
  return bytes;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(damage)

BOOST_AUTO_TEST_CASE(a_damaged_checkpoint_loads_right_or_says_what_is_wrong) {
  TemporaryFolder const root;
  std::filesystem::path folder;
  {
    IoThread io;
    folder = save_known(io, root.path(), tensors(), 100, 2);
  }
  std::mt19937 random(2026);
  int counts[3] = {};
  BOOST_REQUIRE(in_child(20, [&] { return load_all(folder); }) == 0);
  for (int draw = 0; draw < draws(300); ++draw) {
    auto const path = folder / (draw % 2 ? "index.h5" : draw % 4 ? "shard-0.h5" : "shard-1.h5");
    std::string const before = content(path);
    std::ofstream(path, std::ios::binary) << damaged(before, random);
    int const result = in_child(20, [&] { return load_all(folder); });
    BOOST_TEST((result == 0 || result == 1), concat("draw ", draw, " on ", path.filename().string(), " gave ", result));
    if (result >= 0 && result <= 2) ++counts[result];
    std::ofstream(path, std::ios::binary) << before;
  }
  BOOST_TEST_MESSAGE(concat(counts[0], " loaded right, ", counts[1], " were refused, ", counts[2], " were wrong"));
  BOOST_TEST(counts[1] > counts[0] / 4);  // the damage does reach what matters
  BOOST_REQUIRE(in_child(20, [&] { return load_all(folder); }) == 0);
}

BOOST_AUTO_TEST_CASE(a_kill_during_a_save_leaves_whole_checkpoints) {
  TemporaryFolder const root;
  std::mt19937 random(9);
  std::int64_t newest_step = 0;
  int saves = 0;
  for (int kill = 0; kill < draws(60); ++kill) {
    Pipe progress;
    auto const run = [&] {
      IoThread io;
      discard_leftovers(root.path());
      for (std::int64_t step = newest_step + 1;; ++step) {
        save_known(io, root.path(), {{"weight", "a", DType::fp32, {300, 1000}, static_cast<std::uint64_t>(step)}}, step,
                   2, 2);
        progress.send(step);
      }
      return 0;
    };
    Child child(run);
    std::int64_t const first = kill % 2 ? progress.receive() : 0;  // before or after the first commit
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    child.kill();
    std::int64_t const committed = std::max({newest_step, first, progress.last()});
    IoThread io;
    auto const newest = newest_checkpoint(io, root.path(), CheckDepth::bytes);
    BOOST_TEST(newest.skipped.empty(),
               concat("kill ", kill, ": ", newest.skipped.empty() ? "" : newest.skipped.front()));
    if (committed == 0 && !newest.found) continue;
    BOOST_REQUIRE(newest.found);
    BOOST_TEST(newest.found->step >= committed);
    saves += static_cast<int>(newest.found->step - newest_step);
    newest_step = newest.found->step;
    Known const expected{"weight", "a", DType::fp32, {300, 1000}, static_cast<std::uint64_t>(newest_step)};
    OwnedPiece piece(expected, whole(expected.shape));
    CheckpointReader(io, newest.found->folder).read(piece.piece);
    BOOST_TEST(mismatches(piece, expected) == 0);
    BOOST_TEST(list_checkpoints(root.path()).size() <= 3u);  // keep = 2, and one that is about to go
  }
  BOOST_TEST_MESSAGE(concat(saves, " saves were committed between the kills"));
  BOOST_TEST(saves > 10);
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_an_error_that_leaves_the_older_checkpoint) {
  TemporaryFolder const root;
  {
    IoThread io;
    save_known(io, root.path(), tensors(), 100, 2);
  }
  int const result = in_child(30, [&] {
    IoThread io;
    limit_file_size(1 << 20);  // as full as a disk that takes one more MiB
    std::string error;
    try {
      save_known(io, root.path(), tensors(), 200, 1);
    } catch (Error const& e) {
      error = e.what();
    }
    if (error.find("step-00000200.partial/shard-0.h5") == std::string::npos ||
        error.find("it needs 7.9") == std::string::npos)
      return 3;
    if (std::filesystem::exists(partial_folder(root.path(), 200))) return 4;
    if (newest_checkpoint(io, root.path(), CheckDepth::bytes).found->step != 100) return 5;
    limit_file_size(0);
    save_known(io, root.path(), tensors(), 300, 1);  // and once there is room, saving works again
    return newest_checkpoint(io, root.path(), CheckDepth::bytes).found->step == 300 ? 0 : 6;
  });
  BOOST_TEST(result == 0);
  BOOST_TEST(load_all(root / "step-00000100") == 0);
}

BOOST_AUTO_TEST_SUITE_END()
