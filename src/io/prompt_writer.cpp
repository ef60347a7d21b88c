#include "io/prompt_writer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <variant>

#include "base/error.h"
#include "io/column_buffer.h"
#include "io/file_system.h"
#include "io/prompt_schema.h"
#include "io/row_options.h"

namespace trireme::io {
namespace {

// A column that is being written: values of one type, one a row.
class OpenColumn {
 public:
  OpenColumn(Hdf5File& file, const std::string& name, const Json& value) : name_(name) {
    const std::string path = "/" + name;
    if (value.is_string()) {
      buffer_.emplace<ColumnBuffer<std::string>>(file.create_appendable_strings(path));
    } else if (name == "status" || value.is_boolean()) {
      buffer_.emplace<ColumnBuffer<std::uint8_t>>(file.create_appendable<std::uint8_t>(path));
    } else if (name == "seed") {
      buffer_.emplace<ColumnBuffer<std::uint64_t>>(file.create_appendable<std::uint64_t>(path));
    } else if (value.is_number_float() || is_number_option(name)) {
      buffer_.emplace<ColumnBuffer<double>>(file.create_appendable<double>(path));
    } else {
      buffer_.emplace<ColumnBuffer<std::int64_t>>(file.create_appendable<std::int64_t>(path));
    }
  }

  void add(const Json& value) {
    std::visit(
        [&](auto& buffer) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(buffer)>, std::monostate>) {
            add_to(buffer, value);
          }
        },
        buffer_);
    ++num_rows_;
  }

  void flush() {
    std::visit(
        [](auto& buffer) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(buffer)>, std::monostate>) {
            buffer.flush();
          }
        },
        buffer_);
  }

  std::int64_t num_rows() const { return num_rows_; }

 private:
  static bool is_number_option(const std::string& name) {
    const auto fields = option_fields();
    return std::any_of(fields.begin(), fields.end(), [&](const OptionField& field) {
      return name == field.name && field.kind == OptionKind::number;
    });
  }

  template <typename T>
  void add_to(ColumnBuffer<T>& buffer, const Json& value) {
    TRIREME_CHECK(value.is_string() == (std::is_same_v<T, std::string>), name_, ", ", shown(value));
    if constexpr (std::is_same_v<T, std::uint8_t>) {
      buffer.add(value.is_boolean() ? value.get<bool>() : value.get<std::uint8_t>());
    } else {
      buffer.add(value.get<T>());
    }
  }

  std::string name_;
  std::int64_t num_rows_ = 0;
  std::variant<std::monostate, ColumnBuffer<std::int64_t>, ColumnBuffer<std::uint64_t>,
               ColumnBuffer<double>, ColumnBuffer<std::uint8_t>, ColumnBuffer<std::string>>
      buffer_;
};

TemporaryFile temporary_for(const std::string& path) {
  require_replaceable(path);
  if (exists(path)) {
    fail(ErrorKind::output, cat(path, ": is there already; remove it or choose another name"));
  }
  return TemporaryFile(path + ".tmp");
}

// What a reader would refuse is not left behind; the message names the file that was to be.
void check_readable(const std::string& temporary, const std::string& path) {
  try {
    PromptReader::open(temporary);
  } catch (const Error& error) {
    const std::string what = error.what();
    fail(error.kind(), what.starts_with(temporary) ? path + what.substr(temporary.size()) : what);
  }
}

}  // namespace

struct PromptWriter::Impl {
  Impl(const std::string& the_path, PromptSource the_source)
      : path(the_path),
        source(the_source),
        temporary(temporary_for(the_path)),
        file(Hdf5File::create(temporary.path(), Hdf5File::Existing::replace)) {
    file->write_attribute("/", "schema", "trireme.prompts");
    file->write_attribute("/", "schema_version", "1.0.0");
    const std::string object = object_name(source);
    if (source == PromptSource::bytes) {
      bytes.emplace(*file, object);
    } else if (source == PromptSource::token_ids) {
      token_ids.emplace(*file, object);
    } else {
      strings.emplace(file->create_appendable_strings(object));
    }
  }

  // After the prompt of a row: every column has its value.
  void end_row() {
    ++num_rows;
    for (auto& [name, column] : columns) {
      if (column.num_rows() == num_rows) continue;
      TRIREME_CHECK(!fillers[name].is_null(), path, ": row ", num_rows, " has no ", name);
      column.add(fillers[name]);
    }
  }

  std::string path;
  PromptSource source;
  TemporaryFile temporary;
  std::optional<Hdf5File> file;
  std::optional<RaggedBuffer<std::uint8_t>> bytes;
  std::optional<RaggedBuffer<std::int32_t>> token_ids;
  std::optional<ColumnBuffer<std::string>> strings;
  std::map<std::string, OpenColumn> columns;
  std::map<std::string, Json> fillers;
  std::int64_t num_rows = 0;
};

PromptWriter::PromptWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PromptWriter::PromptWriter(PromptWriter&&) noexcept = default;
PromptWriter& PromptWriter::operator=(PromptWriter&&) noexcept = default;
PromptWriter::~PromptWriter() = default;

PromptWriter PromptWriter::create(const std::string& path, PromptSource source) {
  return PromptWriter(std::make_unique<Impl>(path, source));
}

void PromptWriter::add(std::string_view prompt) {
  TRIREME_CHECK(impl_->source != PromptSource::token_ids, impl_->path);
  if (impl_->bytes) {
    impl_->bytes->add_row(bytes_of(prompt));
  } else {
    impl_->strings->add(std::string(prompt));
  }
  impl_->end_row();
}

void PromptWriter::add_token_ids(std::span<const std::int32_t> ids) {
  TRIREME_CHECK(impl_->source == PromptSource::token_ids, impl_->path);
  impl_->token_ids->add_row(ids);
  impl_->end_row();
}

void PromptWriter::set_column(const std::string& name, const Json& value, const Json& filler) {
  const auto [place, is_new] = impl_->columns.try_emplace(name, *impl_->file, name, value);
  OpenColumn& column = place->second;
  if (is_new) {
    impl_->fillers[name] = filler;
    TRIREME_CHECK(impl_->num_rows == 0 || !filler.is_null(), name);
    while (column.num_rows() < impl_->num_rows) column.add(filler);
  }
  TRIREME_CHECK(column.num_rows() == impl_->num_rows, name, " is set twice");
  column.add(value);
}

void PromptWriter::copy_column(const Hdf5File& from, const std::string& name) {
  impl_->file->copy(from, "/" + name);
}

void PromptWriter::set_attribute(const std::string& name, const Json& value) {
  impl_->file->write_attribute("/", name, value);
}

void PromptWriter::finish() {
  Impl& impl = *impl_;
  if (impl.num_rows == 0) fail(ErrorKind::input, cat(impl.path, ": there is no prompt to write"));
  if (impl.bytes) impl.bytes->flush();
  if (impl.token_ids) impl.token_ids->flush();
  if (impl.strings) impl.strings->flush();
  for (auto& [name, column] : impl.columns) column.flush();
  impl.bytes.reset();
  impl.token_ids.reset();
  impl.strings.reset();
  impl.columns.clear();
  impl.file->close();
  check_readable(impl.temporary.path(), impl.path);
  impl.temporary.rename_to(impl.path);
}

}  // namespace trireme::io
