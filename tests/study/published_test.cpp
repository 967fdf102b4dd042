// Studies of published tables: their points are the rows' runs, and the report says what came out beside what was
// published.
#include <boost/test/unit_test.hpp>

#include "stand_in.hpp"
#include "study/predict.hpp"
#include "study/report.hpp"
#include "study/validate.hpp"

using namespace selenite;
using namespace study_test;

namespace {

StudyResult predicted(Workplace const& here, std::string const& name) {
  Study const study = load_study(SELENITE_SOURCE "/scaling/studies/" + name + ".toml");
  auto const points = expand(study);
  for (Point const& point : points) predict_point(point, here.path("out"));
  return collect(study, here.path("out"));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(published)

BOOST_AUTO_TEST_CASE(a_study_of_a_table_has_every_row_and_predicts_what_validate_does) {
  Workplace here;
  auto const result = predicted(here, "korthikanti_table5");
  auto const points = published_points(result);
  auto const rows = validate_set(load_published(published_folder(), "korthikanti-table5"));
  BOOST_REQUIRE_EQUAL(points.size(), 8u);
  BOOST_REQUIRE_EQUAL(rows.size(), 8u);
  double sum = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    BOOST_TEST(points[i].row == rows[i].row.name);
    BOOST_TEST(points[i].published == rows[i].row.value);
    BOOST_TEST(points[i].ours == rows[i].predicted, boost::test_tools::tolerance(1e-9));
    sum += std::abs(rows[i].error());
  }
  Table const t = published_table(result);
  BOOST_TEST(t.rows.size() == 8u);
  BOOST_TEST(contains(t.note, "Published set korthikanti-table5"));
  BOOST_TEST(contains(html_text(result, {}, {}, ""), "Beside what was published"));
}

BOOST_AUTO_TEST_CASE(rows_of_other_runs_are_not_taken_for_the_same) {
  Workplace here;
  auto result = predicted(here, "korthikanti_table5");
  for (PointResult& p : result.points) p.point.config.train.precision = Precision::bf16;
  BOOST_TEST(published_points(result).empty());
  BOOST_TEST(published_table(result).rows.empty());
  BOOST_TEST(published_plot(result).script.empty());
}

BOOST_AUTO_TEST_CASE(a_set_that_is_not_there_is_an_error_with_the_nearest_name) {
  Workplace here;
  StudyResult result{load_study(here.study("", "published = \"sc21-table2\"")), here.path("out"), {}};
  BOOST_TEST(contains(message_of([&] { published_table(result); }), "Did you mean sc21-table1?"));
}

BOOST_AUTO_TEST_SUITE_END()
