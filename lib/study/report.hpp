#pragma once
#include <string>
#include <utility>
#include <vector>

#include "study/collect.hpp"

namespace selenite {

struct Plot {
  std::string name, title, caption;
  std::string script;  ///< for gnuplot
};
/// The charts that a study's records allow, as scripts; none for figures that no record has.
std::vector<Plot> plots_of(StudyResult const& result);

/// Of these the ones over an axis: aggregate FLOP/s, strong scaling, days, an axis of numbers, tensor x pipe.
std::vector<Plot> scaling_plots(StudyResult const& result);
/// Least and most over the repeats of a measured point; NaN of a predicted one.
std::pair<double, double> spread_of(Shown const& shown, double Figures::*figure);

/// A table as text: what HTML and Markdown print.
struct Table {
  std::string title, note;
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
};
/// One row a point that is measured, then one a point that is predicted, in the column order of the weak-scaling table
/// of SC21 (arXiv 2104.04473), then what today's readers expect.
Table main_table(StudyResult const& result);
/// Predicted against measured step time, point by point and by cause, with the error.
Table prediction_table(StudyResult const& result);
/// A row of the study's published set and the fastest point of the study that is that run.
struct PublishedPoint {
  std::string row, unit;
  bool executes_flops = false;  ///< the figure is TFLOP/s a rank with recomputation
  bool fitted = false;          ///< a constant of the machine file was fitted on it
  double published = 0, ours = 0;
  Shown shown;
};
/// Measured and predicted ones apart; none if the study names no set. Throws Error if there is no such set.
std::vector<PublishedPoint> published_points(StudyResult const& result);
/// Ours beside the published figures with the error, row by row.
Table published_table(StudyResult const& result);
/// The same as a chart with a band of 10 %.
Plot published_plot(StudyResult const& result);
/// Median, least and most over the repeats.
Table spread_table(StudyResult const& result);
/// Failed and infeasible points with their reasons.
Table failure_table(StudyResult const& result);
/// What every figure rests on: FLOPs convention, peak, precision, V, s, steps dropped, repeats, commit, machine.
std::vector<std::pair<std::string, std::string>> conditions(StudyResult const& result);

/// Long format: a line a point, repeat and quantity; a line without quantity for what has no figures.
std::string csv_text(StudyResult const& result);
std::string markdown_text(StudyResult const& result);
/// `pictures[i]` is the SVG of plots[i]; without pictures the page says why in `problem`.
std::string html_text(StudyResult const& result, std::vector<Plot> const& plots,
                      std::vector<std::string> const& pictures, std::string const& problem);

/// The tables that a paper prints, as LaTeX tables (plain tabular, no package).
std::string latex_text(StudyResult const& result);

/// Three or four digits that count; "" where there is no figure. Of shares: per cent with one decimal.
std::string figure(double x);
std::string percent(double x);
std::string signed_percent(double x);

/// Days in which a run at this speed goes through so many tokens.
double days_to_train(double tokens, RepeatResult const& r);
/// Of a step, as predicted.json says or else the run's own record; NaN if neither does.
double predicted_seconds(PointResult const& point);

struct WrittenReport {
  std::vector<std::string> files;
  std::string problem;  ///< why the plots are missing, or empty
};
/// Writes report.csv, .md, .tex, .html and plots/ into the folder. All but plots and page are written whatever gnuplot
/// does.
WrittenReport write_report(StudyResult const& result, std::string const& folder);

}  // namespace selenite
