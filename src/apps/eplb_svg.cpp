#include "apps/eplb_svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/eplb_text.h"
#include "base/error.h"
#include "io/utf8.h"

namespace trireme::apps {
namespace {

constexpr double kLeft = 60, kWidth = 900, kChartHeight = 180, kRowHeight = 12, kGap = 70;
constexpr std::size_t kMostColumns = 512;
constexpr double kHottest = 4;  // times the mean, where the colours end
constexpr const char* kBefore = "#b0b0b0";
constexpr const char* kAfter = "#1f6fb4";

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : io::with_valid_utf8(text)) {
    if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (c == '>') {
      safe += "&gt;";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      safe += '?';
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", value);
  return text;
}

std::string rectangle(double x, double y, double width, double height, const std::string& colour) {
  return cat("<rect x=\"", number(x), "\" y=\"", number(y), "\" width=\"", number(width),
             "\" height=\"", number(height), "\" fill=\"", colour, "\"/>\n");
}

std::string words(double x, double y, const std::string& text, const char* anchor = "start",
                  const char* more = "") {
  return cat("<text x=\"", number(x), "\" y=\"", number(y), "\" text-anchor=\"", anchor, "\"", more,
             ">", escaped(text), "</text>\n");
}

std::string line(double x1, double y1, double x2, double y2, const char* colour) {
  return cat("<line x1=\"", number(x1), "\" y1=\"", number(y1), "\" x2=\"", number(x2), "\" y2=\"",
             number(y2), "\" stroke=\"", colour, "\"/>\n");
}

/// White over yellow and red to black: also told apart without colours.
std::string heat_colour(double heat) {
  const double x = std::clamp(heat / kHottest, 0.0, 1.0) * 3;
  const auto part = [](double value) {
    return static_cast<int>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
  };
  char text[8];
  std::snprintf(text, sizeof(text), "#%02x%02x%02x", part(3 - x), part(2 - x), part(1 - x));
  return text;
}

/// A step of an axis with about five steps up to `highest`: 1, 2 or 5 times a power of ten.
double axis_step(double highest) {
  const double rough = std::max(highest, 1e-6) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double times : {1.0, 2.0, 5.0}) {
    if (times * power >= rough) return times * power;
  }
  return 10 * power;
}

/// Bars by layer of a member before, and one after.
class BarChart {
 public:
  BarChart(const LoadsMeasure& measure, double top) : measure_(measure), top_(top) {}

  std::string text(const std::string& title, double LayerMeasure::*before,
                   double LayerMeasure::*after) const {
    double highest = 0;
    for (const LayerMeasure& layer : measure_.layers) {
      highest = std::max({highest, layer.*before, measure_.has_placement ? layer.*after : 0.0});
    }
    const double step = axis_step(highest);
    highest = std::max(step, std::ceil(highest / step) * step);
    std::string svg = words(kLeft, top_ - 10, title, "start", " font-weight=\"bold\"");
    for (double value = 0; value <= highest + step / 2; value += step) {
      const double y = bottom() - kChartHeight * value / highest;
      svg += line(kLeft, y, kLeft + kWidth, y, "#e0e0e0") +
             words(kLeft - 6, y + 4, number(value), "end");
    }
    const double each = kWidth / static_cast<double>(measure_.layers.size());
    const double bar = each * (measure_.has_placement ? 0.4 : 0.8);
    for (std::size_t i = 0; i < measure_.layers.size(); ++i) {
      const double x = kLeft + each * (static_cast<double>(i) + 0.1);
      const auto bar_of = [&](double LayerMeasure::*member, double shift, const char* colour) {
        const double height = kChartHeight * (measure_.layers[i].*member) / highest;
        svg += rectangle(x + shift, bottom() - height, bar, height, colour);
      };
      bar_of(before, 0, kBefore);
      if (measure_.has_placement) bar_of(after, bar, kAfter);
    }
    return svg + layer_numbers(each);
  }

 private:
  double bottom() const { return top_ + kChartHeight; }

  std::string layer_numbers(double each) const {
    std::string svg;
    const std::size_t every = measure_.layers.size() / 30 + 1;
    for (std::size_t i = 0; i < measure_.layers.size(); i += every) {
      svg += words(kLeft + each * (static_cast<double>(i) + 0.5), bottom() + 16,
                   cat(measure_.layers[i].layer), "middle");
    }
    return svg;
  }

  const LoadsMeasure& measure_;
  double top_;
};

std::string heat_map(const LoadsMeasure& measure, double top) {
  const std::size_t num_experts = measure.heat.front().size();
  const std::size_t each = (num_experts + kMostColumns - 1) / kMostColumns;
  const double width = kWidth * static_cast<double>(each) / static_cast<double>(num_experts);
  std::string title = "heat: load of each expert over its layer's mean, white 0 to black ";
  std::string svg = words(kLeft, top - 10, title + number(kHottest) + " and more", "start",
                          " font-weight=\"bold\"");
  for (std::size_t row = 0; row < measure.heat.size(); ++row) {
    const double y = top + kRowHeight * static_cast<double>(row);
    svg += words(kLeft - 6, y + kRowHeight - 2, cat(measure.layers[row].layer), "end");
    for (std::size_t begin = 0; begin < num_experts; begin += each) {
      const auto first = measure.heat[row].begin() + static_cast<std::ptrdiff_t>(begin);
      const auto count = static_cast<std::ptrdiff_t>(std::min(each, num_experts - begin));
      const double x = kLeft + width * static_cast<double>(begin / each);
      svg +=
          rectangle(x, y, width, kRowHeight, heat_colour(*std::max_element(first, first + count)));
    }
  }
  return svg;
}

std::string legend(const LoadsMeasure& measure, double y) {
  std::string svg = rectangle(kLeft, y - 10, 12, 12, kBefore) +
                    words(kLeft + 18, y, "before: each expert in one slot, in order");
  if (measure.has_placement) {
    svg += rectangle(kLeft + 320, y - 10, 12, 12, kAfter) + words(kLeft + 338, y, "after");
  }
  return svg;
}

}  // namespace

std::string measure_svg(const LoadsMeasure& measure, const std::string& title) {
  double top = 100;
  std::string body = words(kLeft, 30, title, "start", " font-size=\"16\"");
  const auto add_chart = [&](const std::string& name, double LayerMeasure::*before,
                             double LayerMeasure::*after) {
    body += BarChart(measure, top).text(name, before, after);
    top += kChartHeight + kGap;
  };
  if (measure.ep_size > 0) {
    body += legend(measure, 55);
    add_chart(cat("balance by layer: highest load of a rank over the mean of ", measure.ep_size),
              &LayerMeasure::before, &LayerMeasure::after);
    if (!measure.parts.empty()) {
      add_chart(cat("balance by layer, ", measure.parts, " by ", measure.parts, ", averaged"),
                &LayerMeasure::parts_before, &LayerMeasure::parts_after);
    }
    if (measure.has_traffic) {
      add_chart("remote nodes per token, by layer", &LayerMeasure::remote_before,
                &LayerMeasure::remote_after);
    }
  }
  body += heat_map(measure, top);
  top += kRowHeight * static_cast<double>(measure.heat.size()) + 20;
  return cat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", kLeft + kWidth + 20,
             "\" height=\"", number(top), "\" font-family=\"sans-serif\" font-size=\"11\">\n",
             "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", body, "</svg>\n");
}

}  // namespace trireme::apps
