#include "core/config.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "core/fields.hpp"
#include "tests/contains.hpp"

using namespace selenite;

namespace {

std::string message_of(auto const& body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}
std::string refusal(std::vector<std::string> const& settings, std::int64_t world = 1) {
  return message_of([&] { resolve(parse_config("", settings, "t"), world); });
}

/// Converts to anything, so that the number of members of an aggregate is the most initializers that it takes.
struct Anything {
  template <class T>
  operator T() const;
};
template <class S, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { S{(static_cast<void>(I), Anything{})...}; };
}
template <class S, std::size_t Most = 64>
constexpr std::size_t member_count() {
  if constexpr (Most == 0)
    return 0;
  else if constexpr (takes<S>(std::make_index_sequence<Most>{}))
    return Most;
  else
    return member_count<S, Most - 1>();
}
struct Three {
  int a = 1;
  std::string b;
  std::vector<std::string> c;
};
static_assert(member_count<Three>() == 3);

void const* address(FieldValue const& value) {
  if (auto const* e = std::get_if<EnumRef>(&value)) return e->value;
  return std::visit(
      [](auto p) -> void const* {
        if constexpr (std::is_pointer_v<decltype(p)>)
          return p;
        else
          return nullptr;
      },
      value);
}

template <class S>
void every_member_is_listed_once(char const* name) {
  S s;
  auto const list = fields(s);
  BOOST_TEST(list.size() == member_count<S>(),
             name << " has " << member_count<S>() << " members, its list " << list.size());
  std::set<void const*> places;
  std::set<std::string_view> names;
  for (Field const& f : list) {
    auto const* p = static_cast<char const*>(address(f.value));
    BOOST_TEST((p >= reinterpret_cast<char const*>(&s) && p < reinterpret_cast<char const*>(&s + 1)), f.name);
    BOOST_TEST(places.insert(p).second, f.name << " is the place of another field too");
    BOOST_TEST(names.insert(f.name).second, f.name << " comes twice");
    BOOST_TEST(!f.meaning.empty(), f.name);
  }
}

/// Another value than the default, within the range, and awkward where it may be.
void change(Field const& f) {
  if (auto* const* i = std::get_if<std::int64_t*>(&f.value)) **i = **i + 1 <= f.maximum ? **i + 1 : **i - 1;
  if (auto* const* x = std::get_if<double*>(&f.value))
    **x = f.minimum <= 0.1 + 1.0 / 3 && f.maximum >= 0.1 + 1.0 / 3 ? 0.1 + 1.0 / 3 : 12345.678901234567;
  if (auto* const* b = std::get_if<bool*>(&f.value)) **b = !**b;
  if (auto* const* s = std::get_if<std::string*>(&f.value))
    **s = f.name == "preset" ? "gpt2-355m" : "a \"quoted\" \\ path,\twith\nall \r\x01\x7f é ' # =";
  if (auto* const* l = std::get_if<std::vector<std::string>*>(&f.value)) **l = {"0.5", "a,b \"c\"", "", "ü\\"};
  if (auto const* e = std::get_if<EnumRef>(&f.value)) e->set(static_cast<std::uint8_t>(e->names.size() - 1));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(config)

BOOST_AUTO_TEST_CASE(every_member_of_every_section_is_in_its_list) {
  every_member_is_listed_once<ModelConfig>("model");
  every_member_is_listed_once<LayoutConfig>("layout");
  every_member_is_listed_once<TrainConfig>("train");
  every_member_is_listed_once<DataConfig>("data");
  every_member_is_listed_once<CheckpointConfig>("checkpoint");
  every_member_is_listed_once<LogConfig>("log");
  every_member_is_listed_once<RunConfig>("run");
  every_member_is_listed_once<MachineConfig>("machine");
  Config c;
  BOOST_TEST(sections(c).size() == member_count<Config>());
}

BOOST_AUTO_TEST_CASE(toml_holds_every_field_and_reads_back) {
  Config const defaults;
  BOOST_CHECK(parse_config(to_toml(defaults), {}, "t") == defaults);
  Config all;
  for (Section const& s : sections(all))
    for (Field const& f : s.fields) {
      Config one;
      for (Section const& t : sections(one))
        for (Field const& g : t.fields)
          if (s.name == t.name && f.name == g.name) change(g);
      if (f.name != "family") BOOST_TEST(!(one == defaults), s.name << "." << f.name << " was not changed");
      BOOST_TEST((parse_config(to_toml(one), {}, "t") == one), s.name << "." << f.name << " is not read back:\n"
                                                                      << to_toml(one));
      change(f);
    }
  BOOST_CHECK(parse_config(to_toml(all), {}, "t") == all);
}

BOOST_AUTO_TEST_CASE(settings_come_last_and_presets_first) {
  Config const c = parse_config("[model]\npreset = \"gpt2-355m\"\nlayers = 3\n[train]\nlr = 0.5\n",
                                {"train.lr=0.25", "model.heads = 8", "data.train= a , b", "run.folder=x y"}, "t");
  BOOST_TEST(c.model.hidden == 1024);
  BOOST_TEST(c.model.layers == 3);
  BOOST_TEST(c.model.heads == 8);
  BOOST_TEST(c.train.lr == 0.25);
  BOOST_TEST(c.data.train == (std::vector<std::string>{"a", "b"}), boost::test_tools::per_element());
  BOOST_TEST(c.run.folder == "x y");
  BOOST_TEST(parse_config("[model]\npreset = \"gpt2-355m\"\n", {"model.preset=gpt2-124m"}, "t").model.hidden == 768);
  BOOST_TEST(get_field(c, "train.lr") == "0.25");
  BOOST_TEST(get_field(c, "model.attention") == "flash");
}

BOOST_AUTO_TEST_CASE(wrong_settings_are_refused_with_advice) {
  BOOST_TEST(contains(refusal({"train.micro_bach=2"}), "Did you mean train.micro_batch?"));
  BOOST_TEST(contains(refusal({"micro_batch=2"}), "Did you mean train.micro_batch?"));
  BOOST_TEST(contains(refusal({"train.micro_batch"}), "has no value"));
  BOOST_TEST(contains(refusal({"train.micro_batch=two"}), "train.micro_batch takes a whole number"));
  BOOST_TEST(contains(refusal({"train.micro_batch=2.5"}), "train.micro_batch takes a whole number"));
  BOOST_TEST(contains(refusal({"train.micro_batch=99999999999999999999"}), "train.micro_batch takes a whole number"));
  BOOST_TEST(
      contains(refusal({"train.micro_batch=0"}), "train.micro_batch = 0 is out of range (it must be at least 1"));
  BOOST_TEST(contains(refusal({"train.lr=fast"}), "train.lr takes a number"));
  BOOST_TEST(contains(refusal({"train.lr=nan"}), "train.lr = nan is out of range"));
  BOOST_TEST(contains(refusal({"train.beta1=1.5"}), "train.beta1 = 1.5 is out of range"));
  for (char const* setting : {"train.beta1=1", "train.beta2=1"})  // NaN from the first step
    BOOST_TEST(contains(refusal({setting}), " is out of range (it must be at least 0 and at most 0.999999)"), setting);
  for (char const* setting : {"run.folder=caf\xe9", "data.train=a,b\xff"})  // no TOML could hold it
    BOOST_TEST(contains(refusal({setting}), "was given bytes that are no UTF-8"), setting);
  BOOST_TEST(contains(refusal({"model.bias=yes"}), "model.bias takes true or false"));
  BOOST_TEST(contains(refusal({"model.attention=flesh"}), "Did you mean \"flash\"?"));
  BOOST_TEST(contains(refusal({"model.preset=gpt2-355"}), "Did you mean \"gpt2-355m\"?"));
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_together_is_refused_with_the_nearest_that_does) {
  BOOST_TEST(contains(refusal({"layout.tensor=8", "model.heads=20", "model.hidden=320"}, 8),
                      "layout.tensor = 8 does not divide model.heads = 20"));
  BOOST_TEST(contains(refusal({"layout.tensor=8", "model.heads=20", "model.hidden=320"}, 8), "Use 5 or 10."));
  BOOST_TEST(contains(refusal({"model.heads=5"}), "model.heads = 5 does not divide model.hidden = 768"));
  BOOST_TEST(contains(refusal({"model.kv_heads=5"}), "model.kv_heads = 5 does not divide model.heads = 12"));
  BOOST_TEST(contains(refusal({"model.positions=rotary", "model.head_dim=7"}), "model.head_dim = 7 is odd"));
  BOOST_TEST(contains(refusal({"train.micro_batch=3", "train.steps=1"}), "Use 6 or 9."));
  BOOST_TEST(contains(refusal({"train.micro_batch=16", "train.steps=1"}),
                      "data ranks = 16 x 1 = 16 (every data rank "
                      "takes whole micro-batches). Use 16."));
  BOOST_TEST(contains(refusal({"train.steps=2", "train.samples=17"}), "disagree"));
  BOOST_TEST(contains(refusal({"train.min_lr=1"}), "train.min_lr = 1 is above train.lr"));
  BOOST_TEST(contains(refusal({"layout.data=3"}, 2), "The layout has 3 ranks but the job has 2"));
}

BOOST_AUTO_TEST_CASE(what_this_version_lacks_is_refused_never_ignored) {
  for (char const* setting : {"train.gradient_reduce=fp8", "train.optimizer_sharding=3", "layout.overlap=pipe"})
    BOOST_TEST(!refusal({setting, "train.steps=1"}).empty(), setting);
  BOOST_TEST(contains(refusal({"layout.expert=2", "train.steps=1"}, 2), "layout.expert = 2 can't be run"));
}

BOOST_AUTO_TEST_CASE(fp8_asks_for_layers_and_on_cuda_for_sizes) {
  std::vector<std::string> const small{"train.precision=fp8", "train.steps=1", "model.layers=2",
                                       "model.hidden=40",     "model.heads=2", "model.sequence_length=32"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), small.begin(), small.end());
    return refusal(more);
  };
  BOOST_TEST(with({}).empty());
  BOOST_TEST(contains(with({"train.fp8_bf16_layers=1"}), "train.fp8_bf16_layers = 1 leaves none of 2 layers in fp8"));
  BOOST_TEST(contains(with({"run.backend=cuda"}), "model.hidden is 40, not a multiple of 16"));
  BOOST_TEST(with({"run.backend=cuda", "model.hidden=64"}).empty());
  BOOST_TEST(
      contains(with({"run.backend=cuda", "model.hidden=64", "model.sequence_length=24"}), "tokens of a micro-batch"));
}

// Sizes whose products do not fit 64 bits, or whose divisors would be looked for for ever.
BOOST_AUTO_TEST_CASE(impossible_sizes_are_refused) {
  BOOST_TEST(!refusal({"layout.tensor=1048576", "layout.context=1048576", "layout.expert=1048576", "layout.pipe=16"}, 8)
                  .empty());
  BOOST_TEST(!refusal({"model.hidden=1000000000000000003", "model.heads=7"}).empty());
  BOOST_TEST(!refusal({"model.hidden=900000000000000000", "model.heads=1", "train.steps=1"}).empty());
  BOOST_TEST(contains(refusal({"model.hidden=16777216", "model.heads=4096", "model.head_dim=1024",
                               "model.layers=100000", "train.steps=1"}),
                      "parameters"));
  BOOST_TEST(contains(refusal({"train.micro_batch=1048576", "train.global_batch=1048576",
                               "model.sequence_length=16777215", "train.steps=1"}),
                      "activations"));
  BOOST_TEST(contains(refusal({"train.steps=1000000000000000", "train.global_batch=1073741824"}),
                      "train.steps x global_batch"));
  BOOST_TEST(!refusal({"model.ffn_hidden=900000000000000000", "train.steps=1"}).empty());
  BOOST_TEST(!refusal({"train.steps=900000000000000000"}).empty());
  BOOST_TEST(!refusal({"train.samples=900000000000000000", "train.global_batch=1073741824", "train.micro_batch=1048576",
                       "model.sequence_length=16777215"})
                  .empty());
}

BOOST_AUTO_TEST_CASE(what_is_derived_is_filled_in) {
  Config const c = resolve(parse_config("", {"train.samples=100", "train.global_batch=8"}, "t"), 4);
  BOOST_TEST(c.layout.data == 4);
  BOOST_TEST(c.train.steps == 13);
  BOOST_TEST(c.train.samples == 104);
  BOOST_TEST(c.train.lr_decay == 104);
  BOOST_TEST(c.model.head_dim == 64);
  BOOST_TEST(c.model.kv_heads == 12);
  BOOST_TEST(c.model.ffn_hidden == 3072);
  BOOST_TEST(c.model.padded_vocab() == 50304);
  BOOST_TEST((resolve(c, 4) == c));
}

BOOST_AUTO_TEST_SUITE_END()
