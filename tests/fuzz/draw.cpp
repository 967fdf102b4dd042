#include "tests/fuzz/draw.hpp"

#include <random>

#include "core/config.hpp"
#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite::test {
namespace {

class Drawer {
 public:
  explicit Drawer(std::uint64_t seed) : random_(seed) {}
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[random_() % values.size()];
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  char const* boolean(int percent) { return chance(percent) ? "true" : "false"; }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::mt19937_64 random_;
};

struct Sizes {
  std::int64_t tensor, context, pipe, data;
  std::int64_t world() const { return tensor * context * pipe * data; }
};

Sizes draw_sizes(Drawer& d, std::int64_t most_ranks) {
  for (;;) {
    Sizes const s{d.one_of<std::int64_t>({1, 1, 2, 2, 3, 4}), d.one_of<std::int64_t>({1, 1, 1, 2, 2, 3}),
                  d.one_of<std::int64_t>({1, 1, 2, 2, 3, 4}), d.one_of<std::int64_t>({1, 1, 2, 3})};
    if (s.world() > 1 && s.world() <= most_ranks) return s;
  }
}

Draw attempt(Drawer& d, std::int64_t most_ranks) {
  Draw draw;
  auto train = [&](auto const&... parts) { draw.training.push_back(concat(parts...)); };
  auto lay = [&](auto const&... parts) { draw.layout.push_back(concat(parts...)); };
  Sizes const s = draw_sizes(d, most_ranks);
  draw.world = s.world();
  std::int64_t const interleave = s.pipe > 1 && d.chance(30) ? d.between(2, 3) : 1;
  std::int64_t const head_dim = d.one_of<std::int64_t>({4, 6, 8, 10}), heads = s.tensor * d.between(1, 3);
  std::int64_t kv_heads = heads;
  if (d.chance(40)) do
      kv_heads = d.between(1, heads);
    while (heads % kv_heads != 0 || (kv_heads % s.tensor != 0 && s.tensor % kv_heads != 0));
  std::int64_t const layers = s.pipe * interleave + d.between(0, 2);
  train("model.layers=", layers);
  train("model.hidden=", heads * head_dim + (d.chance(50) ? 2 * d.between(1, 5) : 0));
  train("model.heads=", heads), train("model.kv_heads=", kv_heads), train("model.head_dim=", head_dim);
  train("model.ffn_hidden=", s.tensor * d.between(3, 19));
  train("model.vocab_size=", d.between(17, 90)), train("model.vocab_multiple=", s.tensor * d.between(1, 9));
  train("model.sequence_length=", 2 * s.context * d.between(2, 9));
  train("model.positions=", d.one_of({"learned", "rotary"})), train("model.norm=", d.one_of({"layernorm", "rmsnorm"}));
  train("model.activation=", d.one_of({"gelu", "gelu_erf", "swiglu"}));
  train("model.bias=", d.boolean(60)), train("model.tied_embeddings=", d.boolean(60));
  train("model.attention=", s.context == 1 && d.chance(30) ? "matrix" : "flash");
  train("model.hidden_dropout=", d.one_of({"0", "0.1"})), train("model.attention_dropout=", d.one_of({"0", "0.1"}));
  train("data.document_mask=", d.one_of({"none", "parts"}));
  std::int64_t const micro_batch = d.between(1, 3), micros = d.between(1, 6), pass = micro_batch * s.data;
  train("train.global_batch=", micros * pass);
  if (d.chance(20)) {
    std::int64_t const first = pass * d.between(1, 6);
    train("train.batch_ramp=0:", first, ",", d.between(1, 2 * first), ":", micros * pass);
  }
  // AdamW at 1e-2 is so violent here that moving all weights by one rounding moves a later norm by more than 1e-5.
  std::string const optimizer = d.one_of({"adamw", "sgd"});
  train("train.optimizer=", optimizer), train("train.eps=1e-3"),
      train("train.lr=", optimizer == "sgd" ? "1e-2" : "1e-3");
  train("train.steps=10"), train("train.clip=", d.one_of({"0", "0.5"}));
  train("train.seed=", d.between(1, 1 << 20));

  lay("layout.tensor=", s.tensor), lay("layout.context=", s.context), lay("layout.pipe=", s.pipe);
  lay("layout.data=", s.data), lay("layout.sequence_parallel=", d.boolean(60));
  lay("layout.interleave=", interleave), lay("layout.context_exchange=", d.one_of({"ring", "gather"}));
  bool const zero_bubble = interleave == 1 && d.chance(35);
  lay("layout.schedule=", zero_bubble ? d.one_of({"zero_bubble", "zero_bubble_h2"}) : "1f1b");
  lay("train.micro_batch=", micro_batch);
  lay("train.bucket_bytes=", d.one_of<std::int64_t>({1, 20000, 1 << 26}));
  if (interleave > 1 && d.chance(50)) lay("layout.interleave_group=", d.between(1, 2 * s.pipe));
  lay("train.recompute=", d.one_of({"none", "selective", zero_bubble ? "none" : "full"}));
  lay("train.recompute_layers=", d.between(1, 3));
  lay("train.optimizer_sharding=", d.between(0, zero_bubble ? 1 : 2));
  lay("layout.overlap=",
      d.one_of({"", "gradients", "parameters", "gradients,parameters", "tensor", "gradients,tensor"}));
  if (s.pipe > 1 && d.chance(20)) {  // uneven stages
    std::int64_t const least = d.chance(50) ? 0 : 1;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(s.pipe * interleave), least);
    for (std::int64_t i = least * s.pipe * interleave; i < layers; ++i)
      ++counts[static_cast<std::size_t>(d.between(0, s.pipe * interleave - 1))];
    std::vector<std::string> texts;
    for (std::int64_t n : counts) texts.push_back(concat(n));
    lay("layout.stages=", join(texts, ","));
  }
  return draw;
}

}  // namespace

std::string Draw::text() const { return join(training, " ") + " | " + join(layout, " "); }

namespace {

/// The first of the draws that resolve() does not refuse.
template <class Attempt>
Draw first_that_works(std::uint64_t seed, int most_tries, Attempt&& attempt_one) {
  Drawer drawer(seed);
  for (int tries = 1;; ++tries) {
    Draw const d = attempt_one(drawer);
    auto settings = d.training;
    settings.insert(settings.end(), d.layout.begin(), d.layout.end());
    try {
      static_cast<void>(resolve(parse_config("", settings, "draw"), d.world));
      return d;
    } catch (Error const&) {
      if (tries == most_tries) throw;  // a mistake in the drawing
    }
  }
}

}  // namespace

Draw draw(std::uint64_t seed, std::int64_t most_ranks) {
  return first_that_works(seed, 1000, [&](Drawer& drawer) { return attempt(drawer, most_ranks); });
}

Draw draw_layout(Draw const& training, std::uint64_t seed, std::int64_t most_ranks) {
  return first_that_works(seed, 100000, [&](Drawer& drawer) {
    Draw d = attempt(drawer, most_ranks);
    d.training = training.training;
    for (std::string& setting : d.layout)  // a list of layers would be another model's
      if (setting.starts_with("layout.stages=")) setting = "layout.stages=auto";
    return d;
  });
}

Draw parse_draw(std::string const& text, Draw* other) {
  Draw d;
  Draw* of = &d;
  auto* part = &d.training;
  for (std::string const& word : split(text, ' ')) {
    if (word.empty()) continue;
    if (word == "|") {
      if (part == &d.layout && other) of = other;
      part = &of->layout;
      continue;
    }
    part->push_back(word);
    auto const equals = word.find('=');
    for (char const* axis : {"layout.tensor", "layout.context", "layout.pipe", "layout.data"})
      if (word.substr(0, equals) == axis) of->world *= parse_integer(word.substr(equals + 1), word);
  }
  if (other) other->training = d.training;
  return d;
}

}  // namespace selenite::test
