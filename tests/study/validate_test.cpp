// Predictions against published measurements: the limits that the project promises, on the tables as published.
#include "study/validate.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "core/error.hpp"

using namespace selenite;

namespace {

std::string const published = SELENITE_SOURCE "/scaling/published";

std::vector<ValidatedRow> validated(std::string const& name) {
  PublishedSet const set = load_published(published, name);
  auto const rows = validate_set(set);
  BOOST_TEST_MESSAGE(describe(set, rows));
  return rows;
}
void within(std::vector<ValidatedRow> const& rows, double mean, double largest) {
  BOOST_TEST(mean_error(rows) <= mean);
  for (ValidatedRow const& r : rows) BOOST_TEST(std::abs(r.error()) <= largest, r.row.name << ": " << r.error());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(validation)

BOOST_AUTO_TEST_CASE(korthikanti_is_met) {
  within(validated("korthikanti-table5"), 0.04, 0.1);
  within(validated("korthikanti-table4"), 0.04, 0.1);
  within(validated("korthikanti-data-parallel"), 0.04, 0.04);
}

BOOST_AUTO_TEST_CASE(sc21_is_met) { within(validated("sc21-table1"), 0.05, 0.1); }
BOOST_AUTO_TEST_CASE(megatron_on_h100_is_met) { within(validated("megatron-h100"), 0.06, 0.12); }

BOOST_AUTO_TEST_CASE(what_was_measured_here_is_met) {
  within(validated("h100-steps"), 0.03, 0.05);
  within(validated("h100-layers"), 0.03, 0.05);
  within(validated("h200-layers"), 0.03, 0.05);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_table_is_named) {
  namespace fs = std::filesystem;
  fs::path const folder = fs::temp_directory_path() / ("selenite-published-" + std::to_string(getpid()));
  fs::create_directories(folder / "published");
  fs::create_directories(folder / "machines");
  fs::copy_file(SELENITE_SOURCE "/scaling/machines/selene.toml", folder / "machines" / "selene.toml");
  std::ofstream(folder / "published" / "set.toml") << "[model]\npreset = \"gpt-tiny\"\n[layout]\ndata = 1\n"
                                                      "[train]\nsteps = 1\n[machine]\nname = \"selene\"\n";
  auto const refusal = [&](std::string const& csv) -> std::string {
    std::ofstream(folder / "published" / "set.csv") << csv;
    try {
      validate_set(load_published((folder / "published").string(), "set"));
    } catch (Error const& e) {
      return e.what();
    }
    return "";
  };
  auto const says = [&](std::string const& csv, std::string const& part) {
    std::string const text = refusal(csv);
    BOOST_TEST(text.find(part) != std::string::npos, text);
  };
  std::string const head = "row,use,quantity,published,train.micro_batch\n";
  BOOST_TEST(refusal(head + "a,test,iteration_seconds,1,2\n") == "");
  BOOST_TEST(refusal(head + "a,test,iteration_seconds,1,\n") == "");
  says("row,use,quantity\n", "no column published");
  says(head, "has no rows");
  says(head + "a,test,iteration_seconds,1\n", "line 2: 4 cells but 5 columns");
  says(head + "a,guess,iteration_seconds,1,2\n", "use is guess");
  says(head + "a,test,speed,1,2\n", "there is no quantity speed");
  says(head + "a,test,model_tflops,0,2\n", "can't be measured");
  says(head + "a,test,model_tflops,x,2\n", "published");
  says("row,use,quantity,published,model.layers\na,test,model_tflops,1,\n", "model.layers is empty");
  says("row,use,quantity,published,model.layer\na,test,model_tflops,1,2\n", "Did you mean");
  says(head + "a,test,model_tflops,1,3\n", "Row a can't be predicted");
  BOOST_CHECK_THROW(load_published((folder / "published").string(), "sett"), Error);
  BOOST_CHECK_THROW(published_names((folder / "nothing").string()), Error);
  fs::remove_all(folder);
}

BOOST_AUTO_TEST_SUITE_END()
