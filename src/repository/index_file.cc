// SPDX-License-Identifier: Apache-2.0
// The JSON of indexes, which may list a million blobs: neither written nor read through a tree of
// values.
#include <algorithm>
#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "repository/corrupt.h"
#include "repository/limits.h"
#include "repository/pack.h"

namespace atl::repository {
namespace {

using boost::json::string_view;
using boost::system::error_code;

// More blobs than the header of a pack can list.
constexpr size_t kMaxBlobsPerPack = kMaxPackHeader / 37;

// What basic_parser calls. Where in the document it is, is a place; what is unknown is skipped with
// everything in it.
class IndexHandler {
 public:
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_string_size = std::numeric_limits<size_t>::max();

  using OnPack = std::function<Result<void>(IndexedPack pack)>;
  explicit IndexHandler(const OnPack& on_pack) : on_pack_(on_pack) {}

  // Why parsing has stopped; nothing when the JSON itself is wrong.
  std::optional<Error> TakeError() { return std::exchange(error_, std::nullopt); }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& code) {
    if (Ignored()) return Skip();
    if (place_ == Place::kDocument) return Go(Place::kIndex);
    if (place_ == Place::kPacks) {
      pack_.pack = Id();
      pack_.blobs.reserve(usual_blobs_);
      return Go(Place::kPack);
    }
    if (place_ != Place::kBlobs) return Wrong(code);
    blob_ = PackedBlob();
    seen_ = 0;
    return Go(Place::kBlob);
  }
  bool on_object_end(size_t, error_code& code) {
    if (skipped_ > 0) return Leave();
    if (place_ == Place::kBlob) return EndBlob(code);
    if (place_ == Place::kPack) return EndPack(code);
    return Go(Place::kEnd);
  }
  bool on_array_begin(error_code& code) {
    if (Ignored()) return Skip();
    if (place_ == Place::kIndex) return Go(Place::kPacks);
    if (place_ == Place::kPack && member_ == Member::kBlobs) return Go(Place::kBlobs);
    return Wrong(code);
  }
  bool on_array_end(size_t, error_code&) {
    if (skipped_ > 0) return Leave();
    return Go(place_ == Place::kBlobs ? Place::kPack : Place::kIndex);
  }

  bool on_key_part(string_view part, size_t, error_code&) { return Keep(part); }
  bool on_key(string_view part, size_t, error_code&) {
    if (skipped_ > 0) return true;
    member_ = MemberOf(Text(part));
    kept_ = 0;
    return true;
  }
  bool on_string_part(string_view part, size_t, error_code&) { return Keep(part); }
  bool on_string(string_view part, size_t, error_code& code) {
    if (Ignored()) {
      kept_ = 0;
      return true;
    }
    bool good = TakeString(Text(part));
    kept_ = 0;
    return good || Wrong(code);
  }

  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t value, string_view, error_code& code) {
    if (Ignored()) return true;
    return (value >= 0 && TakeNumber(static_cast<uint64_t>(value))) || Wrong(code);
  }
  bool on_uint64(uint64_t value, string_view, error_code& code) {
    return Ignored() || TakeNumber(value) || Wrong(code);
  }
  bool on_double(double, string_view, error_code& code) { return Ignored() || Wrong(code); }
  bool on_bool(bool, error_code& code) { return Ignored() || Wrong(code); }
  // An empty list, as Go may write it.
  bool on_null(error_code& code) {
    bool list = (place_ == Place::kIndex) || (place_ == Place::kPack && member_ == Member::kBlobs);
    return Ignored() || list || Wrong(code);
  }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

 private:
  enum class Place : uint8_t { kDocument, kIndex, kPacks, kPack, kBlobs, kBlob, kEnd };
  // The values of those that an object must have are bits of seen_.
  enum class Member : uint8_t {
    kOther = 0,
    kId = 1,
    kType = 2,
    kOffset = 4,
    kLength = 8,
    kRawLength = 16,
    kPacks = 32,
    kBlobs = 64,
  };
  static constexpr unsigned kWholeBlob = 1U | 2U | 4U | 8U;

  Member MemberOf(std::string_view key) const {
    if (place_ == Place::kIndex) return key == "packs" ? Member::kPacks : Member::kOther;
    if (key == "id") return Member::kId;
    if (place_ == Place::kPack) return key == "blobs" ? Member::kBlobs : Member::kOther;
    if (key == "type") return Member::kType;
    if (key == "offset") return Member::kOffset;
    if (key == "length") return Member::kLength;
    if (key == "uncompressed_length") return Member::kRawLength;
    return Member::kOther;
  }

  bool Ignored() const {
    if (skipped_ > 0) return true;
    bool in_object = place_ == Place::kIndex || place_ == Place::kPack || place_ == Place::kBlob;
    return in_object && member_ == Member::kOther;
  }
  bool Skip() {
    ++skipped_;
    return true;
  }
  bool Leave() {
    --skipped_;
    return true;
  }
  bool Go(Place place) {
    place_ = place;
    return true;
  }
  bool Wrong(error_code& code,
             Error error = FailCorrupt("the index is not one of restic's").error()) {
    error_ = std::move(error);
    code = boost::json::error::input_error;
    return false;
  }

  // Text usually comes whole; what comes in parts is put together as far as it may matter.
  bool Keep(string_view part) {
    if (skipped_ > 0) return true;
    size_t size = std::min(part.size(), text_.size() - kept_);
    std::copy_n(part.data(), size, text_.data() + kept_);
    kept_ += size;
    return true;
  }
  std::string_view Text(string_view part) {
    if (kept_ == 0) return {part.data(), part.size()};
    Keep(part);
    return {text_.data(), kept_};
  }

  bool TakeString(std::string_view text) {
    seen_ |= static_cast<unsigned>(member_);
    if (member_ == Member::kId && (place_ == Place::kPack || place_ == Place::kBlob)) {
      auto id = ParseId(text);
      if (!id) return false;
      (place_ == Place::kPack ? pack_.pack : blob_.handle.id) = *id;
      // The id of the pack may stand behind its blobs, which set bits of their own.
      if (place_ == Place::kPack) has_pack_id_ = true;
      return true;
    }
    if (place_ != Place::kBlob || member_ != Member::kType) return false;
    blob_.handle.type = text == "tree" ? BlobType::kTree : BlobType::kData;
    return text == "tree" || text == "data";
  }

  bool TakeNumber(uint64_t value) {
    if (place_ != Place::kBlob || value > std::numeric_limits<uint32_t>::max()) return false;
    seen_ |= static_cast<unsigned>(member_);
    auto number = static_cast<uint32_t>(value);
    switch (member_) {
      case Member::kOffset:
        blob_.offset = number;
        return true;
      case Member::kLength:
        blob_.length = number;
        return true;
      case Member::kRawLength:
        blob_.raw_length = number;
        return true;
      default:
        return false;
    }
  }

  bool EndBlob(error_code& code) {
    if ((seen_ & kWholeBlob) != kWholeBlob || pack_.blobs.size() >= kMaxBlobsPerPack) {
      return Wrong(code);
    }
    if (auto checked = CheckBounds(blob_); !checked) return Wrong(code, checked.error());
    pack_.blobs.push_back(blob_);
    return Go(Place::kBlobs);
  }
  bool EndPack(error_code& code) {
    if (!std::exchange(has_pack_id_, false)) return Wrong(code);
    usual_blobs_ = pack_.blobs.size();
    auto taken = on_pack_(std::exchange(pack_, IndexedPack()));
    if (!taken) return Wrong(code, std::move(taken).error());
    return Go(Place::kPacks);
  }

  const OnPack& on_pack_;
  std::optional<Error> error_;
  Place place_ = Place::kDocument;
  Member member_ = Member::kOther;
  size_t skipped_ = 0;  // depth of what is unknown
  IndexedPack pack_;
  bool has_pack_id_ = false;
  size_t usual_blobs_ = 0;
  PackedBlob blob_;
  unsigned seen_ = 0;            // members of blob_
  std::array<char, 65> text_{};  // one more than the longest that matters
  size_t kept_ = 0;
};

void AppendHex(std::string& out, const Id& id) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::array<char, 2 * sizeof(id.bytes)> hex;
  char* at = hex.data();
  for (unsigned char byte : id.bytes) {
    *at++ = kDigits[byte >> 4U];
    *at++ = kDigits[byte & 15U];
  }
  out.append(hex.data(), hex.size());
}

void AppendNumber(std::string& out, uint64_t value) {
  std::array<char, 20> digits{};
  char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

void AppendBlob(std::string& out, const PackedBlob& blob) {
  out += R"({"id":")";
  AppendHex(out, blob.handle.id);
  out.append(R"(","type":")").append(BlobTypeName(blob.handle.type)).append(R"(","offset":)");
  AppendNumber(out, blob.offset);
  out += R"(,"length":)";
  AppendNumber(out, blob.length);
  if (blob.raw_length != 0) {
    out += R"(,"uncompressed_length":)";
    AppendNumber(out, blob.raw_length);
  }
  out += '}';
}

// `append` for each of `list`, with commas between.
void AppendList(std::string& out, const auto& list, const auto& append) {
  out += '[';
  bool first = true;
  for (const auto& item : list) {
    if (!std::exchange(first, false)) out += ',';
    append(item);
  }
  out += ']';
}

}  // namespace

std::string EncodeIndex(const IndexFile& index) {
  std::string out = "{";
  if (!index.supersedes.empty()) {
    out += R"("supersedes":)";
    AppendList(out, index.supersedes, [&](const Id& id) {
      out += '"';
      AppendHex(out, id);
      out += '"';
    });
    out += ',';
  }
  out += R"("packs":)";
  AppendList(out, index.packs, [&](const IndexedPack& pack) {
    out += R"({"id":")";
    AppendHex(out, pack.pack);
    out += R"(","blobs":)";
    AppendList(out, pack.blobs, [&](const PackedBlob& blob) { AppendBlob(out, blob); });
    out += '}';
  });
  out += '}';
  return out;
}

Result<void> DecodeIndex(std::string_view json,
                         const std::function<Result<void>(IndexedPack pack)>& on_pack) {
  if (json.size() > kMaxIndexBytes) return FailCorrupt("the index is longer than one may be");
  boost::json::parse_options options;
  options.max_depth = 16;
  // UTF-8 matters in nothing that is looked at.
  options.allow_invalid_utf8 = true;
  boost::json::basic_parser<IndexHandler> parser(options, on_pack);
  error_code code;
  size_t used = parser.write_some(false, json.data(), json.size(), code);
  if (auto error = parser.handler().TakeError()) return Unexpected(std::move(*error));
  if (code) return FailCorrupt("the index is not JSON: " + code.message());
  if (used != json.size()) return FailCorrupt("something stands behind the index");
  return {};
}

}  // namespace atl::repository
