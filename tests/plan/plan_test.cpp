// What is predicted is what happens: bytes of every label, FLOPs, and the memory that the system sees.
#include "plan/plan.hpp"

#include <boost/test/unit_test.hpp>
#include <fstream>
#include <numeric>
#include <random>

#include "core/text.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// A random small model and batch, as the --set texts that make it again.
std::vector<std::string> draw(std::mt19937& random) {
  auto one_of = [&](auto... choices) {
    std::vector<std::string> const all{concat(choices)...};
    return all[random() % all.size()];
  };
  std::string const heads = one_of(2, 4, 6);
  std::vector<std::string> s{"model.layers=" + one_of(1, 2, 3),
                             "model.heads=" + heads,
                             "model.kv_heads=" + (random() % 2 ? heads : "2"),
                             "model.head_dim=" + one_of(8, 16, 40),
                             "model.hidden=" + one_of(32, 48, 96),
                             "model.ffn_hidden=" + one_of(0, 80),
                             "model.vocab_size=" + one_of(61, 129, 300),
                             "model.sequence_length=" + one_of(17, 32, 80),
                             "model.positions=" + one_of("learned", "rotary"),
                             "model.norm=" + one_of("layernorm", "rmsnorm"),
                             "model.activation=" + one_of("gelu", "gelu_erf", "swiglu"),
                             "model.attention=" + one_of("flash", "matrix"),
                             "model.bias=" + one_of("true", "false"),
                             "model.tied_embeddings=" + one_of("true", "false"),
                             "model.hidden_dropout=" + one_of("0", "0.1"),
                             "model.attention_dropout=" + one_of("0", "0.2"),
                             "data.document_mask=" + one_of("none", "parts"),
                             "train.precision=" + one_of("fp32", "bf16"),
                             "train.micro_batch=" + one_of(1, 2, 3),
                             "train.global_batch=6",
                             "train.steps=10",
                             "train.optimizer=" + one_of("adamw", "adamw", "sgd"),
                             "train.bucket_bytes=" + one_of(1024, 30000, 1000000),
                             "run.workspace=" + one_of(1 << 20, 8 << 20)};
  return s;
}

std::int64_t anonymous_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8)) * 1024;
  return 0;
}

}  // namespace

// AddressSanitizer keeps freed memory and shadows of its own: what the system sees is not the program's.
#ifdef __SANITIZE_ADDRESS__
constexpr bool own_memory = false;
#else
constexpr bool own_memory = true;
#endif

BOOST_AUTO_TEST_SUITE(plan)

BOOST_AUTO_TEST_CASE(bytes_and_flops_of_random_runs_are_the_predicted) {
  std::mt19937 random(5);
  for (int i = 0; i < 24; ++i) {
    auto const settings = draw(random);
    BOOST_TEST_CONTEXT(join(settings, " ")) {
      Config const config = config_of(settings);
      Plan const plan = make_plan(config, make_grid(config.layout), Rank(0), nullptr);
      OneRank rank(config);
      BOOST_CHECK(plan.footprint == rank.planned());
      double const before = rank.cpu().flops;
      constexpr int steps = 2;
      toy_losses(rank, steps);
      auto const measured = rank.stage().measured().rows(), planned = plan.footprint.rows();
      for (std::size_t k = 0; k < measured.size(); ++k) {
        auto const& [label, bytes] = measured[k];
        BOOST_TEST(bytes == planned[k].second, label << ": planned " << planned[k].second << ", used " << bytes);
      }
      // With documents the planned FLOPs are a bound: the kernels skip what no token sees.
      double const executed = (rank.cpu().flops - before) / steps;
      if (config.data.document_mask == DocumentMask::none || config.model.attention == AttentionPath::matrix)
        BOOST_TEST(std::abs(executed / plan.step.flops - 1) < 1e-12,
                   "executed " << executed << ", planned " << plan.step.flops);
      else
        BOOST_TEST(executed <= plan.step.flops);
    }
  }
}

// Narayanan et al. 2021: 72 B s l h^2 (1 + s / 6h + V / 12 l h) a step without recomputation, attention whole, no
// norms.
BOOST_AUTO_TEST_CASE(model_flops_of_a_gpt_are_the_published_formula) {
  for (char const* path : {"flash", "matrix"}) {
    Config const c = config_of({"model.layers=6", "model.hidden=192", "model.heads=6", "model.vocab_size=1024",
                                "model.sequence_length=96", "train.global_batch=12", "train.micro_batch=3",
                                "train.steps=1", std::string("model.attention=") + path});
    Plan const plan = make_plan(c, make_grid(c.layout), Rank(0), nullptr);
    double const b = 12, s = 96, l = 6, h = 192, v = 1024;
    BOOST_TEST(std::abs(plan.model_flops / (72 * b * s * l * h * h * (1 + s / (6 * h) + v / (12 * l * h))) - 1) <
               1e-12);
    BOOST_TEST(plan.hardware_flops == plan.model_flops);
  }
}

BOOST_AUTO_TEST_CASE(known_models_have_their_known_sizes) {
  auto parameters = [](std::vector<std::string> settings) {
    settings.insert(settings.end(), {"model.vocab_multiple=1", "train.steps=1"});
    Config const c = config_of(settings);
    return make_plan(c, make_grid(c.layout), Rank(0), nullptr).parameters;
  };
  BOOST_TEST(parameters({}) == 124439808);                                                           // GPT-2 small
  BOOST_TEST(parameters({"model.layers=48", "model.hidden=1600", "model.heads=25"}) == 1557611200);  // GPT-2 XL
  BOOST_TEST(parameters({"model.layers=32", "model.hidden=4096", "model.heads=32", "model.ffn_hidden=11008",
                         "model.vocab_size=32000", "model.sequence_length=4096", "model.positions=rotary",
                         "model.norm=rmsnorm", "model.activation=swiglu", "model.bias=false",
                         "model.tied_embeddings=false"}) == 6738415616);  // Llama 2 7B
}

// Their names say how many parameters they have, in billions, to the last digit given.
BOOST_AUTO_TEST_CASE(presets_have_the_sizes_in_their_names) {
  for (std::string const& name : preset_names()) {
    auto const dash = name.find('-');
    if (!name.starts_with("sc21-") && !name.starts_with("gpt2-")) continue;
    Config const c = config_of({"model.preset=" + name, "train.steps=1"});
    auto const parameters = static_cast<double>(make_plan(c, make_grid(c.layout), Rank(0), nullptr).parameters);
    std::string const digits = name.substr(dash + 1, name.size() - dash - 2);
    double const unit = name.back() == 'm' ? 1e6 : 1e9, last_digit = digits.find('.') == std::string::npos ? 1 : 0.1;
    BOOST_TEST(std::abs(parameters / unit - std::stod(digits)) <= 0.51 * last_digit, name << " has " << parameters);
  }
}

BOOST_AUTO_TEST_CASE(the_plan_of_a_rank_is_made_without_its_memory) {
  std::int64_t const before = anonymous_resident();
  Config const c = resolve(
      parse_config(
          "", {"model.layers=32", "model.hidden=8192", "model.heads=64", "train.steps=1", "train.global_batch=3072"},
          "test"),
      3072);
  Plan const plan = make_plan(c, make_grid(c.layout), Rank(3071), nullptr);
  BOOST_TEST(plan.footprint.total() > std::int64_t{400} << 30);
  BOOST_TEST(anonymous_resident() - before < 16 << 20);
}

BOOST_AUTO_TEST_CASE(the_system_sees_the_planned_memory, *boost::unit_test::enable_if<own_memory>()) {
  std::int64_t const before = anonymous_resident();
  OneRank rank(config_of({"model.layers=4", "model.hidden=256", "model.heads=4", "model.vocab_size=8192",
                          "model.sequence_length=128", "train.global_batch=4", "train.micro_batch=4", "train.steps=10",
                          "train.precision=fp32"}));
  toy_losses(rank, 2);
  auto const held = static_cast<double>(anonymous_resident() - before),
             planned = static_cast<double>(rank.planned().total());
  BOOST_TEST(planned > 100e6);
  BOOST_TEST(held < 1.1 * planned + 8e6, "held " << held << ", planned " << planned);
  BOOST_TEST(held > 0.9 * planned, "held " << held << ", planned " << planned);
}

// Philox4x32-10 and the normal quantile by mpmath in 30 digits, with name hash and key as documented in core/rng.hpp.
BOOST_AUTO_TEST_CASE(initial_weights_are_known) {
  OneRank rank(config_of({"model.layers=2", "model.hidden=64", "model.heads=4", "model.vocab_size=61",
                          "model.sequence_length=32", "train.steps=1", "train.seed=1234"}));
  struct {
    char const* name;
    std::int64_t element;
    double value;
  } const known[] = {{"embedding.tokens.weight", 0, 0.0340340591},
                     {"embedding.tokens.weight", 4097, -0.00278605352},
                     {"layers.0.attention.q.weight", 5, -0.00978168189},
                     {"layers.0.attention.k.weight", 5, -0.00906194432},
                     {"layers.1.attention.projection.weight", 1030, -0.0210113953},
                     {"layers.1.mlp.down.weight", 16383, 0.00948404225},
                     {"embedding.positions.weight", 2047, -0.00730709255}};
  StageState& stage = rank.stage();
  for (auto const& k : known)
    for (std::size_t i = 0; i < stage.parameters().size(); ++i)
      if (stage.parameters()[i]->spec.name == k.name) {
        double const value = stage.view(stage.exact_weights(), i).data<float>()[k.element];
        BOOST_TEST(std::abs(value / k.value - 1) < 2e-7, k.name << ": " << value << ", not " << k.value);
      }
  for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
    Param const& p = stage.parameters()[i]->spec;
    if (p.shape.rank() == 2) continue;
    float const wanted = p.name.find("norm.weight") != std::string::npos ? 1 : 0;
    Tensor const t = stage.view(stage.exact_weights(), i);
    for (std::int64_t e = 0; e < t.count(); ++e) BOOST_TEST_REQUIRE(t.data<float>()[e] == wanted);
  }
}

BOOST_AUTO_TEST_SUITE_END()
