#define BOOST_TEST_MODULE study
#include "study/points.hpp"

#include <boost/test/unit_test.hpp>
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

BOOST_AUTO_TEST_CASE(bad_studies_say_what_and_where) {
  Workplace here;
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_bath\" = [1]\n"),
                      "study.toml line 6: there is no config key train.micro_bath"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_bath\" = [1]\n"), "Did you mean train.micro_batch?"));
  BOOST_TEST(
      contains(load_error(here, "[axes]\n\"train.micro_batch\" = []\n"), "the axis train.micro_batch has no values"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_batch\" = 3\n"), "takes a list"));
  BOOST_TEST(contains(load_error(here, "[axes]\n\"train.micro_batch\" = [\"two\"]\n"),
                      "train.micro_batch takes a whole number"));
  BOOST_TEST(contains(load_error(here, "[[zip]]\ntrain.micro_batch = [1, 2]\nmodel.layers = [1, 2, 3]\n"),
                      "model.layers has 3 values but train.micro_batch has 2"));
  BOOST_TEST(contains(load_error(here, "[[exclude]]\ntrain.seed = 1\n[set]\ntrain.seed = 1\n"), "no point is left"));
  BOOST_TEST(contains(load_error(here, "[set]\ntrain.lr = 1\n[axes]\ntrain.lr = [1]\n"), "train.lr is given twice"));
  BOOST_TEST(contains(load_error(here, "[set]\nrun.folder = \"x\"\n"), "run.folder can't be set"));
  BOOST_TEST(contains(load_error(here, "[axis]\n"), "Did you mean axes?"));
  BOOST_TEST(contains(load_error(here, "", "repeat = 2"), "Did you mean repeats?"));
  BOOST_TEST(contains(load_error(here, "", "repeats = 0"), "study.repeats = 0 is too small"));
  BOOST_TEST(contains(load_error(here, "", "launcher = \"slurm\""), "study.launcher"));
  BOOST_TEST(contains(load_error(here, "a = \n"), "this is not TOML"));
  fs::remove(here.path("base.toml"));
  BOOST_TEST(contains(load_error(here, ""), "base.toml can't be read"));
  BOOST_TEST(contains(message_of([&] { load_study(here.path("none.toml")); }), "Can't read the study"));
}

BOOST_AUTO_TEST_SUITE_END()
