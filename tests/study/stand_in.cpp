#include "stand_in.hpp"

#include <fstream>
#include <sstream>
#include <stdlib.h>

namespace study_test {
namespace {

// Step k of five takes 0.1 s, the first one 0.5 s; micro-batches make it faster. Written whole, then renamed.
constexpr char const* script = R"SH(#!/bin/bash
config=$1
value() { awk -v section="[$1]" -v key="$2" '/^\[/ {in_it = $0 == section} in_it && $1 == key {gsub("\"", "", $3); print $3}' "$config"; }
folder=$(value run folder); seed=$(value train seed); micro=$(value train micro_batch); steps=$(value train steps)
echo "training with seed $seed"
record() { # result error
  cat > "$folder/run.json.partial" <<END
{"program": "selenite-pretrain", "version": "0.1.0", "build": {"commit": "abc1234"}, "machine": {"host": "here", "cpu": "Test CPU"},
 "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:05Z", "ranks": 1, "result": "$1", "error": "$2",
 "summary": {"steps": $steps, "step_seconds": 0.1, "step_seconds_min": 0.1, "step_seconds_max": 0.5, "tokens_per_second": 20480,
  "model_tflops_per_rank": 0.$micro, "hardware_tflops_per_rank": 0.$micro, "mfu": 0.4, "hfu": 0.5, "peak_tflops": 1.0,
  "flops_convention": "attention counted whole", "predicted_step_seconds": 0.11, "loss_first": 10.5, "loss_last": 9.25,
  "memory_bytes": {"weights": 2000000, "gradients": 4000000, "slots": 1000000}, "resident_bytes": 7500000,
  "time_seconds": {"gemm": 0.14, "attention": 0.02, "optimizer": 0.01, "other": 0.01},
  "predicted_time_seconds": {"gemm": 0.07, "attention": 0.02, "optimizer": 0.02}}}
END
  mv "$folder/run.json.partial" "$folder/run.json"
}
case $seed in
  2) record failed "The loss is not a number (step 3). Lower the rate."; exit 3 ;;
  3) sleep 60 & wait; exit 1 ;;
  4) kill -9 $$ ;;
  5) echo '{"program": "selenite-pre' > "$folder/run.json"; exit 0 ;;
  6) record failed "Can't take 3 GiB: out of memory"; exit 1 ;;
  7) echo "nothing to say"; exit 0 ;;
  8) sleep 0.02 ;;
  9) trap '' TERM; sleep 0.5 ;;
  20) [ -e "$0.told" ] || { touch "$0.told"; kill -TERM $$; } ;;
  21) [ -e "$0.stopped" ] || { touch "$0.stopped"; record stopped ""; exit 0; } ;;
esac
for ((k = 1; k <= steps; ++k)); do
  [ $k = 1 ] && t=0.5 gemm=0.46 || t=0.1 gemm=0.06
  echo "{\"step\": $k, \"samples\": $((8 * k)), \"loss\": $((11 - k)).5, \"grad_norm\": 1.0, \"lr\": 0.001, \"step_seconds\": $t, \"data_seconds\": 0.002, \"tokens_per_second\": 20480, \"timed_step\": $k, \"time_seconds\": {\"gemm\": $gemm, \"attention\": 0.02, \"optimizer\": 0.01}}"
done > "$folder/metrics.jsonl"
record finished ""
)SH";

}  // namespace

void write(std::string const& file, std::string const& text) { std::ofstream(file, std::ios::binary) << text; }

std::string read(std::string const& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

Workplace::Workplace() {
  std::string name = (fs::temp_directory_path() / "selenite-study-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  folder_ = name;
  write(program(), script);
  fs::permissions(program(), fs::perms::owner_all);
  write(path("base.toml"),
        "[model]\nlayers = 2\nhidden = 64\nheads = 4\nvocab_size = 256\nsequence_length = 128\n[train]\nsteps = "
        "5\nseed = 1\n");
}

Workplace::~Workplace() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string Workplace::study(std::string const& rest, std::string const& head) const {
  std::string const file = path("study.toml");
  write(file, "[study]\nname = \"s\"\nbase = \"base.toml\"\n" + head + "\n" + rest);
  return file;
}

}  // namespace study_test
