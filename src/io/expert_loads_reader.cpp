#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "io/expert_loads.h"
#include "io/hdf5_file.h"
#include "io/row_options.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kMaxChunkBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kMaxNameBytes = std::uint64_t{1} << 20;  // all domains together
constexpr std::int64_t kMaxTopK = 1024;
constexpr std::int64_t kMaxLayerNumber = 65535;
constexpr std::int64_t kMaxHome = (std::int64_t{1} << 24) - 1;

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += cat(i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

[[noreturn]] void refuse(const Hdf5Dataset& dataset, const std::string& why) {
  fail(ErrorKind::input, cat(dataset.name(), ": ", why));
}

/// The number of elements; declarations beyond `max_elements` are refused before memory is taken.
std::uint64_t checked_elements(const Hdf5Dataset& dataset, std::int64_t max_elements) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : dataset.info().shape) {
    if (__builtin_mul_overflow(elements, extent, &elements) ||
        elements > static_cast<std::uint64_t>(max_elements)) {
      refuse(dataset, cat("has the shape ", shape_text(dataset.info().shape), ", at most ",
                          max_elements, " values are read"));
    }
  }
  return elements;
}

/// Reads one file, object by object; what is read first gives the sizes of the rest.
class LoadsReader {
 public:
  explicit LoadsReader(const std::string& path) : path_(path), file_(Hdf5File::open(path)) {}

  ExpertLoads read() {
    check_links("/");
    check_schema();
    read_counts();
    read_layer_index();
    read_windows();
    read_domains();
    read_attributes();
    if (file_.has_group("/choices")) read_choices();
    return std::move(loads_);
  }

 private:
  void check_links(const std::string& group) const {
    for (const LinkInfo& link : file_.links(group)) {
      if (link.kind == LinkInfo::Kind::hard) continue;
      fail(ErrorKind::input, cat(path_, ": ", group == "/" ? "" : group, "/", link.name,
                                 ": is a link, which may lead to any file; expected the data"));
    }
  }

  bool has_attribute(const std::string& name) const {
    const std::vector<std::string> names = file_.attribute_names("/");
    return std::find(names.begin(), names.end(), name) != names.end();
  }

  void check_schema() const {
    if (has_attribute("schema") && file_.attribute("/", "schema") != "trireme.expert_loads") {
      fail(ErrorKind::input,
           cat(path_, ": attribute schema is ", shown(file_.attribute("/", "schema")),
               ", expected \"trireme.expert_loads\""));
    }
    if (!has_attribute("schema_version")) return;
    const Json version = file_.attribute("/", "schema_version");
    if (!version.is_string() || !version.get<std::string>().starts_with("1.")) {
      fail(ErrorKind::input, cat(path_, ": attribute schema_version is ", shown(version),
                                 ", expected \"1.\" something"));
    }
  }

  /// A dataset of one of these kinds whose data lie in this file.
  std::optional<Hdf5Dataset> find(const std::string& object,
                                  std::initializer_list<ElementKind> kinds,
                                  const char* expected) const {
    std::optional<Hdf5Dataset> dataset = file_.find_dataset(object);
    if (!dataset) return dataset;
    const DatasetInfo& info = dataset->info();
    if (info.is_external || info.is_virtual) refuse(*dataset, "its data lie in other files");
    const bool is_number = info.kind == ElementKind::integer || info.kind == ElementKind::floating;
    if (std::find(kinds.begin(), kinds.end(), info.kind) == kinds.end() ||
        (is_number && info.element_bytes > 8)) {
      refuse(*dataset, cat("is of type ", info.type_name, ", expected ", expected));
    }
    if (info.chunk_bytes > kMaxChunkBytes) {
      refuse(*dataset, cat("has chunks of ", info.chunk_bytes, " bytes, at most ", kMaxChunkBytes,
                           " are read"));
    }
    return dataset;
  }

  template <typename T>
  std::vector<T> values_of(const Hdf5Dataset& dataset, std::int64_t max_elements) const {
    const std::uint64_t elements = checked_elements(dataset, max_elements);
    if (elements > 0 && dataset.info().storage_bytes == 0) {
      refuse(dataset, cat("declares the shape ", shape_text(dataset.info().shape),
                          ", but nothing was ever written"));
    }
    if (elements == 0) return {};
    return dataset.read<T>(0, dataset.num_rows());
  }

  void check_shape(const Hdf5Dataset& dataset, const std::vector<std::uint64_t>& expected,
                   const char* meaning) const {
    if (dataset.info().shape == expected) return;
    refuse(dataset, cat("has the shape ", shape_text(dataset.info().shape), ", expected ",
                        shape_text(expected), ": ", meaning));
  }

  /// Counts are 0 or more, and their sum is one that doubles hold exactly.
  std::vector<std::int64_t> read_count_values(const Hdf5Dataset& dataset) const {
    std::vector<std::int64_t> counts = values_of<std::int64_t>(dataset, kMaxLoadCounts);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] < 0) {
        refuse(dataset, cat("holds ", counts[i], " at ", place_of(dataset, i),
                            ", expected counts from 0 on"));
      }
      if (counts[i] > kMaxLoadSum - sum) {
        refuse(dataset, cat("holds counts with a sum above ", kMaxLoadSum, " (", counts[i], " at ",
                            place_of(dataset, i), ")"));
      }
      sum += counts[i];
    }
    return counts;
  }

  static std::string place_of(const Hdf5Dataset& dataset, std::size_t element) {
    std::vector<std::uint64_t> place(dataset.info().shape.size());
    for (std::size_t dim = place.size(); dim-- > 0;) {
      place[dim] = element % dataset.info().shape[dim];
      element /= dataset.info().shape[dim];
    }
    return shape_text(place);
  }

  void read_counts() {
    const auto dataset = find("/expert_loads", {ElementKind::integer}, "int64 counts");
    if (!dataset) {
      fail(ErrorKind::input, cat(path_,
                                 ": /expert_loads: is not there, expected int64 counts "
                                 "[layers, experts] or [windows, layers, experts]"));
    }
    const std::vector<std::uint64_t>& shape = dataset->info().shape;
    if (shape.size() != 2 && shape.size() != 3) {
      refuse(*dataset, cat("has the shape ", shape_text(shape),
                           ", expected [layers, experts] or [windows, layers, experts]"));
    }
    checked_elements(*dataset, kMaxLoadCounts);
    const std::uint64_t layers = shape[shape.size() - 2];
    const std::uint64_t experts = shape.back();
    if (dataset->row_elements() == 0 || shape[0] == 0 || layers > kMaxLoadLayers ||
        experts > kMaxLoadExperts) {
      refuse(*dataset, cat("has the shape ", shape_text(shape), ", expected 1 to ", kMaxLoadLayers,
                           " layers and 1 to ", kMaxLoadExperts, " experts"));
    }
    loads_.counts = read_count_values(*dataset);
    loads_.num_experts = static_cast<std::int64_t>(experts);
    loads_.window_seconds.assign(shape.size() == 3 ? shape[0] : 1, 0);
    for (std::uint64_t i = 0; i < layers; ++i) {
      loads_.layer_index.push_back(static_cast<std::int32_t>(i));
    }
  }

  void read_layer_index() {
    const auto dataset = find("/layer_index", {ElementKind::integer}, "int32");
    if (!dataset) return;
    check_shape(*dataset, {loads_.layer_index.size()}, "a number for each layer of /expert_loads");
    const auto numbers = values_of<std::int64_t>(*dataset, kMaxLoadLayers);
    std::int64_t previous = -1;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (numbers[i] <= previous || numbers[i] > kMaxLayerNumber) {
        refuse(*dataset, cat("holds ", numbers[i], " at [", i, "], expected ascending numbers of ",
                             "layers from 0 to ", kMaxLayerNumber));
      }
      loads_.layer_index[i] = static_cast<std::int32_t>(numbers[i]);
      previous = numbers[i];
    }
  }

  void read_windows() {
    const auto dataset =
        find("/window_seconds", {ElementKind::floating, ElementKind::integer}, "float64");
    if (!dataset) return;
    check_shape(*dataset, {loads_.window_seconds.size()}, "a time for each window");
    loads_.window_seconds = values_of<double>(*dataset, kMaxLoadCounts);
    for (std::size_t i = 0; i < loads_.window_seconds.size(); ++i) {
      const double seconds = loads_.window_seconds[i];
      if (!std::isfinite(seconds) || seconds < 0) {
        refuse(*dataset, cat("holds ", seconds, " at [", i, "], expected seconds from 0 on"));
      }
    }
  }

  void read_domains() {
    const auto sums = find("/by_domain", {ElementKind::integer}, "int64 counts");
    const auto names =
        find("/domains", {ElementKind::vlen_string, ElementKind::fixed_string}, "strings");
    if (!sums && !names) return;
    if (!sums || !names) {
      fail(ErrorKind::input,
           cat(path_, ": holds ",
               sums ? "/by_domain without /domains" : "/domains without /by_domain"));
    }
    const std::uint64_t num_domains = names->num_rows();
    if (names->info().shape.size() != 1 || num_domains > kMaxLoadDomains) {
      refuse(*names, cat("has the shape ", shape_text(names->info().shape),
                         ", expected one name for each of at most ", kMaxLoadDomains, " domains"));
    }
    check_shape(
        *sums,
        {num_domains, loads_.layer_index.size(), static_cast<std::uint64_t>(loads_.num_experts)},
        "[domains, layers, experts]");
    if (num_domains == 0) return;
    const auto strings = names->read_strings(0, num_domains, kMaxNameBytes);
    if (!strings) refuse(*names, cat("holds more than ", kMaxNameBytes, " bytes of names"));
    std::set<std::string> seen;
    for (const std::string& name : *strings) {
      if (invalid_utf8_offset(name) || name.find('\0') != std::string::npos) {
        refuse(*names, "holds a name that is no UTF-8 text");
      }
      if (!seen.insert(name).second) refuse(*names, cat("names the domain '", name, "' twice"));
    }
    loads_.domains = *strings;
    loads_.by_domain = read_count_values(*sums);
  }

  void read_attributes() {
    loads_.model_name = text_attribute("model");
    loads_.model_hash = text_attribute("model_hash");
    loads_.top_k = number_attribute("top_k", std::min(kMaxTopK, loads_.num_experts));
    loads_.tokens = number_attribute("tokens", kMaxLoadSum);
  }

  std::string text_attribute(const std::string& name) const {
    if (!has_attribute(name)) return {};
    const Json value = file_.attribute("/", name);
    const bool is_text =
        value.is_string() && !invalid_utf8_offset(value.get_ref<const std::string&>());
    if (!is_text) {
      fail(ErrorKind::input, cat(path_, ": attribute ", name, ": expected a string of UTF-8"));
    }
    return value.get<std::string>();
  }

  std::int64_t number_attribute(const std::string& name, std::int64_t max) const {
    if (!has_attribute(name)) return 0;
    const Json value = file_.attribute("/", name);
    const bool fits = value.is_number_integer() && value.get<std::int64_t>() >= 0 &&
                      value.get<std::uint64_t>() <= static_cast<std::uint64_t>(max);
    if (!fits) {
      fail(ErrorKind::input, cat(path_, ": attribute ", name, " is ", shown(value),
                                 ", expected a whole number from 0 to ", max));
    }
    return value.get<std::int64_t>();
  }

  void read_choices() {
    check_links("/choices");
    for (const std::int32_t layer : loads_.layer_index) read_choices_of(layer);
    const auto dataset = find("/choices_home", {ElementKind::integer}, "int32");
    if (!dataset) {
      fail(ErrorKind::input, cat(path_, ": holds /choices without /choices_home"));
    }
    const std::uint64_t tokens =
        loads_.choices.front().size() / static_cast<std::uint64_t>(loads_.top_k);
    check_shape(*dataset, {tokens}, "a rank for each token of /choices");
    const auto homes = values_of<std::int64_t>(*dataset, kMaxLoadChoices);
    for (std::size_t i = 0; i < homes.size(); ++i) {
      if (homes[i] < 0 || homes[i] > kMaxHome) {
        refuse(*dataset,
               cat("holds ", homes[i], " at [", i, "], expected ranks from 0 to ", kMaxHome));
      }
    }
    loads_.choices_home.assign(homes.begin(), homes.end());
  }

  void read_choices_of(std::int32_t layer) {
    const std::string object = cat("/choices/", layer);
    const auto dataset = find(object, {ElementKind::integer}, "int16");
    if (!dataset) {
      fail(ErrorKind::input, cat(path_, ": ", object, ": is not there, expected the choices of ",
                                 "each layer of /expert_loads"));
    }
    const std::vector<std::uint64_t>& shape = dataset->info().shape;
    if (shape.size() != 2 || shape[1] < 1 || shape[1] > kMaxTopK) {
      refuse(*dataset, cat("has the shape ", shape_text(shape), ", expected [tokens, top_k]"));
    }
    checked_elements(*dataset, kMaxLoadChoices / loads_.num_layers());
    if (loads_.top_k == 0) loads_.top_k = static_cast<std::int64_t>(shape[1]);
    const std::uint64_t tokens =
        loads_.choices.empty()
            ? shape[0]
            : loads_.choices.front().size() / static_cast<std::uint64_t>(loads_.top_k);
    check_shape(*dataset, {tokens, static_cast<std::uint64_t>(loads_.top_k)},
                "the tokens of the other layers, top_k");
    const auto ids = values_of<std::int32_t>(*dataset, kMaxLoadChoices);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= loads_.num_experts) {
        refuse(*dataset, cat("holds ", ids[i], " at ", place_of(*dataset, i),
                             ", expected experts from 0 to ", loads_.num_experts - 1));
      }
    }
    loads_.choices.emplace_back(ids.begin(), ids.end());
  }

  const std::string& path_;
  Hdf5File file_;
  ExpertLoads loads_;
};

}  // namespace

ExpertLoads read_expert_loads(const std::string& path) { return LoadsReader(path).read(); }

}  // namespace trireme::io
