#define BOOST_TEST_MODULE study
#include "study/points.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "core/text.hpp"
#include "stand_in.hpp"

using namespace selenite;
using namespace study_test;

namespace {
std::string load_error(Workplace const& here, std::string const& rest, std::string const& head = "") {
  return message_of([&] { expand(load_study(here.study(rest, head))); });
}
std::vector<std::string> names(std::vector<Point> const& points) {
  std::vector<std::string> out;
  for (Point const& p : points) out.push_back(p.name);
  return out;
}
}  // namespace

BOOST_AUTO_TEST_SUITE(points)

BOOST_AUTO_TEST_CASE(axes_cross_in_the_order_of_the_file_and_zips_go_together) {
  Workplace here;
  auto const points = expand(
      load_study(here.study("[set]\n\"train.lr\" = 0.01\n[axes]\n\"train.micro_batch\" = [1, "
                            "2]\n[[zip]]\n\"model.sequence_length\" = [64, 128]\n\"train.global_batch\" = [16, 8]\n")));
  std::vector<std::string> const expected{
      "micro_batch=1,sequence_length=64,global_batch=16", "micro_batch=1,sequence_length=128,global_batch=8",
      "micro_batch=2,sequence_length=64,global_batch=16", "micro_batch=2,sequence_length=128,global_batch=8"};
  BOOST_TEST(names(points) == expected, boost::test_tools::per_element());
  BOOST_TEST(points[2].config.train.micro_batch == 2);
  BOOST_TEST(points[2].config.model.sequence_length == 64);
  BOOST_TEST(points[2].config.train.global_batch == 16);
  BOOST_TEST(points[2].config.train.lr == 0.01);
  BOOST_TEST(points[2].config.model.layers == 2);
  BOOST_TEST(!points[2].config.checkpoint.save_at_end);
}

BOOST_AUTO_TEST_CASE(the_id_is_of_the_resolved_config) {
  Workplace here;
  auto const first = expand(load_study(here.study("[axes]\ntrain.micro_batch = [1, 2, 4]\n")));
  std::set<std::string> ids;
  for (Point const& p : first) ids.insert(p.id);
  BOOST_TEST(ids.size() == 3u);
  // what is said differently but comes to the same keeps its id; another value does not
  auto const again = expand(load_study(here.study("[set]\nmodel.kv_heads = 4\n[axes]\n\"train.micro_batch\" = [2]\n")));
  BOOST_TEST(again[0].id == first[1].id);
  auto const other = expand(load_study(here.study("[set]\ntrain.lr = 0.02\n[axes]\n\"train.micro_batch\" = [2]\n")));
  BOOST_TEST(other[0].id != first[1].id);
}

BOOST_AUTO_TEST_CASE(a_resolved_config_resolves_to_itself) {
  Workplace here;
  for (Point const& p :
       expand(load_study(here.study("[axes]\nmodel.preset = [\"\", \"gpt2-124m\"]\nranks = [1, 2]\n"))))
    BOOST_TEST(to_toml(resolve(parse_config(to_toml(p.config), {}, "again"), p.ranks)) == to_toml(p.config));
}

BOOST_AUTO_TEST_CASE(ranks_are_an_axis) {
  Workplace here;
  auto const points = expand(load_study(here.study("", "ranks = [1, 2]")));
  BOOST_REQUIRE_EQUAL(points.size(), 2u);
  BOOST_TEST(points[1].ranks == 2);
  BOOST_TEST(points[1].config.layout.data == 2);
  BOOST_TEST(points[1].name == "ranks=2");
  auto const weak = expand(load_study(here.study("[[zip]]\nranks = [1, 2]\ntrain.global_batch = [4, 8]\n")));
  BOOST_TEST(weak[1].config.train.global_batch == 8);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_run_keeps_its_place_and_its_reason) {
  Workplace here;
  auto const points =
      expand(load_study(here.study("[axes]\ntrain.micro_batch = [1, 3]\n[set]\ntrain.global_batch = 8\n")));
  BOOST_REQUIRE_EQUAL(points.size(), 2u);
  BOOST_TEST(points[0].infeasible.empty());
  BOOST_TEST(contains(points[1].infeasible, "not a multiple of micro_batch"));
  auto const dropped = expand(load_study(here.study("[axes]\ntrain.steps = [2, 4]\n", "drop_steps = 3")));
  BOOST_TEST(contains(dropped[0].infeasible, "study.drop_steps = 3 leaves nothing"));
  BOOST_TEST(dropped[1].infeasible.empty());
  auto const twice = expand(load_study(here.study("[axes]\nmodel.kv_heads = [0, 4]\n")));
  BOOST_TEST(contains(twice[1].infeasible, "the same run as kv_heads=0"));
}

BOOST_AUTO_TEST_CASE(excluded_points_are_left_out) {
  Workplace here;
  auto const points =
      expand(load_study(here.study("[axes]\ntrain.micro_batch = [1, 2]\nmodel.sequence_length = [64, 128, "
                                   "256]\n[[exclude]]\ntrain.micro_batch = 2\nmodel.sequence_length = [128, 256]\n")));
  std::vector<std::string> const expected{"micro_batch=1,sequence_length=64", "micro_batch=1,sequence_length=128",
                                          "micro_batch=1,sequence_length=256", "micro_batch=2,sequence_length=64"};
  BOOST_TEST(names(points) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(exclusions_compare_what_a_point_comes_to) {
  Workplace here;
  auto const left = [&](std::string const& rest, std::string const& head = "") {
    return names(expand(load_study(here.study(rest, head))));
  };
  std::string const axis = "[axes]\ntrain.micro_batch = [2, 4]\n";
  auto const is = [](std::vector<std::string> const& names, std::vector<std::string> const& expected) {
    BOOST_TEST(names == expected, boost::test_tools::per_element());
  };
  // of the base config (sequence 128), of the defaults, of expressions, as another text of the same number
  is(left(axis + "[[exclude]]\nmodel.sequence_length = 128\ntrain.micro_batch = 2\n"), {"micro_batch=4"});
  is(left(axis + "[[exclude]]\ntrain.precision = \"bf16\"\ntrain.micro_batch = 2\n"), {"micro_batch=4"});
  is(left(axis + "[set]\ntrain.global_batch = \"2 * train.micro_batch\"\n[[exclude]]\ntrain.global_batch = [3, 8]\n"),
     {"micro_batch=2"});
  is(left("[axes]\ntrain.clip = [1, 2]\n[[exclude]]\ntrain.clip = 1.0\n"), {"clip=2"});
  is(left("[axes]\ntrain.lr = [1e-3, 0.0005]\n[[exclude]]\ntrain.lr = 5e-4\n"), {"lr=0.001"});
  is(left("[axes]\nlayout.tensor = [1, 2]\n[[exclude]]\nranks = 4\n", "ranks = [1, \"2 * layout.tensor\"]"),
     {"ranks=1,tensor=1", "ranks=1,tensor=2", "ranks=2,tensor=1"});
  // what does not resolve can be left out, too; what was never worked out equals nothing
  is(left("[axes]\ntrain.micro_batch = [2, 3]\n[[exclude]]\ntrain.micro_batch = 3\n"), {"micro_batch=2"});
  is(left("[set]\ntrain.global_batch = \"12 / train.micro_batch\"\n[axes]\ntrain.micro_batch = [5]\n"
          "[[exclude]]\ntrain.global_batch = 8\n"),
     {"micro_batch=5"});
}

BOOST_AUTO_TEST_CASE(an_exclusion_that_can_never_match_is_an_error) {
  Workplace here;
  auto const says = [&](std::string const& exclusion, std::string const& part) {
    std::string const text = load_error(here, "[axes]\ntrain.micro_batch = [2, 4]\n[[exclude]]\n" + exclusion);
    BOOST_TEST(contains(text, part), text);
    BOOST_TEST(contains(text, "study.toml"), text);
  };
  says("train.micro_bach = 2\n", "Did you mean train.micro_batch?");
  says("train.micro_batch = 2.5\n", "line 8: train.micro_batch");
  says("train.micro_batch = 0\n", "out of range");
  says("train.precision = \"fp33\"\n", "fp33");
  says("train.micro_batch = \"2 * model.layers\"\n", "Write where =");
  says("ranks = 1.5\n", "ranks");
  says("where = \"1 / 0 > 3\"\n", "divides by zero");
}

BOOST_AUTO_TEST_CASE(values_are_computed_from_others) {
  Workplace here;
  // from a setting, from what the layout leaves of the ranks, from the base config, from another computed value
  auto const points = expand(
      load_study(here.study("[set]\ntrain.global_batch = \"8 * layout.data\"\ntrain.lr = \"0.01 / train.micro_batch\"\n"
                            "train.warmup = \"2 * train.global_batch\"\ntrain.lr_decay = \"model.layers * 100\"\n"
                            "[axes]\nlayout.tensor = [1, 2]\ntrain.micro_batch = [1, 2]\n",
                            "ranks = \"4 * layout.pipe\"")));
  BOOST_REQUIRE_EQUAL(points.size(), 4u);
  for (Point const& p : points) {
    BOOST_TEST_CONTEXT(p.name << " " << p.infeasible) {
      BOOST_TEST(p.ranks == 4);
      BOOST_TEST(p.config.layout.data == 4 / p.config.layout.tensor);
      BOOST_TEST(p.config.train.global_batch == 8 * p.config.layout.data);
      BOOST_TEST(p.config.train.warmup == 16 * p.config.layout.data);
      BOOST_TEST(p.config.train.lr == 0.01 / static_cast<double>(p.config.train.micro_batch));
      BOOST_TEST(p.config.train.lr_decay == 200);
    }
  }
  // an axis may be computed as well; its points are named by the numbers
  auto const zipped = expand(load_study(here.study(
      "[[zip]]\nmodel.sequence_length = [64, 128]\ntrain.global_batch = [\"512 / model.sequence_length\", 2]\n")));
  BOOST_TEST(zipped[0].name == "sequence_length=64,global_batch=8");
  BOOST_TEST(zipped[0].config.train.global_batch == 8);
}

BOOST_AUTO_TEST_CASE(a_value_that_does_not_come_out_makes_the_point_infeasible) {
  Workplace here;
  auto const points = expand(load_study(
      here.study("[set]\ntrain.global_batch = \"12 / train.micro_batch\"\n[axes]\ntrain.micro_batch = [2, 5]\n")));
  BOOST_TEST(points[0].infeasible.empty());
  BOOST_TEST(contains(points[1].infeasible, "train.global_batch = 2.4 comes out of its expression"));
  auto const of_ranks = expand(load_study(
      here.study("[set]\ntrain.global_batch = \"layout.data\"\n[axes]\nlayout.tensor = [1, 4]\n", "ranks = 2")));
  BOOST_TEST(of_ranks[0].infeasible.empty());
  BOOST_TEST(contains(of_ranks[1].infeasible, "does not divide the number of ranks = 2"));
  // out of the key's range
  auto const rounded = expand(load_study(
      here.study("[set]\nlayout.pipe = \"floor(ranks / 8)\"\ntrain.global_batch = 16\n", "ranks = [4, 8, 16]")));
  BOOST_REQUIRE_EQUAL(rounded.size(), 3u);
  BOOST_TEST(rounded[0].name == "ranks=4");
  BOOST_TEST(contains(rounded[0].infeasible, "layout.pipe = 0 is out of range"), rounded[0].infeasible);
  BOOST_TEST(rounded[1].infeasible.empty());
  BOOST_TEST(rounded[2].config.layout.pipe == 2);
  auto const none = expand(load_study(here.study("", "ranks = [\"model.layers - 2\"]")));
  BOOST_TEST(contains(none[0].infeasible, "ranks = 0 is too small"), none[0].infeasible);
  auto const circle =
      expand(load_study(here.study("[set]\ntrain.lr = \"train.min_lr\"\ntrain.min_lr = \"2 * train.lr\"\n")));
  BOOST_TEST(contains(circle[0].infeasible, "depends on it"));
}

BOOST_AUTO_TEST_CASE(expressions_name_numbers_that_exist) {
  Workplace here;
  BOOST_TEST(contains(load_error(here, "[set]\ntrain.global_batch = \"8 * layout.dat\"\n"),
                      "study.toml line 6: there is no config key layout.dat"));
  BOOST_TEST(
      contains(load_error(here, "[set]\ntrain.global_batch = \"8 * layout.dat\"\n"), "Did you mean layout.data?"));
  BOOST_TEST(contains(load_error(here, "[set]\ntrain.global_batch = \"train.precision * 2\"\n"),
                      "train.precision is no number"));
  BOOST_TEST(
      contains(load_error(here, "[set]\ntrain.global_batch = \"8 *\"\n"), "line 6: \"8 *\" can't be worked out"));
  BOOST_TEST(contains(load_error(here, "[[exclude]]\nwhere = \"rank > 2\"\n"), "Did you mean ranks?"));
}

BOOST_AUTO_TEST_CASE(conditions_leave_points_out) {
  Workplace here;
  auto const points = expand(load_study(
      here.study("[axes]\nlayout.tensor = [1, 2, 4]\nlayout.pipe = [1, 2]\ntrain.precision = [\"bf16\", \"fp32\"]\n"
                 "[[exclude]]\nwhere = \"layout.tensor * layout.pipe > ranks\"\n"
                 "[[exclude]]\nwhere = \"layout.data > 1\"\ntrain.precision = \"fp32\"\n",
                 "ranks = 4")));
  std::vector<std::string> const expected{"tensor=1,pipe=1,precision=bf16", "tensor=1,pipe=2,precision=bf16",
                                          "tensor=2,pipe=1,precision=bf16", "tensor=2,pipe=2,precision=bf16",
                                          "tensor=2,pipe=2,precision=fp32", "tensor=4,pipe=1,precision=bf16",
                                          "tensor=4,pipe=1,precision=fp32"};
  BOOST_TEST(names(points) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(machines_are_an_axis) {
  Workplace here;
  auto const points = expand(load_study(here.study("", "machine = [\"selene\", \"dgx-h100\"]")));
  BOOST_REQUIRE_EQUAL(points.size(), 2u);
  BOOST_TEST(points[1].config.machine.name == "dgx-h100");
  BOOST_TEST(points[0].id != points[1].id);
}

BOOST_AUTO_TEST_CASE(every_ready_study_can_be_expanded) {
  std::map<std::string, std::size_t> const sizes{
      {"quickstart", 4},           {"cpu_layouts", 6},        {"cpu_predictions", 12}, {"sc21_table1", 10},
      {"korthikanti_table5", 8},   {"sc21_pipeline_weak", 8}, {"sc21_interleave", 10}, {"sc21_tensor_pipe", 10},
      {"sc21_pipe_data", 15},      {"sc21_tensor_data", 15},  {"sc21_micro_batch", 8}, {"sc21_recompute", 18},
      {"sc21_scatter_gather", 10}, {"strong_175b", 6},        {"h100_weak", 9},        {"h100_strong", 7},
      {"long_context", 6},         {"trillion_today", 15},    {"layouts_175b", 49}};
  // a map of all cuts: those of 64 tensor ranks do not divide the heads, others need more ranks than there are
  std::map<std::string, std::int64_t> const infeasible{{"layouts_175b", 10}};
  std::size_t found = 0;
  for (auto const& entry : fs::directory_iterator(SELENITE_SOURCE "/scaling/studies")) {
    if (entry.path().extension() != ".toml") continue;
    std::string const name = entry.path().stem().string();
    BOOST_TEST_CONTEXT(name) {
      BOOST_REQUIRE_MESSAGE(sizes.contains(name), "a study that is not counted here");
      auto const points = expand(load_study(entry.path().string()));
      BOOST_TEST(points.size() == sizes.at(name));
      auto const refused = std::ranges::count_if(points, [](Point const& p) { return !p.infeasible.empty(); });
      BOOST_TEST(refused == (infeasible.contains(name) ? infeasible.at(name) : 0));
      ++found;
    }
  }
  BOOST_TEST(found == sizes.size());
}

BOOST_AUTO_TEST_CASE(ready_studies_have_the_sizes_that_were_published) {
  auto const table = expand(load_study(SELENITE_SOURCE "/scaling/studies/sc21_table1.toml"));
  Point const& largest = table.back();
  BOOST_TEST(largest.ranks == 3072);
  BOOST_TEST(largest.config.layout.data == 6);
  auto const five = expand(load_study(SELENITE_SOURCE "/scaling/studies/korthikanti_table5.toml"));
  std::vector<std::int64_t> ranks;
  for (Point const& p : five) ranks.push_back(p.ranks);
  BOOST_TEST(ranks == (std::vector<std::int64_t>{8, 8, 64, 64, 280, 280, 512, 512}), boost::test_tools::per_element());
  auto const weak = expand(load_study(SELENITE_SOURCE "/scaling/studies/h100_weak.toml"));
  ranks.clear();
  for (Point const& p : weak) {
    ranks.push_back(p.ranks);
    BOOST_TEST(p.config.layout.data == 48);
  }
  BOOST_TEST(ranks == (std::vector<std::int64_t>{48, 96, 192, 384, 768, 1536, 2304, 3072, 6144}),
             boost::test_tools::per_element());
  auto const context = expand(load_study(SELENITE_SOURCE "/scaling/studies/long_context.toml"));
  BOOST_TEST(context.back().config.layout.context == 32);
  BOOST_TEST(context.back().config.train.global_batch == 4);
}

BOOST_AUTO_TEST_CASE(bad_studies_say_what_and_where) {
  Workplace here;
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_bath\" = [1]\n"),
                      "study.toml line 6: there is no config key train.micro_bath"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_bath\" = [1]\n"), "Did you mean train.micro_batch?"));
  BOOST_TEST(
      contains(load_error(here, "[axes]\n\"train.micro_batch\" = []\n"), "the axis train.micro_batch has no values"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_batch\" = 3\n"), "takes a list"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_batch\" = [\"two\"]\n"), "there is no config key two"));
  auto const wrong = expand(load_study(here.study("[axes]\n\"train.micro_batch\" = [true]\n")));
  BOOST_TEST(contains(wrong.front().infeasible, "There is no config key true"));
  BOOST_TEST(contains(load_error(here, "[[zip]]\ntrain.micro_batch = [1, 2]\nmodel.layers = [1, 2, 3]\n"),
                      "model.layers has 3 values but train.micro_batch has 2"));
  BOOST_TEST(contains(load_error(here, "[[exclude]]\ntrain.seed = 1\n[set]\ntrain.seed = 1\n"), "no point is left"));
  BOOST_TEST(contains(load_error(here, "[set]\ntrain.lr = 1\n[axes]\ntrain.lr = [1]\n"), "train.lr is given twice"));
  BOOST_TEST(contains(load_error(here, "[set]\nrun.folder = \"x\"\n"), "run.folder can't be set"));
  BOOST_TEST(contains(load_error(here, "[axis]\n"), "Did you mean axes?"));
  BOOST_TEST(contains(load_error(here, "", "repeat = 2"), "Did you mean repeats?"));
  BOOST_TEST(contains(load_error(here, "", "repeats = 0"), "study.repeats = 0 is too small"));
  BOOST_TEST(contains(load_error(here, "", "launcher = \"slrm\""), "study.launcher = \"slrm\" is unknown"));
  BOOST_TEST(contains(load_error(here, "[slurm]\nnode = 3\n"), "there is no key slurm.node"));
  BOOST_TEST(contains(load_error(here, "[slurm]\nthrotle = 3\n"), "Did you mean throttle?"));
  BOOST_TEST(contains(load_error(here, "[slurm]\nranks_per_node = 0\n"), "slurm.ranks_per_node = 0 is too small"));
  BOOST_TEST(
      contains(load_error(here, "[set]\nmachine.name = \"x\"\n", "machine = \"y\""), "machine.name is given twice"));
  BOOST_TEST(contains(load_error(here, "a = \n"), "this is not TOML"));
  fs::remove(here.path("base.toml"));
  BOOST_TEST(contains(load_error(here, ""), "base.toml can't be read"));
  BOOST_TEST(contains(message_of([&] { load_study(here.path("none.toml")); }), "Can't read the study"));
}

BOOST_AUTO_TEST_SUITE_END()
