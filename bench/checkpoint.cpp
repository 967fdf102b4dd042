// Motive: a save must not cost more than the disk does. Saves the state of GPT-2 124M (fp32 master weights and both
// moments, 1.5 GB) with checksums, index, fsync and rename, and lets `dd conv=fsync` write as many bytes to the same
// folder, in turns: disks shared with others vary several-fold, only the ratio of neighbours means something.
//
//   bench_checkpoint FOLDER [ROUNDS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <spawn.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "io/boxes.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_writer.hpp"

using namespace selenite;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<std::pair<std::string, Shape>> gpt2_tensors() {
  std::vector<std::pair<std::string, Shape>> tensors{
      {"embedding", {50304, 768}}, {"positions", {1024, 768}}, {"norm.weight", {768}}, {"norm.bias", {768}}};
  for (int layer = 0; layer < 12; ++layer) {
    auto const add = [&](char const* name, Shape shape) {
      tensors.emplace_back(concat("layers.", layer, ".", name), shape);
    };
    for (char const* name : {"q", "k", "v", "out"})
      add(concat(name, ".weight").c_str(), {768, 768}), add(concat(name, ".bias").c_str(), {768});
    add("up.weight", {3072, 768}), add("up.bias", {3072}), add("down.weight", {768, 3072}), add("down.bias", {768});
    for (char const* name : {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"}) add(name, {768});
  }
  return tensors;
}

/// Seconds that dd takes to write that many bytes and sync them.
double time_dd(std::filesystem::path const& path, std::int64_t bytes) {
  std::string output = "of=" + path.string(), count = concat("count=", bytes >> 22);
  char const* const arguments[] = {"dd",          "if=/dev/zero", output.c_str(), "bs=4M",
                                   count.c_str(), "conv=fsync",   "status=none",  nullptr};
  double const start = now();
  pid_t child = 0;
  int status = -1;
  validate(posix_spawnp(&child, "dd", nullptr, nullptr, const_cast<char* const*>(arguments), environ) == 0,
           "dd cannot be run.");
  waitpid(child, &status, 0);
  validate(status == 0, "dd failed.");
  return now() - start;
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void bench(std::filesystem::path const& folder, int rounds) {
  auto const tensors = gpt2_tensors();
  std::int64_t elements = 0;
  for (auto const& [name, shape] : tensors) elements += shape.count();
  Memory memory(elements * 12);
  std::vector<CheckpointPiece> pieces;
  std::byte* next = memory.base();
  for (char const* kind : {"weight", "m", "v"})
    for (auto const& [name, shape] : tensors) {
      pieces.push_back({kind, name, shape, whole(shape), Tensor(next, DType::fp32, shape)});
      next += pieces.back().data.bytes();
    }
  parallel_for(elements * 3, 1 << 20, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      reinterpret_cast<std::uint32_t*>(memory.base())[i] = static_cast<std::uint32_t>(i * 2654435761u) >> 2;
  });
  IoThread io;
  CheckpointWriter writer(io, staging_bytes(pieces));
  double const megabytes = static_cast<double>(elements) * 12e-6;
  std::printf("%.0f MB in %zu tensors; staging memory %.0f MB\n", megabytes, pieces.size(),
              static_cast<double>(staging_bytes(pieces)) * 1e-6);
  std::printf("%5s %12s %12s %8s %14s %12s\n", "round", "dd MB/s", "save MB/s", "ratio", "start() ms", "load MB/s");
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    double const dd = time_dd(folder / "dd", elements * 12);
    std::filesystem::remove(folder / "dd");
    CheckpointHeader header;
    header.step = round;
    double const start = now();
    writer.start(partial_folder(folder, round), round, pieces, 0);
    double const started = now();
    writer.wait();
    std::vector<std::string> const tables{piece_table(pieces, 0)};
    auto const saved = commit_checkpoint(io, folder, header, tables, 1);
    double const end = now();
    CheckpointReader(io, saved).read(pieces);
    double const loaded = now();
    ratios.push_back(dd / (end - start));
    std::printf("%5d %12.0f %12.0f %8.2f %14.0f %12.0f\n", round, megabytes / dd, megabytes / (end - start),
                ratios.back(), 1e3 * (started - start), megabytes / (loaded - end));
    std::fflush(stdout);
    std::filesystem::remove_all(saved);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("save / dd: median %.2f; peak memory %.0f MiB\n", ratios[ratios.size() / 2], peak_mib());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    validate(count >= 2, "No folder is given. Usage: bench_checkpoint FOLDER [ROUNDS]");
    bench(arguments[1], count > 2 ? std::max(1, std::atoi(arguments[2])) : 5);
    return 0;
  } catch (std::exception const& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
