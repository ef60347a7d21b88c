#include "text/bpe.h"

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/shortened.h"
#include "text/unicode.h"

namespace trireme::text {

/// The row of symbols of a piece while it grows. An unknown token is held back until something
/// known follows, as those behind it may fuse with it.
struct Bpe::Symbols {
  std::vector<std::int32_t>& ids;
  bool unknown_is_pending = false;
};

Bpe::Bpe(Vocabulary vocabulary, const MergeList& merges, const Options& options,
         const std::string& where)
    : vocabulary_(std::move(vocabulary)),
      merges_(merges.entries.size()),
      fuse_unknown_(options.fuse_unknown),
      ignore_merges_(options.ignore_merges),
      byte_fallback_(options.byte_fallback),
      own_encodings_(std::make_unique<std::atomic<OwnEncoding>[]>(vocabulary_.num_ids())) {
  const auto id_or_none = [&](std::string_view token) {
    return vocabulary_.find(token).value_or(-1);
  };
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = id_or_none(byte_to_character(static_cast<std::uint8_t>(byte)));
    fallback_ids_[byte] = id_or_none(cat("<0x", kHex[byte / 16], kHex[byte % 16], ">"));
  }
  for (int c = 0; c < 128; ++c) ascii_ids_[c] = id_or_none(std::string(1, static_cast<char>(c)));
  if (options.unknown_token) {
    unknown_id_ = id_or_none(*options.unknown_token);
    if (unknown_id_ < 0) {
      fail(ErrorKind::checkpoint, cat(where, ".unk_token: \"", shortened(*options.unknown_token),
                                      "\" is not in the vocabulary"));
    }
  }
  add_merges(merges, where);
}

void Bpe::add_merges(const MergeList& merges, const std::string& where) {
  for (std::size_t rank = 0; rank < merges.entries.size(); ++rank) {
    const MergeList::Entry& entry = merges.entries[rank];
    const std::string_view merged =
        std::string_view(merges.bytes).substr(entry.begin, entry.left_bytes + entry.right_bytes);
    const auto id_of = [&](std::string_view token) {
      const auto id = vocabulary_.find(token);
      if (!id) {
        fail(ErrorKind::checkpoint, cat(where, ".merges[", rank, "]: token \"", shortened(token),
                                        "\" is not in the vocabulary"));
      }
      return *id;
    };
    const std::int32_t left = id_of(merged.substr(0, entry.left_bytes));
    const std::int32_t right = id_of(merged.substr(entry.left_bytes));
    merges_.add(left, right, {static_cast<std::uint32_t>(rank), id_of(merged)});
  }
}

void Bpe::encode(std::string_view piece, bool is_byte_level, Scratch& scratch,
                 std::vector<std::int32_t>& ids) const {
  std::optional<std::int32_t> whole;
  if (piece.size() <= vocabulary_.max_token_bytes()) {
    std::string_view token = piece;
    if (is_byte_level) {
      scratch.characters.clear();
      append_byte_characters(scratch.characters, piece);
      token = scratch.characters;
    }
    whole = vocabulary_.find(token);
    if (whole && (ignore_merges_ ||
                  own_encodings_[*whole].load(std::memory_order_relaxed) == OwnEncoding::itself)) {
      ids.push_back(*whole);
      return;
    }
  }
  scratch.symbols.clear();
  scratch.symbols.reserve(piece.size());
  Symbols symbols{scratch.symbols};
  split_into_symbols(piece, is_byte_level, symbols);
  const std::size_t first = ids.size();
  merges_.encode(scratch.symbols, scratch.merge, ids);
  if (whole) {
    const bool is_itself = ids.size() == first + 1 && ids[first] == *whole;
    own_encodings_[*whole].store(is_itself ? OwnEncoding::itself : OwnEncoding::other,
                                 std::memory_order_relaxed);
  }
}

void Bpe::split_into_symbols(std::string_view piece, bool is_byte_level, Symbols& symbols) const {
  if (is_byte_level) {
    for (const char c : piece) {
      const auto byte = static_cast<std::uint8_t>(c);
      add_symbol(byte_to_character(byte), byte_ids_[byte], symbols);
    }
  } else {
    for (std::size_t position = 0; position < piece.size();) {
      const std::size_t begin = position;
      const char32_t c = next_code_point(piece, position);
      const std::string_view character = piece.substr(begin, position - begin);
      const std::int32_t id = c < 128 ? ascii_ids_[c] : vocabulary_.find(character).value_or(-1);
      add_symbol(character, id, symbols);
    }
  }
  if (symbols.unknown_is_pending) symbols.ids.push_back(unknown_id_);
}

void Bpe::add_symbol(std::string_view character, std::int32_t id, Symbols& symbols) const {
  if (id >= 0) {
    if (symbols.unknown_is_pending) symbols.ids.push_back(unknown_id_);
    symbols.unknown_is_pending = false;
    symbols.ids.push_back(id);
    return;
  }
  if (byte_fallback_) {
    const std::size_t before = symbols.ids.size();
    for (const char byte : character) {
      symbols.ids.push_back(fallback_ids_[static_cast<std::uint8_t>(byte)]);
      if (symbols.ids.back() < 0) {
        symbols.ids.resize(before);
        break;
      }
    }
    if (symbols.ids.size() > before) return;
  }
  if (unknown_id_ < 0) return;  // the character gives nothing
  if (symbols.unknown_is_pending && !fuse_unknown_) symbols.ids.push_back(unknown_id_);
  symbols.unknown_is_pending = true;
}

}  // namespace trireme::text
