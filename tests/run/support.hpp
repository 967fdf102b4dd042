#pragma once
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "core/error.hpp"
#include "core/text.hpp"
#include "data/indexed.hpp"
#include "io/boxes.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/io_thread.hpp"
#include "tests/run/program.hpp"

namespace selenite::test {

/// A folder with a small corpus of ids below 300 in which much can be learned, and runs of selenite-pretrain in folders
/// of it.
class Workplace {
 public:
  Workplace() {
    std::string pattern = (std::filesystem::temp_directory_path() / "selenite-run-XXXXXX").string();
    validate(mkdtemp(pattern.data()), "no temporary folder");
    folder_ = pattern;
    IndexedWriter writer(folder_ / "corpus", TokenType::uint16);
    std::mt19937 random(11);
    for (int d = 0; d < 60; ++d) {
      std::vector<std::int32_t> tokens(50 + random() % 150);
      std::int32_t token = static_cast<std::int32_t>(random() % 300);
      for (std::int32_t& t : tokens)
        t = token, token = random() % 8 ? (token * 7 + 1) % 300 : static_cast<std::int32_t>(random() % 300);
      std::int32_t const length = static_cast<std::int32_t>(tokens.size());
      writer.add_document(tokens, {&length, 1});
    }
    writer.finish();
  }
  ~Workplace() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::filesystem::path operator/(std::string const& name) const { return folder_ / name; }

  /// The command of a run in folder `name` on `ranks` processes.
  std::vector<std::string> command(std::string const& name, std::vector<std::string> const& more, int ranks = 1) const {
    std::vector<std::string> words;
    if (ranks > 1) words = {SELENITE_MPIRUN, "-n", concat(ranks), "--oversubscribe", "--allow-run-as-root"};
    words.emplace_back(SELENITE_PRETRAIN);
    std::vector<std::string> settings{"model.layers=2",
                                      "model.hidden=32",
                                      "model.heads=2",
                                      "model.vocab_size=300",
                                      "model.sequence_length=32",
                                      "model.hidden_dropout=0.1",
                                      "model.attention_dropout=0.1",
                                      "train.micro_batch=2",
                                      "train.global_batch=8",
                                      "train.steps=12",
                                      "train.lr=3e-3",
                                      "train.warmup=16",
                                      "train.precision=fp32",
                                      "train.bucket_bytes=40000",
                                      "data.train=" + (folder_ / "corpus").string(),
                                      "data.cache=" + (folder_ / "cache").string(),
                                      "checkpoint.every=4",
                                      "checkpoint.keep=0",
                                      "log.tensorboard=false",
                                      "run.threads=1",
                                      "run.folder=" + (folder_ / name).string()};
    settings.insert(settings.end(), more.begin(), more.end());
    for (std::string const& s : settings) words.emplace_back("--set"), words.push_back(s);
    return words;
  }
  struct Result {
    int code;
    std::string output;
  };
  Result pretrain(std::string const& name, std::vector<std::string> const& more, int ranks = 1) const {
    Program program(command(name, more, ranks), folder_ / (name + ".out"));
    int const code = program.wait();
    return {code, program.output()};
  }
  /// What a run's metrics.jsonl says a step: "loss grad_norm lr" as text, to the last bit.
  std::map<std::int64_t, std::string> steps(std::string const& name) const {
    std::map<std::int64_t, std::string> all;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      if (!contains(line, "\"loss\"")) continue;
      all[std::stoll(member(line, "step"))] +=
          member(line, "loss") + " " + member(line, "grad_norm") + " " + member(line, "lr");
    }
    return all;
  }
  std::map<std::int64_t, double> losses(std::string const& name) const {
    std::map<std::int64_t, double> all;
    for (auto const& [step, text] : steps(name)) all[step] = std::stod(text);
    return all;
  }
  std::map<std::int64_t, double> valid_losses(std::string const& name) const {
    std::map<std::int64_t, double> all;
    std::ifstream in(folder_ / name / "metrics.jsonl");
    for (std::string line; std::getline(in, line);)
      if (contains(line, "\"valid_loss\""))
        all[std::stoll(member(line, "step"))] = std::stod(member(line, "valid_loss"));
    return all;
  }
  std::filesystem::path checkpoint(std::string const& name, std::int64_t step) const {
    return folder_ / name / "checkpoints" / checkpoint_name(step);
  }
  /// A run folder with one checkpoint of another run in it, as if that had stopped there.
  void start_from(std::string const& from, std::int64_t step, std::string const& name) const {
    std::filesystem::create_directories(folder_ / name / "checkpoints");
    std::filesystem::copy(checkpoint(from, step), checkpoint(name, step), std::filesystem::copy_options::recursive);
  }

 private:
  static std::string member(std::string const& line, std::string const& key) {
    auto const at = line.find("\"" + key + "\":");
    if (at == std::string::npos) return "none";
    auto const first = at + key.size() + 3;
    return line.substr(first, line.find_first_of(",}", first) - first);
  }
  std::filesystem::path folder_;
};

inline std::vector<std::string> with(std::vector<std::string> settings, std::vector<std::string> const& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

/// All values of a kind in a checkpoint, by name.
inline std::map<std::string, std::vector<float>> values_of(std::filesystem::path const& checkpoint,
                                                           std::string const& kind) {
  IoThread io;
  CheckpointReader reader(io, checkpoint);
  std::map<std::string, std::vector<float>> all;
  for (std::string const& name : reader.names(kind)) {
    auto const info = reader.find(kind, name);
    auto& values = all[name];
    values.resize(static_cast<std::size_t>(info->shape.count()));
    reader.read(CheckpointPiece{kind, name, info->shape, whole(info->shape), Tensor::of(values.data(), info->shape)});
  }
  return all;
}

/// Waits until `done` or the time is over; says which.
template <class Done>
bool wait_until(double seconds, Done done) {
  for (auto const end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
       std::chrono::steady_clock::now() < end; pause_ms(5))
    if (done()) return true;
  return false;
}

}  // namespace selenite::test
