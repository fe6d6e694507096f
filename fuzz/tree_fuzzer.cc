// SPDX-License-Identifier: Apache-2.0
// Trees, snapshots and locks from a hostile store: nothing may crash, how the bytes are cut must
// make no difference, and what is accepted must come out the same when it is written again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "repository/records.h"
#include "repository/tree.h"

namespace {

using namespace atl::repository;

void Must(bool holds) {
  if (!holds) std::abort();
}

std::string Encode(const std::vector<Node>& nodes) {
  std::string out;
  TreeEncoder encoder([&](std::string_view piece) -> atl::Result<void> {
    out += piece;
    return {};
  });
  for (const Node& node : nodes) Must(encoder.Add(node).has_value());
  Must(encoder.Finish().has_value());
  return out;
}

bool FeedInPieces(std::string_view json, size_t piece) {
  TreeDecoder decoder([](Node) -> atl::Result<void> { return {}; });
  for (size_t at = 0; at < json.size(); at += piece) {
    if (!decoder.Feed(json.substr(at, piece))) return false;
  }
  return decoder.Finish().has_value();
}

void CheckTree(std::string_view json, size_t piece) {
  auto nodes = DecodeTree(json);
  Must(FeedInPieces(json, piece) == nodes.has_value());
  if (!nodes) return;
  std::string text = Encode(*nodes);
  auto again = DecodeTree(text);
  Must(again.has_value() && again->size() == nodes->size());
  Must(Encode(*again) == text);
}

void CheckRecords(std::string_view json) {
  if (auto snapshot = DecodeSnapshot(json)) {
    std::string text = EncodeSnapshot(*snapshot);
    auto again = DecodeSnapshot(text);
    Must(again.has_value() && EncodeSnapshot(*again) == text);
  }
  if (auto lock = DecodeLock(json)) {
    std::string text = EncodeLock(*lock);
    auto again = DecodeLock(text);
    Must(again.has_value() && EncodeLock(*again) == text);
  }
}

void CheckName(std::string_view text) {
  auto back = UnquoteName(QuoteName(text));
  Must(back.has_value() && *back == text);
  if (auto name = UnquoteName(text)) {
    auto again = UnquoteName(QuoteName(*name));
    Must(again.has_value() && *again == *name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  CheckTree(bytes, static_cast<size_t>(data[0]) + 1);
  CheckRecords(bytes);
  CheckName(bytes);
  if (auto time = ParseTime(bytes)) Must(ParseTime(FormatTime(*time)) == *time);
  return 0;
}
