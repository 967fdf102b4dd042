#pragma once
#include <string>
#include <vector>

#include "core/config.hpp"
#include "core/machine.hpp"
#include "tests/fuzz/draw.hpp"

namespace selenite::test {

/// A machine with every cost: none of its figures is that of a real one.
inline Machine small_machine() {
  Machine m;
  m.name = "small";
  m.peak_fp32 = m.peak_bf16 = m.peak_fp16 = 1e12;
  RateCurve const rate{{1e4, 1e9}, {1e10, 5e11}};
  m.gemm_fp32 = m.gemm_bf16 = m.attention_fp32 = m.attention_bf16 = rate;
  m.stream = {{1e3, 1e8}, {1e9, 1e11}};
  m.launch_seconds = 1e-6, m.link_latency = 3e-6, m.link_bandwidth = 1e9;
  m.cluster = {.ranks_per_node = 4,
               .network_bandwidth = 1e9,
               .network_latency = 1e-5,
               .collective_seconds = 2e-6,
               .overlap_cost = 0.1};
  return m;
}

inline Config resolved(std::vector<std::string> const& settings, std::int64_t world) {
  return resolve(parse_config("", settings, "test"), world);
}

/// A drawn training with its layout.
inline Config drawn(std::uint64_t seed, std::int64_t most_ranks, std::vector<std::string> const& more = {}) {
  Draw const d = draw(seed, most_ranks);
  auto settings = d.training;
  settings.insert(settings.end(), d.layout.begin(), d.layout.end());
  settings.insert(settings.end(), more.begin(), more.end());
  return resolved(settings, d.world);
}

/// A pipeline of many stages: layers that do not divide evenly, schedules of all kinds.
inline std::vector<std::vector<std::string>> long_pipelines() {
  std::vector<std::string> const common{
      "model.hidden=64", "model.heads=4",         "model.vocab_size=500",    "model.sequence_length=32",
      "train.steps=1",   "train.global_batch=24", "train.micro_batch=1",     "layout.tensor=2",
      "layout.data=2",   "layout.pipe=6",         "train.bucket_bytes=20000"};
  std::vector<std::vector<std::string>> list{
      {"model.layers=6"},
      {"model.layers=8", "train.recompute=full", "train.recompute_layers=2"},
      {"model.layers=13", "layout.schedule=zero_bubble", "train.optimizer_sharding=1"},
      {"model.layers=12", "layout.schedule=zero_bubble_h2", "model.tied_embeddings=false"},
      {"model.layers=12", "layout.interleave=2", "layout.sequence_parallel=true", "train.recompute=selective"},
      {"model.layers=19", "layout.interleave=3", "train.optimizer_sharding=2", "layout.overlap=gradients,parameters"},
      {"model.layers=8", "layout.stages=auto", "layout.overlap=gradients", "train.gradient_reduce=bf16"}};
  for (auto& settings : list) settings.insert(settings.end(), common.begin(), common.end());
  return list;
}

}  // namespace selenite::test
