#include <array>

#include "core/config.hpp"
#include "core/error.hpp"

namespace selenite {
namespace {
struct Preset {
  char const* name;
  std::int64_t layers, hidden, heads, vocab, sequence;
};
// GPT-2: Radford et al. 2019. sc21-*: the ten models of Narayanan et al., SC21 (arXiv 2104.04473), Table 1; V = 51,200,
// s = 2,048.
constexpr std::array<Preset, 15> table{{{"gpt-tiny", 4, 256, 4, 8192, 256},
                                        {"gpt2-124m", 12, 768, 12, 50257, 1024},
                                        {"gpt2-355m", 24, 1024, 16, 50257, 1024},
                                        {"gpt2-774m", 36, 1280, 20, 50257, 1024},
                                        {"gpt2-1558m", 48, 1600, 25, 50257, 1024},
                                        {"sc21-1.7b", 24, 2304, 24, 51200, 2048},
                                        {"sc21-3.6b", 30, 3072, 32, 51200, 2048},
                                        {"sc21-7.5b", 36, 4096, 32, 51200, 2048},
                                        {"sc21-18.4b", 40, 6144, 48, 51200, 2048},
                                        {"sc21-39.1b", 48, 8192, 64, 51200, 2048},
                                        {"sc21-76.1b", 60, 10240, 80, 51200, 2048},
                                        {"sc21-145.6b", 80, 12288, 96, 51200, 2048},
                                        {"sc21-310.1b", 96, 16384, 128, 51200, 2048},
                                        {"sc21-529.6b", 105, 20480, 128, 51200, 2048},
                                        {"sc21-1008b", 128, 25600, 160, 51200, 2048}}};
}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (Preset const& p : table) names.emplace_back(p.name);
  names.emplace_back("llama-tiny");
  return names;
}

ModelConfig preset(std::string const& name) {
  ModelConfig model;
  if (name == "llama-tiny") {
    model = preset("gpt-tiny");
    model.preset = name, model.kv_heads = 2, model.positions = Positions::rotary, model.norm = NormKind::rmsnorm;
    model.activation = ActivationName::swiglu, model.bias = false, model.tied_embeddings = false;
    return model;
  }
  for (Preset const& p : table)
    if (name == p.name) {
      model.preset = name, model.layers = p.layers, model.hidden = p.hidden, model.heads = p.heads;
      model.vocab_size = p.vocab, model.sequence_length = p.sequence;
      return model;
    }
  auto const names = preset_names();
  std::vector<std::string_view> const views(names.begin(), names.end());
  std::string_view const near = nearest_name(name, views);
  throw Error(concat("There is no preset \"", name, "\" (it is not in the list that --list-presets prints). ",
                     near.empty() ? "Use one of these." : concat("Did you mean \"", near, "\"?")));
}

}  // namespace selenite
