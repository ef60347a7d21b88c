#include "io/journal_frame.h"

#include <span>

#include "base/error.h"
#include "io/crc32c.h"
#include "io/journal.h"

namespace trireme::io {
namespace {

template <typename T>
void put(std::string& frame, const T& value) {
  const std::size_t begin = frame.size();
  frame.resize(begin + sizeof(T));
  std::memcpy(frame.data() + begin, &value, sizeof(T));
}

void put_field(std::string& frame, Field field, FieldType type, std::string_view data) {
  put(frame, static_cast<std::uint16_t>(field));
  put(frame, static_cast<std::uint16_t>(type));
  put(frame, static_cast<std::uint64_t>(data.size()));
  frame.append(data);
}

template <typename T>
void put_values(std::string& frame, Field field, std::span<const T> values) {
  put_field(frame, field, kFieldType<T>,
            {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

template <typename T>
void put_value(std::string& frame, Field field, T value) {
  put_values<T>(frame, field, {&value, 1});
}

void put_row(std::string& frame, const ResultRow& row) {
  if (const auto* number = std::get_if<std::int64_t>(&row.custom_id)) {
    put_value(frame, Field::custom_id, *number);
  } else if (const auto* text = std::get_if<std::string>(&row.custom_id)) {
    put_field(frame, Field::custom_id, FieldType::bytes, *text);
  }
  put_value(frame, Field::status, static_cast<std::uint8_t>(row.status));
  put_value(frame, Field::finish_reason, static_cast<std::uint8_t>(row.finish_reason));
  if (!row.error.empty()) put_field(frame, Field::error, FieldType::bytes, row.error);
  put_value(frame, Field::prompt_tokens, row.prompt_tokens);
  put_value(frame, Field::completion_tokens, row.completion_tokens);
  put_value(frame, Field::seed, row.seed);
  put_values<std::int32_t>(frame, Field::output_ids, row.output_ids);
  put_field(frame, Field::text, FieldType::bytes, row.text);
  if (row.has_logprobs) put_values<float>(frame, Field::logprobs, row.logprobs);
  if (row.top_k > 0) {
    put_value(frame, Field::top_k, row.top_k);
    put_values<std::int32_t>(frame, Field::top_logprob_ids, row.top_logprob_ids);
    put_values<float>(frame, Field::top_logprobs, row.top_logprobs);
  }
  if (row.has_prompt_logprobs)
    put_values<float>(frame, Field::prompt_logprobs, row.prompt_logprobs);
  put_value(frame, Field::time_queued, row.time_queued);
  put_value(frame, Field::time_first_token, row.time_first_token);
  put_value(frame, Field::time_done, row.time_done);
  put_value(frame, Field::rank, row.rank);
}

// One field of a payload that is read, with the checks that its type and length need.
class FieldReader {
 public:
  FieldReader(FieldHeader header, std::string_view data, const std::string& what)
      : header_(header), data_(data), what_(what) {}

  template <typename T>
  void into(std::vector<T>& values) const {
    expect(kFieldType<T>);
    if (data_.size() % sizeof(T) != 0) broken("is not a whole number of values");
    values.resize(data_.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), data_.data(), data_.size());
  }

  template <typename T>
  void into(T& value) const {
    expect(kFieldType<T>);
    if (data_.size() != sizeof(T)) broken("is not one value");
    value = load_value<T>(data_.data());
  }

  void into(std::string& text) const {
    expect(FieldType::bytes);
    text = data_;
  }

  void into(CustomId& id) const {
    if (header_.type == static_cast<std::uint16_t>(FieldType::bytes)) {
      id = std::string(data_);
    } else {
      std::int64_t number = 0;
      into(number);
      id = number;
    }
  }

  template <typename Enum>
  void into_enum(Enum& value, Enum last) const {
    std::uint8_t number = 0;
    into(number);
    if (number > static_cast<std::uint8_t>(last))
      broken(cat("has the unknown value ", int{number}));
    value = static_cast<Enum>(number);
  }

 private:
  void expect(FieldType type) const {
    if (header_.type != static_cast<std::uint16_t>(type)) {
      broken(cat("has type ", header_.type, ", expected ", static_cast<std::uint16_t>(type)));
    }
  }
  [[noreturn]] void broken(const std::string& why) const {
    fail(ErrorKind::input,
         cat(what_, ": field ", header_.field, " of ", data_.size(), " bytes ", why));
  }

  FieldHeader header_;
  std::string_view data_;
  const std::string& what_;
};

void take_field(const FieldReader& reader, std::uint16_t field, ResultRow& row) {
  switch (static_cast<Field>(field)) {
    case Field::custom_id:
      return reader.into(row.custom_id);
    case Field::status:
      return reader.into_enum(row.status, RowStatus::cancelled);
    case Field::finish_reason:
      return reader.into_enum(row.finish_reason, FinishReason::cancelled);
    case Field::error:
      return reader.into(row.error);
    case Field::prompt_tokens:
      return reader.into(row.prompt_tokens);
    case Field::completion_tokens:
      return reader.into(row.completion_tokens);
    case Field::seed:
      return reader.into(row.seed);
    case Field::output_ids:
      return reader.into(row.output_ids);
    case Field::text:
      return reader.into(row.text);
    case Field::logprobs:
      row.has_logprobs = true;
      return reader.into(row.logprobs);
    case Field::top_k:
      return reader.into(row.top_k);
    case Field::top_logprob_ids:
      return reader.into(row.top_logprob_ids);
    case Field::top_logprobs:
      return reader.into(row.top_logprobs);
    case Field::prompt_logprobs:
      row.has_prompt_logprobs = true;
      return reader.into(row.prompt_logprobs);
    case Field::time_queued:
      return reader.into(row.time_queued);
    case Field::time_first_token:
      return reader.into(row.time_first_token);
    case Field::time_done:
      return reader.into(row.time_done);
    case Field::rank:
      return reader.into(row.rank);
  }
  // A field of a later version: skipped.
}

void check_row(const ResultRow& row, const std::string& what) {
  const std::size_t tokens = row.output_ids.size();
  if (row.index < 0 || row.sample < 0) {
    fail(ErrorKind::input,
         cat(what, ": index ", row.index, " sample ", row.sample, ", expected >= 0"));
  }
  if (row.has_logprobs && row.logprobs.size() != tokens) {
    fail(ErrorKind::input,
         cat(what, ": ", row.logprobs.size(), " log-probabilities for ", tokens, " tokens"));
  }
  if (row.top_k < 0 || row.top_k > kMaxTopLogprobs) {
    fail(ErrorKind::input, cat(what, ": top_k ", row.top_k, ", expected 0 to ", kMaxTopLogprobs));
  }
  const std::size_t top = tokens * static_cast<std::size_t>(row.top_k);
  if (row.top_logprob_ids.size() != top || row.top_logprobs.size() != top) {
    fail(ErrorKind::input,
         cat(what, ": ", row.top_logprob_ids.size(), " ids and ", row.top_logprobs.size(),
             " values of top log-probabilities, expected ", top, " each"));
  }
}

}  // namespace

std::string encode_frame(const ResultRow& row, std::uint32_t run_tag) {
  std::string frame(kFrameHeaderBytes, '\0');
  put_row(frame, row);
  FrameHeader header;
  header.payload_bytes = frame.size() - kFrameHeaderBytes;
  header.index = row.index;
  header.sample = row.sample;
  header.run = run_tag;
  std::memcpy(frame.data(), &header, sizeof(header));
  put(frame, crc32c(frame));
  return frame;
}

ResultRow decode_frame(std::string_view frame, const std::string& what) {
  TRIREME_CHECK(frame.size() >= kFrameHeaderBytes + kChecksumBytes, what, ", ", frame.size());
  const auto header = load_value<FrameHeader>(frame.data());
  ResultRow row;
  row.index = header.index;
  row.sample = header.sample;
  std::string_view payload =
      frame.substr(kFrameHeaderBytes, frame.size() - kFrameHeaderBytes - kChecksumBytes);
  while (!payload.empty()) {
    if (payload.size() < kFieldHeaderBytes) {
      fail(ErrorKind::input, cat(what, ": ", payload.size(), " bytes behind its last field"));
    }
    FieldHeader field;
    field.field = load_value<std::uint16_t>(payload.data());
    field.type = load_value<std::uint16_t>(payload.data() + 2);
    field.num_bytes = load_value<std::uint64_t>(payload.data() + 4);
    payload.remove_prefix(kFieldHeaderBytes);
    if (field.num_bytes > payload.size()) {
      fail(ErrorKind::input, cat(what, ": field ", field.field, " says ", field.num_bytes,
                                 " bytes, the frame has ", payload.size()));
    }
    take_field(FieldReader(field, payload.substr(0, field.num_bytes), what), field.field, row);
    payload.remove_prefix(field.num_bytes);
  }
  check_row(row, what);
  return row;
}

}  // namespace trireme::io
